"""What the pages tell of the course: hours, points and make's targets."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from stag.labs import Lab, LabError, load_labs


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _hours(hours: float) -> str:
    return f"{hours:g}"


def _titled(lab: Lab, pages: set[str]) -> str:
    """The lab's title, as a link if its page is there."""
    return f"[{lab.title}]({lab.name}.md)" if lab.name in pages else lab.title


def read_calendar(root: Path) -> dict[str, Any]:
    """handouts/calendar.toml: weeks and reading of each lab."""
    path = root / "handouts/calendar.toml"
    calendar: dict[str, Any] = tomllib.loads(path.read_text())
    wanted = {str(lab.number) for lab in load_labs(root)}
    if calendar.keys() != wanted:
        raise LabError(f"handouts/calendar.toml: there must be [1] to [6], not {sorted(calendar)}")
    return calendar


def calendar(root: Path, pages: set[str]) -> str:
    """Labs, weeks and hours; below, what to read before each."""
    rows = ["| weeks | lab | hours |", "| --- | --- | --: |"]
    reading = []
    begin, total = 1, 0.0
    plan = read_calendar(root)
    for lab in load_labs(root):
        weeks = plan[str(lab.number)]["weeks"]
        span = f"{begin}–{begin + weeks - 1}" if weeks > 1 else str(begin)
        rows.append(f"| {span} | {lab.number} {_titled(lab, pages)} | {_hours(lab.hours)} |")
        reading.append(f"**Lab {lab.number}, {lab.title}**\n")
        reading += [f"- {text}" for text in plan[str(lab.number)]["read"]] + [""]
        begin += weeks
        total += lab.hours
    rows.append(f"| {begin - 1} in all | | {_hours(total)} |")
    return "\n".join([*rows, "", "Read before each lab:", "", *reading])


def points(root: Path, pages: set[str]) -> str:
    """Exercises of all labs: hours and points."""
    rows = ["| lab | exercise | hours | points |", "| --- | --- | --: | --: |"]
    for lab in load_labs(root):
        for exercise in lab.exercises:
            got = sum(test.points for test in exercise.tests)
            title = f"{exercise.number} {exercise.title}"
            if lab.name in pages:
                title = f"[{title}]({lab.name}.md#exercise-{exercise.number})"
            first = f"{lab.number} {_titled(lab, pages)}" if exercise.number == 1 else ""
            rows.append(f"| {first} | {title} | {_hours(exercise.hours)} | {got or ''} |")
    return "\n".join(rows)


def tests(lab: Lab) -> str:
    """The table of points of one lab."""
    rows = ["| ex | what is tested | points |", "| --: | --- | --: |"]
    for exercise in lab.exercises:
        for number, test in enumerate(exercise.tests):
            first = str(exercise.number) if number == 0 else ""
            rows.append(f"| {first} | {_cell(test.title)} | {test.points} |")
    return "\n".join(rows)


def owned(lab: Lab) -> str:
    """The files that a lab's students write, with the functions in each."""
    rows = ["| file | functions | exercise |", "| --- | --- | --: |"]
    for file in lab.owned:
        functions = [(e.number, h.function) for e, h in lab.hollow.values() if h.file == file]
        names = "<br>".join(f"`{name}`" for _, name in functions)
        numbers = ", ".join(str(n) for n in sorted({n for n, _ in functions}))
        rows.append(f"| `{file}` | {names} | {numbers} |")
    return "\n".join(rows)


def files(root: Path) -> str:
    """The owned files of all labs."""
    rows = ["| lab | files |", "| --- | --- |"]
    for lab in load_labs(root):
        names = "<br>".join(f"`{file}`" for file in lab.owned)
        rows.append(f"| {lab.number} {lab.title} | {names} |")
    return "\n".join(rows)


def targets(root: Path) -> dict[str, str]:
    """What `make help` lists."""
    text = (root / "Makefile").read_text()
    return dict(re.findall(r"^([a-z-]+):.*?## (.*)$", text, re.MULTILINE))


def targets_table(root: Path) -> str:
    rows = [f"| `make {name}` | {_cell(text)} |" for name, text in targets(root).items()]
    return "\n".join(["| target | what it does |", "| --- | --- |", *rows])
