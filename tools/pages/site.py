"""Turns the pages into a static site and one PDF.

pandoc makes HTML of each page's Markdown; the frame around it is
handouts/page.html, the looks are handouts/style.css. Of the same HTML WeasyPrint
makes the PDF: the lightest of Debian's engines that takes HTML, style sheets
and SVG as they are.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template

from stag.errors import InfrastructureError

from .sources import Page, PageError

TITLE = "Stag"
SUBTITLE = "Six labs on a small RISC-V kernel"
TOC_OPEN = 14  # lines of a table of contents that may stand open
SHRINK = 0.7  # to what part of its width a drawing may shrink
_BODY = "<!-- the page -->"
_LINK = re.compile(r'href="([\w-]+)\.md(?:#([\w-]+))?"')
_ID = re.compile(r'\bid="([^"]+)"')
_TARGET = re.compile(r'\bhref="((?![a-z]+:)[^"]+)"')


@dataclass(frozen=True)
class Made:
    """A page as HTML, its links still those of the Markdown."""

    page: Page
    toc: str
    body: str


def _run(command: list[str], what: str, text: str | None = None) -> str:
    # The same input gives the same bytes: no dates, and sets in one order.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": "0"}
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, env=environment
        )
    except OSError as error:
        raise InfrastructureError(
            f"{command[0]} does not start ({error.strerror}): `make handouts` installs it"
        ) from None
    # WeasyPrint goes on after an error, such as a link that leads nowhere.
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    if done.returncode != 0 or errors:
        raise PageError(f"{what}: {' '.join(errors) or done.stderr.strip()}")
    return done.stdout


def _pandoc(page: Page, template: Path) -> Made:
    # Tables as wide as what is in them: so many columns that none is too wide.
    command = ["pandoc", "--from=markdown-smart", "--to=html5", "--standalone", "--toc"]
    command += ["--toc-depth=3", "--wrap=none", "--columns=10000", f"--template={template}"]
    command += [f"--metadata=title:{page.title}"]
    toc, mark, body = _run(command, f"handouts/{page.name}.md", page.text).partition(_BODY)
    assert mark
    # What may be too wide for a phone scrolls by itself.
    body = re.sub(r"<table>", '<div class="scroll" tabindex="0"><table>', body)
    body = body.replace("</table>", "</table></div>")
    body = body.replace("<pre class=", '<pre tabindex="0" class=')
    body = body.replace("<code>-E", '<code class="error">-E')
    return Made(page, toc.strip(), body.strip())


def _check_links(made: list[Made]) -> None:
    """Each leads to a page, and where it says so to a place in it."""
    places = {one.page.name: set(_ID.findall(one.body)) for one in made}
    for one in made:
        own = places[one.page.name]
        for target in _TARGET.findall(one.toc + one.body):
            name, _, place = html.unescape(target).partition("#")
            found = places.get(name[:-3] if name.endswith(".md") else "") if name else own
            if found is None or (place and place not in found):
                where = f"handouts/{one.page.name}.md"
                raise PageError(f"{where}: the link {target} leads nowhere")


def _with_drawings(made: Made, drawings: dict[str, str]) -> Made:
    """Says how large each drawing is, and makes it a link to itself. On a phone
    it shrinks, but not until it can't be read: from there on it scrolls."""

    def fill(match: re.Match[str]) -> str:
        name, rest = match[1], match[2]
        size = re.search(r'<svg [^>]*?width="(\d+)" height="(\d+)"', drawings.get(name, ""), re.S)
        if size is None:
            names = ", ".join(sorted(drawings))
            raise PageError(
                f"handouts/{made.page.name}.md: there is no drawing {name}: there are {names}"
            )
        width, height = int(size[1]), int(size[2])
        least = min(width, round(width * SHRINK))
        return (
            f'<a href="drawings/{name}.svg"><img src="drawings/{name}.svg"{rest}'
            f' width="{width}" height="{height}" style="min-width:{least}px"></a>'
        )

    body = re.sub(r'<img src="drawings/([\w-]+)\.svg"([^>]*?) ?/?>', fill, made.body)
    return replace(made, body=body)


