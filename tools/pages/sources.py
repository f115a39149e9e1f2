"""Reads the pages' Markdown and fills in what is generated.

A page is handouts/<name>.md. Its first lines are `---`, `title: …`, `---`.
A line by itself

    <!-- generate: NAME WORDS -->

is replaced by what the generator of that name makes of the words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stag.errors import StagError
from stag.labs import Lab, load_labs

from . import course, headers, reference

# The order of the pages; the labs come where LABS stands.
LABS = "labs"
ORDER = (
    "index", "setup", "tools", "primer", "grading", "debugging", "emulator", LABS, "reference",
    "instructors",
)  # fmt: skip

_GENERATE = re.compile(r"^<!-- generate: (\S+) ?(.*?) -->$", re.MULTILINE)
_ANCHOR = re.compile(r"^(#+ .*?) \{#([\w-]+)\}$", re.MULTILINE)
_HEAD = re.compile(r"---\ntitle: (.+)\n---\n")
_LANGUAGES = {".c": "c", ".h": "c", ".S": "gnuassembler", ".toml": "toml", ".gdb": "text"}


class PageError(StagError):
    """A page can't be made: tells which, and what to mend."""


@dataclass(frozen=True)
class Page:
    name: str
    title: str
    text: str  # Markdown, nothing left to generate
    lab: Lab | None = None


def markdown(page: Page) -> str:
    """A page as any reader of Markdown knows it."""
    body = _ANCHOR.sub(r'<a id="\2"></a>\n\n\1', page.text)
    return f"# {page.title}\n\n{body.strip()}\n"


def fenced(text: str, language: str) -> str:
    fence = "````" if "```" in text else "```"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


@dataclass
class Sources:
    """A tree with handouts/ in it, and the timelines that were found."""

    root: Path
    timelines: dict[str, str]

    def pages(self) -> list[Page]:
        """All, in their order, filled in."""
        labs = {lab.name: lab for lab in load_labs(self.root)}
        found = {path.stem: path for path in (self.root / "handouts").glob("*.md")}
        order: list[str] = []
        for name in ORDER:
            order += sorted(found.keys() & labs.keys()) if name == LABS else [name]
        for name in order:
            if name not in found:
                raise PageError(f"handouts/{name}.md is missing")
        extra = sorted(found.keys() - set(order))
        if extra:
            raise PageError(
                f"handouts/{extra[0]}.md has no place among the pages: "
                "name it as a folder of labs/, or put it into ORDER in tools/pages/sources.py"
            )
        self.names = set(order)
        return [self._page(found[name], labs.get(name)) for name in order]

    def _page(self, path: Path, lab: Lab | None) -> Page:
        where = path.relative_to(self.root)
        try:
            text = path.read_text()
        except UnicodeDecodeError as error:
            raise PageError(f"{where} is not UTF-8: {error}") from None
        head = _HEAD.match(text)
        if head is None:
            raise PageError(f"{where}: begin it with the lines `---`, `title: …`, `---`")

        def fill(match: re.Match[str]) -> str:
            line = text.count("\n", 0, match.start()) + 1
            try:
                return self._generate(match[1], match[2].split(), lab)
            except (LookupError, TypeError, ValueError, OSError) as error:
                raise PageError(f"{where}:{line}: {match[0]}: {error}") from None

        body = _GENERATE.sub(fill, text)[head.end() :]
        left = re.search(r"<!-- *generate.*", body)
        if left:
            raise PageError(f"{where}: not a line that generates something: {left[0]}")
        return Page(path.stem, head[1].strip('"'), body, lab)

    def _generate(self, name: str, words: list[str], lab: Lab | None) -> str:
        root = self.root
        makers: dict[str, Callable[..., str]] = {
            "calendar": lambda: course.calendar(root, self.names),
            "points": lambda: course.points(root, self.names),
            "files": lambda: course.files(root),
            "targets": lambda: course.targets_table(root),
            "calls": lambda: reference.calls(root),
            "constants": lambda prefix: reference.constants(root, prefix),
            "contracts": lambda: reference.contracts(root),
            "timeline": lambda key: fenced(self.timelines[key], "text"),
            "source": self._source,
            "function": lambda file, function: fenced(
                headers.function_text(root / file, function), "c"
            ),
        }
        if lab is not None:
            makers |= {"tests": lambda: course.tests(lab), "owned": lambda: course.owned(lab)}
        if name not in makers:
            raise LookupError(f"there is no {name}: there are {', '.join(makers)}")
        return makers[name](*words)

    def _source(self, file: str) -> str:
        path = self.root / file
        return fenced(path.read_text(), _LANGUAGES.get(path.suffix, "text"))
