"""Names for what is in memory, as timelines speak of it.

A place and an address that points to it go by the same name: an object of the
scene (`hart 1.mcs_lock_next`), an entry of the page allocation table (`entry of
page 0x…`), a page, a variable. What is nothing of these is a number.
"""

from __future__ import annotations

import bisect
import re
from functools import cached_property
from typing import TYPE_CHECKING

from .errors import StagError
from .model import MASK, PAGE
from .report_state import CAUSES
from .system import KERNEL_IMAGE, LINEAR_MAP

if TYPE_CHECKING:
    from .scene import Scene
    from .symbols import Symbols

WORD = 8
BANKS_MAX = 32  # kernel/bank.h
SMALL = 10  # numbers below it are shown in decimal …
NEGATIVE = 1 << 20  # … and those with a sign that are no farther below 0


def location(word: int, mask: int) -> tuple[int, int]:
    """Where the bits of the mask are in memory: physical address and size."""
    shift = (mask & -mask).bit_length() - 1
    return word * WORD + shift // 8, (mask >> shift).bit_length() // 8


def bits(value: int, mask: int) -> int:
    """What the mask takes of a word, as a number."""
    return (value & mask) >> (mask & -mask).bit_length() - 1


class Names:
    """The names of one scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.symbols = scene.symbols
        # Both maps have one offset for all that is in them (kernel/address.h).
        image = self.symbols["global_page"]
        linear = scene.hart_page(0)
        self.image_offset = image - scene.memory().translate(image)
        self.linear_offset = linear - scene.memory().translate(linear)

    @cached_property
    def _banks(self) -> list[tuple[int, int, int]]:
        """(base, size, entries) of each: linear addresses, bytes."""
        try:
            memory, layout = self.scene.memory(), self.symbols.struct("bank")
            count = memory.u64(self.symbols["bank_count"])
            banks = []
            for index in range(min(count, BANKS_MAX)):
                at = memory.u64(self.symbols["banks"] + index * WORD)
                base, size, entries = (
                    memory.u64(at + layout[name].offset) for name in ("base", "size", "entries")
                )
                banks.append((base, size, entries))
            return banks
        except StagError:
            return []  # overwritten

    @cached_property
    def _variables(self) -> list[tuple[int, int, str]]:
        """(address, size, name) of each, sorted."""
        return sorted(
            (symbol.address, symbol.size, symbol.name)
            for symbol in self.symbols.by_name.values()
            if symbol.size and not symbol.is_function and not self.symbols.is_code(symbol.address)
        )

    def _object(self, pa: int, size: int) -> str:
        """An object that the scene has named, or a part of it."""
        page = pa & -PAGE
        offset = pa - page
        if page not in self.scene.names:
            return ""
        name, struct = self.scene.names[page], self.scene.structs.get(page)
        member = self.symbols.struct(struct).path(offset, size) if struct else ""
        return f"{name}.{member}" if member else f"{name}+{offset:#x}" if offset else name

    def _in_bank(self, pa: int) -> str:
        """An entry of the page allocation table, or a page that it is about."""
        address = pa + self.linear_offset
        for base, size, entries in self._banks:
            index, rest = divmod(address - entries, WORD)
            if 0 <= index < size // PAGE:
                text = f"entry of page {base + index * PAGE:#x}"
                return f"{text}+{rest:#x}" if rest else text
        for base, size, _ in self._banks:
            if 0 <= address - base < size:
                page, rest = address & -PAGE, address & PAGE - 1
                return f"page {page:#x}+{rest:#x}" if rest else f"page {page:#x}"
        return ""

    def _variable(self, pa: int, size: int) -> str:
        address = pa + self.image_offset
        index = bisect.bisect_right(self._variables, (address, MASK, "")) - 1
        if index < 0 or address >= sum(self._variables[index][:2]):
            return ""
        at, _, symbol = self._variables[index]
        name = re.sub(r"\.\d+$", "", symbol)  # a static one of a function
        layout = self.symbols.variable(name)
        offset = address - at
        if layout is None or offset >= layout.size:
            return f"{name}+{offset:#x}" if offset else name
        return layout.path(offset, size)

    def place(self, pa: int, size: int = WORD) -> str:
        """What is there: object and field, entry, page, variable, or address."""
        entry = self._in_bank(pa)
        if entry.startswith("entry"):
            return entry
        found = self._object(pa, size) or entry or self._variable(pa, size)
        return found or f"[physical {pa:#x}]"

    def _pointed_at(self, value: int) -> str:
        """What is at this address, if it is one of the linear map or the image."""
        if value >= LINEAR_MAP:
            pa = value - self.linear_offset
            entry = self._in_bank(pa)
            if entry.startswith("entry"):
                return entry
            return self.scene.names.get(pa) or self._object(pa, WORD) or entry
        if value >= KERNEL_IMAGE:
            if self.symbols.is_code(value):
                found = self.symbols.function_at(value)
                return found.name if found and found.address == value else ""
            pa = value - self.image_offset
            return self.scene.names.get(pa) or self._object(pa, WORD) or self._variable(pa, WORD)
        return ""

    def value(self, value: int) -> str:
        """A number; the name of what is there if it is an address."""
        found = self._pointed_at(value)
        if found:
            return found
        if MASK - value < NEGATIVE:
            return str(value - MASK - 1)
        return str(value) if value < SMALL else f"{value:#x}"


def readable(symbols: Symbols, text: str) -> str:
    """What the model says of a trap, with the names of its cause and its place."""

    def named(found: re.Match[str]) -> str:
        cause, pc = int(found[1]), int(found[2], 16)
        name = f" ({CAUSES[cause]})" if cause in CAUSES else ""
        return f"cause {cause}{name} at {symbols.describe(pc)}"

    return re.sub(r"cause (\d+) at pc (0x[0-9a-f]+)", named, text)
