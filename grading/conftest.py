"""Fixtures for the graders, which are in lab1 … lab6.

    def test_pages_differ(ready):
        system = ready(harts=2)
        first = system.harts.call(0, "page_alloc")
        ...

`boot` gives a machine that stands before its first instruction, `ready` one on
which the kernel has booted: every hart stands where the labs are graded from
(stag/grade_machine.py). Both are killed when the test ends, and take the
fields of MachineConfig. The kernel is build/kernel.elf, or what the environment
variable STAG_KERNEL names.

A failed test shows what was expected and found, where every hart is and what
the console said last; see stag/verdict.py. What is wrong with the computer is
an error, not a failure.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stag.errors import GuestExit, GuestHang, GuestPanic, InfrastructureError, StagError
from stag.grade_machine import GradedSystem, bring_up, graded
from stag.grade_symbols import graded_symbols_of
from stag.grade_worker import NOT_THE_KERNEL
from stag.machine import MachineConfig, require_qemu
from stag.report_state import TABLE_HEADER, kernel_traps, machine_report, without_state
from stag.scene import Scene
from stag.snapshot import Snapshot
from stag.symbols import Symbols
from stag.verdict import Failure, plain

ROOT = Path(__file__).resolve().parent.parent
KERNEL = Path(os.environ.get("STAG_KERNEL", ROOT / "build" / "kernel.elf"))

Boot = Callable[..., GradedSystem]

_machines = pytest.StashKey[list[GradedSystem]]()


def pytest_sessionstart() -> None:
    """What every test needs is looked for once, before any test."""
    try:
        require_qemu()
        graded_symbols_of(KERNEL)
    except StagError as error:
        pytest.exit(str(error), returncode=3)


@pytest.fixture(scope="session")
def kernel() -> Path:
    """The ELF file under test."""
    return KERNEL


@pytest.fixture(scope="session")
def symbols(kernel: Path) -> Symbols:
    return graded_symbols_of(kernel)


@pytest.fixture
def boot(kernel: Path, request: pytest.FixtureRequest) -> Iterator[Boot]:
    """boot(harts=2, …): a machine with the kernel, not yet running. Several may
    be started in one test."""
    systems = request.node.stash.setdefault(_machines, [])
    with contextlib.ExitStack() as machines:

        def start(**settings: object) -> GradedSystem:
            settings.setdefault("kernel", kernel)
            config = MachineConfig(**settings)  # type: ignore[arg-type]
            system = machines.enter_context(graded(config))
            systems.append(system)
            return system

        yield start


@pytest.fixture(scope="session")
def _snapshot(kernel: Path) -> Iterator[Callable[[], Snapshot]]:
    """One machine that stands still, for all models of it."""
    taken: list[Snapshot] = []
    failed: list[StagError] = []
    with contextlib.ExitStack() as machines:

        def take() -> Snapshot:
            if failed:
                raise failed[0]
            if not taken:
                try:
                    system = machines.enter_context(graded(MachineConfig(kernel, harts=4)))
                    bring_up(system)
                    taken.append(Snapshot.take(system))
                except StagError as error:
                    failed.append(error)
                    raise
            return taken[0]

        yield take


@pytest.fixture
def scene(_snapshot: Callable[[], Snapshot]) -> Callable[[], Scene]:
    """scene(): a model of the booted machine (stag/model.py), to call the
    kernel's functions in and to explore."""
    return lambda: Scene(_snapshot())


# Why a boot failed, by its settings: what failed once is not waited for again.
_failed_boots: dict[str, StagError] = {}


@pytest.fixture
def ready(boot: Boot) -> Boot:
    """ready(harts=4, …): a machine on which the kernel has booted."""

    def start(harts: int = 4, **settings: object) -> GradedSystem:
        key = repr((harts, sorted(settings.items())))
        if key in _failed_boots:
            raise _failed_boots[key]
        system = boot(harts=harts, **settings)
        try:
            bring_up(system)
        except (GuestPanic, GuestExit, GuestHang, Failure) as error:
            _failed_boots[key] = error
            raise
        return system

    return start


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Failures are for people: without a Python traceback where the text says
    it all, and with the state of the machine. Nothing of it can steer the
    terminal."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed or call.excinfo is None:
        return
    error = call.excinfo.value
    text = str(error) if isinstance(error, StagError) else str(report.longrepr)
    told = f"\n{TABLE_HEADER}\n" in text
    if isinstance(error, GuestExit | GuestHang) and not told:
        text = without_state(text)
    systems = item.stash.get(_machines, [])[-1:]
    if isinstance(error, InfrastructureError):
        report.when = "setup"
        report.user_properties.append((NOT_THE_KERNEL, True))
    elif isinstance(error, GuestPanic):  # which tells where the harts are
        text += "".join(kernel_traps(system, text) for system in systems)
    elif not told:
        text = "\n".join([text, *(machine_report(system) for system in systems)])
    report.longrepr = plain(text)
