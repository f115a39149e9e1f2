"""Reads the page allocation table, the free queue and the harts' caches.

The table has a word of 8 bytes for each page of a bank of RAM. Odd: allocated,
2 * count + 1. Even: free; in the free queue the address of the next free
page's word, 0 at the end. A free page is in the queue or in the cache of one
hart, never in both, never twice. Words above a bank's mark were never used:
all their pages are free.

The queue also holds one word that belongs to no page, so that it never runs
empty.

Only the layout of the tables is taken from the kernel, through its debug
information; how it keeps them is not.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import StagError
from .memory import TranslatedMemory
from .symbols import Symbols

PAGE = 4096
WORD = 8
ALLOCATED = 1


@dataclass(frozen=True, repr=False)
class Bank:
    """A bank of RAM that the allocator manages."""

    base: int  # linear address of its first page
    size: int  # bytes
    marked: int  # bytes that were ever used
    entries: int  # linear address of its part of the table
    words: array[int]  # the table below the mark

    @property
    def pages(self) -> int:
        return self.size // PAGE

    @property
    def unused(self) -> int:
        """Pages above the mark."""
        return (self.size - self.marked) // PAGE

    def index_of_entry(self, entry: int) -> int | None:
        index, rest = divmod(entry - self.entries, WORD)
        return index if rest == 0 and 0 <= index < self.pages else None

    def page(self, index: int) -> int:
        return self.base + index * PAGE

    def entry(self, index: int) -> int:
        return self.entries + index * WORD


@dataclass(repr=False)
class Allocation:
    """The page allocator's state while all harts are stopped."""

    banks: list[Bank]
    queue: list[int] = field(default_factory=list)  # pages, linear addresses
    caches: list[list[int]] = field(default_factory=list)  # pages, for each hart
    defects: list[str] = field(default_factory=list)

    @property
    def pages(self) -> int:
        return sum(bank.pages for bank in self.banks)

    @property
    def cached(self) -> int:
        return sum(len(cache) for cache in self.caches)

    @property
    def free(self) -> int:
        return len(self.queue) + self.cached + sum(bank.unused for bank in self.banks)

    @property
    def allocated(self) -> int:
        return sum(word & ALLOCATED for bank in self.banks for word in bank.words)

    def counts(self) -> dict[int, int]:
        """The count of each allocated page, by its linear address."""
        return {
            bank.page(index): word // 2
            for bank in self.banks
            for index, word in enumerate(bank.words)
            if word & ALLOCATED
        }

    def check(self) -> None:
        """Panic, in the grader's way, if the invariants don't hold."""
        if self.defects:
            shown = "\n  ".join(self.defects[:10])
            more = f"\n  … and {len(self.defects) - 10} more" if len(self.defects) > 10 else ""
            raise AssertionError(f"the page allocation table is broken:\n  {shown}{more}")

    def __str__(self) -> str:
        unused = sum(bank.unused for bank in self.banks)
        return (
            f"{self.pages} pages: {self.free} free ({len(self.queue)} queued,"
            f" {self.cached} cached, {unused} never used), {self.allocated} allocated"
        )


class _Reader:
    def __init__(self, symbols: Symbols, memory: TranslatedMemory) -> None:
        self.symbols = symbols
        self.memory = memory

    def banks(self) -> list[Bank]:
        layout = self.symbols.struct("bank")
        banks = []
        for index in range(self.memory.u64(self.symbols["bank_count"])):
            address = self.memory.u64(self.symbols["banks"] + index * WORD)
            values = layout.decode(self.memory.read(address, layout.size))
            words = array("Q")
            words.frombytes(self.memory.read(values["entries"], values["marked"] // PAGE * WORD))
            banks.append(
                Bank(values["base"], values["size"], values["marked"], values["entries"], words)
            )
        return banks

    def queue_ends(self) -> tuple[int, int]:
        layout = self.symbols.struct("global")
        base = self.symbols["global_page"]
        return (
            self.memory.u64(base + layout["page_alloc_head"].offset),
            self.memory.u64(base + layout["page_alloc_tail"].offset),
        )

    def cache(self, hart: int) -> list[tuple[int, int]]:
        """(page, entry) for each page in a hart's cache."""
        layout = self.symbols.struct("hart")
        slot = self.symbols.struct("cached_page")
        at = self.memory.u64(self.symbols["harts"] + hart * WORD)
        floor = layout["cache"].offset
        top = self.memory.u64(at + layout["cache_top"].offset) % PAGE
        pages = []
        for offset in range(floor + slot.size, top + slot.size, slot.size):
            values = slot.decode(self.memory.read(at + offset, slot.size))
            pages.append((values["page"], values["entry"]))
        return pages


def read_allocation(symbols: Symbols, memory: TranslatedMemory) -> Allocation:
    """Decode everything and note what is wrong with it."""
    reader = _Reader(symbols, memory)
    state = Allocation(reader.banks())
    where: dict[int, str] = {}  # entry: where the free page was found

    def find(entry: int) -> tuple[Bank, int] | None:
        for bank in state.banks:
            if (index := bank.index_of_entry(entry)) is not None:
                return bank, index
        return None

    def free_page(entry: int, place: str) -> tuple[int, int] | None:
        """Note a free page: its address and the word of its entry."""
        found = find(entry)
        if found is None:
            return None
        bank, index = found
        page = bank.page(index)
        if entry in where:
            state.defects.append(f"page {page:#x} is free twice: {where[entry]} and {place}")
        where[entry] = place
        if index >= len(bank.words):
            state.defects.append(f"page {page:#x} above the mark is {place}")
            return page, 0
        word = bank.words[index]
        if word & ALLOCATED:
            state.defects.append(f"page {page:#x} is {place} but marked allocated ({word:#x})")
        return page, word

    _read_queue(reader, state, free_page)
    harts = memory.u64(symbols["hart_count"])
    for hart in range(harts):
        cache = []
        for page, entry in reader.cache(hart):
            found = free_page(entry, f"in the cache of hart {hart}")
            if found is None or found[0] != page:
                state.defects.append(f"hart {hart} caches {page:#x} with the wrong entry")
            cache.append(page)
        state.caches.append(cache)

    for bank in state.banks:
        for index, word in enumerate(bank.words):
            if not word & ALLOCATED and bank.entry(index) not in where:
                state.defects.append(
                    f"page {bank.page(index):#x} is marked free but neither queued nor cached"
                )
    return state


def _read_queue(
    reader: _Reader,
    state: Allocation,
    free_page: Callable[[int, str], tuple[int, int] | None],
) -> None:
    entry, tail = reader.queue_ends()
    if entry == 0:
        raise StagError("a hart is taking pages off the free queue: let it finish first")
    strangers = 0
    limit = state.pages + 2
    seen: set[int] = set()
    while True:
        if entry in seen or len(seen) > limit:
            state.defects.append(f"the free queue runs in a circle at entry {entry:#x}")
            return
        seen.add(entry)
        found = free_page(entry, "in the free queue")
        if found is None:
            strangers += 1
            if strangers > 1:
                state.defects.append(f"the free queue holds {entry:#x}, no entry of the table")
                return
            word = reader.memory.u64(entry)
        else:
            page, word = found
            state.queue.append(page)
        if word == 0 or word & ALLOCATED:
            break
        entry = word
    if entry != tail:
        state.defects.append(f"the free queue ends at entry {entry:#x}, its tail says {tail:#x}")
