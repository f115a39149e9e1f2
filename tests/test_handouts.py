"""The handouts: they are made, nothing in them leads nowhere, and what is taken
from the sources is complete."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import browser
import pytest
from conftest import KERNEL, ROOT
from leaks import leaks
from stag.labs import load_lab, load_labs

if not (ROOT / "tools/handouts").is_file():
    pytest.skip("no handouts are made here", allow_module_level=True)
sys.path.insert(0, str(ROOT / "tools"))

from pages import course, headers, timelines
from pages.build import EXAMPLE, build
from pages.sources import PageError, Sources
from pages.svg import KINDS

NEEDED = [
    name for name in ("pandoc", "dot", "weasyprint", "pdftotext") if shutil.which(name) is None
]
needs_tools = pytest.mark.skipif(bool(NEEDED), reason=f"not installed: {', '.join(NEEDED)}")
PARTS = ("Makefile", "handouts", "include", "kernel", "labs", "user")
LAB = 2  # whose page stands in for all while it is made of the template


@dataclass
class Document(HTMLParser):
    """What a page holds and points to."""

    path: Path
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    images: list[tuple[str, str]] = field(default_factory=list)  # source, alt
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "img":
            self.images.append((found.get("src", ""), found.get("alt", "")))
        self.resources += [found[name] for name in ("src", "srcset", "poster") if name in found]
        if tag == "link":
            self.resources.append(found["href"])

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, with the template as the page of a lab if it has none yet."""
    root = tmp_path_factory.mktemp("tree")
    for part in PARTS:
        at = ROOT / part
        (shutil.copytree if at.is_dir() else shutil.copy)(at, root / part)
    lab = load_lab(root, LAB)
    page = root / "handouts" / f"{lab.name}.md"
    if not page.exists():
        text = (root / "handouts/lab-template.txt").read_text()
        for exercise in lab.exercises[1:]:
            text += f"\n## Exercise {exercise.number} {{#exercise-{exercise.number}}}\n"
        page.write_text(text)
    return root


