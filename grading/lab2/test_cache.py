"""Exercise 5: a hart that frees and allocates disturbs no other."""

from __future__ import annotations

from allocator_bench import CACHE_SIZE, Bench
from stag.explore import Thread
from stag.model import Call
from stag.timeline import place
from stag.verdict import check

ALLOC = Call("page_alloc")
LAST = Call("page_free", (lambda got: got[-1],))
MANY = 160
RARE = 4


def names(bench: Bench, words: set[int]) -> str:
    """Where words are that should not be touched, for people."""
    return ", ".join(sorted({place(bench.scene, word) for word in words})[:4])


def test_cached_pages_are_the_harts_own(bench: Bench) -> None:
    """Two harts that have free pages in their caches touch no common word."""
    for hart in (0, 1):
        pages = [bench.take(hart) for _ in range(3)]
        for page in pages:
            bench.free(page, hart)
    calls = (ALLOC, LAST, ALLOC)
    bench.scene.explore([Thread(0, *calls), Thread(1, *calls)], models=("sc",), switches=0)
    words = set(bench.scene.world.shared)
    check(
        not words,
        expected="a hart whose cache holds pages allocates and frees without touching"
        " anything that another hart does so, too",
        found=f"two harts touch {names(bench, words)}",
        hint="the cache in the hart page (hart.h) comes first; the queue only when it is empty"
        " or full",
    )


def check_cache_top(bench: Bench, what: str) -> None:
    """hart.h: the stack of free pages has room for so many above its floor."""
    scene, hart = bench.scene, bench.scene.hart_page(0)
    top = scene.field(hart, "hart", "cache_top")  # the hart page has two addresses
    physical = scene.memory(0).translate
    distance = physical(top) - physical(hart) - scene.offset("hart", "cache")
    element = scene.symbols.struct("cached_page").size
    check(
        0 <= distance <= CACHE_SIZE * element,
        expected=f"cache_top points into the hart's cache, from cache[0] to cache[{CACHE_SIZE}],"
        f" {what}",
        found=f"it points to cache[{distance / element:g}]",
        hint="look whether the cache is full before a page is pushed, not after that",
    )


def test_queue_is_touched_rarely(bench: Bench) -> None:
    """Once for a batch, by a hart that only allocates or only frees."""
    pages: list[int] = []
    for name, what in (("page_alloc", "allocated"), ("page_free", "freed")):
        touching = 0
        for n in range(1, MANY + 1):
            arguments = (pages.pop(),) if name == "page_free" else ()
            touching += bool(bench.shared_words(0, name, *arguments))
            result = bench.scene.call(0, name, *arguments)
            check_cache_top(bench, f"after {name}, time {n} in a row")
            if name == "page_alloc":
                bench.entry_address(result)
                pages.append(result)
        check(
            0 < touching <= MANY // RARE,
            expected=f"of {MANY} pages {what} in a row at most every fourth has to do with what"
            " all harts share, and some have",
            found=f"{touching} did",
            hint="refill and empty the cache by halves (HART_CACHE_BATCH in hart.h)",
        )
