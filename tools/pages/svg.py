"""A small canvas that writes SVG, and the colours of all drawings.

Drawings stand alone: each carries its own colours, for light and for dark, and
its own background, so that it can be read wherever it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.sax.saxutils import escape

SANS = "DejaVu Sans, Verdana, sans-serif"
MONO = "DejaVu Sans Mono, Menlo, Consolas, monospace"
SIZE = 13  # of text
CHARACTER = 0.61 * SIZE  # width of one of MONO

# class: (fill, stroke) in light and in dark.
_LIGHT = {
    "background": ("#ffffff", "none"),
    "plain": ("#f3f4f6", "#6b7280"),
    "free": ("#ffffff", "#9ca3af"),
    "kernel": ("#dbeafe", "#2563eb"),
    "user": ("#dcfce7", "#15803d"),
    "table": ("#fef3c7", "#b45309"),
    "wrong": ("#fee2e2", "#b91c1c"),
}
_DARK = {
    "background": ("#15181d", "none"),
    "plain": ("#262b33", "#9aa4b2"),
    "free": ("#15181d", "#6b7280"),
    "kernel": ("#1c2f57", "#7aa7ff"),
    "user": ("#12351f", "#5fce87"),
    "table": ("#43300c", "#f0b95a"),
    "wrong": ("#4a1a1a", "#ff8a80"),
}
_INK = {"light": ("#1b1f24", "#57606a"), "dark": ("#e6e9ee", "#9aa4b2")}
KINDS = tuple(_LIGHT)


def _rules(colours: dict[str, tuple[str, str]], ink: tuple[str, str]) -> str:
    text, line = ink
    rules = [f"text{{fill:{text};stroke:none}}", f".quiet{{fill:{line}}}"]
    rules += [f".line{{fill:none;stroke:{line}}}", f".head{{fill:{line};stroke:{line}}}"]
    # What graphviz draws: nodes are plain unless their class says otherwise.
    shapes = ("polygon", "path", "ellipse", "polyline")
    fill, stroke = colours["plain"]
    rules.append(
        ",".join(f".node {s},.cluster {s}" for s in shapes) + f"{{fill:{fill};stroke:{stroke}}}"
    )
    rules.append(f".edge path{{fill:none;stroke:{line}}}.edge polygon{{fill:{line};stroke:{line}}}")
    for kind, (fill, stroke) in colours.items():
        rules.append(f".{kind}{{fill:{fill};stroke:{stroke}}}")
        if kind != "background":
            of_nodes = ",".join(f".node.{kind} {s},.cluster.{kind} {s}" for s in shapes)
            rules.append(f"{of_nodes}{{fill:{fill};stroke:{stroke}}}")
    wrong = colours["wrong"][1]
    rules.append(f".edge.wrong path{{stroke:{wrong}}}")
    rules.append(f".edge.wrong polygon{{fill:{wrong};stroke:{wrong}}}")
    return "".join(rules)


def style() -> str:
    """The element that every drawing has first."""
    dark = _rules(_DARK, _INK["dark"])
    return (
        f"<style>{_rules(_LIGHT, _INK['light'])}"
        f"@media (prefers-color-scheme:dark){{{dark}}}</style>"
    )


@dataclass
class Canvas:
    """Collects shapes; `text` is the finished file."""

    title: str
    width: int
    height: int
    parts: list[str] = field(default_factory=list)

    def box(self, x: float, y: float, width: float, height: float, kind: str = "plain") -> None:
        assert kind in KINDS, kind
        self.parts.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>'
        )

    def write(
        self,
        x: float,
        y: float,
        text: str,
        *,
        mono: bool = False,
        anchor: str = "start",
        quiet: bool = False,
        bold: bool = False,
        size: float = SIZE,
    ) -> None:
        """Text with its baseline at y."""
        attributes = f'font-family="{MONO if mono else SANS}" font-size="{size:g}"'
        attributes += ' font-weight="bold"' if bold else ""
        attributes += ' class="quiet"' if quiet else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" {attributes}'
            f' xml:space="preserve">{escape(text)}</text>'
        )

    def line(self, *points: tuple[float, float], dashed: bool = False, arrow: bool = False) -> None:
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.parts.append(f'<path class="line" d="{path}"{dash}/>')
        if arrow:
            (x0, y0), (x, y) = points[-2:]
            # Straight lines alone: along one axis.
            dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
            corners = [(x, y), (x - 7 * dx - 4 * dy, y - 7 * dy - 4 * dx)]
            corners.append((x - 7 * dx + 4 * dy, y - 7 * dy + 4 * dx))
            self.parts.append(
                '<polygon class="head" points="'
                + " ".join(f"{a:g},{b:g}" for a, b in corners)
                + '"/>'
            )

    @property
    def text(self) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}"'
            f' viewBox="0 0 {self.width} {self.height}" role="img">'
        )
        background = f'<rect class="background" width="{self.width}" height="{self.height}"/>'
        title = f"<title>{escape(self.title)}</title>"
        return "\n".join([head, title, style(), background, *self.parts, "</svg>"]) + "\n"
