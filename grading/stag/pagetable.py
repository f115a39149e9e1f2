"""Walks Sv39 and Sv48 page tables in physical memory.

Written from the RISC-V privileged manual ("Supervisor-Level ISA", the
chapters on satp, Sv39 and Sv48), not from the kernel. An entry:

     63 62  61 54  53              10 9   8 7 6 5 4 3 2 1 0
    +-----+------+------------------+-----+-+-+-+-+-+-+-+-+
    |  0  |  0   | physical page    | RSW |D|A|G|U|X|W|R|V|
    +-----+------+------------------+-----+-+-+-+-+-+-+-+-+

V with R, W and X clear points to the next table; V with R or X is a leaf;
W without R is reserved. In an entry that points on, D, A and U are reserved
and must be clear. A leaf above the lowest level must be aligned to its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .errors import StagError
from .memory import Memory

PAGE = 4096
V, R, W, X, U, G, A, D = (1 << bit for bit in range(8))
RSW_SHIFT = 8
_PPN_SHIFT = 10
_PPN_MASK = (1 << 44) - 1
_RESERVED = ((1 << 10) - 1) << 54

MODES = {8: 3, 9: 4}  # of satp: Sv39 has three levels, Sv48 four


def rights_text(flags: int) -> str:
    """Rights as letters, as in "R-X-G"."""
    return "".join(
        letter if flags & bit else "-" for letter, bit in zip("RWXUG", (R, W, X, U, G), strict=True)
    )


@dataclass(frozen=True)
class Entry:
    """A valid page table entry."""

    va: int  # lowest address it translates
    level: int  # 0 for a 4 KiB page, 1 for 2 MiB, 2 for 1 GiB, 3 for 512 GiB
    at: int  # physical address of the entry itself
    value: int

    @property
    def pa(self) -> int:
        return (self.value >> _PPN_SHIFT & _PPN_MASK) * PAGE

    @property
    def flags(self) -> int:
        return self.value & 0xFF

    @property
    def rsw(self) -> int:
        return self.value >> RSW_SHIFT & 3

    @property
    def is_leaf(self) -> bool:
        return bool(self.flags & (R | W | X))

    @property
    def size(self) -> int:
        return PAGE << 9 * self.level

    def defect(self) -> str | None:
        """What the manual forbids about this entry, if anything."""
        if self.value & _RESERVED:
            return "reserved bits 54 to 63 are set"
        if self.flags & (R | W) == W:
            return "W without R is reserved"
        if not self.is_leaf and self.flags & (A | D | U):
            return "A, D or U is set in an entry that points to a table"
        if self.is_leaf and self.pa % self.size:
            return f"a leaf of {self.size:#x} bytes at physical {self.pa:#x} is misaligned"
        if not self.is_leaf and self.level == 0:
            return "an entry of the lowest level is no leaf"
        return None

    def __str__(self) -> str:
        kind = f"leaf {rights_text(self.flags)} rsw {self.rsw:02b}" if self.is_leaf else "table"
        return f"va {self.va:#x} -> pa {self.pa:#x} level {self.level} {kind}"


@dataclass(frozen=True)
class Range:
    """Consecutive addresses mapped to consecutive memory with equal rights."""

    va: int
    pa: int
    size: int
    flags: int  # of R, W, X, U and G
    rsw: int
    levels: frozenset[int]  # of its leaves

    @property
    def end(self) -> int:
        return self.va + self.size

    @property
    def rights(self) -> str:
        return rights_text(self.flags)

    def __str__(self) -> str:
        return (
            f"{self.va:#018x}-{self.end:#018x} -> {self.pa:#x}"
            f" {self.rights} rsw {self.rsw:02b} levels {sorted(self.levels)}"
        )


@dataclass(frozen=True)
class PageTable:
    """The address space that a value of satp stands for."""

    memory: Memory
    satp: int

    def __post_init__(self) -> None:
        if self.satp >> 60 not in MODES:
            raise StagError(f"satp {self.satp:#x} selects neither Sv39 nor Sv48")

    @property
    def levels(self) -> int:
        return MODES[self.satp >> 60]

    @property
    def asid(self) -> int:
        return self.satp >> 44 & 0xFFFF

    @property
    def root(self) -> int:
        return (self.satp & _PPN_MASK) * PAGE

    def canonical(self, va: int) -> int:
        """Bits above the translated ones repeat the highest of those."""
        width = 12 + 9 * self.levels
        va &= (1 << width) - 1
        return va | (1 << 64) - (1 << width) if va >> width - 1 else va

    def entries(self) -> Iterator[Entry]:
        """All valid entries, tables before what they hold, by address."""
        yield from self._entries(self.root, self.levels - 1, 0)

    def _entries(self, table: int, level: int, base: int) -> Iterator[Entry]:
        data = self.memory.read(table, PAGE)
        for index in range(512):
            value = int.from_bytes(data[index * 8 : index * 8 + 8], "little")
            if value & V:
                va = base + (index << 12 + 9 * level)
                entry = Entry(self.canonical(va), level, table + index * 8, value)
                yield entry
                if not entry.is_leaf and level > 0:
                    yield from self._entries(entry.pa, level - 1, va)

    def leaves(self) -> Iterator[Entry]:
        return (entry for entry in self.entries() if entry.is_leaf)

    def tables(self) -> dict[int, int]:
        """Physical address of each table page: its number of valid entries."""
        counts = {self.root: 0}
        for entry in self.entries():
            counts[entry.at // PAGE * PAGE] += 1
            if not entry.is_leaf and entry.level > 0:
                counts.setdefault(entry.pa, 0)
        return counts

    def defects(self) -> list[str]:
        """What the manual forbids, entry by entry."""
        return [f"{entry}: {why}" for entry in self.entries() if (why := entry.defect())]

    def lookup(self, va: int) -> Entry | None:
        """The leaf that translates an address."""
        if self.canonical(va) != va:
            return None
        table = self.root
        for level in reversed(range(self.levels)):
            shift = 12 + 9 * level
            at = table + (va >> shift & 511) * 8
            value = int.from_bytes(self.memory.read(at, 8), "little")
            if not value & V:
                return None
            entry = Entry(va >> shift << shift, level, at, value)
            if entry.is_leaf:
                return entry
            table = entry.pa
        return None

    def translate(self, va: int) -> int | None:
        """The physical address behind a virtual one, whatever the rights."""
        entry = self.lookup(va)
        return entry.pa + (va - entry.va) if entry else None

    def ranges(self) -> list[Range]:
        """Everything mapped, in pieces as large as can be."""
        result: list[Range] = []
        for leaf in self.leaves():
            flags = leaf.flags & (R | W | X | U | G)
            last = result[-1] if result else None
            if (
                last is not None
                and last.end == leaf.va
                and last.pa + last.size == leaf.pa
                and (last.flags, last.rsw) == (flags, leaf.rsw)
            ):
                result[-1] = Range(
                    last.va,
                    last.pa,
                    last.size + leaf.size,
                    flags,
                    leaf.rsw,
                    last.levels | {leaf.level},
                )
            else:
                result.append(
                    Range(leaf.va, leaf.pa, leaf.size, flags, leaf.rsw, frozenset({leaf.level}))
                )
        return result
