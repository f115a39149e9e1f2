"""A worker of `make grade`: pytest that runs the tests it is told to run.

The front end starts several, each in a process of its own, with this module as
a plugin of pytest. They talk in lines of JSON. First the worker sends the names
of the tests that there are; then for each name that comes it runs the tests of
that name (one, or all its parameters) and sends the outcome:

    worker:     {"tests": ["test_a", "test_b"], "complaints": ""}
    front end:  test_a
    worker:     {"outcome": "fail", "message": "…"}

An outcome is "pass", "fail", or "error": what went wrong is not the kernel's
fault.
"""

from __future__ import annotations

import json
import os

import pytest

from .grade_process import ORDERS_FD, RESULTS_FD

MESSAGE_MAX = 60_000
NOT_THE_KERNEL = "stag-not-the-kernel"  # a report's property, set by grading/conftest.py


class Worker:
    def __init__(self) -> None:
        # What goes to standard output is pytest's, or the tests' own.
        self.results = os.fdopen(int(os.environ[RESULTS_FD]), "w", buffering=1)
        self.orders = os.fdopen(int(os.environ[ORDERS_FD]))
        self.reports: list[pytest.TestReport] = []
        self.complaints: list[str] = []

    def send(self, message: dict[str, object]) -> None:
        print(json.dumps(message), file=self.results, flush=True)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.complaints.append(str(report.longrepr))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(report)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items: dict[str, list[pytest.Item]] = {}
        for item in session.items:
            items.setdefault(getattr(item, "originalname", item.name), []).append(item)
        self.send({"tests": sorted(items), "complaints": "\n".join(self.complaints)})
        for line in self.orders:
            self.reports = []
            for item in items[line.strip()]:
                # Which test comes next is not known yet. That one comes, in
                # this session, keeps what all share: the booted machine.
                item.ihook.pytest_runtest_protocol(item=item, nextitem=session)
            self.send(self.judge())
        return True

    def judge(self) -> dict[str, object]:
        """The outcome of the tests that have just run."""
        wrong = [report for report in self.reports if not report.passed]
        errors = [r for r in wrong if r.skipped or (NOT_THE_KERNEL, True) in r.user_properties]
        if not wrong:
            return {"outcome": "pass", "message": ""}
        report = (errors or wrong)[0]
        message = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if len(message) > MESSAGE_MAX:
            half = MESSAGE_MAX // 2
            message = f"{message[:half]}\n… (a part is left out here)\n{message[-half:]}"
        if "[" in report.nodeid:
            message = f"with {report.nodeid.partition('[')[2].rstrip(']')}:\n{message}"
        if len({r.nodeid for r in wrong}) > 1:
            message += f"\n(and {len({r.nodeid for r in wrong}) - 1} more of the same test failed)"
        return {"outcome": "error" if errors else "fail", "message": message}


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Worker(), "stag-grade-worker")
