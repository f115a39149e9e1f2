"""Builds and grades solutions, several at a time, each on one worker.

A slot has a tree of its own that one solution after the other is laid on, so
that make compiles only what differs; solutions with other labs hollow have a
second one.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path

from .branches import write_starter
from .errors import StagError
from .grade_build import build
from .grade_run import Result, Worker, not_run, run_tests, tests_of
from .grade_symbols import OWNED
from .grade_tree import BadSubmission, Files, lay, read_tree
from .labs import Lab, TestItem
from .solutions import Mutant, Variant, challenge
from .solutions_items import lost_tests, needed_tests
from .starter import write_hollow_after


@dataclass
class Job:
    """One solution to grade, and what must come of it."""

    lab: Lab
    title: str
    files: Callable[[Path], Files]  # is given a folder to write in
    fails: frozenset[str] | None  # None: nothing may give points
    hollow: bool = False  # other labs are hollow
    mutant: Mutant | None = None
    challenge: bool = False  # its tests, instead of the lab's
    results: list[Result] = field(default_factory=list)
    caught: list[bool] = field(default_factory=list)  # in each of several runs
    complaint: str = ""

    @property
    def failed(self) -> frozenset[str]:
        return frozenset(r.test.name for r in self.results if r.outcome == "fail")

    @property
    def lost(self) -> frozenset[str]:
        """The tests that give no points."""
        return lost_tests(self.lab, (r.test.name for r in self.results if not r.got))

    @property
    def points(self) -> int:
        """Of a mutant, a test that was not run and needs none that failed gives
        its points."""
        if self.mutant is None:
            return sum(result.got for result in self.results)
        return sum(test.points for test in self.lab.tests if test.name not in self.lost)

    def judge(self) -> None:
        """Is it as it must be?"""
        broken = [r for r in self.results if r.outcome == "error"]
        if broken:
            self.complaint = f"{broken[0].test.name} was not judged: {broken[0].message}"
        elif self.fails is None:
            passed = [r.test.name for r in self.results if r.outcome == "pass"]
            if passed:
                self.complaint = f"scores {self.points} points: {' '.join(passed)}"
        elif self.failed != self.fails:
            missed = sorted(self.fails - self.failed)
            extra = sorted(self.failed - self.fails)
            parts = [f"not caught by {' '.join(missed)}"] if missed else []
            if extra:
                said = next(r.message for r in self.results if r.test.name == extra[0])
                parts.append(f"fails in {' '.join(extra)}, the first with: {said.strip()}")
            self.complaint = "; ".join(parts)

    def judge_run(self) -> None:
        """The same, after one of several runs of the tests that must fail."""
        before, self.complaint = self.complaint, ""
        self.judge()
        self.caught.append(not self.complaint)
        if self.complaint:
            self.complaint = f"run {len(self.caught)}: {self.complaint}"
        self.complaint = before or self.complaint


def _written(write: Callable[[Path], None], folder: Path) -> Files:
    """The sources of a tree that is derived into an empty folder."""
    write(folder)
    return read_tree(folder)


def reference_jobs(root: Path, lab: Lab, pristine: Files) -> list[Job]:
    """The reference, alone and with the later labs hollow, and the starter."""
    number = lab.number

    def hollow(out: Path) -> Files:
        return _written(lambda out: write_hollow_after(root, number, out), out)

    def starter(out: Path) -> Files:
        return _written(lambda out: write_starter(root, number, out), out)

    nothing: frozenset[str] = frozenset()
    return [
        Job(lab, "the reference", lambda _: pristine, nothing),
        Job(lab, "the reference, later labs hollow", hollow, nothing, hollow=True),
        Job(lab, "the starter", starter, None, hollow=True),
    ]


def variant_job(root: Path, lab: Lab, variant: Variant, pristine: Files, hollow: bool) -> Job:
    def files(out: Path) -> Files:
        if not hollow:
            return variant.applied(pristine)
        return variant.applied(_written(lambda out: write_hollow_after(root, lab.number, out), out))

    title = f"variant {variant.name}" + (", later labs hollow" if hollow else "")
    return Job(lab, title, files, frozenset(), hollow=hollow)


def challenge_jobs(root: Path, lab: Lab, pristine: Files) -> list[Job]:
    """Its solution passes the challenge's tests, of which the reference passes
    none."""
    solution = challenge(root, lab)
    if solution is None:
        return []
    nothing: frozenset[str] = frozenset()
    return [
        Job(lab, "the challenge, not met", lambda _: pristine, None, challenge=True),
        Job(lab, "the challenge", lambda _: solution.applied(pristine), nothing, challenge=True),
    ]


def mutant_job(lab: Lab, mutant: Mutant, pristine: Files) -> Job:
    title, fails = f"mutant {mutant.name}", mutant.caught_by
    return Job(lab, title, lambda _: mutant.applied(pristine), fails, mutant=mutant)


class Stopped(Exception):
    """The run was interrupted."""


class Runner:
    def __init__(self, root: Path, out: Path, times: int, whole: bool) -> None:
        self.root, self.out = root, out
        self.times = times  # of mutants only the tests that must fail, so often; 0: see `whole`
        self.whole = whole  # of mutants all tests; else those that must fail, and what they need
        self.stop = threading.Event()
        self.slots: queue.SimpleQueue[Path] = queue.SimpleQueue()

    def _check(self, _: object) -> None:
        """Called before and after each test."""
        if self.stop.is_set():
            raise Stopped

    def _tests(self, job: Job, tests: list[TestItem], kernel: Path, slot: Path) -> list[Result]:
        extra = [job.lab.extra] if job.lab.extra else []
        environment = {
            **os.environ,
            OWNED: ":".join([*job.lab.owned, *extra]),
            "PYTHONPYCACHEPREFIX": str(self.root / "build/pycache"),
            "STAG_KERNEL": str(kernel),
            "STAG_CASES": str(slot / "cases"),
        }
        where = tests_of(job.lab, job.challenge)

        def worker(_: int) -> Worker:
            return Worker(where, environment, False, slot / "scratch")

        return run_tests(tests, worker, 1, self._check, self._check)

    def _grade(self, job: Job, slot: Path) -> None:
        tree = slot / ("hollow" if job.hollow else "tree")
        derived = slot / "derived"
        shutil.rmtree(derived, ignore_errors=True)
        tests = list(job.lab.challenge if job.challenge else job.lab.tests)
        if job.mutant is not None and not self.whole:
            tests = needed_tests(job.lab, job.mutant.caught_by)
        try:
            lay(job.files(derived), tree)
            kernel = build(tree, 1)
        except BadSubmission as error:
            job.results = not_run(tests)
            job.complaint = str(error)
            return
        if not self.times:
            job.results = self._tests(job, tests, kernel, slot)
            job.judge()
            return
        named = [replace(test, needs=()) for test in tests if test.name in (job.fails or ())]
        for _ in range(self.times):
            job.results = self._tests(job, named, kernel, slot)
            job.judge_run()

    def _one(self, job: Job, begun: Callable[[Job], None]) -> Job:
        slot = self.slots.get()
        try:
            self._check(job)
            begun(job)
            self._check(job)
            self._grade(job, slot)
        except StagError as error:
            job.complaint = str(error)
        finally:
            for name in ("scratch", "cases", "derived"):
                shutil.rmtree(slot / name, ignore_errors=True)
            self.slots.put(slot)
        return job

    def run(
        self,
        jobs: list[Job],
        count: int,
        begun: Callable[[Job], None],
        ended: Callable[[Job], None],
    ) -> None:
        """Grade all, `count` at a time. Interrupted once it ends with the tests
        that run now; twice, at once."""
        for index in range(count):
            self.slots.put(self.out / str(index))
            (self.out / str(index)).mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(self._one, job, begun) for job in jobs]
            try:
                for future in as_completed(futures):
                    ended(future.result())
            except BaseException:
                self.stop.set()
                signal.signal(signal.SIGINT, lambda *_: os._exit(130))
                pool.shutdown(cancel_futures=True)
                raise
