"""What a lab consists of, read from labs/<n>-<name>/lab.toml and checked.

    number, title, hours      and the folder's name: `2-page-allocator`
    owned, extra              the files that its students write; one more they may add
    remove_essay              owned files whose opening comment would give the answer
    [[exercise]]              number, title, hours
        hollow                {file, function, hint, neutral}: the functions to write
        remove                {file, functions}: private helpers that the starter lacks
        [[exercise.test]]     name, points, title, needs, hint
    [[challenge]]             name, title, needs, hint: tests outside the points
    [given]                   by function: lines of a hollow body before it stops
    [neutral]                 by function: its whole body in the branches of earlier labs

A function with `neutral = true` has the neutral body in its own lab as well,
since the boot needs it before its exercise comes.

Where students work there is no labs/: there grading/lab.json holds the same
for the one lab, with the folder's name as `name`, and as `prior` the files of
earlier labs.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from .errors import InfrastructureError

COUNT = 6
POINTS = 100
CHALLENGE = 0  # the exercise of tests that give no points


class LabError(InfrastructureError):
    """A lab's description is wrong: tells which file to edit."""

    def __str__(self) -> str:
        return Exception.__str__(self)


@dataclass(frozen=True)
class Hollow:
    """A function that students write."""

    file: str
    function: str
    hint: str = ""
    neutral: bool = False


@dataclass(frozen=True)
class Remove:
    """Private helpers that the starter lacks."""

    file: str
    functions: tuple[str, ...]


@dataclass(frozen=True)
class TestItem:
    """One line of the table of points."""

    __test__ = False  # pytest: not a class of tests

    name: str
    exercise: int
    points: int
    title: str
    needs: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class Exercise:
    number: int
    title: str
    hours: float
    hollow: tuple[Hollow, ...]
    remove: tuple[Remove, ...]
    tests: tuple[TestItem, ...]


@dataclass(frozen=True)
class Lab:
    number: int
    name: str  # of its folder
    title: str
    hours: float
    owned: tuple[str, ...]
    extra: str
    remove_essay: tuple[str, ...]
    exercises: tuple[Exercise, ...]
    challenge: tuple[TestItem, ...]
    given: dict[str, str]
    neutral: dict[str, str]
    source: Path  # the file that says all this

    @property
    def tests(self) -> tuple[TestItem, ...]:
        return tuple(test for exercise in self.exercises for test in exercise.tests)

    @property
    def points(self) -> int:
        return sum(test.points for test in self.tests)

    @property
    def hollow(self) -> dict[str, tuple[Exercise, Hollow]]:
        """By function: where it belongs."""
        return {
            hollow.function: (exercise, hollow)
            for exercise in self.exercises
            for hollow in exercise.hollow
        }

    def handout(self, exercise: int) -> str:
        """The section to read, as a path in the repository."""
        section = "challenge" if exercise == CHALLENGE else f"exercise-{exercise}"
        return f"handouts/{self.name}.md#{section}"


class _Table:
    """A table of the description: each key is taken once, of the right type."""

    def __init__(self, data: Any, source: Path, where: str) -> None:
        self.source, self.where = source, where
        if not isinstance(data, dict):
            raise self.error("must be a table")
        self.data = dict(data)

    def error(self, text: str) -> LabError:
        where = f" {self.where}:" if self.where else ""
        return LabError(f"{self.source}:{where} {text}")

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        value = self.data.pop(key, default)
        if value is None:
            raise self.error(f"`{key}` is missing")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(f"`{key}` has the wrong type: {value!r}")
        return value

    def names(self, key: str, default: Any = None) -> tuple[str, ...]:
        values = self.take(key, list, default)
        if not all(isinstance(value, str) for value in values):
            raise self.error(f"`{key}` must be a list of strings")
        if len(set(values)) != len(values):
            raise self.error(f"`{key}` names something twice")
        return tuple(values)

    def bodies(self, key: str) -> dict[str, str]:
        values = self.take(key, dict, {})
        if not all(isinstance(value, str) for value in values.values()):
            raise self.error(f"[{key}] must map functions to strings")
        return values

    def tables(self, key: str, what: str) -> list[_Table]:
        where = f"{self.where}, {what}" if self.where else what
        values = self.take(key, list, [])
        return [_Table(v, self.source, f"{where} {i}") for i, v in enumerate(values, 1)]

    def end(self) -> None:
        if self.data:
            raise self.error(f"there is no key `{next(iter(self.data))}`")


def _read_test(table: _Table, exercise: int) -> TestItem:
    name = table.take("name", str)
    table.where = name
    test = TestItem(
        name=name,
        exercise=exercise,
        points=0 if exercise == CHALLENGE else table.take("points", int),
        title=table.take("title", str),
        needs=table.names("needs", []),
        hint=table.take("hint", str, ""),
    )
    if not name.startswith("test_"):
        raise table.error("the name of a test begins with `test_`")
    if test.points < 0:
        raise table.error(f"{test.points} points: give 0 or more")
    table.end()
    return test


def _read_exercise(table: _Table) -> Exercise:
    number = table.take("number", int)
    table.where = f"exercise {number}"
    hollow = []
    for entry in table.tables("hollow", "hollow"):
        hollow.append(
            Hollow(
                file=entry.take("file", str),
                function=entry.take("function", str),
                hint=entry.take("hint", str, ""),
                neutral=entry.take("neutral", bool, False),
            )
        )
        entry.end()
    remove = []
    for entry in table.tables("remove", "remove"):
        remove.append(Remove(entry.take("file", str), entry.names("functions")))
        entry.end()
    exercise = Exercise(
        number=number,
        title=table.take("title", str),
        hours=table.take("hours", (int, float)),
        hollow=tuple(hollow),
        remove=tuple(remove),
        tests=tuple(_read_test(entry, number) for entry in table.tables("test", "test")),
    )
    table.end()
    return exercise


