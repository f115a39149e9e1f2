"""Runs the tests of a lab on several workers, each test after those it needs.

A test is run when all that it needs have passed; if one of them has not, it is
not run: "blocked". The order in which tests end does not matter to any outcome.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .errors import InfrastructureError
from .grade_process import ORDERS_FD, RESULTS_FD, crowding, own_group
from .labs import Lab, TestItem
from .verdict import plain

ROOT = Path(__file__).resolve().parents[2]
SAID_LINES = 20
BLOCKED = "blocked by "  # what the message of such a test begins with

Outcome = Literal["pass", "fail", "blocked", "error"]

# Seconds, after which a test whose own watchdogs have failed is given up: an
# error, which costs nothing. On a computer that does nothing else.
TIME_LIMIT = 300.0 * float(os.environ.get("STAG_TIME_FACTOR", "1"))


@dataclass(frozen=True)
class Result:
    test: TestItem
    outcome: Outcome
    message: str = ""

    @property
    def got(self) -> int:
        return self.test.points if self.outcome == "pass" else 0


def not_run(tests: Iterable[TestItem]) -> list[Result]:
    """Of what can't be graded."""
    return [Result(test, "blocked", "not run") for test in tests]


def tests_of(lab: Lab, challenge: bool) -> Path:
    """Where a lab's tests are, or those of its challenge."""
    folder = ROOT / "grading" / f"lab{lab.number}"
    return folder / "challenge.py" if challenge else folder


@dataclass
class Worker:
    """A process of pytest (grade_worker.py), and the test that it runs now."""

    tests: Path  # the lab's folder of tests, or its challenge
    environment: dict[str, str]
    trace: bool  # show the debugger's traffic
    scratch: Path
    test: TestItem | None = None
    begun: float | None = None  # None: it waits for an order
    _buffer: bytes = field(default=b"", repr=False)

    def start(self) -> Worker:
        results, their_results = os.pipe()
        their_orders, orders = os.pipe()
        self._results, self._orders = results, orders
        self._buffer = b""
        self._output = tempfile.TemporaryFile()
        fds = {RESULTS_FD: str(their_results), ORDERS_FD: str(their_orders)}
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "stag.grade_worker"]
        command += ["-p", "no:cacheprovider", "-p", "no:xdist", "--basetemp", str(self.scratch)]
        # From ROOT on: its own path may hold a colon or brackets, which mean something here.
        command += [*(["-s"] if self.trace else []), str(self.tests.relative_to(ROOT))]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**self.environment, **fds, "PYTHONPATH": "grading"},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=None if self.trace else self._output,
            pass_fds=(their_results, their_orders),
            preexec_fn=own_group(),
        )
        os.close(their_results)
        os.close(their_orders)
        self.begun = time.monotonic()
        return self

    def fileno(self) -> int:
        return self._results

    def order(self, test: TestItem) -> None:
        self.test = test
        self.begun = time.monotonic()
        os.write(self._orders, f"{test.name}\n".encode())

    def message(self) -> dict[str, object] | None:
        """What it has sent, when a line is complete. EOFError if it has ended."""
        data = os.read(self._results, 1 << 16)
        if not data:
            raise EOFError
        self._buffer += data
        line, complete, rest = self._buffer.partition(b"\n")
        if not complete:
            return None
        self._buffer = rest
        return json.loads(line)

    def said(self) -> str:
        """The last lines that it has printed."""
        self._output.seek(0)
        text = plain(self._output.read().decode(errors="replace")).strip()
        return "\n".join(text.splitlines()[-SAID_LINES:])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for fd in (self._results, self._orders):
            os.close(fd)
        self._output.close()


class Schedule:
    """Which test may run next, and what has come of the others."""

    def __init__(self, tests: Iterable[TestItem]) -> None:
        self.waiting = list(tests)
        self.total = len(self.waiting)
        self.results: dict[str, Result] = {}

    @property
    def done(self) -> bool:
        return len(self.results) == self.total

    def settle(self, result: Result) -> list[Result]:
        """A test has ended. It, and those that can't run because of it."""
        self.results[result.test.name] = result
        settled = [result]
        if result.outcome != "pass":
            blocked = [t for t in self.waiting if result.test.name in t.needs]
            self.waiting = [t for t in self.waiting if t not in blocked]
            for test in blocked:
                if result.outcome == "error":
                    why = Result(test, "error", f"not run, since {result.test.name} was not judged")
                else:
                    why = Result(test, "blocked", f"{BLOCKED}{result.test.name}")
                settled += self.settle(why)
        return settled

    def next(self) -> TestItem | None:
        for test in self.waiting:
            if all(name in self.results for name in test.needs):
                self.waiting.remove(test)
                return test
        return None


def run_tests(
    tests: list[TestItem],
    make_worker: Callable[[int], Worker],
    jobs: int,
    begun: Callable[[TestItem], None],
    ended: Callable[[Result], None],
) -> list[Result]:
    """The results, in the order of the tests. `begun` and `ended` are told as
    it goes."""
    schedule = Schedule(tests)
    workers: list[Worker] = []
    try:
        for index in range(min(jobs, len(tests))):
            workers.append(make_worker(index).start())
        idle: list[Worker] = []
        while not schedule.done:
            while idle and (test := schedule.next()) is not None:
                begun(test)
                idle.pop().order(test)
            busy = [worker for worker in workers if worker not in idle]
            if not busy:
                names = ", ".join(test.name for test in schedule.waiting)
                raise InfrastructureError(f"these tests need each other: {names}")
            readable = select.select(busy, [], [], 1.0)[0]
            for worker in busy:
                result = _listen(worker, worker in readable, schedule)
                if result is not None:
                    for settled in schedule.settle(result):
                        ended(settled)
                if worker.test is None and worker.begun is None:
                    idle.append(worker)
    finally:
        for worker in workers:
            worker.kill()
    return [schedule.results[test.name] for test in tests]


def _listen(worker: Worker, readable: bool, schedule: Schedule) -> Result | None:
    """The result that a worker has sent, if it has. One that has died is
    started again."""
    test = worker.test
    assert worker.begun is not None, "only who has an order is listened to"
    late = time.monotonic() - worker.begun > TIME_LIMIT * crowding()
    try:
        message = worker.message() if readable else None
    except EOFError:
        late = True
        message = None
    if message is None:
        if not late:
            return None
        said = worker.said()
        if test is None:
            raise InfrastructureError(f"pytest does not start:\n{said}")
        worker.kill()
        worker.test = None
        worker.start()
        return Result(test, "error", f"the grader itself failed in this test\n{said}")
    worker.test, worker.begun = None, None
    if test is None:
        _check_names(message, schedule)
        return None
    return Result(test, message["outcome"], str(message["message"]))  # type: ignore[arg-type]


def _check_names(greeting: dict[str, object], schedule: Schedule) -> None:
    """All the tests of the plan must be there."""
    if greeting["complaints"]:
        raise InfrastructureError(f"the tests can't be read:\n{plain(str(greeting['complaints']))}")
    planned = {test.name for test in schedule.waiting} | set(schedule.results)
    missing = sorted(planned - set(greeting["tests"]))  # type: ignore[call-overload]
    if missing and not schedule.results:
        raise InfrastructureError(f"there is no test named {', '.join(missing)}")
