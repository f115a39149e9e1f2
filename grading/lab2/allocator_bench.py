"""A workbench for the page allocator.

Nothing is known here of how the allocator keeps its free pages. What is judged
is what page_alloc.h and bank.h promise: the page allocation table, the mark of
each bank, and what the functions return. Which pages are free is found out by
allocating until there are none.

    bench = Bench(scene)             a kernel that has just booted
    bench = Bench(scene, held)       … whose RAM is all handed out: to the grader
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from stag.errors import StagError
from stag.scene import Scene
from stag.symbols import Symbols
from stag.verdict import check, fail

PAGE = 4096
WORD = 8
ALLOCATED = 1
CACHE_SIZE = 32  # HART_CACHE_SIZE of hart.h: pages that a hart may keep for itself
HARTS = (0, 1, 2, 3)  # of a scene
COLLECT_MAX = 400  # pages that one hart may get where far fewer are free
TABLE_HINT = "page_alloc.h: an allocated page's entry is 2 * count + 1, a free page's is even"


class Words(Protocol):
    def u64(self, va: int) -> int: ...


@dataclass(frozen=True)
class Bank:
    """struct bank (bank.h)."""

    base: int
    marked: int
    entries: int
    size: int

    def __contains__(self, page: int) -> bool:
        return self.base <= page < self.base + self.size

    @property
    def pages(self) -> int:
        return self.size // PAGE


def entries(count: int) -> str:
    return f"{count} entry" if count == 1 else f"{count} entries"


def read_banks(symbols: Symbols, memory: Words) -> list[Bank]:
    fields = symbols.struct("bank").members
    banks = []
    for index in range(memory.u64(symbols["bank_count"])):
        at = memory.u64(symbols["banks"] + index * WORD)
        banks.append(
            Bank(**{
                name: memory.u64(at + fields[name].offset)
                for name in ("base", "marked", "entries", "size")
            })
        )  # fmt: skip
    return banks


def largest_first(banks: list[Bank], pages: Iterable[int]) -> list[int]:
    """Sorted, those of the largest bank in front."""
    largest = max(banks, key=lambda bank: bank.size)
    return sorted(pages, key=lambda page: (page not in largest, page))


class Bench:
    """A scene, the table in it, and what the grader holds."""

    def __init__(self, scene: Scene, held: Iterable[int] | None = None) -> None:
        self.scene = scene
        self.banks = read_banks(scene.symbols, scene.memory())
        self.held: set[int] = set(held or ())
        # Pages to work with, where all are handed out. The largest bank's first:
        # the others are of the last exercise only.
        self.stock = largest_first(self.banks, self.held)
        self._scratch = 0
        self._scratch_used = PAGE

    # The table

    def bank_of(self, page: int) -> Bank | None:
        return next((bank for bank in self.banks if page in bank), None)

    def entry_address(self, page: int) -> int:
        bank = self.bank_of(page)
        if bank is None or page % PAGE:
            fail("page_alloc returns the linear address of a page in a bank of RAM", f"{page:#x}")
        return bank.entries + (page - bank.base) // PAGE * WORD

    def page_of_entry(self, entry: int) -> int:
        for bank in self.banks:
            index, rest = divmod(entry - bank.entries, WORD)
            if rest == 0 and 0 <= index < bank.pages:
                return bank.base + index * PAGE
        fail("an entry of the page allocation table", f"{entry:#x}", hint=TABLE_HINT)

    def entry(self, page: int) -> int:
        return self.scene.memory().u64(self.entry_address(page))

    def count(self, page: int, what: str) -> int:
        """The count of an allocated page."""
        value = self.entry(page)
        if not value & ALLOCATED:
            fail(f"the entry of an allocated page is odd {what}", f"{value:#x}", hint=TABLE_HINT)
        return value // 2

    def check_count(self, page: int, count: int, what: str) -> None:
        value = self.entry(page)
        check(
            value == 2 * count + 1,
            expected=f"{what}: count {count}, so the page's entry is {2 * count + 1}",
            found=f"the entry is {value:#x}",
            where=f"page {page:#x}",
            hint=TABLE_HINT,
        )

    # The allocator

    def take(self, hart: int = 0) -> int:
        """Allocate a page for the grader."""
        page = self.scene.call(hart, "page_alloc")
        if page == 0:
            fail("page_alloc returns a page: some are free", "it returned 0")
        self.note_taken(page, hart)
        return page

    def note_taken(self, page: int, hart: int) -> None:
        self.entry_address(page)
        if page in self.held:
            fail(
                "page_alloc returns a page that nobody has",
                f"on hart {hart} it returned {page:#x}, which is in use",
            )
        self.held.add(page)

    def free(self, page: int, hart: int = 0) -> None:
        self.scene.call(hart, "page_free", page)
        self.held.discard(page)

    def collect(self, harts: Iterable[int]) -> list[int]:
        """Allocate on each of these harts until there are no pages."""
        pages: list[int] = []
        for hart in harts:
            while page := self.scene.call(hart, "page_alloc"):
                pages.append(page)
                if len(pages) > COLLECT_MAX:
                    fail("page_alloc returns 0 when no page is left", "page_alloc never ends")
        return pages

    def next_pages(self, count: int) -> list[int]:
        """Pages that the grader holds, others each time."""
        pages, self.stock = self.stock[:count], self.stock[count:]
        if len(pages) < count:
            fail(
                f"page_alloc hands out all RAM before it returns 0: {count} pages and more",
                f"only {len(pages)} were left to work with",
            )
        return pages

    # Structures

    def structure(self) -> int:
        """A cleared struct page_chain or page_list."""
        if self._scratch_used == PAGE:
            self._scratch = self.next_pages(1)[0] if self.stock else self.take()
            self._scratch_used = 0
        at = self._scratch + self._scratch_used
        self._scratch_used += 64
        for offset in range(0, 64, WORD):
            self.scene.memory().set_u64(at + offset, 0)
        return at

    def chain(self, pages: Iterable[int], hart: int = 0) -> int:
        """A chain of pages whose count page_put has brought to zero."""
        chain = self.structure()
        for page in pages:
            self.scene.call(hart, "page_put", page, chain)
            self.held.discard(page)
        return chain

    def chained(self, chain: int) -> list[int]:
        """The pages on a chain, from first to last."""
        field = self.scene.field
        first, last = (field(chain, "page_chain", name) for name in ("first", "last"))
        count = field(chain, "page_chain", "count")
        pages: list[int] = []
        entry = first
        while len(pages) < count:
            pages.append(self.page_of_entry(entry))
            if entry == last:
                break
            entry = self.scene.memory().u64(entry)
        if len(set(pages)) < len(pages):
            found = "the links lead in a circle"
        elif count and entry != last:
            found = f"{count} entries on, the links have not come to the chain's last"
        else:
            found = f"from first to last they lead to {entries(len(pages))}"
        check(
            len(set(pages)) == count and entry == last,
            expected=f"links lead from the chain's first to its last; its count is {count}",
            found=found,
            hint="a page that reaches zero is linked in at one end, and counted",
        )
        return pages

    # Pages that every hart can get

    def share(self, count: int) -> None:
        """Free pages so that every hart can have them: as a chain, or, where
        chains don't work yet, one by one on hart 3."""
        start, held, stock = self.scene.world.save(), set(self.held), list(self.stock)
        try:
            self.scene.call(3, "page_free_chain", self.chain(self.next_pages(count), 3))
            if self.reachable(2) == count:
                return
        except StagError:
            pass
        self.scene.world.restore(start)
        self.held, self.stock = held, stock
        for _ in range(count + CACHE_SIZE):
            if self.reachable(2) >= count:
                return
            self.free(self.next_pages(1)[0], 3)

    def reachable(self, *harts: int) -> int:
        """How many pages these harts could allocate now, one after the other."""
        start = self.scene.world.save()
        try:
            return len(self.collect(harts))
        finally:
            self.scene.world.restore(start)

    def shared_words(self, hart: int, function: str, *arguments: int) -> set[int]:
        """Which words that all harts fight over a call would write. Nothing is
        changed."""
        touched = self._touched(lambda: self.scene.call(hart, function, *arguments))
        return {k for k, bits in touched.items() if bits >> 16} & self._common_words

    @cached_property
    def _common_words(self) -> set[int]:
        """What two harts touch, and one writes, when they empty and fill their
        caches, but for the table and the pages themselves."""
        first, second = (self._touched(lambda h=h: self._use(h)) for h in (2, 3))
        physical = self.scene.memory().translate
        tables = [
            (physical(bank.entries), bank.base + bank.size - bank.entries) for bank in self.banks
        ]
        return {
            k
            for k in first.keys() & second.keys()
            if (first[k] | second[k]) >> 16
            and not any(at <= k * 8 < at + size for at, size in tables)
        }

    def _use(self, hart: int) -> None:
        call = self.scene.call
        pages = self.stock[: 3 * CACHE_SIZE]
        pages = pages or [call(hart, "page_alloc") for _ in range(3 * CACHE_SIZE)]
        for page in pages:
            call(hart, "page_free", page)
        for _ in pages:
            call(hart, "page_alloc")

    def _touched(self, action: Callable[[], object]) -> dict[int, int]:
        """Words that the action would touch: physical address / 8, and who reads
        and writes them (World.touched)."""
        world = self.scene.world
        start = world.save()
        world.watching, world.touched, world.shared = True, {}, set()
        try:
            action()
        finally:
            world.watching = False
            world.restore(start)
        return world.touched

    def free_to_the_brink(self, hart: int) -> int:
        """Free pages on a hart until the next page_free will touch what all
        harts share: that page, which the caller has to free."""
        for _ in range(2 * CACHE_SIZE):
            (page,) = self.next_pages(1)
            if self.shared_words(hart, "page_free", page):
                self.held.discard(page)
                return page
            self.free(page, hart)
        fail(
            f"a hart keeps at most {CACHE_SIZE} free pages for itself",
            f"{2 * CACHE_SIZE} pages freed on hart {hart}, and none went to the free queue",
        )

    # Judging a schedule

    def conserved(self, free: int, results: dict[str, int]) -> str | None:
        """After a schedule: so many pages were free in it, and each can be had,
        once. `results`: what page_alloc returned in it, by who asked."""
        owner = dict.fromkeys(self.held, "another owner")
        got = 0
        for who, page in results.items():
            if page == 0:
                continue
            self.entry_address(page)
            if page in owner:
                return f"page {page:#x} is in two hands: {owner[page]} has it, and {who} got it"
            self.check_count(page, 1, f"after page_alloc on {who}")
            owner[page] = who
            got += 1
        for hart in HARTS:
            for page in self.collect([hart]):
                if page in owner:
                    return (
                        f"page {page:#x} is in two hands: {owner[page]} has it, and"
                        f" afterwards page_alloc returned it on hart {hart} as well"
                    )
                owner[page] = f"hart {hart}"
                got += 1
        if got < free:
            return (
                f"{free - got} of {free} free pages are lost: when all was over,"
                f" only {got} could be allocated"
            )
        return None