def parse_lab(data: Any, name: str, source: Path) -> Lab:
    """A lab from what its file says. The points may still be incomplete."""
    table = _Table(data, source, "")
    lab = Lab(
        number=table.take("number", int),
        name=name,
        title=table.take("title", str),
        hours=table.take("hours", (int, float)),
        owned=table.names("owned"),
        extra=table.take("extra", str, ""),
        remove_essay=table.names("remove_essay", []),
        exercises=tuple(_read_exercise(entry) for entry in table.tables("exercise", "exercise")),
        challenge=tuple(_read_test(t, CHALLENGE) for t in table.tables("challenge", "challenge")),
        given=table.bodies("given"),
        neutral=table.bodies("neutral"),
        source=source,
    )
    table.end()
    _check_form(lab, table)
    return lab


def _check_form(lab: Lab, table: _Table) -> None:
    """What can be told from the file alone."""
    if not lab.name.startswith(f"{lab.number}-"):
        raise table.error(f"lab {lab.number} can't be in a folder named {lab.name}")
    numbers = [exercise.number for exercise in lab.exercises]
    if numbers != list(range(1, len(numbers) + 1)) or not numbers:
        raise table.error(f"exercises are numbered 1, 2, 3 …, not {numbers}")
    functions = [h.function for exercise in lab.exercises for h in exercise.hollow]
    for one, other in pairwise(sorted(functions)):
        if one == other:
            raise table.error(f"{one} is hollow twice")
    files = [entry.file for e in lab.exercises for entry in (*e.hollow, *e.remove)]
    for file in (*files, *lab.remove_essay):
        if file not in lab.owned:
            raise table.error(f"{file} is not among the owned files")
    for key, bodies in (("given", lab.given), ("neutral", lab.neutral)):
        for function in bodies:
            if function not in functions:
                raise table.error(f"[{key}] {function}: no hollow function of this lab")
    for _, hollow in lab.hollow.values():
        if hollow.neutral and hollow.function not in lab.neutral:
            raise table.error(f"{hollow.function}: `neutral = true`, but [neutral] lacks it")
    seen: set[str] = set()
    for tests in (lab.tests, lab.challenge):
        above: set[str] = set()
        for test in tests:
            if test.name in seen:
                raise table.error(f"{test.name} is there twice")
            for need in test.needs:
                if need not in above:
                    raise table.error(f"{test.name} needs {need}, which no entry above it defines")
            above.add(test.name)
            seen.add(test.name)


def _folders(root: Path) -> list[Path]:
    return sorted(root.glob("labs/[1-9]-*/lab.toml"))


def _load(path: Path, root: Path) -> Lab:
    source = path.relative_to(root)
    try:
        text = path.read_text()
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise LabError(f"{source}: {error}") from None
    name = path.parent.name
    if path.suffix == ".json":
        if not isinstance(data, dict) or not isinstance(data.get("name"), str):
            raise LabError(f"{source}: `name` is missing")
        name = data.pop("name")
        data.pop("prior", None)
    return parse_lab(data, name, source)


def load_lab(root: Path, number: int) -> Lab:
    """Lab `number` of the tree at `root`."""
    for path in _folders(root):
        if path.parent.name.startswith(f"{number}-"):
            return _load(path, root)
    single = root / "grading/lab.json"
    if single.is_file():
        lab = _load(single, root)
        if lab.number == number:
            return lab
        raise LabError(f"this tree is for lab {lab.number}, not {number}: give LAB={lab.number}")
    raise LabError(f"there is no lab {number}: LAB is a number from 1 to {COUNT}")


def load_labs(root: Path) -> list[Lab]:
    """All labs of the tree at `root`, checked against it and each other."""
    labs = [_load(path, root) for path in _folders(root)]
    numbers = [lab.number for lab in labs]
    if numbers != list(range(1, COUNT + 1)):
        raise LabError(f"labs/: there must be labs 1 to {COUNT}, not {numbers}")
    owners: dict[str, Lab] = {}
    for lab in labs:
        for file in lab.owned:
            if not (root / file).is_file():
                raise LabError(f"{lab.source}: owned file {file} does not exist")
            if file in owners:
                raise LabError(
                    f"{lab.source}: {file} is owned by {owners[file].source} already: "
                    "take it out of one of them"
                )
            owners[file] = lab
        if lab.extra and (root / lab.extra).exists():
            raise LabError(f"{lab.source}: {lab.extra} is for students to add: it must not exist")
        hours = sum(exercise.hours for exercise in lab.exercises)
        if hours != lab.hours:
            raise LabError(f"{lab.source}: the exercises take {hours} hours, not {lab.hours}")
    return labs


def check_place(root: Path, out: Path) -> None:
    """What is derived from the tree `root` may not be put into what it is derived
    from."""
    if out == root or out in root.parents:
        raise LabError(f"{out} holds this tree: give another folder")
    if root in out.parents and root / "build" not in out.parents:
        raise LabError(f"{out} is inside of this tree: give a folder outside, or in build/")


def check_points(lab: Lab) -> None:
    """A lab that has tests gives 100 points."""
    if lab.tests and lab.points != POINTS:
        raise LabError(
            f"{lab.source}: its tests give {lab.points} points: they must add up to {POINTS}"
        )
