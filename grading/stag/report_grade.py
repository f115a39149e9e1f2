"""What `make grade` tells: a table of points and the failures below it, and the
same as files for other programs. No times and no paths: the same submission
gives the same report."""

from __future__ import annotations

import json
import os
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .grade_run import BLOCKED, Result
from .labs import CHALLENGE, Lab

WIDTH = 80
MESSAGE_LINES = 120
FIRST_LINES = 40  # of them, if there are more; the middle is left out
INDENT = 4
LABEL = re.compile(r"(expected|found|where|hint): *")  # of verdict.py
STYLES = {"pass": "green", "fail": "red", "blocked": "yellow", "error": "magenta"}


@dataclass
class Grade:
    """All that came out of grading one submission."""

    lab: Lab
    results: list[Result] = field(default_factory=list)
    rejected: str = ""  # why nothing could be run, at the submission's cost
    broken: str = ""  # why nothing could be judged, at nobody's cost
    ignored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def challenge(self) -> bool:
        return bool(self.results) and self.results[0].test.exercise == CHALLENGE

    @property
    def title(self) -> str:
        end = ": the challenge" if self.challenge else ""
        return f"Lab {self.lab.number}: {self.lab.title}{end}"

    @property
    def score(self) -> str:
        if self.challenge:
            passed = sum(result.outcome == "pass" for result in self.results)
            return f"{passed} of {len(self.results)} tests of the challenge pass (not for points)"
        return f"{self.got} of {self.points} points"

    @property
    def points(self) -> int:
        return sum(r.test.points for r in self.results) if self.results else self.lab.points

    @property
    def got(self) -> int:
        return sum(result.got for result in self.results)

    @property
    def errors(self) -> bool:
        return bool(self.broken) or any(r.outcome == "error" for r in self.results)

    @property
    def status(self) -> int:
        """The exit status: 0 only for full points, 3 if something could not be
        judged. A test without points counts where there are no others."""
        if self.errors:
            return 3
        counted = [r for r in self.results if r.test.points] or self.results
        full = bool(counted) and all(result.outcome == "pass" for result in counted)
        return 0 if full and not self.rejected else 1


def _cut(message: str) -> str:
    """Without its middle, if it is long: what went wrong stands at the
    beginning, and where, a hint, and what to type at the end."""
    lines = message.splitlines()
    if len(lines) <= MESSAGE_LINES:
        return message
    last = lines[FIRST_LINES - MESSAGE_LINES :]
    note = f"… {len(lines) - MESSAGE_LINES} lines are left out here: they are in results.json"
    return "\n".join([*lines[:FIRST_LINES], note, *last])


