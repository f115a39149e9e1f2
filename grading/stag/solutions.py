"""Wrong and other right solutions of the labs, which the graders are tested on.

    solutions/<n>-<name>/mutants/<mutant>.patch    a mistake, as a small patch
    solutions/<n>-<name>/variants/<variant>/…      owned files, other but right

A mutant's patch begins with what it is about:

    Mistake: the tail is read, not swapped
    Caught by: test_two_harts_append test_chain_append
    How: in an interleaving of two harts that append, one page is lost

"Caught by" names exactly the tests that fail; tests that are then blocked are
not named, but their points are lost too.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .errors import StagError
from .grade_tree import File, Files, read_file
from .labs import Lab

_TOUCHED = re.compile(r"^\+\+\+ b/(\S+)", re.MULTILINE)
_HEADER = ("Mistake", "Caught by", "How")


class SolutionError(StagError):
    """A mutant or variant that can't be used: tells which file to mend."""


@dataclass(frozen=True)
class Mutant:
    name: str
    path: Path
    mistake: str
    caught_by: frozenset[str]
    how: str
    diff: str

    def applied(self, pristine: Files) -> Files:
        """The sources with the mistake in them."""
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
                raise SolutionError(
                    f"{self.path} no longer applies: adapt it to the kernel"
                    f" ({done.stderr.strip().splitlines()[-1]})"
                )
            files = dict(pristine)
            for name in touched:
                files[name] = File((Path(folder) / name).read_bytes(), pristine[name].executable)
            if files == pristine:
                raise SolutionError(f"{self.path} changes nothing")
            return files


@dataclass(frozen=True)
class Variant:
    name: str
    path: Path
    files: Files

    def applied(self, pristine: Files) -> Files:
        return {**pristine, **self.files}


def _read_mutant(path: Path, lab: Lab) -> Mutant:
    head, mark, rest = path.read_text().partition("--- ")
    fields = dict(re.findall(r"^([A-Z][a-z ]+): *((?:.|\n(?![A-Z-]))+)", head, re.MULTILINE))
    missing = [name for name in _HEADER if not fields.get(name, "").strip()]
    if missing or not mark:
        raise SolutionError(f"{path}: its head lacks '{(missing or ['--- a/file'])[0]}:'")
    words = {name: " ".join(text.split()) for name, text in fields.items()}
    caught = frozenset(words["Caught by"].split())
    unknown = sorted(caught - {test.name for test in lab.tests})
    if unknown:
        raise SolutionError(f"{path}: {lab.source} has no test {', '.join(unknown)}")
    return Mutant(path.stem, path, words["Mistake"], caught, words["How"], mark + rest)


def mutants(root: Path, lab: Lab) -> list[Mutant]:
    """By name."""
    folder = root / "solutions" / lab.name / "mutants"
    return [_read_mutant(path, lab) for path in sorted(folder.glob("*.patch"))]


def variants(root: Path, lab: Lab) -> list[Variant]:
    """By name."""
    found = []
    allowed = {*lab.owned, *([lab.extra] if lab.extra else [])}
    for folder in sorted((root / "solutions" / lab.name / "variants").glob("*/")):
        names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        files = {name: read_file(folder / name, name) for name in names if name != "README.md"}
        foreign = sorted(files.keys() - allowed)
        if foreign or not files:
            raise SolutionError(f"{folder}: {', '.join(foreign) or 'nothing'} is not lab {lab.number}'s")
        found.append(Variant(folder.name, folder, files))
    return found