@pytest.fixture(scope="module")
def site(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, for all workers of one run."""
    if NEEDED:
        pytest.skip(f"not installed: {', '.join(NEEDED)}")
    run = tmp_path_factory.getbasetemp()
    shared = run.parent if os.environ.get("PYTEST_XDIST_WORKER") else run
    with (shared / "handouts.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        out = shared / "handouts"
        if not (out / "stag.pdf").exists():
            build(tree, KERNEL, out)
    return out / "site"


@pytest.fixture(scope="module")
def documents(site: Path) -> dict[str, Document]:
    return {path.stem: Document(path) for path in sorted(site.glob("*.html"))}


def test_every_page_is_made(documents: dict[str, Document], tree: Path) -> None:
    assert set(documents) == {path.stem for path in (tree / "handouts").glob("*.md")}


def test_links_lead_somewhere(documents: dict[str, Document], site: Path) -> None:
    wrong = []
    for name, document in documents.items():
        for link in document.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme == "https", f"{name}: {link}"
                continue
            target = unquote(parts.path) or f"{name}.html"
            if not (site / target).is_file():
                wrong.append(f"{name}: {link}: no such page")
            elif parts.fragment and parts.fragment not in documents[Path(target).stem].ids:
                wrong.append(f"{name}: {link}: no such anchor")
    assert not wrong, "\n".join(wrong)


def test_anchors_are_unique(documents: dict[str, Document]) -> None:
    for name, document in documents.items():
        twice = {one for one in document.ids if document.ids.count(one) > 1}
        assert not twice, f"{name}: {twice}"


def test_images_are_there_and_described(documents: dict[str, Document], site: Path) -> None:
    count = 0
    for name, document in documents.items():
        for source, alt in document.images:
            assert (site / source).is_file(), f"{name}: {source} is missing"
            assert len(alt) > 20, f"{name}: {source} needs a description"
            count += 1
    assert count > 10


def test_nothing_is_loaded_from_elsewhere(documents: dict[str, Document], site: Path) -> None:
    for name, document in documents.items():
        assert "script" not in document.tags, name
        for resource in document.resources:
            there = resource.startswith("data:") or (site / resource).is_file()
            assert there, f"{name}: {resource}"
    for path in [site / "style.css", *site.glob("drawings/*.svg")]:
        text = path.read_text()
        assert "url(" not in text and "@import" not in text, path.name
        outside = set(re.findall(r"https?://[^\s\"')]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not outside, f"{path.name}: {outside}"


def test_drawings_have_both_schemes(site: Path) -> None:
    drawings = list(site.glob("drawings/*.svg"))
    assert len(drawings) > 10
    for path in drawings:
        text = path.read_text()
        assert "prefers-color-scheme:dark" in text and "<title>" in text, path.name
        # Colours come from the style alone, by class: it has both schemes.
        used = {word for names in re.findall(r'class="([^"]*)"', text) for word in names.split()}
        assert used & set(KINDS), f"{path.name}: no kind of box is used"


def test_exercises_have_anchors(documents: dict[str, Document], tree: Path) -> None:
    """The graders name these sections."""
    for lab in load_labs(tree):
        template = not (ROOT / f"handouts/{lab.name}.md").exists()
        if lab.name in documents and not template:
            for exercise in lab.exercises:
                anchor = f"exercise-{exercise.number}"
                assert anchor in documents[lab.name].ids, f"handouts/{lab.name}.md: #{anchor}"


def test_reference_has_every_call_and_error(documents: dict[str, Document]) -> None:
    abi = (ROOT / "include/stag/abi.h").read_text()
    reference = documents["reference"]
    calls = set(re.findall(r"^#define CALL_(\w+)", abi, re.MULTILINE)) - {"COUNT"}
    assert len(calls) > 10
    for call in calls:
        assert f"call-{call.lower().replace('_', '-')}" in reference.ids
        assert f"{call.lower()}(" in reference.text
    for name in re.findall(r"^#define (E[A-Z]+|EVENT_\w+|PROT_\w+|STATE_\w+) ", abi, re.MULTILINE):
        assert name in reference.text, name


def test_reference_has_every_contract(documents: dict[str, Document]) -> None:
    """Each function with a comment in a header of the kernel is there."""
    text = " ".join(documents["reference"].text.split())
    count = 0
    for path in [*ROOT.glob("kernel/*.h"), *ROOT.glob("kernel/riscv/*.h")]:
        declared = r"\b([a-z]\w+)\((?:[^;{}()]|\([^()]*\))*\)(?:;|\n\{)"
        for name in re.findall(declared, path.read_text()):
            if name.startswith("_") or name in ("volatile", "defined"):
                continue
            count += 1
            assert f"{name}(" in text, f"{path.name}: {name}"
    assert count > 80


def test_layouts_are_the_kernels(site: Path) -> None:
    text = (site / "drawings/layout-executor.svg").read_text()
    for offset, name in ((0x100, "next"), (0x200, "state"), (0x400, "references")):
        at = text.index(f">{offset:#05x}<")
        assert f">{name}<" in text[at : at + 400]


def test_pages_name_targets_that_exist(tree: Path) -> None:
    """`make x` in a page is a target."""
    targets = course.targets(ROOT)
    told = set()
    for path in (tree / "handouts").glob("*.md"):
        text = path.read_text()
        code = re.findall(r"`([^`\n]+)`", text)
        for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL):
            code += [line.split("#")[0] for line in block.splitlines()]
        for line in code:
            for words in re.findall(r"\bg?make((?: [\w=\"';/.-]+)*)", line):
                for word in words.split():
                    if "=" in word or not re.fullmatch("[a-z-]+", word):
                        continue
                    told.add(word)
    unknown = told - targets.keys()
    assert not unknown, f"pages tell of {', '.join(sorted(unknown))}: make has no such target"
    assert {"qemu", "gdb", "grade", "handouts"} <= told


def test_pages_say_nothing_of_this_machine(tree: Path) -> None:
    for path in [*(tree / "handouts").rglob("*.*"), *(ROOT / "tools/pages").glob("*.py")]:
        text = path.read_text()
        for word in ("/work", "/tmp", "/home", "localhost"):
            assert word not in text, f"{path.name} mentions {word}"


def test_pdf_is_made(site: Path) -> None:
    data = (site.parent / "stag.pdf").read_bytes()
    assert data.startswith(b"%PDF-") and len(data) > 100_000
    assert not (site / "book.html").exists()


def test_pdf_has_room_for_its_tables(site: Path) -> None:
    """A4 is 595 points wide, with margins of 50."""
    command = ["pdftotext", "-bbox", str(site.parent / "stag.pdf"), "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    right = [float(x) for x in re.findall(r'xMax="([\d.]+)"', text)]
    assert right and max(right) < 546


def test_nothing_holds_a_solution(documents: dict[str, Document], site: Path) -> None:
    texts = {name: document.text for name, document in documents.items()}
    texts |= {path.name: path.read_text() for path in site.rglob("*.svg")}
    command = ["pdftotext", str(site.parent / "stag.pdf"), "-"]
    texts["stag.pdf"] = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "page_alloc_head" in texts["stag.pdf"]
    assert {name: found for name, text in texts.items() if (found := leaks(text))} == {}


@needs_tools
@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("# no head", "begin it with the lines"),
        ("---\ntitle: x\n---\n<!-- generate: nothing -->\n", "index.md:4: .*there is no nothing"),
        ("---\ntitle: x\n---\n<!-- generate: timeline no -->\n", "index.md:4: .*'no'"),
        ("---\ntitle: x\n---\n<!-- generate: source no.c -->\n", "index.md:4: .*no.c"),
        ("---\ntitle: x\n---\n<!-- generate: function kernel/lock.h no -->\n", "no function no"),
        ("---\ntitle: x\n---\nA <!-- generate: calls -->\n", "not a line that generates"),
        ("---\ntitle: x\n---\n![x](drawings/no.svg)\n", "there is no drawing no: there are"),
        ("---\ntitle: x\n---\n[x](no.md)\n", "index.md: the link no.md leads nowhere"),
        ("---\ntitle: x\n---\n[x](index.md#no)\n", "the link index.md#no leads nowhere"),
        ("---\ntitle: x\n---\n[x](index)\n", "the link index leads nowhere"),
        ("---\ntitle: x\n---\n[x](#no)\n", "the link #no leads nowhere"),
        ("---\ntitle: x\n---\n[x](../README.md)\n", "the link ../README.md leads nowhere"),
        ('---\ntitle: x\n---\n<a href="index.html">x</a>\n', "the link index.html leads nowhere"),
        ("---\ntitle: \udcff\n---\n", "index.md is not UTF-8"),
    ],
)
def test_mistakes_in_a_page_get_one_line(
    tree: Path, tmp_path: Path, page: str, complaint: str
) -> None:
    from pages import site as pages_site

    root = tmp_path / "tree"
    shutil.copytree(tree, root, ignore=shutil.ignore_patterns("build"))
    (root / "handouts/index.md").write_bytes(os.fsencode(page))
    old = tmp_path / "out/site/index.html"
    old.parent.mkdir(parents=True)
    old.write_text("as it was")
    with pytest.raises(PageError, match=complaint) as error:
        pages = Sources(root, {"lost-update": "", "letter-late": ""}).pages()
        pages_site.write(pages[:1], {}, root / "handouts", tmp_path / "out")
    assert "\n" not in str(error.value)
    assert old.read_text() == "as it was"


def test_calendar_that_is_none(tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    shutil.copytree(tree, root, ignore=shutil.ignore_patterns("build"))
    (root / "handouts/calendar.toml").write_text("[1\n")
    with pytest.raises(PageError, match=r"handouts/\w+\.md:\d+: .*calendar"):
        Sources(root, {"lost-update": "", "letter-late": ""}).pages()


def test_what_was_there_before_goes(tree: Path, tmp_path: Path) -> None:
    from pages import site as pages_site
    from pages.sources import Page

    if NEEDED:
        pytest.skip(f"not installed: {', '.join(NEEDED)}")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/old.html").write_text("")
    pages_site.write([Page("index", "x", "text")], {}, tree / "handouts", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"site", "stag.pdf"}
    assert {path.name for path in (tmp_path / "site").iterdir()} == {
        *("index.html", "style.css", "drawings")
    }


def test_page_without_a_place(tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    shutil.copytree(tree, root, ignore=shutil.ignore_patterns("build"))
    (root / "handouts/stray.md").write_text("---\ntitle: x\n---\n")
    with pytest.raises(PageError, match=r"handouts/stray\.md has no place"):
        Sources(root, {"lost-update": "", "letter-late": ""}).pages()


def test_timelines_are_the_same_each_time(tmp_path: Path) -> None:
    example = timelines.compile_example(ROOT / EXAMPLE, tmp_path / "mailbox.elf")
    first, second = timelines.make(KERNEL, example), timelines.make(KERNEL, example)
    assert first == second
    assert "letters is 1" in first["lost-update"].text
    assert "arrives in memory" in first["letter-late"].text


def test_headers_are_read() -> None:
    header = headers.read(ROOT / "kernel/call.h", ROOT)
    comments = {function.name: function.comment for function in header.functions}
    assert comments["call_again"].startswith("The call is made again")
    assert comments["call_map"] == comments["call_yield"]  # "unmap.c", behind it, is no contract
    constants = headers.defines(ROOT / "include/stag/abi.h", ROOT / "kernel/layout.h")
    assert constants["HART_STACK_TOP"] == 0xFFFFFFC040004000
    assert constants["STATE_REASON"] == 0x300


@pytest.mark.slow
@pytest.mark.skipif(browser.find() is None, reason="not installed: chromium")
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_in_a_browser(site: Path, tmp_path: Path, width: int, dark: bool) -> None:
    """No complaint of the browser, nothing loaded from elsewhere, and no page
    wider than the window."""
    program = browser.find()
    assert program is not None
    with browser.browser(program, tmp_path / "profile") as window:
        for page in sorted(site.glob("*.html")):
            said = window.open(page, width, dark=dark)
            assert not said, f"{page.name}: {said}"
            wide = window.value("document.documentElement.scrollWidth")
            assert wide <= width, f"{page.name} is {wide} wide"
            broken = window.value("[...document.images].filter(i => !i.naturalWidth).length")
            assert broken == 0, f"{page.name}: {broken} images were not loaded"