def _wrapped(line: str, width: int) -> str:
    """A long line of the grader's own words; what came from elsewhere stays."""
    if len(line) <= width or not (label := LABEL.match(line)):
        return line
    return textwrap.fill(
        line, width, subsequent_indent=" " * len(label[0]), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def points_table(grade: Grade, width: int) -> Table:
    table = Table(title=grade.title, width=width)
    table.add_column("ex", justify="right")
    table.add_column("test", ratio=1)
    table.add_column("result")
    table.add_column("points", justify="right", no_wrap=True)
    exercise = None
    for result in grade.results:
        test = result.test
        if exercise not in (None, test.exercise):
            table.add_section()
        number = "" if exercise == test.exercise else str(test.exercise or "")
        exercise = test.exercise
        points = "-" if result.outcome == "error" else str(result.got)
        points = f"{points} / {test.points}" if test.points else ""
        style = STYLES[result.outcome]
        table.add_row(
            number,
            Text(test.title + ("" if result.outcome == "pass" else f" ({test.name})")),
            Text(result.outcome, style),
            Text(points, style),
        )
    if grade.points:
        table.add_section()
        table.add_row("", "", "", f"{grade.got} / {grade.points}", style="bold")
    return table


def blocked_by(grade: Grade) -> dict[str, list[str]]:
    """Tests that were not run, by the one that has failed."""
    by_name = {result.test.name: result for result in grade.results}
    found: dict[str, list[str]] = {}
    for result in grade.results:
        root = result
        while root.outcome == "blocked":  # by one that may be blocked itself
            root = by_name[root.message.removeprefix(BLOCKED)]
        if root is not result:
            found.setdefault(root.test.name, []).append(result.test.name)
    return found


def _heading(title: str, style: str) -> Text:
    return Text(f"{title} {'─' * max(0, WIDTH - len(title) - 1)}", style)


def show(grade: Grade, console: Console) -> None:
    """To the terminal. Whatever came from the submission is indented."""
    if grade.results and not grade.rejected:
        console.print(points_table(grade, min(WIDTH, console.width)))
        for failed, names in blocked_by(grade).items():
            text = textwrap.fill(f"{BLOCKED}{failed}: {', '.join(names)}", WIDTH)
            console.print(Text(text, STYLES["blocked"]))
    else:
        console.print(Text(grade.title, "bold"))
    told: dict[str, str] = {}  # what went wrong, but for the state of the harts: in which test
    for result in grade.results:
        if result.outcome not in ("fail", "error"):
            continue
        test = result.test
        console.print()
        console.print(_heading(f"{test.name}: {result.outcome}", STYLES[result.outcome]))
        console.print(Text(test.title))
        first = told.setdefault(result.message.split("\nharts")[0], test.name)
        message = result.message if first == test.name else f"the same as in {first}"
        _indented(console, _cut(message))
        if result.outcome == "fail":
            if test.hint:
                console.print(Text(f"hint: {test.hint}"))
            console.print(Text(f"read: {grade.lab.handout(test.exercise)}"))
    for title, text in (("no points", grade.rejected), ("not judged", grade.broken)):
        if text:
            console.print()
            console.print(_heading(title, "red"))
            _indented(console, _cut(text))
    if grade.ignored:
        console.print()
        console.print(Text("Not graded, since these files are not this lab's:"))
        _indented(console, "\n".join(grade.ignored))
    for note in grade.notes:
        console.print()
        console.print(Text(f"note: {note}"))
    console.print()
    if grade.errors:
        console.print(Text("Something could not be judged: no points are lost for it.", "magenta"))
    if not grade.broken:
        console.print(Text(grade.score, "bold"))


def _indented(console: Console, text: str) -> None:
    width = max(WIDTH, console.width) - INDENT
    lines = "\n".join(_wrapped(line, width) for line in text.splitlines())
    console.print(Text(textwrap.indent(lines, " " * INDENT)), soft_wrap=True)


def as_data(grade: Grade) -> dict[str, object]:
    return {
        "version": 1,
        "lab": grade.lab.number,
        "title": grade.lab.title,
        "got": grade.got,
        "points": grade.points,
        "status": grade.status,
        "rejected": grade.rejected,
        "broken": grade.broken,
        "ignored": grade.ignored,
        "notes": grade.notes,
        "tests": [
            {
                "name": result.test.name,
                "title": result.test.title,
                "exercise": result.test.exercise,
                "points": result.test.points,
                "got": result.got,
                "outcome": result.outcome,
                "message": result.message,
                "hint": result.test.hint,
                "read": grade.lab.handout(result.test.exercise),
            }
            for result in grade.results
        ],
    }


def as_junit(grade: Grade) -> bytes:
    """JUnit's XML, as build servers read it."""
    count = {o: sum(r.outcome == o for r in grade.results) for o in STYLES}
    # What keeps all tests from being run must not look like a success.
    build = {"failure": grade.rejected, "error": grade.broken}
    build = {tag: text for tag, text in build.items() if text}
    counts = {
        "tests": len(grade.results) + len(build),
        "failures": count["fail"] + ("failure" in build),
        "errors": count["error"] + ("error" in build),
        "skipped": count["blocked"],
    }
    suite = ElementTree.Element("testsuite", name=f"lab{grade.lab.number}")
    for key, number in counts.items():
        suite.set(key, str(number))
    for tag, text in build.items():
        case = ElementTree.SubElement(suite, "testcase", classname="build", name="build")
        ElementTree.SubElement(case, tag, message=text.splitlines()[0]).text = text
    for result in grade.results:
        where = f"exercise{result.test.exercise}"
        case = ElementTree.SubElement(suite, "testcase", classname=where, name=result.test.name)
        tag = {"fail": "failure", "error": "error", "blocked": "skipped"}.get(result.outcome)
        if tag:
            first = (result.message.splitlines() or [""])[0]
            ElementTree.SubElement(case, tag, message=first).text = result.message
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file that is never half there."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    os.replace(new, path)


def write_files(grade: Grade, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(as_data(grade), indent=2, ensure_ascii=False) + "\n"
    replace_file(folder / "results.json", text.encode())
    replace_file(folder / "junit.xml", as_junit(grade))


def remove_files(folder: Path) -> None:
    """What the last run has left."""
    for name in ("results.json", "junit.xml"):
        (folder / name).unlink(missing_ok=True)
