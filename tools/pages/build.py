"""Makes all of it: boots the kernel for what only a machine can tell, then
draws, fills in, and writes."""

from __future__ import annotations

import sys
from pathlib import Path

from stag.system import symbols_of

from . import drawings, headers, site, timelines
from .sources import Page, PageError, Sources, markdown

EXAMPLE = "handouts/examples/mailbox.c"


def make(root: Path, kernel: Path, out: Path) -> tuple[list[Page], dict[str, str]]:
    """The pages, filled in, and the drawings by name, of the tree at `root` with
    a kernel that was built there. `out` is for files on the way."""
    out.mkdir(parents=True, exist_ok=True)
    example = timelines.compile_example(root / EXAMPLE, out / "mailbox.elf")
    found = timelines.make(kernel, example)
    pictures = draw(root, kernel) | {name: one.drawing for name, one in found.items()}
    return Sources(root, {name: one.text for name, one in found.items()}).pages(), pictures


def build(root: Path, kernel: Path, out: Path) -> None:
    """The handouts as a site and a PDF."""
    pages, pictures = make(root, kernel, out)
    site.write(pages, pictures, root / "handouts", out)


def build_markdown(root: Path, kernel: Path, out: Path) -> dict[str, str]:
    """The handouts as files of handouts/, for who reads Markdown: path, text."""
    print("filling in the handouts …", file=sys.stderr)
    pages, pictures = make(root, kernel, out)
    files = {f"handouts/{page.name}.md": markdown(page) for page in pages}
    return files | {f"handouts/drawings/{name}.svg": text for name, text in pictures.items()}


def draw(root: Path, kernel: Path) -> dict[str, str]:
    """Every drawing but the timelines, by name."""
    constants = headers.defines(root / "include/stag/abi.h", root / "kernel/layout.h")
    machine = drawings.look(kernel, constants)
    comments = {
        name: headers.member_comments(root / f"kernel/{name}.h", name)
        for name in ("executor", "space", "hart", "global")
    }
    made = {
        "address-space": drawings.address_space(machine, constants),
        "page-walk": drawings.page_walk(machine),
        "state-word": drawings.state_word(constants),
        **drawings.layouts(symbols_of(kernel), comments),
    }
    for source in sorted((root / "handouts/drawings").glob("*.dot")):
        if source.stem in made:
            raise PageError(f"{source.relative_to(root)}: there is a drawing of that name already")
        made[source.stem] = drawings.graph(source)
    return made
