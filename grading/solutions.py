"""Tests the graders: `make grade-solutions [LAB=n]`.

The reference must score full points, alone and with the later labs hollow; a
starter none; each variant all; each mutant must fail in exactly the tests that
its patch names, so that it loses exactly their points. At the end stands, for
each lab, which mutants each test catches, which points no mutant can lose, and
which tests are the only ones to catch something.

The exit status is 0 if all is as it must be, 1 if not, 3 if something could not
be judged. What was found is in build/solutions/matrix.txt as well.
"""

from __future__ import annotations

import argparse
import os
import queue
import signal
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from stag.errors import StagError
from stag.grade_build import build
from stag.grade_process import processors
from stag.grade_run import Result, Worker, run_tests
from stag.grade_tree import BadSubmission, Files, lay, read_tree
from stag.labs import POINTS, Lab, load_labs
from stag.machine import require_qemu
from stag.solutions import Mutant, mutants, variants
from stag.starter import write_hollow_after, write_starter

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "solutions"


@dataclass
class Job:
    """One tree to grade, and what must come of it."""

    lab: Lab
    title: str
    files: Callable[[], Files]
    fails: frozenset[str] | None  # None: every test, or what it needs
    mutant: Mutant | None = None
    results: list[Result] = field(default_factory=list)
    complaint: str = ""

    @property
    def failed(self) -> frozenset[str]:
        return frozenset(r.test.name for r in self.results if r.outcome == "fail")

    @property
    def points(self) -> int:
        return sum(result.got for result in self.results)

    def judge(self) -> None:
        broken = [r for r in self.results if r.outcome == "error"]
        if broken:
            self.complaint = f"{broken[0].test.name} was not judged: {broken[0].message}"
        elif self.fails is None:
            if self.points:
                passed = [r.test.name for r in self.results if r.got]
                self.complaint = f"scores {self.points} points: {' '.join(passed)}"
        elif self.failed != self.fails:
            missed = sorted(self.fails - self.failed)
            extra = sorted(self.failed - self.fails)
            parts = [f"not caught by {' '.join(missed)}"] if missed else []
            parts += [f"fails in {' '.join(extra)}"] if extra else []
            self.complaint = "; ".join(parts)


def derived(write: Callable[[Path], None]) -> Files:
    """The sources of a tree that is written to a folder."""
    with tempfile.TemporaryDirectory(prefix="stag-") as folder:
        out = Path(folder) / "tree"
        write(out)
        return read_tree(out)


def jobs_of(lab: Lab, pristine: Files) -> list[Job]:
    number = lab.number
    nothing: frozenset[str] = frozenset()
    jobs = [
        Job(lab, "the reference", lambda: pristine, nothing),
        Job(
            lab,
            "the reference, later labs hollow",
            lambda: derived(lambda out: write_hollow_after(ROOT, number, out)),
            nothing,
        ),
        Job(lab, "the starter", lambda: derived(lambda out: write_starter(ROOT, number, out)), None),
    ]
    for variant in variants(ROOT, lab):
        jobs.append(
            Job(lab, f"variant {variant.name}", lambda v=variant: v.applied(pristine), nothing)
        )
    for mutant in mutants(ROOT, lab):
        jobs.append(
            Job(
                lab,
                f"mutant {mutant.name}",
                lambda m=mutant: m.applied(pristine),
                mutant.caught_by,
                mutant,
            )
        )
    return jobs


def run_job(job: Job, slot: Path) -> None:
    """Build a job's tree in this slot and run the lab's tests on it."""
    tree = slot / "tree"
    lay(job.files(), tree)
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(ROOT / "build" / "pycache")}

    def worker(index: int) -> Worker:
        folder = ROOT / "grading" / f"lab{job.lab.number}"
        return Worker(folder, environment, False, slot / "scratch" / str(index))

    tests = list(job.lab.tests)
    (slot / "scratch").mkdir(parents=True, exist_ok=True)
    try:
        environment["STAG_KERNEL"] = str(build(tree, 1))
        job.results = run_tests(tests, worker, 1, lambda _: None, lambda _: None)
    except BadSubmission as error:
        job.complaint = str(error)
        job.results = [Result(test, "blocked", "not run") for test in tests]
    else:
        job.judge()


def run_all(jobs: list[Job], console: Console, count: int) -> None:
    slots: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for index in range(count):
        slots.put(OUT / str(index))
    bar = Progress(
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("", total=len(jobs))

    def one(job: Job) -> None:
        slot = slots.get()
        try:
            bar.update(task, description=f"lab {job.lab.number}: {job.title}")
            run_job(job, slot)
        except StagError as error:
            job.complaint = str(error)
        finally:
            slots.put(slot)
            bar.advance(task)
        said = job.complaint or "as it must be"
        if job.complaint or not console.is_terminal:
            console.print(f"lab {job.lab.number}: {job.title}: {said}", markup=False)

    with bar, ThreadPoolExecutor(count) as pool:
        list(pool.map(one, jobs))


def matrix(lab: Lab, jobs: list[Job], console: Console) -> None:
    """Which test catches which mutants, and what that leaves open."""
    table = Table(title=f"Lab {lab.number}: {lab.title}", title_justify="left", box=None)
    table.add_column("test")
    table.add_column("points", justify="right")
    table.add_column("caught by it alone", justify="right")
    table.add_column("and with others", justify="right")
    found = [job for job in jobs if job.mutant is not None]
    open_points = 0
    for test in lab.tests:
        alone = sum(job.failed == {test.name} for job in found)
        others = sum(test.name in job.failed for job in found) - alone
        lost = any(r.test.name == test.name and not r.got for job in found for r in job.results)
        open_points += 0 if lost else test.points
        note = "" if alone + others else ("  (lost only with others)" if lost else "  (never lost)")
        table.add_row(test.name + note, str(test.points), str(alone or ""), str(others or ""))
    console.print(table, markup=False)
    console.print(f"points that no mutant loses: {open_points} of {POINTS}\n")


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="solutions.py", description="Test the graders.")
    parser.add_argument("--lab", type=int, help="only this lab's")
    parser.add_argument("--test", default="", help="only what has this word in its title")
    parser.add_argument("--jobs", type=int, default=processors())
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    try:
        require_qemu()
        labs = [lab for lab in load_labs(ROOT) if options.lab in (None, lab.number)]
        pristine = read_tree(ROOT)
        jobs = [
            job for lab in labs for job in jobs_of(lab, pristine) if options.test in job.title
        ]
    except StagError as error:
        print(error, file=sys.stderr)
        return 3
    if not jobs:
        print(f"nothing has '{options.test}' in its title", file=sys.stderr)
        return 2
    try:
        run_all(jobs, console, options.jobs)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    OUT.mkdir(parents=True, exist_ok=True)
    with (OUT / "matrix.txt").open("w") as file:
        for lab in labs:
            mine = [job for job in jobs if job.lab is lab]
            for to in (console, Console(file=file, width=100, highlight=False)):
                matrix(lab, mine, to)
    wrong = [job for job in jobs if job.complaint]
    for job in wrong:
        console.print(f"lab {job.lab.number}: {job.title}: {job.complaint}", markup=False)
    console.print(f"{len(jobs) - len(wrong)} of {len(jobs)} as they must be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
