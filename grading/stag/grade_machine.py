"""The machine as graders get it: watched more closely than others, and brought
to the point from which the labs are graded.

The watchdog of a graded machine counts the processor time that QEMU has used,
which hardly depends on what else this computer does. Only a machine that uses
none, since all its harts wait, is ended by the clock.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import GuestExit, GuestHang, GuestPanic
from .grade_symbols import graded_symbols_of
from .harts import ENDINGS
from .machine import PATIENCE, Machine, MachineConfig, slowness
from .patience import Patience
from .remote import Stop
from .report_state import kernel_traps, machine_report, without_state
from .symbols import Symbols
from .system import KERNEL_IMAGE, System
from .verdict import check

FIRST_PROGRAM = "first_program_start"
SCHEDULER = "scheduler_next"

CPU_SHARE = 0.2  # seconds of QEMU's processor time for each second of patience
CPU_SLOWEST = 2.0  # … on a computer that is no slower than this
IDLE_SHARE = 0.25  # and seconds that it may use none at all
BOOT_PATIENCE = 10.0  # 2 seconds of processor time; a boot uses 0.1
SLICE = 0.2
CONSOLE_MAX = 4 << 20  # bytes that a test's guest may print


class GradedMachine(Machine):
    """A machine whose watchdog counts processor time."""

    def wait_stop(self, patience: float = PATIENCE) -> Stop:
        begun = used = self._cpu_seconds()
        idle = IDLE_SHARE * patience * slowness()
        waiting = Patience(idle)
        while True:
            try:
                stop = self.remote.wait(SLICE / slowness())
                return Stop(exit_code=self.wait_exit()) if stop.exited else stop
            except GuestExit:
                return Stop(exit_code=self.wait_exit())
            except GuestHang:
                pass
            waits = waiting.pause() == 0
            now = self._cpu_seconds()
            if now > used:
                used, waits, waiting = now, False, Patience(idle)
            flooded = len(self.serial.data) > CONSOLE_MAX
            runs = used - begun > patience * CPU_SHARE * min(slowness(), CPU_SLOWEST)
            if flooded or runs or waits:
                stop = self.interrupt()
                if stop.exited:
                    return stop
                raise GuestHang(
                    "the machine floods its console" if flooded else "no hart comes where it should"
                )

    def _cpu_seconds(self) -> float:
        """As the watchdog counts it: by the clock where the system does not
        tell the processor time."""
        try:
            return self.cpu_seconds()
        except OSError:
            return time.monotonic() / slowness()


@dataclass(repr=False)
class GradedSystem(System):
    """A kernel under test."""

    boot_hart: int | None = None  # known once the machine is ready


@contextlib.contextmanager
def graded(config: MachineConfig, symbols: Symbols | None = None) -> Iterator[GradedSystem]:
    """A machine, stopped before its first instruction; killed at the end."""
    with GradedMachine(config) as machine:
        system = GradedSystem(machine, symbols or graded_symbols_of(config.kernel))
        system.harts.ends_backtraces = True  # who reads them has not called these functions
        yield system


def bring_up(system: GradedSystem) -> None:
    """Boot until every hart has come to where the labs are graded from: the
    boot hart to the first instruction of first_program_start, each other hart
    to that of scheduler_next. Then all are stopped there."""
    harts, symbols = system.harts, system.symbols
    # Before paging the kernel runs, and may stop, at physical addresses.
    low = system.load_address - KERNEL_IMAGE
    endings = {symbols[name] + low for name in ENDINGS if name in symbols}
    waiting = set(range(harts.hart_count))
    while waiting:
        try:
            reached = harts.run(
                *(FIRST_PROGRAM, SCHEDULER, *endings),
                harts=sorted(waiting),
                patience=BOOT_PATIENCE,
            )
        except GuestHang as hang:
            why = f"the boot does not end: {without_state(str(hang))}{_trap_loops(system)}"
            # The place is told at once: who reports this may not have the machine.
            raise GuestHang(f"{why}\n{machine_report(system)}") from None
        except GuestPanic as panic:
            raise GuestPanic(f"{panic}{kernel_traps(system, str(panic))}") from None
        except GuestExit as ended:
            raise GuestExit(f"the boot does not end: {ended}") from None
        if reached.address in endings:
            table = harts.table()
            raise GuestPanic(
                f"the kernel stopped before paging was on, on hart {reached.hart}:\n"
                f"{harts.let_panic(harts=[reached.hart])}\nharts at that moment:\n{table}"
            )
        waiting.discard(reached.hart)
        if reached.address == symbols[FIRST_PROGRAM]:
            system.boot_hart = reached.hart
    check(
        system.boot_hart is not None,
        "one hart at first_program_start, the others at scheduler_next",
        "all at scheduler_next",
    )
    _check_given(system)


def _trap_loops(system: System) -> str:
    """Harts whose trap vector traps itself: they get nowhere."""
    lines = []
    for hart in range(system.harts.hart_count):
        pc, vector, epc, cause, address = (
            system.remote.register(hart, name)
            for name in ("pc", "stvec", "sepc", "scause", "stval")
        )
        if pc == vector == epc:
            lines.append(
                f"\n  hart {hart} traps in a circle: its trap vector {vector:#x} is no code"
                f" there (scause {cause}, stval {address:#x})"
            )
    return "".join(lines)


def _check_given(system: GradedSystem) -> None:
    """The graders rely on what the given files keep: see that it is not
    overwritten."""
    count = system.harts.hart_count
    hint = "hart_count and harts (kernel/boot.c) were overwritten, or are not mapped"
    found = system.variable("hart_count")
    check(found == count, f"{count} harts", f"hart_count is {found}", "hart_count", hint)
    member = system.symbols.struct("hart")["self"]
    for index in range(count):
        page = system.hart_page(index)
        own = system.memory.u64(page + member.offset)
        check(page == own, "a hart page", f"{page:#x}", f"harts[{index}]", hint)
