"""How far the grading is: a bar on a terminal, else a line for each test."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from .grade_run import Result
from .labs import TestItem

MARKS = {"pass": "pass", "fail": "FAIL", "blocked": "blocked", "error": "ERROR"}


class Progress:
    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.total = total
        self.done = 0
        self.running: list[str] = []
        self.bar = Bar(
            TextColumn("{task.fields[phase]:<8}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[running]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("", total=total, phase="", running="")

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def say(self, phase: str) -> None:
        self.bar.update(self.task, phase=phase)
        if not self.console.is_terminal:
            print(f"{phase} …", file=self.console.file, flush=True)

    def begun(self, test: TestItem) -> None:
        self.running.append(test.name)
        self._show()

    def ended(self, result: Result) -> None:
        name = result.test.name
        self.done += 1
        if name in self.running:
            self.running.remove(name)
        self._show()
        if not self.console.is_terminal:
            line = f"  {self.done:>3}/{self.total} {MARKS[result.outcome]:<7} {name}"
            print(line, file=self.console.file, flush=True)

    def _show(self) -> None:
        self.bar.update(self.task, completed=self.done, running=" ".join(self.running)[:60])
