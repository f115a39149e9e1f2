"""What each branch of the course holds.

The branch of a lab has the students' part of the reference: no tests of the
reference, no solutions, no labs/. Two things in it are made of others:

    labs/<n>-<name>/branch/    files that only this branch has, or that differ
                               in it; user/programs/first.c takes the place of
                               the shell
    labs/student-README.md     what students read first; the same in all branches

So that a student's work survives the merge of the next lab, a file that a lab
owns is the same, in the form of its starter, from its own branch on.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .grade_plan import git_reason
from .grade_tree import File, Files
from .labs import Lab, LabError, check_points
from .starter import (
    check_tree,
    formed,
    forms_of_starter,
    lab_json,
    lab_of,
    prepare_folder,
    text_of,
    write_derived,
)

FOLDERS = ("grading", "handouts", "include", "kernel", "tools", "user")
FILES = (".clang-format", ".editorconfig", ".gitignore", "LICENSE", "pyproject.toml")
TARGETS = (
    *("kernel", "user", "qemu", "qemu-gdb", "gdb"),
    *("grade", "replay", "submit", "doctor", "clean", "help"),
)
TOOLS = ("archive", "doctor", "setup", "stag.gdb", "symbols.awk", "tools.sh")
INSTRUCTORS = re.compile(r"handouts/(instructor|solution)")  # pages that are not for students
DRAWING = re.compile(r"\]\((drawings/[\w-]+\.svg)\)")
LINK = re.compile(r"\[([^][]+)\]\(([\w-]+\.md)[^)]*\)")
TARGET_ROW = re.compile(r"^\| `make ([a-z-]+)` \|.*\n", re.MULTILINE)

IMAGE = "kernel/first_program_image.S"
FIRST = "user/programs/first.c"
README = "labs/student-README.md"

# The programs in grading/ that students run. What these and a lab's tests
# import comes along.
PROGRAMS = ("conftest.py", "grade.py", "replay.py", "submit.py")


@dataclass(frozen=True)
class Branch:
    """A branch as it should be."""

    name: str
    lab: Lab
    files: Files


def ask_git(root: Path, *arguments: str) -> str:
    """What git says of the reference, by the settings of whoever asks."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True)
    if done.returncode != 0:
        raise LabError(f"the course is cut from a git repository: {git_reason(root, done.stderr)}")
    return os.fsdecode(done.stdout)


def _listed(root: Path, *arguments: str) -> list[str]:
    """Files of the reference, as git lists them."""
    options = ["ls-files", "-z", "--others", "--exclude-standard", *arguments]
    return sorted(set(ask_git(root, *options).split("\0")) - {""})


def source_paths(root: Path) -> list[str]:
    """The files of the reference: those that git has, or would take."""
    paths = [name for name in _listed(root, "--cached") if (root / name).is_file()]
    if "Makefile" not in paths:
        raise LabError(f"git ignores {root}: the course is cut from what it knows")
    return paths


def check_known(root: Path) -> None:
    """What git does not know, such as an editor's copy of a solution, is not to be
    published by chance: it would stay in the course's history."""
    if unknown := _listed(root, "--", *FOLDERS, "labs"):
        more = f" (and {len(unknown) - 1} more)" if unknown[1:] else ""
        raise LabError(f"git does not know {unknown[0]!r}{more}: git add it, or put it aside")


# The graders


@functools.cache
def _imported(text: str) -> set[str]:
    """The modules of the library that a source names, also as a plugin."""
    found = set(re.findall(r"\bstag\.(\w+)", text))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.level == 1 or node.module == "stag"):
            own = node.module if node.level == 1 else None
            found |= {own.split(".")[0]} if own else {alias.name for alias in node.names}
    return found


def grader_files(root: Path, paths: list[str], number: int) -> set[str]:
    """The graders of a lab, and what they need of the library."""
    tests = f"grading/lab{number}/"
    found = {path for path in paths if path.startswith(tests)}
    found |= {f"grading/{name}" for name in PROGRAMS} & set(paths)
    found.add("grading/stag/__init__.py")
    todo = list(found)
    while todo:
        path = todo.pop()
        try:
            modules = _imported((root / path).read_text()) if path.endswith(".py") else set()
        except (SyntaxError, UnicodeDecodeError) as error:
            raise LabError(f"{path} is no Python: {error}") from None
        for module in modules:
            needed = f"grading/stag/{module}.py"
            if needed in paths and needed not in found:
                found.add(needed)
                todo.append(needed)
    return found


# The Makefile


def _line_of(lines: list[str], start: str) -> int:
    """Where the line is that begins so."""
    at = next((at for at, line in enumerate(lines) if line.startswith(start)), None)
    if at is None:
        raise LabError(f"Makefile: no line begins with {start}")
    return at


def _without_targets(lines: list[str]) -> list[str]:
    """Without the targets, and their recipes, that students have no use for."""
    kept, dropped = [], set()
    taking = True
    for line in lines:
        target = re.match(r"([a-z-]+):.* ## ", line)
        if target is not None:
            taking = target[1] in TARGETS
            dropped |= set() if taking else {target[1]}
        elif not line.startswith("\t"):
            taking = True
        if taking:
            kept.append(line)
    phony = _line_of(kept, ".PHONY:")
    kept[phony] = " ".join(word for word in kept[phony].split() if word not in dropped)
    return kept


def _introduces(line: str, name: str) -> bool:
    """Does the line define that variable, or check that setting?"""
    return re.match(rf"{name} *[:?]?=|\$\(if \$\({name}\),\$\(call check", line) is not None


