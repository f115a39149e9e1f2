"""Fixtures for the tests of the reference kernel.

A test gets a machine from `boot_system`, which is killed when the test ends.
Tests share nothing, so any number of them run side by side.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stag.errors import InfrastructureError, StagError
from stag.machine import MachineConfig, require_qemu
from stag.symbols import Symbols
from stag.system import System, boot, symbols_of

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("STAG_BUILD", ROOT / "build"))
KERNEL = BUILD / "kernel.elf"
USER = BUILD / "user"

BootSystem = Callable[..., System]


def pytest_sessionstart() -> None:
    """What every test needs is looked for once, before any test."""
    # A shell that runs us in the background has ctrl-C ignored, also by the
    # programs that we start and then interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        require_qemu()
        symbols_of(KERNEL)
    except StagError as error:
        pytest.exit(str(error), returncode=3)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Iterator[None]:
    """The library's errors are for people: without a Python traceback. What is
    wrong with the computer is an error, not a failure of the kernel."""
    outcome = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, StagError):
        report = outcome.get_result()
        report.longrepr = str(call.excinfo.value)
        if isinstance(call.excinfo.value, InfrastructureError):
            report.when = "setup"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and config.option.keyword:
        word = config.option.keyword
        terminalreporter.write_line(
            f"No quick test has '{word}' in its name; make test-slow TEST={word} looks at all"
            if config.option.markexpr
            else f"No test has '{word}' in its name"
        )


@pytest.fixture(scope="session")
def symbols() -> Symbols:
    """The kernel's."""
    return symbols_of(KERNEL)


@pytest.fixture
def boot_system() -> Iterator[BootSystem]:
    """boot_system(**fields of MachineConfig): a machine with the kernel, not
    yet running. Several may be started in one test."""
    with contextlib.ExitStack() as machines:

        def start(**settings: object) -> System:
            settings.setdefault("kernel", KERNEL)
            return machines.enter_context(boot(MachineConfig(**settings)))  # type: ignore[arg-type]

        yield start


def _view(pid: str) -> tuple[int, ...]:
    """Of what files a process sees: its mounts, and where its / is."""
    root = os.stat(f"/proc/{pid}/root")
    return os.stat(f"/proc/{pid}/ns/mnt").st_ino, root.st_dev, root.st_ino


def processes(word: str) -> list[str]:
    """Command lines with this in them, on Linux. Not of those that see other
    files than we do: in another chroot or container the same path is not ours."""
    found = []
    for path in Path("/proc").glob("[1-9]*"):
        with contextlib.suppress(OSError):
            if _view(path.name) == _view("self"):
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ")
                found.append(line.decode(errors="replace"))
    return [line for line in found if word in line]
