"""What `make grade-class` writes: scores.csv, a page of the class, and a page for
each submission, which tells of nobody else's."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from statistics import median
from typing import Any
from urllib.parse import quote

from .html_page import document, table
from .labs import Lab

NOT_JUDGED = 3  # a grade's status: report_grade.py
BINS = 10  # of the distribution

_STYLE = """
.sum td:nth-child(2) { text-align: right; }
.bar { background: var(--link); height: 1em; }
.bars td:last-child { width: 60vw; max-width: 40rem; }
"""


@dataclass(frozen=True)
class Graded:
    """A submission, and what the grader wrote of it (results.json)."""

    name: str  # safe to show
    folder: str  # of its page, from that of the class page
    data: dict[str, Any]

    @property
    def judged(self) -> bool:
        return bool(self.data["status"] != NOT_JUDGED)

    @property
    def got(self) -> int:
        return int(self.data["got"])

    @property
    def word(self) -> str:
        """What kept its tests from being run, in a line."""
        text = str(self.data["broken"] or self.data["rejected"])
        if not text and not self.judged:
            text = next(t["message"] for t in self.data["tests"] if t["outcome"] == "error")
        return next(iter(text.splitlines()), "")


def scores(graded: list[Graded], lab: Lab) -> str:
    """A table for other programs. What could not be judged has no points."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = sorted({test.exercise for test in lab.tests})
    writer.writerow(["name", "points", "of", *(f"exercise {n}" for n in numbers), "why"])
    for one in graded:
        sums = Counter[int]()
        for test in one.data["tests"]:
            sums[test["exercise"]] += test["got"]
        got = [one.got, lab.points, *(sums[n] for n in numbers)]
        if not one.judged:
            got = ["", lab.points, *("" for _ in numbers)]  # type: ignore[list-item]
        writer.writerow([_no_formula(one.name), *got, _no_formula(one.word)])
    return text.getvalue()


def _no_formula(text: str) -> str:
    """Of a cell that a spreadsheet would compute."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def summary(graded: list[Graded], lab: Lab) -> str:
    """In a line."""
    judged = [one.got for one in graded if one.judged]
    full = sum(got == lab.points for got in judged)
    text = f"{len(graded)} submission{'s' if len(graded) > 1 else ''}: {full} with all points"
    if judged:
        text += f", median {median(judged):g} of {lab.points}"
    if len(judged) < len(graded):
        text += f", {len(graded) - len(judged)} not judged"
    return text


# The page of the class


def _distribution(graded: list[Graded], lab: Lab) -> str:
    """How many have so many points: the last bin holds full points alone."""
    bins = Counter(one.got * BINS // lab.points for one in graded if one.judged)
    most = max(bins.values(), default=1)

    def rows() -> Iterator[list[str]]:
        for at in range(BINS + 1):
            low, high = -(-at * lab.points // BINS), -(-(at + 1) * lab.points // BINS) - 1
            name = str(low) if at == BINS else f"{low} to {high}"
            bar = f'<div class="bar" style="width: {100 * bins[at] // most}%"></div>'
            yield [name, str(bins[at]), bar]

    bars = table("How many have so many points", ["points", "submissions", ""], rows())
    return f'<div class="bars">{bars}</div>'


def _tests(graded: list[Graded], lab: Lab) -> str:
    """The tests that most have failed first."""
    outcomes = Counter(
        (test["name"], test["outcome"]) for one in graded for test in one.data["tests"]
    )
    tests = sorted(lab.tests, key=lambda test: -outcomes[test.name, "fail"])
    rows = (
        [
            f"<code>{escape(test.name)}</code>",
            str(outcomes[test.name, "fail"]),
            str(outcomes[test.name, "blocked"]),
            escape(f"{test.title} ({test.points})"),
        ]
        for test in tests
    )
    heads = ["test", "fail", "not run", "what it tests, and its points"]
    return table("Tests, by how many have failed", heads, rows)


def class_page(graded: list[Graded], lab: Lab) -> str:
    def rows() -> Iterator[list[str]]:
        for one in graded:
            link = f'<a href="{quote(os.fsencode(one.folder))}/index.html">{escape(one.name)}</a>'
            points = f"{one.got}" if one.judged else '<span class="bad">not judged</span>'
            yield [link, points, escape(one.word)]

    body = (
        f"<p><strong>{escape(summary(graded, lab))}.</strong></p>"
        f"<h2>Points</h2>{_distribution(graded, lab)}"
        "<h2>Submissions</h2>"
        f"{table('Submissions', ['submission', f'of {lab.points}', 'why no test ran'], rows())}"
        f"<h2>Tests</h2>{_tests(graded, lab)}"
    )
    return document(f"Lab {lab.number}: {lab.title}: the class", body, _STYLE)


# The page of a submission


def _failures(one: Graded) -> Iterator[str]:
    for test in one.data["tests"]:
        if test["outcome"] in ("fail", "error"):
            yield f'<h3 id="{escape(test["name"])}">{escape(test["title"])}</h3>'
            yield f"<pre>{escape(test['message'])}</pre>"
            if test["hint"]:
                yield f"<p>Hint: {escape(test['hint'])}</p>"
            yield f"<p>To read: <code>{escape(test['read'])}</code></p>"


def _test_rows(one: Graded) -> Iterator[list[str]]:
    for test in one.data["tests"]:
        outcome, name = test["outcome"], escape(test["name"])
        shown = f'<span class="{"fail" if outcome == "fail" else "blocked"}">{outcome}</span>'
        if outcome in ("fail", "error"):
            shown = f'<a href="#{name}">{shown}</a>'
        points = f"{test['got']} / {test['points']}"
        yield [str(test["exercise"]), points, shown, escape(test["title"])]


def submission_page(one: Graded, lab: Lab) -> str:
    points = f"{one.got} of {lab.points} points" if one.judged else "not judged: no points are lost"
    parts = [f"<p><strong>{points}</strong></p>"]
    for text in (one.data["rejected"], one.data["broken"]):
        parts += [f"<pre>{escape(text)}</pre>"] if text else []
    if not one.data["rejected"] and one.data["tests"]:
        heads = ["exercise", "points", "result", "test"]
        parts += [table("Tests", heads, _test_rows(one)), *_failures(one)]
    if one.data["ignored"]:
        names = "\n".join(one.data["ignored"])
        parts += [f"<p>Not graded, since these files are not this lab's:</p><pre>{escape(names)}</pre>"]
    parts += [f"<p>{escape(note)}</p>" for note in one.data["notes"]]
    return document(f"Lab {lab.number}: {lab.title}: {one.name}", "".join(parts), _STYLE)
