"""The address map that the kernel promises, computed from outside.

Sources: the image's ELF file, where the firmware entered it, and the
devicetree that the firmware handed over. Nothing is asked of the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

from .devicetree import Devicetree
from .pagetable import PAGE, Range
from .symbols import Symbols

KERNEL_IMAGE = 0xFFFFFFC000000000
HART_PAGE = 0xFFFFFFC040000000
HART_STACK = HART_PAGE + 2 * PAGE
HART_STACK_SIZE = 2 * PAGE
LINEAR_MAP = 0xFFFFFFE000000000
KERNEL_HALF = 0xFFFF800000000000
GIB = 1 << 30


@dataclass(frozen=True)
class Piece:
    """Addresses mapped to consecutive memory with the same rights, as letters
    ("RW--G")."""

    va: int
    pa: int
    size: int
    rights: str

    @property
    def end(self) -> int:
        return self.va + self.size

    def __str__(self) -> str:
        return f"{self.va:#018x}-{self.end:#018x} -> {self.pa:#x} {self.rights}"


def merged(pieces: list[Piece]) -> list[Piece]:
    """Sorted, neighbours that continue each other made one."""
    result: list[Piece] = []
    for piece in sorted(pieces, key=lambda p: p.va):
        last = result[-1] if result else None
        if (
            last is not None
            and last.end == piece.va
            and last.pa + last.size == piece.pa
            and last.rights == piece.rights
        ):
            result[-1] = Piece(last.va, last.pa, last.size + piece.size, last.rights)
        else:
            result.append(piece)
    return result


def found(ranges: list[Range]) -> list[Piece]:
    """What a walk found, in the same form."""
    return merged([Piece(r.va, r.pa, r.size, r.rights) for r in ranges])


def image(symbols: Symbols, load_address: int) -> list[Piece]:
    """The kernel's image: text RX, constants R, data RW, global."""
    pieces = []
    for segment in symbols.segments:
        rights = "".join(
            letter if allowed else "-"
            for letter, allowed in (
                ("R", segment.readable),
                ("W", segment.writable),
                ("X", segment.executable),
            )
        )
        size = -(-segment.size // PAGE) * PAGE
        at = load_address + (segment.virtual - KERNEL_IMAGE)
        pieces.append(Piece(segment.virtual, at, size, rights + "-G"))
    return merged(pieces)


def reserved(tree: Devicetree) -> list[tuple[int, int]]:
    """(start, end) of memory that may not even be mapped."""
    if "reserved-memory" not in tree.root.children:
        return []
    areas = []
    for node in tree.node("/reserved-memory").children.values():
        if "no-map" in node.properties and "reg" in node.properties:
            values = node.wide("reg")
            areas += [
                (start, start + size) for start, size in zip(values[::2], values[1::2], strict=True)
            ]
    return sorted(areas)


def linear_base(tree: Devicetree) -> int:
    """The physical address at the start of the linear map."""
    return tree.memory[0][0] // GIB * GIB


def linear(tree: Devicetree) -> list[Piece]:
    """All RAM but what may not be mapped: readable, writable, global."""
    base = linear_base(tree)
    pieces = []
    for start, size in tree.memory:
        at, end = start, start + size
        for low, high in [*reserved(tree), (end, end)]:
            low, high = low // PAGE * PAGE, -(-high // PAGE) * PAGE
            if high < at or low > end:
                continue
            if low > at:
                pieces.append(Piece(LINEAR_MAP + at - base, at, low - at, "RW--G"))
            at = max(at, high)
    return merged(pieces)


def devices(tree: Devicetree) -> list[Piece]:
    """The devices that the kernel drives itself, identity-mapped."""
    pieces = []
    for name in ("ns16550a", "riscv,plic0", "sifive,test0"):
        paths = tree.compatible(name)
        if paths:
            start, size = tree.node(paths[0]).wide("reg")[:2]
            low, high = start // PAGE * PAGE, -(-(start + size) // PAGE) * PAGE
            pieces.append(Piece(low, low, high - low, "RW---"))
    return merged(pieces)


def difference(expected: list[Piece], actual: list[Piece]) -> str:
    """What differs, for people; empty if nothing does."""
    missing = [f"  missing: {piece}" for piece in expected if piece not in actual]
    extra = [f"  found:   {piece}" for piece in actual if piece not in expected]
    return "\n".join([*missing, *extra])
