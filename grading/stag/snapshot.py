"""From a machine that stands still in QEMU to the model of it (model.py).

The model reads memory page by page, as it needs it; the machine has to stay as
it is. Several models of one machine share nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .errors import StagError
from .model import PAGE, SUPERVISOR, Hart, World
from .model_translate import walk
from .symbols import Symbols
from .system import System

ENDINGS = ("panic", "panic_trap", "panic_assert", "stop")
CSRS = {
    "satp": 0x180, "sstatus": 0x100, "sie": 0x104, "stvec": 0x105, "sscratch": 0x140,
    "sepc": 0x141, "scause": 0x142, "stval": 0x143, "scounteren": 0x106,
}  # fmt: skip
MAIN_MEMORY = 0x80000000
MTIME = 0x200BFF8  # of QEMU's virt board


@dataclass(frozen=True)
class HartState:
    id: int
    registers: tuple[int, ...]  # x0 … x31, pc
    csr: dict[int, int]


@dataclass
class Snapshot:
    """A machine at a standstill: what models of it begin with."""

    system: System
    harts: list[HartState]  # by the kernel's count
    time: int
    pages: dict[int, list[int]] = field(default_factory=dict)  # read so far

    @classmethod
    def take(cls, system: System) -> Snapshot:
        """Every hart must stand in the kernel, on its own table."""
        states = []
        for index in range(system.harts.hart_count):
            hart_id = system.memory.u64(
                system.hart_page(index) + system.symbols.struct("hart")["id"].offset
            )
            if system.harts.mode(hart_id) != SUPERVISOR:
                raise StagError(
                    f"hart {hart_id} is not in the kernel: {system.harts.where(hart_id)}"
                )
            registers = tuple(system.remote.general_registers(hart_id))
            csr = {number: system.remote.register(hart_id, name) for name, number in CSRS.items()}
            states.append(HartState(hart_id, registers, csr))
        return cls(system, states, system.physical.u64(MTIME))

    def _page(self, page: int) -> list[int]:
        words = self.pages.get(page)
        if words is None:
            data = self.system.physical.read(page * PAGE, PAGE)
            words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, PAGE, 8)]
            self.pages[page] = words
        return words

    def world(self, harts: int | None = None) -> World:
        """A model of the machine, with its first so many harts."""
        symbols = self.system.symbols
        functions = [s.address for s in symbols.by_name.values() if s.is_function]
        world = World(
            self._page,
            symbols.instruction,
            ram=MAIN_MEMORY,
            boundaries=functions,
            endings={symbols[name]: name for name in ENDINGS if name in symbols},
            describe_ending=lambda world, hart, name: describe_ending(world, hart, name, symbols),
        )
        world.time = self.time
        for index, state in enumerate(self.harts[:harts]):
            hart = Hart(index, state.id)
            hart.x[:] = state.registers[:32]
            hart.pc = state.registers[32]
            hart.csr = dict(state.csr)
            world.harts.append(hart)
        return world


def describe_ending(world: World, hart: Hart, name: str, symbols: Symbols) -> str:
    """What a panic would print."""
    memory = KernelMemory(world, hart)
    if name == "panic_assert":
        condition, file, line = hart.x[10], hart.x[11], hart.x[12]
        return f"KERNEL_ASSERT({memory.string(condition)}) failed at {memory.string(file)}:{line}"
    if name == "panic_trap":
        return "the kernel trapped"
    values = iter(hart.x[11:18])

    def fill(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        value = next(values, 0)
        if found[0].endswith("s"):
            return memory.string(value)
        if found[0][-1] in "px":
            return f"{value:#x}" if found[0][-1] == "p" else f"{value:x}"
        return str(value - (1 << 64) if value >> 63 and found[0][-1] == "d" else value)

    return re.sub(r"%[0-9]*l*[a-z%]", fill, memory.string(hart.x[10]))


@dataclass
class KernelMemory:
    """Memory of a model as the kernel sees it on a hart: words, bytes,
    strings by virtual address. Writing is for setting a scene."""

    world: World
    hart: Hart

    def translate(self, va: int) -> int:
        """Physical address by the hart's table, whatever the rights."""
        watching, self.world.watching = self.world.watching, False  # nobody touches it
        try:
            pa, flags, _ = walk(self.world, self.hart, va)
        finally:
            self.world.watching = watching
        if not flags:
            raise StagError(f"nothing is mapped at {va:#x}")
        return pa | va & PAGE - 1

    def u64(self, va: int) -> int:
        return self.world.word(self.translate(va) >> 3)

    def u32(self, va: int) -> int:
        return self.u64(va & -8) >> (va & 4) * 8 & 0xFFFFFFFF

    def set_u64(self, va: int, value: int) -> None:
        self.world.set_word(self.translate(va) >> 3, value)

    def set_u32(self, va: int, value: int) -> None:
        shift = (va & 4) * 8
        word = self.u64(va & -8) & ~(0xFFFFFFFF << shift)
        self.set_u64(va & -8, word | (value & 0xFFFFFFFF) << shift)

    def read(self, va: int, size: int) -> bytes:
        data = b"".join(self.u64(at).to_bytes(8, "little") for at in range(va & -8, va + size, 8))
        return data[va & 7 :][:size]

    def string(self, va: int, limit: int = 200) -> str:
        try:
            return self.read(va, limit).split(b"\0")[0].decode(errors="replace")
        except StagError:
            return f"{va:#x}"
