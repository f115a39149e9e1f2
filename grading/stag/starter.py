"""Derives from the reference what a lab's students begin with.

A function that is theirs keeps its place, its comment and its prototype; its
body says which exercise it is and stops (kernel/lab.h). What in its file only
such bodies used goes as well: private helpers, variables, types, macros. In
the branches of earlier labs a function may have a neutral body instead
(lab.toml), so that each branch boots as far as its lab goes.
"""

from __future__ import annotations

import json
import shutil
import textwrap
import tomllib
from enum import Enum
from pathlib import Path

from . import sources
from .labs import COUNT, Exercise, Hollow, Lab, LabError, check_place, check_points, load_labs
from .sources import Item, SourceError

SKIPPED = {".git", ".venv", "build", "__pycache__", ".pytest_cache", "solutions"}
MARK = ".hollow-after"  # in a tree that may be written over
COLUMNS = 100


class Form(Enum):
    """How the files of a lab look in a derived tree."""

    REFERENCE = "reference"
    STARTER = "starter"  # as its own students get them
    NEUTRAL = "neutral"  # in the branch of an earlier lab


def forms_of_starter(number: int, *, base_hollow: bool = False) -> dict[int, Form]:
    """The forms of all labs in the starter tree of lab `number`."""
    before = Form.STARTER if base_hollow else Form.REFERENCE
    forms = {lab: before if lab < number else Form.NEUTRAL for lab in range(1, COUNT + 1)}
    return forms | {number: Form.STARTER}


def forms_hollow_after(number: int) -> dict[int, Form]:
    """The same for the tree that a solution of labs 1 to `number` makes."""
    return {lab: Form.REFERENCE if lab <= number else Form.NEUTRAL for lab in range(1, COUNT + 1)}


# Bodies


def _comment(text: str) -> list[str]:
    """A comment in a body, in the form that the sources have."""
    lines = textwrap.wrap(text, COLUMNS - len("    /*  */"), break_on_hyphens=False)
    return textwrap.indent("/* " + "\n * ".join(lines) + " */", "    ").split("\n")


def _stop(lab: Lab, exercise: Exercise, function: str, assembly: bool) -> list[str]:
    if not assembly:
        return [f'    lab_todo({lab.number}, {exercise.number}, "{function}");']
    return [
        f"    li      a0, {lab.number}",
        f"    li      a1, {exercise.number}",
        "    lla     a2, 1f",
        "    call    lab_todo                    # does not return",
        "    .section .rodata",
        "1:",
        f'    .asciz  "{function}"',
        "    .text",
    ]


def _body(lab: Lab, exercise: Exercise, hollow: Hollow, form: Form, assembly: bool) -> list[str]:
    neutral = lab.neutral.get(hollow.function)
    if neutral is not None and (form is Form.NEUTRAL or hollow.neutral):
        rest = neutral.strip("\n").split("\n") if neutral.strip() else []
        until = "Until then:" if rest else "Until then, nothing."
        text = f"Lab {lab.number}, exercise {exercise.number}, is to write this. {until}"
        return _comment(text) + rest
    hint = _comment(hollow.hint) if hollow.hint and form is Form.STARTER else []
    given = lab.given.get(hollow.function, "").strip("\n")
    rest = given.split("\n") if given else []
    return hint + rest + _stop(lab, exercise, hollow.function, assembly)


# Files


def _shorten_essay(items: list[Item]) -> None:
    """Of the comment that opens a file, only the first paragraph."""
    lines = items[0].lines if items[0].kind == "comment" else items[0].comment
    for at, line in enumerate(lines):
        if line.strip() == "*":
            del lines[at:-1]
            return


def _include_lab(items: list[Item], file: str) -> None:
    """Include lab.h where the alphabet has it; the file's own header is first."""
    includes = [i for i in items if i.lines[0].startswith('#include "')]
    if not includes:
        raise LabError(f"{file} does not include its own header")
    line = '#include "lab.h"'
    for item in includes[1:]:
        if item.lines[0] > line:
            item.lines.insert(0, line)
            return
    includes[-1].lines.append(line)