def _without_unused(lines: list[str]) -> list[str]:
    """Without the variables and settings that nothing uses any more."""
    at = _line_of(lines, "SETTINGS :=")
    settings = lines[at].split()
    rest = [*lines[:at], *lines[at + 1 :]]
    while True:
        defined = [found[1] for line in rest if (found := re.match(r"([A-Z]+) *[:?]?=", line))]
        for name in {*defined, *settings[2:]}:
            used = (re.search(rf"\b{name}\b", line) for line in rest if not _introduces(line, name))
            if not any(used):
                break
        else:
            return [*rest[:at], " ".join(settings), *rest[at:]]
        settings = [word for word in settings if word != name]
        at -= sum(_introduces(line, name) for line in rest[:at])
        rest = [line for line in rest if not _introduces(line, name)]


def student_makefile(text: str) -> str:
    """The Makefile with only what students can use."""
    there = re.findall(r"^([a-z-]+):.* ## ", text, re.MULTILINE)
    missing = [target for target in TARGETS if target not in there]
    if missing:
        raise LabError(f"Makefile: there is no target {missing[0]}, which students need")
    lines = _without_unused(_without_targets(text.split("\n")))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


# The trees


def student_readme(text: str, labs: list[Lab]) -> str:
    """What students read first, with a table of the labs."""
    rows = ["| lab | you write | you may add |", "| --- | --- | --- |"]
    for lab in labs:
        owned = ", ".join(f"`{name}`" for name in lab.owned)
        rows.append(f"| {lab.number} {lab.title} | {owned} | `{lab.extra}` |")
    return text.replace("@LABS@", "\n".join(rows))


def _is_students(path: str, graders: set[str], number: int) -> bool:
    folder, _, rest = path.partition("/")
    if folder == "grading":
        return path in graders
    if folder == "tools":
        return rest in TOOLS
    if folder == "handouts":
        lab = re.match(r"([1-9])-", rest)
        page = rest.endswith(".md") and not INSTRUCTORS.match(path)
        return page and (lab is None or int(lab[1]) <= number)
    return folder in FOLDERS or path in FILES


def _overlay(paths: list[str], lab: Lab, labs: list[Lab]) -> dict[str, str]:
    """By path in the branch: the file of labs/ that is laid there."""
    prefix = f"labs/{lab.name}/branch/"
    found = {path[len(prefix) :]: path for path in paths if path.startswith(prefix)}
    owned = {name for other in labs for name in (*other.owned, other.extra)}
    for name in sorted(owned.intersection(found)):
        raise LabError(f"{prefix}{name}: that file is for students to write")
    return found


def _file(path: Path, data: bytes | None = None) -> File:
    return File(path.read_bytes() if data is None else data, os.access(path, os.X_OK))


def _with_first_program(image: File) -> File:
    """The kernel carries that program, not the shell."""
    shell, first = b"build/user/shell.stripped", b"build/user/first.stripped"
    if image.data.count(shell) != 1:
        raise LabError(f"{IMAGE} does not name {shell.decode()} once")
    return File(image.data.replace(shell, first))


def _lay_pages(files: Files, pages: dict[str, str]) -> None:
    """Put the handouts that were filled in where they are not, with the
    drawings that they show; without links to pages, and without targets of make,
    that are not there."""
    for path in sorted(pages.keys() & files.keys()):
        text = TARGET_ROW.sub(lambda row: row[0] if row[1] in TARGETS else "", pages[path])
        text = LINK.sub(lambda at: at[0] if f"handouts/{at[2]}" in files else at[1], text)
        files[path] = File(text.encode())
        for name in DRAWING.findall(text):
            files[f"handouts/{name}"] = File(pages[f"handouts/{name}"].encode())


def make_branches(root: Path, pages: dict[str, str], *, base: bool = False) -> list[Branch]:
    """The branches lab1 … lab6; or lab2-base … lab6-base, where the files of
    earlier labs are the reference's. `pages`: handouts, filled in, and their
    drawings, by path."""
    labs = check_tree(root)
    for lab in labs:
        check_points(lab)
    paths = source_paths(root)
    makefile, readme = text_of(root, "Makefile"), text_of(root, README)
    common: Files = {
        "Makefile": File(student_makefile(makefile).encode()),
        "README.md": File(student_readme(readme, labs).encode()),
    }
    branches = []
    for lab in labs[1:] if base else labs:
        forms = forms_of_starter(lab.number, base_hollow=not base)
        graders = grader_files(root, paths, lab.number)
        files = dict(common)
        for path in paths:
            if _is_students(path, graders, lab.number):
                data = formed(path, (root / path).read_bytes(), labs, forms)
                files[path] = _file(root / path, data)
        _lay_pages(files, pages)
        for name, path in _overlay(paths, lab, labs).items():
            files[name] = _file(root / path)
        if FIRST in files:
            files[IMAGE] = _with_first_program(files[IMAGE])
        files["grading/lab.json"] = File(lab_json(lab, root, labs).encode())
        branches.append(Branch(f"lab{lab.number}{'-base' if base else ''}", lab, files))
    return branches


def write_starter(
    root: Path,
    number: int,
    out: Path,
    pages: Callable[[], dict[str, str]] = dict,
    *,
    base_hollow: bool = False,
) -> None:
    """What the branch of a lab holds, in a new folder. Earlier labs are the
    reference's, or hollow. `pages` gives handouts, filled in."""
    root, out = root.resolve(), out.resolve()
    lab_of(root, number)
    prepare_folder(root, out)
    base = number > 1 and not base_hollow
    for branch in make_branches(root, pages(), base=base):
        for path, file in branch.files.items() if branch.lab.number == number else ():
            write_derived(out / path, file.data, root / path)
