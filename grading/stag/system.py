"""One booted kernel: the machine, its symbols, and what they say together.

with boot(MachineConfig(kernel)) as system:
    system.run_to_prompt()
    system.allocation().check()
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import alloc
from .devicetree import Devicetree
from .errors import GuestExit, GuestHang, StagError
from .harts import A0, Harts
from .machine import PATIENCE, Machine, MachineConfig, slowness
from .memory import PhysicalMemory, TranslatedMemory
from .opcodes import ECALL, SRET
from .pagetable import MODES, PAGE, PageTable, U, X
from .patience import Patience
from .remote import PC, Remote
from .symbols import Symbols

PROMPT = "stag$ "
KERNEL_IMAGE = 0xFFFFFFC000000000
HART_PAGE = 0xFFFFFFC040000000
HART_STACK = HART_PAGE + 0x2000
HART_STACK_SIZE = 0x2000
LINEAR_MAP = 0xFFFFFFE000000000
MASK = (1 << 64) - 1
A7 = 17


@functools.cache
def symbols_of(path: Path) -> Symbols:
    """An ELF file is read once in a process."""
    return Symbols(path)


@dataclass(repr=False)
class System:
    """A machine with a Stag kernel on it."""

    machine: Machine
    symbols: Symbols

    @property
    def remote(self) -> Remote:
        return self.machine.remote

    @property
    def physical(self) -> PhysicalMemory:
        return self.machine.memory

    @cached_property
    def harts(self) -> Harts:
        return Harts(self.machine, self.symbols)

    # Boot

    @property
    def load_address(self) -> int:
        """Where the firmware enters the kernel."""
        return min(segment.physical for segment in self.symbols.segments)

    def run_to_entry(self) -> int:
        """Run the firmware; stop at the kernel's first instruction. The hart."""
        return self.harts.run(self.load_address).hart

    def read_devicetree(self, hart: int) -> Devicetree:
        """What the firmware tells the kernel, at the kernel's first instruction
        on this hart."""
        at = self.remote.register(hart, "a1")
        size = int.from_bytes(self.physical.read(at + 4, 4), "big")
        return Devicetree.parse(self.physical.read(at, size))

    def replace_devicetree(self, hart: int, data: bytes) -> None:
        """Tell the kernel something else, at its first instruction. Other than
        with QEMU's -dtb, the firmware still knows the true machine."""
        at = self.remote.register(hart, "a1") - (len(data) // PAGE + 1) * PAGE
        self.physical.write(at, data)
        self.remote.set_register(hart, "a1", at)

    def run_to_prompt(self, prompt: str = PROMPT, patience: float = PATIENCE) -> None:
        """Boot, or finish a command, until the shell waits for a key and every
        hart is idle. Then all harts are stopped."""
        self.wait_for(prompt, self._after_prompt, patience)
        self._after_prompt = len(self.machine.serial.data)
        self.settle()

    _after_prompt: int = 0

    def wait_for(self, text: str, start: int = 0, patience: float = PATIENCE) -> int:
        """Let all harts run until the console has said something. A panic ends
        the wait at once."""
        harts = self.harts
        serial = self.machine.serial
        waiting = Patience(patience * slowness())
        wanted = text.encode()
        harts.resume()
        while True:
            found = serial.data.find(wanted, start)
            if found >= 0:
                self.machine.interrupt()
                return found + len(wanted)
            try:
                stop = self.remote.wait(0.01 / slowness())
            except GuestExit:
                code = self.machine.wait_exit()
                raise GuestExit(
                    f"the machine powered off with status {code} before it said {text!r};"
                    f" it said last:\n{serial.text[-1200:]}"
                ) from None
            except GuestHang:
                if waiting.pause() == 0:
                    self.machine.interrupt()
                    raise GuestHang(
                        f"the console did not say {text!r} within {patience:g} seconds;"
                        f" it said last:\n{serial.text[-600:]}\n{harts.table()}"
                    ) from None
                continue
            harts.judge_stop(stop)
            harts.resume()

    def settle(self, patience: float = PATIENCE) -> None:
        """Let all harts run until none has anything to do, then stop them."""
        waiting = Patience(patience * slowness())
        while not self.all_idle():
            if waiting.pause() == 0:
                raise GuestHang(f"some hart is never idle:\n{self.harts.table()}")
            self.harts.run_for(0.01)

    def all_idle(self) -> bool:
        """Every hart waits in the kernel for an interrupt."""
        return all(self.harts.is_waiting(hart) for hart in range(self.harts.hart_count))

    def command(self, line: str, prompt: str = PROMPT, patience: float = PATIENCE) -> str:
        """Type a line at the idle prompt and wait for the next one: what was
        printed between them."""
        start = len(self.machine.serial.data)
        self.machine.serial.type(line + "\n")
        self.run_to_prompt(prompt, patience)
        text = self.machine.serial.data[start:].decode(errors="replace").replace("\r\n", "\n")
        return text.removesuffix(prompt).partition("\n")[2]

    # Tables

    def kernel_satp(self, hart: int) -> int:
        """The hart's own kernel table: in satp while it is in the kernel, in
        sscratch while it is in user mode, in t0 for a moment between them."""
        for name in ("satp", "sscratch", "t0"):
            satp = self.remote.register(hart, name)
            if satp >> 60 in MODES and (satp >> 44 & 0xFFFF) == 0:
                return satp
        raise StagError(f"hart {hart} has no kernel table: {self.harts.where(hart)}")

    def kernel_table(self, hart: int) -> PageTable:
        return PageTable(self.physical, self.kernel_satp(hart))

    def kernel_memory(self, hart: int = 0) -> TranslatedMemory:
        """Memory as the kernel sees it on this hart."""
        return TranslatedMemory(self.physical, self.kernel_table(hart))

    @cached_property
    def memory(self) -> TranslatedMemory:
        """The image and the linear map, which are the same on all harts and
        stay. Not the hart page."""
        for hart in range(self.harts.hart_count):
            with contextlib.suppress(StagError):
                return self.kernel_memory(hart)
        raise StagError("no hart has a kernel table yet")

    def hart_page(self, index: int) -> int:
        """Linear address of the page of hart `index`, by the kernel's count."""
        return self.memory.u64(self.symbols["harts"] + index * 8)

    def variable(self, name: str) -> int:
        """An 8-byte variable of the kernel."""
        return self.memory.u64(self.symbols[name])

    # User mode

    @cached_property
    def _returns_to_user(self) -> list[int]:
        """Where the kernel executes sret."""
        return [
            section.address + offset
            for section in self.symbols.sections
            if section.executable
            for offset in range(0, len(section.data) - 3, 4)
            if int.from_bytes(section.data[offset : offset + 4], "little") == SRET
        ]

    def run_to_user(self, harts: list[int] | None = None, patience: float = PATIENCE) -> int:
        """Run until some hart enters user mode; it stands at the program's
        next instruction. Which hart."""
        reached = self.harts.run(*self._returns_to_user, harts=harts, patience=patience)
        self.harts.step(reached.hart)
        if not self.harts.in_user_mode(reached.hart):
            raise StagError(f"sret on hart {reached.hart} did not lead to user mode")
        return reached.hart

    def user_table(self, hart: int) -> PageTable:
        """The address space that a hart runs in, in user mode."""
        if not self.harts.in_user_mode(hart):
            raise StagError(f"hart {hart} is not in user mode: {self.harts.where(hart)}")
        return PageTable(self.physical, self.remote.register(hart, "satp"))

    def find_ecall(self, table: PageTable) -> int:
        """The address of an ecall in a program's code."""
        for piece in table.ranges():
            if piece.flags & X and piece.flags & U:
                code = self.physical.read(piece.pa, piece.size)
                for offset in range(0, piece.size, 4):
                    if code[offset : offset + 4] == ECALL.to_bytes(4, "little"):
                        return piece.va + offset
        raise StagError("the program holds no ecall")

    @contextlib.contextmanager
    def borrowed(self, hart: int) -> Iterator[Caller]:
        """A hart in user mode, to make system calls from; its program does
        not notice."""
        table = self.user_table(hart)
        saved = self.remote.save_registers(hart)
        yield Caller(self, hart, self.find_ecall(table))
        self.remote.restore_registers(hart, saved)

    # State

    def allocation(self) -> alloc.Allocation:
        return alloc.read_allocation(self.symbols, self.memory)


@dataclass
class Caller:
    """Makes system calls on a hart in user mode, the others frozen."""

    system: System
    hart: int
    ecall: int

    def call(self, number: int, *arguments: int, patience: float = PATIENCE) -> int:
        """The call's result, as a signed number. The hart must be given back
        to the same program: for calls that neither block nor yield."""
        self.begin(number, *arguments)
        self.system.harts.run(self.ecall + 4, harts=[self.hart], patience=patience)
        return self.result()

    def begin(self, number: int, *arguments: int) -> None:
        """Stand at the ecall, arguments in place."""
        remote = self.system.remote
        registers = remote.general_registers(self.hart)
        registers[A7] = number
        registers[A0 : A0 + len(arguments)] = [value & MASK for value in arguments]
        registers[PC] = self.ecall
        remote.set_general_registers(self.hart, registers)

    def result(self) -> int:
        value = self.system.remote.register(self.hart, "a0")
        return value - (1 << 64) if value >> 63 else value

    def call_failing(self, place: str, n: int, number: int, *arguments: int) -> tuple[int, int]:
        """The same, while the n-th entry of a kernel function (from 1) returns
        0 at once instead. The result, and how often the function was entered."""
        harts = self.system.harts
        address, back = harts.address(place), self.ecall + 4
        self.begin(number, *arguments)
        entries = 0
        while harts.run(address, back, harts=[self.hart]).address == address:
            entries += 1
            if entries == n:
                harts.return_now(self.hart, 0)
        return self.result(), entries


@contextlib.contextmanager
def boot(config: MachineConfig, symbols: Symbols | None = None) -> Iterator[System]:
    """A machine, stopped before its first instruction; killed at the end."""
    symbols = symbols or symbols_of(config.kernel)
    with Machine(config) as machine:
        yield System(machine, symbols)