def hollow_file(text: str, file: str, lab: Lab, form: Form) -> str:
    """A file that `lab` owns, with the bodies of `form`."""
    assembly = file.endswith(".S")
    try:
        items = sources.parse(text, assembly)
    except SourceError as error:
        raise LabError(f"{file}: {error}") from None
    before = sources.used_names(items)
    changed = False
    for function, (exercise, hollow) in lab.hollow.items():
        if hollow.file != file:
            continue
        item = sources.find(items, function)
        if item is None:
            raise LabError(f"{lab.source}: {file} has no function {function}")
        item.replace_body(_body(lab, exercise, hollow, form, assembly))
        changed = True
    removed = {n for e in lab.exercises for r in e.remove if r.file == file for n in r.functions}
    for name in sorted(removed):
        if not any(name in item.names for item in items):
            raise LabError(f"{lab.source}: {file} has no {name} to remove")
    items = [item for item in items if not removed.intersection(item.names)]
    if file in lab.remove_essay:
        _shorten_essay(items)
    if changed and not assembly:
        _include_lab(items, file)
    return sources.join(sources.drop_unused(items, before))


def text_of(root: Path, file: str) -> str:
    try:
        return (root / file).read_text()
    except UnicodeDecodeError as error:
        raise LabError(f"{file} is not UTF-8: {error}") from None


def check_tree(root: Path) -> list[Lab]:
    """Every lab of the tree, after a check of all that they name."""
    labs = load_labs(root)
    for lab in labs:
        check_points(lab)
        for file in lab.owned:
            hollow_file(text_of(root, file), file, lab, Form.STARTER)
    return labs


# Trees


def files_of(root: Path) -> dict[str, Path]:
    """The sources of a tree, by their path in it."""
    found: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        if path.name in SKIPPED or path.name == MARK:
            continue
        if path.is_dir():
            found |= {f"{path.name}/{name}": file for name, file in files_of(path).items()}
        elif path.is_file() and not path.name.endswith(".pyc"):
            found[path.name] = path
    return found


def lab_json(lab: Lab, root: Path, labs: list[Lab]) -> str:
    """What students' trees have in place of lab.toml: exercises and points, and
    which files are of earlier labs."""
    data = tomllib.loads((root / lab.source).read_text())
    for key in ("given", "neutral", "remove_essay"):
        data.pop(key, None)
    for exercise in data["exercise"]:
        for key in ("hollow", "remove"):
            exercise.pop(key, None)
    earlier = [other for other in labs if other.number < lab.number]
    prior = [f for other in earlier for f in (*other.owned, other.extra) if f]
    all_of_it = {"name": lab.name, **data, "prior": prior}
    return json.dumps(all_of_it, indent=2, ensure_ascii=False) + "\n"


def write_derived(path: Path, data: bytes, source: Path) -> None:
    """Leave a file alone that is as it should be, since make goes by its time;
    a new one that is the source unchanged has the source's time."""
    if not path.is_file() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() and source.is_file() and data == source.read_bytes():
            shutil.copy2(source, path)
        else:
            path.write_bytes(data)
    if source.is_file():
        shutil.copymode(source, path)


def prepare_folder(root: Path, out: Path, *, update: bool = False) -> None:
    """Refuse a folder that is inside of the tree, or holds something else."""
    if out.exists() and not out.is_dir():
        raise LabError(f"{out} is not a folder: give another one")
    check_place(root, out)
    if out.is_dir() and any(out.iterdir()) and not (update and (out / MARK).is_file()):
        raise LabError(f"{out} is not empty: give another folder, or remove it")


def formed(file: str, data: bytes, labs: list[Lab], forms: dict[int, Form]) -> bytes:
    """A file of the reference, in the form that its lab has."""
    lab = next((lab for lab in labs if file in lab.owned), None)
    if lab is None or forms[lab.number] is Form.REFERENCE:
        return data
    return hollow_file(data.decode(), file, lab, forms[lab.number]).encode()


def lab_of(root: Path, number: int) -> Lab:
    """The lab of that number, of a tree that others can be derived from."""
    if not (root / "labs").is_dir():
        raise LabError("there is no labs/ here: starters are derived from the reference tree")
    labs = load_labs(root)
    if not 1 <= number <= len(labs):
        raise LabError(f"there is no lab {number}: give a number from 1 to {COUNT}")
    return labs[number - 1]


def write_hollow_after(root: Path, number: int, out: Path) -> None:
    """The whole tree with the reference up to lab `number` and hollow labs
    from there on. A folder that was written by this is brought up to date."""
    root, out = root.resolve(), out.resolve()
    lab_of(root, number)
    prepare_folder(root, out, update=True)
    labs, forms = load_labs(root), forms_hollow_after(number)
    sources_of = files_of(root)
    for file, path in sources_of.items():
        write_derived(out / file, formed(file, path.read_bytes(), labs, forms), path)
    for file, path in files_of(out).items():
        if file not in sources_of:
            path.unlink()
    (out / MARK).write_text(f"{number}\n")
