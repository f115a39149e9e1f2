"""Tests the graders: `make grade-solutions [LAB=n] [TEST=word] [ALL=1] [TIMES=n]`.

The reference must score full points, alone and with the later labs hollow; a
starter none; each variant all; a challenge's solution passes the challenge's
tests, of which the reference passes none; each mutant must fail in exactly the tests that
its patch names, so that it loses exactly their points.

Of the mutants those are run that stand for something that must be caught
(solutions/items.toml), and the fewest others with which every point is lost;
and on each the tests that must catch it, and what those need. With ALL=1 all
tests on all of them, and each variant with later labs hollow too; with TEST=word
all tests on whatever has the word in its title. With TIMES=10 only mutants, and
only the tests that must catch them: each ten times, in new processes, so that
none is caught by luck.

The exit status is 0 if all is as it must be, 1 if not, 2 for a wrong command
line, 3 if the solutions can't be read or built. What was found is in build/solutions:
index.html, and report.txt.
"""

from __future__ import annotations

from stag import interrupt  # noqa: I001 (first: see there)

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from stag.command_line import Parser
from stag.errors import StagError
from stag.grade_process import processors
from stag.grade_tree import Files, read_tree
from stag.labs import Lab, check_place, load_labs
from stag.machine import require_qemu
from stag.solutions import mutants, variants
from stag.solutions_items import choose, load_items
from stag.solutions_page import page
from stag.solutions_report import WIDTH, LabReport, show, show_lists, wrong
from stag.solutions_run import (
    Job,
    Runner,
    challenge_jobs,
    mutant_job,
    reference_jobs,
    variant_job,
)

ROOT = Path(__file__).resolve().parent.parent
OUT = Path("build/solutions")


def arguments() -> argparse.Namespace:
    parser = Parser("solutions.py", "Test the graders.")
    parser.add_argument("--lab", type=int, help="only this lab's")
    parser.add_argument("--test", default="", help="only what has this word in its title")
    parser.add_argument("--all", action="store_true", help="all mutants")
    parser.add_argument("--times", type=int, default=0, help="run only what must fail, so often")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for builds and reports")
    parser.add_argument("--jobs", type=int, default=processors())
    options = parser.parse_args()
    if options.times < 0 or options.jobs < 1:
        parser.error("--times and --jobs are numbers from 1")
    return options


def plan(lab: Lab, pristine: Files, options: argparse.Namespace) -> LabReport:
    """What is to be graded of a lab."""
    found = mutants(ROOT, lab)
    items: dict[str, list[str]] = {}
    for item, mutant in load_items(ROOT, lab, found).items():
        items.setdefault(mutant.name, []).append(item)
    jobs = []
    right = variants(ROOT, lab)
    if not options.times:
        jobs += [*reference_jobs(ROOT, lab, pristine), *challenge_jobs(ROOT, lab, pristine)]
        for hollow in (False, True) if options.all else (False,):
            jobs += [variant_job(ROOT, lab, v, pristine, hollow) for v in right]
    # A word names what it names, whether it would be run without it or not.
    everyone = options.all or options.test
    chosen = found if everyone else choose(ROOT, lab, found)
    jobs += [mutant_job(lab, mutant, pristine) for mutant in chosen]
    jobs = [job for job in jobs if options.test in job.title]
    return LabReport(lab, jobs, items, len(found), complete=not options.test)


class Progressing:
    """A bar on a terminal, with what is not as it must be above it; else a line
    for each job. Of several runs, how many caught it."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total = console, total
        self.running: list[str] = []
        self.done = 0
        self.bar = Progress(
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("", total=total)

    def begun(self, job: Job) -> None:
        self.running.append(f"{job.lab.number} {job.title}")
        self._show()

    def ended(self, job: Job) -> None:
        name = f"{job.lab.number} {job.title}"
        if name in self.running:
            self.running.remove(name)
        self.done += 1
        self._show()
        said = f"{sum(job.caught)} of {len(job.caught)}" if job.caught else "right"
        mark = "WRONG" if job.complaint and not job.caught else said
        if job.complaint or job.caught or not self.console.is_terminal:
            line = f"{self.done:>4}/{self.total} {mark:<8} lab {job.lab.number}: {job.title}"
            self.console.print(line, markup=False)

    def _show(self) -> None:
        text = ", ".join(self.running)[: WIDTH - 34]
        self.bar.update(self.task, completed=self.done, description=text)


def write(reports: list[LabReport], out: Path, times: int) -> None:
    with (out / "report.txt").open("w", encoding="utf-8") as file:
        console = Console(file=file, width=WIDTH, highlight=False)
        show(reports, times, console)
        show_lists(reports, console)
    (out / "index.html").write_text(page(reports, times), encoding="utf-8")


def main() -> int:
    interrupt.clean_up_when_killed()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # where letters are ASCII
    options = arguments()
    console = Console(highlight=False)
    try:
        require_qemu()
        labs = [lab for lab in load_labs(ROOT) if options.lab in (None, lab.number)]
        pristine = read_tree(ROOT)
        reports = [plan(lab, pristine, options) for lab in labs]
        out = (ROOT / options.out).resolve()
        check_place(ROOT, out)  # as for what students begin with, which is derived there
    except StagError as error:
        print(error, file=sys.stderr)
        return 3
    reports = [report for report in reports if report.jobs]
    jobs = [job for report in reports for job in report.jobs]
    if not jobs:
        if options.test:
            print(f"no solution has '{options.test}' in its title", file=sys.stderr)
        else:
            print(f"there is no lab {options.lab}", file=sys.stderr)
        return 2
    progress = Progressing(Console(stderr=True, highlight=False, soft_wrap=True), len(jobs))
    runner = Runner(ROOT, out, options.times, bool(options.all or options.test))
    try:
        with progress.bar:
            runner.run(jobs, options.jobs, progress.begun, progress.ended)
        write(reports, out, options.times)
    except OSError as error:
        print(f"{error.filename or out}: {error.strerror}", file=sys.stderr)
        return 3
    show(reports, options.times, console)
    where = f"by name: {options.out}/index.html, report.txt"
    console.print(where, markup=False, soft_wrap=True)
    return 1 if wrong(reports) else 0


if __name__ == "__main__":
    sys.exit(main())