def _navigation(pages: list[Page], here: Page) -> str:
    items = []
    for page in pages:
        current = ' aria-current="page"' if page is here else ""
        items.append(f'<li><a href="{page.name}.html"{current}>{html.escape(page.title)}</a></li>')
    return "<ul>" + "".join(items) + "</ul>"


def _neighbours(pages: list[Page], here: Page) -> str:
    at = pages.index(here)
    links = []
    for offset, word, relation in ((-1, "Back", "prev"), (1, "Next", "next")):
        if 0 <= at + offset < len(pages):
            page = pages[at + offset]
            text = html.escape(f"{word}: {page.title}")
            links.append(f'<a rel="{relation}" href="{page.name}.html">{text}</a>')
    return "".join(links)


def _contents(made: Made) -> str:
    """The table of contents of a page; a long one is folded."""
    lines = made.toc.count("<li>")
    if lines < 2:
        return ""
    state = " open" if lines <= TOC_OPEN else ""
    return f'<details class="toc"{state}><summary>On this page</summary>{made.toc}</details>'


def _site_links(body: str) -> str:
    return _LINK.sub(lambda m: f'href="{m[1]}.html{"#" + m[2] if m[2] else ""}"', body)


def _write_site(made: list[Made], handouts: Path, out: Path) -> None:
    pages = [one.page for one in made]
    frame = Template((handouts / "page.html").read_text())
    for one in made:
        index = one.page.name == "index"
        text = frame.substitute(
            title=html.escape(TITLE if index else f"{one.page.title} · {TITLE}"),
            heading=html.escape(one.page.title),
            navigation=_navigation(pages, one.page),
            contents=_contents(one),
            body=_site_links(one.body),
            neighbours=_neighbours(pages, one.page),
        )
        (out / f"{one.page.name}.html").write_text(text)
    shutil.copyfile(handouts / "style.css", out / "style.css")


# PDF


def _chapter(one: Made) -> str:
    """A page as a chapter: its anchors begin with its name."""
    name = one.page.name
    body = _ID.sub(rf'id="{name}-\1"', one.body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', body)
    body = re.sub(r'<a href="drawings/[^"]+">(<img[^>]*) style="[^"]*"></a>', r"\1>", body)
    body = _LINK.sub(lambda m: f'href="#{m[1]}{"-" + m[2] if m[2] else ""}"', body)
    title = html.escape(one.page.title)
    return f'<section class="chapter" id="{name}"><h1>{title}</h1>{body}</section>'


def _write_pdf(made: list[Made], site: Path, out: Path) -> None:
    rows = "".join(
        f'<li><a href="#{one.page.name}">{html.escape(one.page.title)}</a></li>' for one in made
    )
    text = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>'
        '<link rel="stylesheet" href="style.css"></head><body class="book">'
        f'<section class="cover"><p class="name">{TITLE}</p><p>{SUBTITLE}</p>'
        f"<ol>{rows}</ol></section>{''.join(_chapter(one) for one in made)}</body></html>"
    )
    book = site / "book.html"
    book.write_text(text)
    try:
        _run(["weasyprint", str(book), str(out)], "the PDF")
    finally:
        book.unlink()


def write(pages: list[Page], drawings: dict[str, str], handouts: Path, out: Path) -> None:
    """The folder `site` and stag.pdf, in `out`; what was there before goes, but not
    before all of it is made."""
    new = out / "new"
    shutil.rmtree(new, ignore_errors=True)
    site = new / "site"
    (site / "drawings").mkdir(parents=True)
    for name, text in drawings.items():
        (site / f"drawings/{name}.svg").write_text(text)
    template = new / "fragment.html"
    template.write_text(f"$toc$\n{_BODY}\n$body$\n")
    bodies = [_pandoc(page, template) for page in pages]
    _check_links(bodies)
    made = [_with_drawings(one, drawings) for one in bodies]
    _write_site(made, handouts, site)
    _write_pdf(made, site, new / "stag.pdf")
    if (out / "site").exists():
        shutil.rmtree(out / "site")
    site.rename(out / "site")
    (new / "stag.pdf").replace(out / "stag.pdf")
    shutil.rmtree(new)
