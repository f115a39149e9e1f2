"""The challenge: memory that can only be read is one page of zeros."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from executor_stage import (
    A0,
    EACCES,
    EEXIST,
    EFAULT,
    ENOMEM,
    EXECUTE,
    READ,
    RO,
    RW,
    RX,
    SCRATCH,
    WRITE,
    Stage,
    errno_text,
)
from stag.explore import Thread
from stag.model import Call
from stag.pagetable import PAGE, A, V
from stag.scene import Scene
from stag.verdict import check
from test_map_and_share import (
    AREA,
    EDGE,
    MANY,
    REPLACE,
    TO_OTHER,
    WRITABLE,
    Two,
    check_leaf,
    check_out_of_memory,
    make_two,
)

ELSEWHERE = AREA + (1 << 30)


@dataclass
class Zeros:
    """The stage for map and share, and the page of zeros once it is known."""

    two: Two
    page: int = 0
    mappings: int = 0

    def map(self, space: int, va: int, pages: int, prot: int = READ, flags: int = 0) -> None:
        result = self.two.map(space, va, pages, prot, flags)
        what = f"map of {pages} pages at {va:#x} with prot {prot} and flags {flags}"
        check(result == 0, f"{what} is 0", errno_text(result))

    def check_mapped(self, space: int, va: int, pages: int, what: str) -> None:
        """This range is the page of zeros; the first time any page will do."""
        for at in range(va, va + pages * PAGE, PAGE):
            page = check_leaf(self.two, space, at, None, RO, what)
            self.page = self.page or page
            check(
                page == self.page,
                expected=f"{what}: at {at:#x} the page of zeros, {self.page:#x}",
                found=f"another page, {page:#x}",
            )
        self.two.pages[0] = self.page  # part of the picture
        self.mappings += pages
        self.check_page(what)

    def check_page(self, what: str) -> None:
        stage = self.two.stage
        count, wanted = stage.count(self.page), self.mappings + 1
        check(
            count == wanted,
            expected=f"{what}: the count of the page of zeros is {wanted}: {self.mappings} for its"
            " mappings, one for the kernel",
            found="the page is free, or page_alloc never gave it" if count is None else f"{count}",
            where=f"the page {self.page:#x}",
            hint="page_get for each mapping; the count that page_alloc gave is never given back",
        )
        check(
            stage.read(self.page, PAGE) == bytes(PAGE),
            expected=f"{what}: all bytes of the page of zeros are 0",
            found="some are not",
            where=f"the page {self.page:#x}",
        )


@pytest.fixture
def zeros(ready) -> Zeros:
    return Zeros(make_two(Stage(ready(harts=1))))


def test_zeros_are_one_page(zeros: Zeros) -> None:
    """In whichever space and table."""
    two = zeros.two
    used = two.stage.call("page_alloc") & (1 << 64) - 1
    two.stage.write(used, b"secret  " * (PAGE // 8))
    two.stage.call("page_free", used)
    for handle, space, va in ((0, two.space, EDGE), (TO_OTHER, two.other, EDGE + PAGE)):
        zeros.map(handle, va, 5)
        zeros.check_mapped(space, va, 5, "memory to be read alone")
        two.stage.check_table_counts(space)
    two.stage.check_locks(two.space, two.other)


def test_zeros_take_no_memory(zeros: Zeros) -> None:
    """But for tables, and the page itself, the first time."""
    two = zeros.two
    before = two.picture()
    result = two.stage.handler("call_map", two.caller, 0, AREA, 1, READ, 0, fail_at=1).result
    check(
        result == -ENOMEM,
        expected="the first map to be read alone is -ENOMEM when page_alloc finds no page",
        found=errno_text(result),
    )
    two.check_unchanged(before, "call_map", "-ENOMEM")
    zeros.map(0, AREA, 1)
    zeros.check_mapped(two.space, AREA, 1, "after a first one that failed")
    free, tables = two.stage.free_pages(), len(two.stage.table(two.space).tables())
    outcome = two.stage.handler("call_map", two.caller, 0, ELSEWHERE, MANY, READ, 0)
    check(outcome.result == 0, f"call_map of {MANY} pages is 0", errno_text(outcome.result))
    taken = free - two.stage.free_pages()
    new = len(two.stage.table(two.space).tables()) - tables
    check(
        taken == new and outcome.pages_asked < MANY,
        expected=f"{MANY} pages to be read alone need {new} pages of memory, for tables",
        found=f"page_alloc is called {outcome.pages_asked} times, and {taken} pages are kept",
    )
    zeros.check_mapped(two.space, ELSEWHERE, MANY, f"{MANY} pages")
    zeros.map(TO_OTHER, EDGE + 3 * PAGE, 1)
    zeros.check_mapped(two.other, EDGE + 3 * PAGE, 1, "one page")
    two.check_refused("call_map", -EEXIST, "one is taken", TO_OTHER, EDGE, 4, READ, 0)
    check_out_of_memory(two, "call_map", TO_OTHER, EDGE + (2 << 30), 4, READ, 0)


def test_zeros_are_given_back(zeros: Zeros) -> None:
    """By MAP_REPLACE, in both directions, and into its own place."""
    two = zeros.two
    page = two.pages.pop(WRITABLE)
    zeros.map(0, WRITABLE, 1, READ, REPLACE)
    zeros.check_mapped(two.space, WRITABLE, 1, "MAP_REPLACE of other memory")
    check(two.stage.count(page) is None, "the page that was replaced is free", "it is not")
    zeros.map(0, AREA, 8)
    zeros.check_mapped(two.space, AREA, 8, "eight pages")
    free = two.stage.free_pages()
    zeros.map(0, AREA, 8, READ, REPLACE)
    zeros.check_page("MAP_REPLACE of zeros by zeros")
    found = two.stage.free_pages()
    check(found == free, f"zeros in place of zeros: {free} pages are free, as before", f"{found}")
    for va, pages in ((AREA, 8), (WRITABLE, 1)):
        zeros.map(0, va, pages, READ | WRITE, REPLACE)
        zeros.mappings -= pages
        new = check_leaf(two, two.space, va, None, RW, "MAP_REPLACE with W")
        check(new != zeros.page, "with W a new page", "the page of zeros")
        zeros.check_page(f"MAP_REPLACE of {pages} of its mappings")
    zeros.map(TO_OTHER, AREA, 1)
    zeros.check_mapped(two.other, AREA, 1, "mapped again, when it was mapped nowhere")


def test_zeros_are_never_written(zeros: Zeros) -> None:
    """No way of share leads to a W, the kernel writes there for nobody, and memory
    with other rights is new."""
    two = zeros.two
    zeros.map(0, AREA, 2)
    zeros.check_mapped(two.space, AREA, 2, "two pages")
    for to in (0, TO_OTHER):
        arguments = (0, AREA, to, ELSEWHERE, 2, READ | WRITE)
        two.check_refused("call_share", -EACCES, "it can only be read", *arguments)
    result = two.share(TO_OTHER, AREA, AREA, 2, READ)
    check(result == 0, "share of zeros, to be read alone, is 0", errno_text(result))
    zeros.check_mapped(two.other, AREA, 2, "share")
    result = two.stage.call("user_memory_write", two.space, AREA + 8, SCRATCH, 8)
    check(
        result == -EFAULT,
        expected="user_memory_write to the page of zeros is -EFAULT",
        found=errno_text(result),
    )
    for va, prot, bits in ((EDGE, READ | WRITE, RW), (EDGE + PAGE, READ | EXECUTE, RX)):
        zeros.map(0, va, 1, prot)
        page = check_leaf(two, two.space, va, None, bits, f"map with prot {prot}")
        check(page != zeros.page, f"with prot {prot} a new page", "the page of zeros")
    zeros.check_page("after all that")


class FirstTime:
    """Two harts map zeros for the first time, in one space, and read what is there.
    Free pages hold something."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.out = scene.call(0, "page_alloc")  # results of functions
        scene.call(0, "space_create", self.out)
        self.space = scene.add_object(scene.memory().u64(self.out), "space", "space")
        beside = scene.memory().translate(scene.call(0, "page_alloc"))
        scene.call(0, "map_page", self.space, AREA, beside, RW)  # so the tables are there
        self.threads = [self.thread(hart) for hart in (1, 2)]
        self.free = scene.allocation().free

    def va(self, hart: int) -> int:
        return AREA + hart * PAGE

    def buffer(self, hart: int) -> int:
        """Where what the hart has read is kept."""
        return self.out + 64 * hart

    def thread(self, hart: int) -> Thread:
        scene, memory = self.scene, self.scene.memory()
        scene.call(0, "executor_create", self.space, self.out)
        executor = scene.add_object(memory.u64(self.out), f"executor {hart}", "executor")
        x = scene.offset("executor", "x") + 8 * (A0 - 1)
        for number, value in enumerate((0, self.va(hart), 1, READ, 0)):
            memory.set_u64(executor + x + 8 * number, value)
        page = scene.call(hart, "page_alloc")
        scene.call(0, "memset", page, 0x55, PAGE)
        scene.call(hart, "page_free", page)
        read = Call("user_memory_read", (self.space, self.buffer(hart), self.va(hart) + 64, 8))
        return Thread(hart, Call("call_map", (executor,)), read)

    def judge(self, scene: Scene) -> str | None:
        memory, state = scene.memory(), scene.allocation()
        table = scene.table(scene.field(self.space, "space", "satp"))
        found = [table.lookup(self.va(hart)) for hart in (1, 2)]
        pages = {leaf.value >> 10 for leaf in found if leaf and leaf.value & 0x3FF == RO | V | A}
        if None in found or not pages:
            return "map of one page has not mapped it to be read alone"
        if len(pages) > 1:
            return "two harts map zeros for the first time, and each gets a page of its own"
        if any(memory.u64(self.buffer(hart)) for hart in (1, 2)):
            return "a hart has read something else than 0 in the page of zeros"
        page = pages.pop() * PAGE + memory.u64(scene.symbols["linear_offset"])
        if (count := state.counts().get(page)) != 3:
            return f"the count of the page of zeros is {count}, not 3: its mappings and one more"
        kept = self.free - state.free
        return None if kept == 1 else f"{kept} pages were taken, not one, the page of zeros"


def test_zeros_are_made_once(scene) -> None:
    """Two harts want them for the first time at once."""
    first = FirstTime(scene())
    first.scene.explore(
        first.threads,
        first.judge,
        models=["sc", "pso"],
        hint="one step decides whose page it is, and the zeros are in memory before it: a"
        " compare-and-swap that releases, or a lock",
    )
