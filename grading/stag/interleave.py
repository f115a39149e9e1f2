"""Counts the kernel's instructions of an operation that takes two harts.

The harts take turns by single steps, one instruction each, as if both were
equally fast. What is counted is what either of them executes in the kernel, an
ecall and a wfi included. Two things are not counted, and take no time for the
other hart:

  - The firmware: a hart that enters it is run until it has left it, while the
    other stands still. So nobody waits for an interrupt on its way.
  - User mode: a hart in it is stepped only to take an interrupt, or when no
    hart has anything to do in the kernel. So a hart that the operation leaves
    without work comes to its wfi before the other calls it back.

A hart at a wfi is left alone until an interrupt is pending, as in hardware; to
step it there would never end. The step that takes an interrupt executes
nothing.

Interrupts are let in while we step, other than usual. Ticks are not wanted, as
they go by the clock: the kernel's quantum is made so long that none is due.
With one emulator thread, then, the same operation gives the same count, except
for what the kernel keeps from before, such as the pages in a hart's cache;
hence the smallest of a few counts.

The operation is what the program does between two functions of its own. It is
over when the program is there, on whatever hart, and the others are what they
were before: in user mode, or waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import GuestHang
from .harts import WFI
from .machine import MachineConfig
from .memory import VirtualMemory
from .remote import Stop
from .symbols import Symbols
from .system import KERNEL_IMAGE, System, boot

BEGIN, END = "count_begin", "count_end"  # the program's; the first is told a name
NAME_MAX = 32
FIRMWARE = 0x80000000  # with what lies above, up to the kernel; programs lie below
ENDLESS = 1 << 40  # ticks: a day
TURNS_MAX = 500_000
BOOTS_MAX = 30
INTERRUPT = 1 << 63  # in mcause


@dataclass
class Interleaver:
    """Counts one operation, which a hart of a stopped machine is about to begin."""

    system: System
    main: int  # the hart; it may end on another
    end: int  # where in the program the operation is over for it

    def __post_init__(self) -> None:
        self.harts = self.system.harts
        self.remote = self.system.remote
        self.endings = self.harts.arm_panics()
        self.count = 0
        self._pc = {hart: self.remote.pc(hart) for hart in range(self.harts.hart_count)}
        self._pending: dict[int, bool] = {}  # an interrupt is

    # Looking

    def _in_kernel(self, hart: int) -> bool:
        return self._pc[hart] >= KERNEL_IMAGE

    def _in_firmware(self, hart: int) -> bool:
        return FIRMWARE <= self._pc[hart] < KERNEL_IMAGE

    def _before_wfi(self, hart: int) -> bool:
        return self.system.symbols.instruction(self._pc[hart]) == WFI

    def _in_wfi(self, hart: int) -> bool:
        """The pc is behind it; so it is when the hart has just left it."""
        return self.system.symbols.instruction(self._pc[hart] - 4) == WFI

    def _waits(self, hart: int) -> bool:
        """For an interrupt still to come, in the kernel."""
        at_wfi = self._in_kernel(hart) and (self._before_wfi(hart) or self._in_wfi(hart))
        return at_wfi and not self._pending[hart]

    def _is_busy(self, hart: int) -> bool:
        """It has something to do in the kernel, or an interrupt to take."""
        return self._pending[hart] or (self._in_kernel(hart) and not self._waits(hart))

    def _look(self) -> None:
        """Which harts have an interrupt pending? It comes when some hart was in
        the firmware, and goes in the kernel."""
        for hart in self._pc:
            waiting = self.remote.register(hart, "mip") & self.remote.register(hart, "mie")
            self._pending[hart] = waiting != 0

    # Going on

    def _leave_firmware(self, hart: int) -> None:
        """To where it came from, or to the kernel's entry if it brings an
        interrupt along."""
        back = self.remote.register(hart, "mepc")
        if not self.remote.register(hart, "mcause") & INTERRUPT:
            back += 4
        entry = self.remote.register(hart, "stvec")
        self._pc[hart] = self.harts.run(back, entry, harts=[hart]).address

    def _step(self, hart: int) -> None:
        """One instruction, counted if it is of the kernel."""
        if self._pc[hart] in self.endings:
            self.harts.judge_stop(Stop(hart))
        kernel = self._in_kernel(hart)
        self._pc[hart] = self.harts.step(hart, self._pc[hart])
        if self._in_firmware(hart):
            # An interrupt comes instead of the instruction.
            if self.remote.register(hart, "mcause") & INTERRUPT:
                self.count -= kernel
            self._leave_firmware(hart)
            self._look()
        elif kernel and (self._before_wfi(hart) or not self._in_kernel(hart)):
            self._look()
        self.count += kernel

    def _settle(self) -> None:
        """Bring the other hart to rest, in user mode or waiting."""
        others = [hart for hart in self._pc if hart != self.main]
        for hart in others:
            if self._in_firmware(hart):
                self._leave_firmware(hart)
        self._look()
        for _ in range(TURNS_MAX):
            busy = [hart for hart in others if self._is_busy(hart)]
            if not busy:
                return
            for hart in busy:
                self._step(hart)
        raise GuestHang(f"a hart does not come to rest:\n{self.harts.table()}")

    def run(self) -> int:
        """Let the harts go on until the operation is over; the count."""
        self._settle()
        waited = [hart for hart in self._pc if self._waits(hart)]
        # A wfi counts when it is left, even if it was begun before.
        self.count = sum(self._in_wfi(hart) for hart in waited)
        for _ in range(TURNS_MAX):
            turn = [hart for hart in self._pc if self._is_busy(hart)]
            if not turn:
                at_end = [hart for hart, pc in self._pc.items() if pc == self.end]
                if at_end and sum(map(self._waits, self._pc)) == len(waited):
                    return self.count
                turn = [
                    hart for hart in self._pc if not self._in_kernel(hart) and hart not in at_end
                ]
            if not turn:
                break
            for hart in turn:
                self._step(hart)
        raise GuestHang(f"the operation does not come to its end:\n{self.harts.table()}")


def _stands_at(system: System, hart: int, program: Symbols, name: str) -> bool:
    """Is this hart in that function of the program? All programs lie at the
    same addresses, so look at the code."""
    function = program.symbol(name)
    memory = VirtualMemory(system.remote, hart)
    return system.harts.in_user_mode(hart) and all(
        memory.u32(address) == program.instruction(address)
        for address in range(function.address, function.address + function.size, 4)
    )


def _run_to_begin(system: System, program: Symbols) -> int:
    """Let all harts run until one is about to begin an operation. Which."""
    while True:
        hart = system.harts.run(program[BEGIN]).hart
        if _stands_at(system, hart, program, BEGIN):
            return hart


def count_operations(config: MachineConfig, program: Symbols) -> dict[str, int]:
    """Boot a machine with two harts, start the program, and count each operation
    that it names: the smallest count of each.

    The shell looks after a program that runs, by the clock: so its milliseconds are
    made endless, in the info page. The program has to give it time to go to sleep.

    Which hart takes the program up is luck, and a hart's number counts: loops
    over harts come to it sooner or later. So it has to begin on hart 0."""
    for _ in range(BOOTS_MAX):
        figures = _count_if_on_first(config, program)
        if figures is not None:
            return figures
    raise GuestHang(f"in {BOOTS_MAX} boots {program.path.stem} never began on hart 0")


def _count_if_on_first(config: MachineConfig, program: Symbols) -> dict[str, int] | None:
    """None if the program begins on another hart than the first."""
    figures: dict[str, int] = {}
    with boot(replace(config, harts=2, threads="single")) as system:
        system.run_to_prompt()
        system.memory.set_u64(system.symbols["timer_quantum"], ENDLESS)
        info = system.memory.u64(system.symbols["info_page"])
        timebase = info + system.symbols.struct("info_page")["timebase"].offset
        system.memory.set_u64(timebase, ENDLESS)
        system.remote.mask_interrupts(False)
        system.machine.serial.type(f"{program.path.stem} &\n")
        while True:
            main = _run_to_begin(system, program)
            name_at = system.remote.register(main, "a0")
            if name_at == 0:
                return figures
            if main != 0 and not figures:
                return None
            name = VirtualMemory(system.remote, main).string(name_at, NAME_MAX)
            count = Interleaver(system, main, program[END]).run()
            figures[name] = min(count, figures.get(name, count))
