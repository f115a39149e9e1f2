"""Wrong and other right solutions of the labs, which the graders are tested on.

    solutions/<n>-<name>/mutants/<mutant>.patch    a mistake, as a small patch
    solutions/<n>-<name>/variants/<variant>/…      owned files, other but right
    solutions/<n>-<name>/challenge.patch           what the challenge asks for

A mutant's patch begins with what it is about:

    Mistake: the tail is read, not swapped
    Caught by: test_two_harts_append test_chain_append
    How: in an interleaving of two harts that append, one page is lost

"Caught by" names exactly the tests that fail; tests that are then blocked are
not named, but their points are lost too.

A variant's folder holds files as they lie in the tree (kernel/page_alloc.c),
and may hold a README.md: its first line of text says what differs.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .errors import StagError
from .grade_tree import BadSubmission, File, Files, read_file
from .labs import Lab

README = "README.md"
_TOUCHED = re.compile(r"^\+\+\+ b/(\S+)", re.MULTILINE)
_FIELD = re.compile(r"^([A-Z][a-z ]+): *((?:.|\n(?![A-Z-]))+)", re.MULTILINE)
_FIELDS = ("Mistake", "Caught by", "How")


class SolutionError(StagError):
    """A mutant or variant that can't be used: tells which file to mend."""


@dataclass(frozen=True)
class Patch:
    path: str  # in the repository
    diff: str

    def applied(self, pristine: Files) -> Files:
        """The sources with this change."""
        touched = _TOUCHED.findall(self.diff)
        missing = [name for name in touched if name not in pristine]
        if not touched or missing:
            raise SolutionError(f"{self.path}: there is no {', '.join(missing) or 'change in it'}")
        with tempfile.TemporaryDirectory(prefix="stag-") as folder:
            for name in touched:
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(pristine[name].data)
            done = subprocess.run(
                ["git", "apply", "--whitespace=nowarn", "-"],
                cwd=folder,
                env={**os.environ, "GIT_CEILING_DIRECTORIES": str(Path(folder).parent)},
                input=self.diff,
                capture_output=True,
                text=True,
            )
            if done.returncode != 0:
                why = (done.stderr.strip().splitlines() or ["git apply fails"])[0]
                raise SolutionError(
                    f"{self.path} no longer applies: adapt it to the kernel ({why})"
                )
            files = dict(pristine)
            for name in touched:
                files[name] = File((Path(folder) / name).read_bytes(), pristine[name].executable)
            if files == pristine:
                raise SolutionError(f"{self.path} changes nothing")
            return files


@dataclass(frozen=True)
class Mutant(Patch):
    name: str
    mistake: str
    caught_by: frozenset[str]
    how: str


@dataclass(frozen=True)
class Variant:
    name: str
    path: str  # in the repository
    about: str
    files: Files

    def applied(self, pristine: Files) -> Files:
        return {**pristine, **self.files}


def _text(path: Path, shown: str) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SolutionError(f"{shown} can't be read: {error}") from None


def _read_mutant(path: Path, shown: str, lab: Lab) -> Mutant:
    head, mark, rest = _text(path, shown).partition("--- ")
    fields = dict(_FIELD.findall(head))
    missing = [name for name in _FIELDS if not fields.get(name, "").strip()]
    if missing or not mark:
        raise SolutionError(f"{shown}: its head lacks '{(missing or ['--- a/file'])[0]}:'")
    foreign = sorted(fields.keys() - set(_FIELDS))
    if foreign:
        raise SolutionError(f"{shown}: its head has '{foreign[0]}:', which means nothing here")
    words = {name: " ".join(text.split()) for name, text in fields.items()}
    caught = frozenset(words["Caught by"].split())
    unknown = sorted(caught - {test.name for test in lab.tests})
    if unknown:
        raise SolutionError(f"{shown}: {lab.source} has no test {', '.join(unknown)}")
    return Mutant(shown, mark + rest, path.stem, words["Mistake"], caught, words["How"])


def mutants(root: Path, lab: Lab) -> list[Mutant]:
    """By name."""
    folder = root / "solutions" / lab.name / "mutants"
    paths = sorted(folder.glob("*.patch"))
    return [_read_mutant(path, path.relative_to(root).as_posix(), lab) for path in paths]


def challenge(root: Path, lab: Lab) -> Patch | None:
    """What solves it, if the lab has one."""
    path = root / "solutions" / lab.name / "challenge.patch"
    shown = path.relative_to(root).as_posix()
    if not lab.challenge:
        return None
    _, mark, diff = _text(path, shown).partition("--- ")
    return Patch(shown, mark + diff)


def _read_variant(folder: Path, shown: str, lab: Lab) -> Variant:
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()]
    allowed = {*lab.owned, *([lab.extra] if lab.extra else [])}
    foreign = sorted(set(names) - allowed - {README})
    if foreign:
        raise SolutionError(f"{shown}: {', '.join(foreign)} is not lab {lab.number}'s to write")
    try:
        files = {name: read_file(folder / name, name) for name in names if name != README}
    except (BadSubmission, OSError) as error:
        raise SolutionError(f"{shown} can't be read: {error}") from None
    if not files:
        raise SolutionError(f"{shown} is empty: it must hold files of lab {lab.number}")
    about = ""
    if README in names:
        lines = _text(folder / README, f"{shown}/{README}").splitlines()
        about = next((line.strip() for line in lines if line.strip() and line[0] != "#"), "")
    return Variant(folder.name, shown, about, files)


def variants(root: Path, lab: Lab) -> list[Variant]:
    """By name."""
    folders = sorted((root / "solutions" / lab.name / "variants").glob("*/"))
    return [_read_variant(path, path.relative_to(root).as_posix(), lab) for path in folders]
