"""What came of grading the solutions: which test catches which mutants, and
what that leaves open."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from .labs import Lab, TestItem
from .solutions_run import Job

WIDTH = 80
_ADDRESS = re.compile(r"0x[0-9a-f]{5,}")
_LINE = re.compile(r"(\.[cSh]):\d+")


def first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def told(job: Job) -> tuple[str, str]:
    """The first test that a mutant fails and what that says; without the state
    of the harts, and without addresses and lines, which tell nothing here."""
    for result in job.results:
        if result.outcome == "fail":
            text = result.message.split("\nharts")[0]
            return result.test.name, _LINE.sub(r"\1", _ADDRESS.sub("0x…", text))
    return "", ""


@dataclass(frozen=True)
class LabReport:
    """What was graded of one lab."""

    lab: Lab
    jobs: list[Job]
    items: dict[str, list[str]]  # by mutant: what it stands for
    mutants: int  # that there are, run or not
    complete: bool = True  # none was left out by its name

    @property
    def found(self) -> list[Job]:
        """The mutants that were run."""
        return [job for job in self.jobs if job.mutant is not None]

    @property
    def whole(self) -> bool:
        """Can the mutants tell which points are never lost?"""
        return self.complete and not any(job.caught for job in self.found)

    def never_lost(self) -> list[TestItem]:
        """Tests whose points no mutant loses."""
        lost = frozenset().union(*(job.lost for job in self.found))
        return [test for test in self.lab.tests if test.points and test.name not in lost]

    def alone(self) -> dict[str, list[Job]]:
        """By test: the mutants that nothing else catches."""
        found: dict[str, list[Job]] = defaultdict(list)
        for job in self.found:
            if len(job.failed) == 1:
                found[min(job.failed)].append(job)
        order = [test.name for test in self.lab.tests]
        return {name: found[name] for name in order if name in found}

    def same(self) -> list[list[Job]]:
        """Mutants that fail the same tests with the same message."""
        groups: dict[object, list[Job]] = defaultdict(list)
        for job in self.found:
            if job.failed:
                groups[job.failed, told(job)].append(job)
        return [group for group in groups.values() if len(group) > 1]


def _score(report: LabReport, title: str) -> str:
    job = next((job for job in report.jobs if job.title == title), None)
    return "" if job is None else str(job.points) if job.results else "?"


def _fraction(jobs: list[Job]) -> str:
    return f"{sum(not job.complaint for job in jobs)} of {len(jobs)}" if jobs else ""


def summary(reports: list[LabReport], times: int) -> tuple[list[str], list[list[str]]]:
    """A heading, and a row for each lab."""
    right = [] if times else ["reference", "hollow", "starter", "variants"]
    rows = []
    for report in reports:
        row = [str(report.lab.number)]
        if not times:
            row.append(_score(report, "the reference"))
            row.append(_score(report, "the reference, later labs hollow"))
            row.append(_score(report, "the starter"))
            row.append(_fraction([j for j in report.jobs if j.title.startswith("variant")]))
        row.append(_fraction(report.found))
        row.append(str(len(report.alone())) if report.found else "")
        row.append(str(sum(len(group) for group in report.same())) if report.found else "")
        row.append(str(sum(t.points for t in report.never_lost())) if report.whole else "")
        rows.append(row)
    return ["lab", *right, "mutants", "alone", "alike", "never lost"], rows


KEY = (
    "hollow: the reference with later labs hollow. alone: tests that are the only\n"
    "ones to catch some mutant. alike: mutants that fail the same tests with the same\n"
    "message. never lost: points that no mutant of this run loses."
)


def wrong(reports: list[LabReport]) -> list[Job]:
    return [job for report in reports for job in report.jobs if job.complaint]


def show(reports: list[LabReport], times: int, console: Console) -> None:
    """The summary, then what is not as it must be."""
    heads, rows = summary(reports, times)
    table = Table(*heads, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    console.print(Group(table, "", Text(KEY)), soft_wrap=False)
    bad = wrong(reports)
    for job in bad:
        console.print(Text(f"\nlab {job.lab.number}: {job.title}", "bold"))
        console.print(Text(job.complaint), soft_wrap=False)
    total = sum(len(report.jobs) for report in reports)
    console.print(Text(f"\n{total - len(bad)} of {total} as they must be", "bold"))


def show_lists(reports: list[LabReport], console: Console) -> None:
    """What the summary counts, by name."""
    for report in reports:
        lines = [f"\nLab {report.lab.number}: {report.lab.title}"]
        if never := report.never_lost() if report.whole else []:
            lines.append("  points that no mutant of this run loses:")
            lines += [f"    {test.points} {test.name}" for test in never]
        if alone := report.alone():
            lines.append("  tests that nothing else backs up, and what only they catch:")
            for name, jobs in alone.items():
                lines.append(f"    {name}")
                lines += [f"      {job.mutant.name}" for job in jobs if job.mutant]
        for group in report.same():
            test, message = told(group[0])
            lines.append(f"  alike, in {test}: {first_line(message)}")
            lines += [f"    {job.mutant.name}" for job in group if job.mutant]
        console.print(Text("\n".join(lines)), soft_wrap=False)
