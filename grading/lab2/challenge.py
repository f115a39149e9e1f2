"""The challenge: a page that was freed carries a pattern, and a page that has
changed since is not handed out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from allocator_bench import CACHE_SIZE, PAGE, WORD, Bench
from refusals import NO_PANIC
from stag.errors import GuestPanic
from stag.explore import Thread
from stag.model import Call
from stag.scene import Scene
from stag.verdict import check, fail

POISON = 0xFEEEFEEEFEEEFEEE
MANY = 3 * CACHE_SIZE  # more than any hart keeps for itself
FEW = 6
SHORT, LONG, SLACK = 4, 64, 32
SOME = 40  # pages from above the mark
MINE = 0x1234567812345678
ENDLESS = "came to no end"
WORK_HINT = (
    "a call may execute 50,000 instructions: fill and compare words, of one page in a call, not"
    " of a batch or a chain"
)

Way = Callable[[Bench, list[int]], None]


# How pages are freed


def by_page_free(bench: Bench, pages: list[int]) -> None:
    for page in pages:
        bench.free(page)


def by_page_put(bench: Bench, pages: list[int]) -> None:
    bench.scene.call(0, "page_free_chain", bench.chain(pages))


def by_page_retire(bench: Bench, pages: list[int]) -> None:
    chain = bench.structure()
    for page in pages:
        bench.scene.call(0, "page_retire", page, chain)
        bench.held.discard(page)
    bench.scene.call(0, "page_free_chain", chain)


WAYS: dict[str, Way] = {
    "page_free": by_page_free,
    "page_put": by_page_put,
    "page_retire": by_page_retire,
}


def words(bench: Bench, page: int) -> list[int]:
    memory = bench.scene.memory()
    return [memory.u64(page + offset) for offset in range(0, PAGE, WORD)]


def check_filled(bench: Bench, page: int, what: str) -> None:
    found = words(bench, page)
    wrong = [i for i, word in enumerate(found) if word != POISON]
    check(
        not wrong,
        expected=f"{what}: each word of it is {POISON:#x}",
        found=f"{len(wrong)} of {len(found)} words are not; at offset"
        f" {wrong[0] * WORD if wrong else 0:#x} is {found[wrong[0]] if wrong else 0:#x}",
        where=f"page {page:#x}",
    )


@pytest.mark.parametrize("way", WAYS)
def test_freed_page_is_filled(full: Bench, way: str) -> None:
    if way == "page_put":
        check_owned_page(full)
    pages = full.next_pages(MANY if way == "page_free" else FEW)
    WAYS[way](full, pages)
    for number, page in enumerate(pages, 1):
        check_filled(full, page, f"page {number} of {len(pages)} that were freed by {way}")


def check_owned_page(full: Bench) -> None:
    """A page that still has an owner is not filled."""
    (shared,) = full.next_pages(1)
    full.scene.memory().set_u64(shared + PAGE // 2, MINE)
    before = words(full, shared)
    full.scene.call(0, "page_get", shared)
    full.scene.call(0, "page_put", shared, full.structure())
    after = words(full, shared)
    check(
        after == before,
        expected="page_put of a page with count 2 leaves its contents alone: it has an owner",
        found="they have changed",
        where=f"page {shared:#x}",
        hint="only a page whose last count is dropped is filled",
    )


# Writes after that


def panic_of_alloc(bench: Bench, page: int, what: str, harts: list[int]) -> None:
    """Somebody has written to this free page: page_alloc panics instead of
    returning it, and names it."""
    for hart in harts:
        for _ in range(2 * MANY):
            try:
                got = bench.scene.call(hart, "page_alloc")
            except GuestPanic as panic:
                text = str(panic)
                check(
                    f"{page:#x}" in text and not any(other in text for other in NO_PANIC),
                    expected=f"{what}: page_alloc panics, and names page {page:#x}",
                    found=text,
                    hint=WORK_HINT if ENDLESS in text else "",
                )
                return
            if got == page:
                fail(
                    expected=f"{what}: page_alloc panics instead of returning page {page:#x}",
                    found=f"page_alloc on hart {hart} returned it",
                )
            if got == 0:
                break
    fail(f"{what}: page_alloc comes to that page, and panics", "it returns 0, and never that page")


@pytest.mark.parametrize("offset", [0, 8, PAGE // 2 + 13, PAGE - 1])
@pytest.mark.parametrize("way", WAYS)
def test_write_after_free_panics(full: Bench, way: str, offset: int) -> None:
    """A bit of one byte, in a page that is in the cache, in one that is in the
    queue, and in one of another bank."""
    main, other = full.next_pages(MANY if way == "page_free" else FEW), full.stock.pop()
    for pages, page in (([*main], main[-1]), ([*main], main[2]), ([other], other)):
        start, held = full.scene.world.save(), set(full.held)
        WAYS[way](full, pages)
        memory, at = full.scene.memory(), page + offset
        word = at // WORD * WORD
        memory.set_u64(word, memory.u64(word) ^ 1 << at % WORD * 8)
        what = f"page {page:#x} was freed by {way}, then a bit at offset {offset:#x} was changed"
        panic_of_alloc(full, page, what, [1, 0])
        full.scene.world.restore(start)
        full.held = held


# Pages that have no pattern


def test_fresh_pages_are_not_looked_at(bench: Bench) -> None:
    """What lies above a mark holds anything: also the pattern of a kernel that
    ran before, but for a word."""
    memory = bench.scene.memory()
    for bank in bench.banks:
        first, end = bank.base + bank.marked, bank.base + bank.size
        for index, page in enumerate(range(first, min(first + SOME * PAGE, end), PAGE)):
            for at in range(page, page + PAGE, WORD):
                memory.set_u64(at, (POISON, 0, MINE)[index % 3])
            memory.set_u64(page + (8, PAGE - 8)[index & 1], MINE)
    pages: list[int] = []
    for hart in (0, 1):
        for _ in range(SOME // 2):
            try:
                pages.append(bench.take(hart))
            except GuestPanic as panic:
                fail(
                    expected="page_alloc returns pages that were never handed out, whatever is"
                    " in them",
                    found=str(panic),
                    hint=WORK_HINT
                    if ENDLESS in str(panic)
                    else "nobody has freed them, so they carry no pattern",
                )
    for page in pages:
        bench.free(page)
    memory.set_u64(pages[-1] + 64, MINE)
    what = "a page from above the mark was freed, then written to"
    panic_of_alloc(bench, pages[-1], what, [0])


# The two rules of exercises 3 and 4


def instructions(full: Bench, length: int) -> int | None:
    """How many freeing a chain takes; None if it is beyond what a call may."""
    pages = full.next_pages(length)
    chain = full.chain(pages)
    try:
        _, count = full.scene.count_call(0, "page_free_chain", chain)
    except GuestPanic as panic:
        if ENDLESS not in str(panic):
            raise
        return None
    check_filled(full, pages[-1], f"the last of {length} pages, freed as a chain")
    return count


def test_append_is_still_constant_time(full: Bench) -> None:
    short, long = instructions(full, SHORT), instructions(full, LONG)
    check(
        short is not None and long is not None and long - short <= SLACK,
        expected=f"page_free_chain takes as long for {LONG} pages as for {SHORT}"
        f" ({short or 'too many'} instructions, {SLACK} more are allowed)",
        found=f"{long} instructions" if long else "more than a call may execute",
        where="page_free_chain (kernel/page_alloc.c)",
        hint="a page can be filled when it joins the chain: who adds it has it alone by then",
    )


def test_another_hart_finds_the_pattern(full: Bench) -> None:
    """Hart 1 frees a page as a chain; hart 0 allocates, and writes to what it
    gets. No order of their steps, and of what reaches memory late, makes a
    panic, or fills a page that has an owner again."""
    full.share(1)
    taken, chain = full.structure(), full.structure()
    memory = full.scene.memory()
    page, mark = full.next_pages(2)
    full.held.discard(page)
    memory.set_u64(taken, mark)
    free = full.reachable(0, 1, 2, 3) + 1

    def oracle(scene: Scene) -> str | None:
        got = scene.memory().u64(taken)
        if got == mark:
            return full.conserved(free, {})
        if scene.memory().u64(got) != mark:
            return (
                f"hart 0 got page {got:#x} and wrote {mark:#x} into it, but it holds"
                f" {scene.memory().u64(got):#x}: it was filled when it had an owner again"
            )
        return full.conserved(free, {"hart 0": got})

    full.scene.explore(
        [
            Thread(0, Call("page_list_fill", (taken, 1, 0))),
            Thread(1, Call("page_put", (page, chain)), Call("page_free_chain", (chain,))),
        ],
        oracle,
        models=("sc", "pso"),
        switches=1,
        hint="a page is filled before anybody can find it: the stores of the pattern come before"
        " the release that makes the chain reachable",
    )
