"""Drives harts one by one: to an instruction, through a call, step by step.

While one hart runs here the others are frozen, so what happens between two
harts is decided by the test and not by luck. A hart that is frozen answers no
IPI: code that waits for another hart has to be run together with it.

A call needs a hart that rests in the kernel: in its idle loop, or stopped at a
breakpoint in C code. Its registers are as before afterwards.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .errors import GuestExit, GuestHang, GuestPanic, RemoteError, StagError
from .machine import PATIENCE, Machine, slowness
from .memory import VirtualMemory
from .patience import Patience
from .remote import PC, Stop
from .symbols import Symbols

MASK = (1 << 64) - 1
WFI = 0x10500073
USER, SUPERVISOR, MACHINE = 0, 1, 3
MODE_NAMES = {USER: "user", SUPERVISOR: "kernel", MACHINE: "firmware"}

SIP_SOFTWARE = 1 << 1
RA, SP, FP, A0 = 1, 2, 8, 10
NO_FRAME = 1  # where no frame can be: the kernel's backtraces end there (panic.c)
ARGUMENTS = 8
STACK_ALIGN = 16
ENDINGS = ("panic", "panic_trap", "panic_assert", "stop")  # functions that don't return
STEPS_MAX = 5_000_000


@dataclass(frozen=True)
class Reached:
    """A hart stopped where it was waited for."""

    hart: int
    address: int


def end_backtrace(text: str, called_from: set[int]) -> str:
    """What the kernel has printed, its backtraces ended at the function that the
    grader has called: the place that it would return to has called nothing."""
    lines: list[str] = []
    in_trace = ended = False
    for line in text.splitlines(keepends=True):
        found = re.match(r" +0x([0-9a-f]+)\b", line)
        in_trace = line.startswith("backtrace:") or (in_trace and found is not None)
        ended = in_trace and (ended or (found is not None and int(found[1], 16) in called_from))
        if not ended:
            lines.append(line)
        elif "the grader" not in lines[-1]:
            lines.append("    (called by the grader)\n")
    return "".join(lines)


class Harts:
    """The harts of a stopped machine that runs one kernel."""

    def __init__(self, machine: Machine, symbols: Symbols) -> None:
        self.machine = machine
        self.symbols = symbols
        self.remote = machine.remote
        self._armed: set[int] = set()
        self._expect_panic = False
        self.ends_backtraces = False  # at the functions that are called here
        self._called_from: set[int] = set()  # return addresses of functions called here
        self._awake: set[int] = set()  # stand behind a wfi but have left it

    @property
    def hart_count(self) -> int:
        return self.remote.hart_count

    def address(self, place: int | str) -> int:
        return self.symbols[place] if isinstance(place, str) else place

    # Looking

    def mode(self, hart: int) -> int:
        return self.remote.register(hart, "priv")

    def in_user_mode(self, hart: int) -> bool:
        return self.mode(hart) == USER

    def is_waiting(self, hart: int) -> bool:
        """The hart stands in or right before a wfi of the kernel."""
        return self._at_wfi(hart) and self.mode(hart) == SUPERVISOR

    def where(self, hart: int) -> str:
        pc = self.remote.pc(hart)
        mode = MODE_NAMES.get(self.mode(hart), "?")
        return f"{mode} {self.symbols.describe(pc) if mode == 'kernel' else hex(pc)}"

    def table(self) -> str:
        """Where every hart is, for reports."""
        return "\n".join(f"  hart {hart}: {self.where(hart)}" for hart in range(self.hart_count))

    def instruction(self, hart: int) -> int | None:
        """The instruction that the hart executes next."""
        return self._instruction(hart, self.remote.pc(hart))

    def _instruction(self, hart: int, pc: int) -> int | None:
        word = self.symbols.instruction(pc)
        if word is None:
            with contextlib.suppress(RemoteError):
                word = VirtualMemory(self.remote, hart).u32(pc)
        return word

    # Stepping

    def step(self, hart: int, before: int | None = None) -> int:
        """One instruction, interrupts masked; a wfi is passed over. The pc.
        It is quicker when told the pc `before`."""
        if before is None:
            before = self.remote.pc(hart)
        if self._instruction(hart, before) == WFI:
            self.remote.set_register(hart, "pc", before + 4)
            return before + 4
        self._awake.discard(hart)
        # A step may execute nothing at all; a jump to itself looks the same.
        for _ in range(4):
            stop = self.remote.step(hart)
            if stop.exited:
                raise GuestExit(f"QEMU ended while hart {hart} was stepped")
            after = self.remote.pc(hart)
            if after != before:
                return after
        return before

    def step_until(self, hart: int, done: Callable[[int], bool], limit: int = STEPS_MAX) -> int:
        """Step until done(pc); how many instructions that took."""
        endings = self.arm_panics()
        pc = self.remote.pc(hart)
        for steps in range(limit):
            if done(pc):
                return steps
            if pc in endings:
                self._raise_panic(hart)
            pc = self.step(hart, pc)
        raise GuestHang(f"hart {hart}: more than {limit} instructions; now in {self.where(hart)}")

    # Running

    def run(
        self,
        *places: int | str,
        harts: list[int] | None = None,
        patience: float = PATIENCE,
    ) -> Reached:
        """Let these harts run (all of them without a list, the others frozen)
        until one comes to one of the places."""
        targets = {self.address(place) for place in places}
        endings = self.arm_panics() - targets
        with self.remote.breakpoints(*targets):
            while True:
                stop = self._run(harts, patience)
                if stop.hart is None:
                    continue
                pc = self.remote.pc(stop.hart)
                if pc in targets:
                    return Reached(stop.hart, pc)
                if pc in endings:
                    self._raise_panic(stop.hart)
                # A breakpoint of somebody else, or a stale stop: go on.
                self.remote.pass_breakpoint(stop.hart)

    def run_hart(self, hart: int, *places: int | str, patience: float = PATIENCE) -> int:
        """Let one hart run, the others frozen, until it comes to a place."""
        self._unhalt(hart)
        return self.run(*places, harts=[hart], patience=patience).address

    def run_for(self, seconds: float, harts: list[int] | None = None) -> None:
        """Let harts run freely for a while, then freeze all. For reaching a
        state, never for judging how long something takes."""
        self.resume(harts)
        try:
            stop = self.remote.wait(seconds / slowness())
        except GuestHang:
            stop = self.machine.interrupt()
        self.judge_stop(stop)

    def resume(self, harts: list[int] | None = None) -> None:
        """Let harts run, without waiting for a stop; a panic is caught."""
        self.arm_panics()
        self._awake.difference_update(range(self.hart_count) if harts is None else harts)
        self.remote.resume(harts)

    def _run(self, harts: list[int] | None, patience: float) -> Stop:
        self.resume(harts)
        try:
            return self._check_exit(self.machine.wait_stop(patience))
        except GuestHang as hang:
            raise GuestHang(f"{hang}\n{self.table()}") from None

    def _check_exit(self, stop: Stop) -> Stop:
        if stop.exited:
            raise GuestExit(
                f"the machine powered off with status {stop.exit_code};"
                f" the console said last:\n{self.machine.serial.text[-1200:]}"
            )
        return stop

    def judge_stop(self, stop: Stop) -> None:
        """Raise if the machine stopped because it ended or panics."""
        self._check_exit(stop)
        if stop.hart is not None and self.remote.pc(stop.hart) in self._armed:
            self._raise_panic(stop.hart)

    def arm_panics(self) -> set[int]:
        """Catch every panic by a breakpoint, which stays; the places."""
        if not self._armed and not self._expect_panic:
            self._armed = {self.symbols[name] for name in ENDINGS if name in self.symbols}
            for address in self._armed:
                self.remote.set_breakpoint(address)
        return self._armed

    def disarm_panics(self) -> None:
        """From here on a panic is what the test wants."""
        self._expect_panic = True
        for address in self._armed:
            self.remote.clear_breakpoint(address)
        self._armed = set()

    def _raise_panic(self, hart: int) -> None:
        """Let the kernel print its panic, then report it."""
        table = self.table()
        raise GuestPanic(
            f"the kernel panicked on hart {hart}:\n{self.let_panic(harts=[hart])}\n"
            f"harts at that moment:\n{table}"
        )

    def let_panic(self, patience: float = PATIENCE, harts: list[int] | None = None) -> str:
        """A panic is due: let these harts run (all of them without a list, which
        may find a reason of their own to panic) until the machine is off or
        they are at rest. What the console said since."""
        self.disarm_panics()
        serial = self.machine.serial
        start = said = len(serial.data)
        waiting = Patience(patience * slowness())
        while waiting.pause() > 0:
            self.resume(harts)
            try:
                stop = self.remote.wait(0.05)
            except GuestHang:
                stop = self.machine.interrupt()
            except GuestExit:
                stop = Stop(exit_code=self.machine.wait_exit())
            if stop.exited:
                break
            if len(serial.data) == said and self.at_rest(harts):
                break
            said = len(serial.data)
        said = serial.data[start:].decode(errors="replace").replace("\r\n", "\n")
        return end_backtrace(said, self._called_from) if self.ends_backtraces else said

    def at_rest(self, harts: list[int] | None = None) -> bool:
        """These harts, or all, wait for an interrupt, in the kernel or the
        firmware."""
        return all(map(self._at_wfi, range(self.hart_count) if harts is None else harts))

    def _at_wfi(self, hart: int) -> bool:
        pc = self.remote.pc(hart)
        return WFI in (self._instruction(hart, pc), self._instruction(hart, pc - 4))

    # Calling

    def call(
        self,
        hart: int,
        function: int | str,
        *arguments: int,
        patience: float = PATIENCE,
        limit_to_hart: bool = True,
    ) -> int:
        """Call a kernel function on a hart and return its result. The other
        harts are frozen unless `limit_to_hart` is false."""
        with self._prepared(hart, function, arguments) as (back, sp):
            harts = [hart] if limit_to_hart else None
            while True:
                reached = self.run(back, harts=harts, patience=patience)
                if reached.hart == hart and self.remote.register(hart, "sp") == sp:
                    return self.remote.register(hart, "a0")

    def count_call(self, hart: int, function: int | str, *arguments: int) -> tuple[int, int]:
        """Call by stepping: the result and the exact number of instructions
        executed, the function's return included."""
        with self._prepared(hart, function, arguments) as (back, sp):
            steps = self.step_until(
                hart, lambda pc: pc == back and self.remote.register(hart, "sp") == sp
            )
            return self.remote.register(hart, "a0"), steps

    def begin_call(self, hart: int, function: int | str, *arguments: int) -> bytes:
        """Put a hart at the start of a function, to be run by hand. It returns
        to where the hart is now; the registers given back restore it."""
        if len(arguments) > ARGUMENTS:
            raise StagError(f"at most {ARGUMENTS} arguments")
        self._unhalt(hart)
        saved = self.remote.save_registers(hart)
        registers = self.remote.general_registers(hart)
        back = registers[PC]
        if not self.symbols.is_code(back) or self.mode(hart) != SUPERVISOR:
            raise StagError(f"hart {hart} can't be called on: it is in {self.where(hart)}")
        registers[RA] = back
        self._called_from.add(back)
        registers[SP] -= registers[SP] % STACK_ALIGN
        if self.ends_backtraces:
            registers[FP] = NO_FRAME
        registers[A0 : A0 + len(arguments)] = [value & MASK for value in arguments]
        registers[PC] = self.address(function)
        self.remote.set_general_registers(hart, registers)
        return saved

    def return_now(self, hart: int, value: int) -> None:
        """At a function's first instruction: leave it with this result."""
        self.remote.set_register(hart, "a0", value)
        self.remote.set_register(hart, "pc", self.remote.register(hart, "ra"))

    @contextlib.contextmanager
    def _prepared(
        self, hart: int, function: int | str, arguments: tuple[int, ...]
    ) -> Iterator[tuple[int, int]]:
        saved = self.begin_call(hart, function, *arguments)
        back = self.remote.register(hart, "ra")
        sp = self.remote.register(hart, "sp")
        # A failed call leaves the hart where it failed, for the report.
        yield back, sp
        self.remote.restore_registers(hart, saved)
        self._awake.add(hart)
        if self.remote.has_breakpoint(back):
            self.remote.pass_breakpoint(hart)

    def _unhalt(self, hart: int) -> None:
        """A hart that waits in wfi runs nothing, wherever its pc is put, until
        an interrupt is pending: make one pending, and take it back once the
        hart has left wfi."""
        if hart in self._awake or not self.is_waiting(hart):
            return
        saved = {name: self.remote.register(hart, name) for name in ("sie", "sip")}
        self.remote.set_register(hart, "sie", saved["sie"] | SIP_SOFTWARE)
        self.remote.set_register(hart, "sip", saved["sip"] | SIP_SOFTWARE)
        registers = self.remote.save_registers(hart)
        self.step(hart)
        self.remote.restore_registers(hart, registers)
        self.remote.set_register(hart, "sie", saved["sie"])
        if not saved["sip"] & SIP_SOFTWARE:
            now = self.remote.register(hart, "sip")
            self.remote.set_register(hart, "sip", now & ~SIP_SOFTWARE)
