"""Exercise 2: a free page comes back; what is no such page is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from allocator_bench import CACHE_SIZE, Bench
from refusals import CALLER, WILD, Prepare, above_another_mark, above_the_mark, panic_of
from stag.scene import Scene
from stag.verdict import check

MANY = 3 * CACHE_SIZE  # more than any hart keeps for itself


def test_out_of_memory(full: Bench) -> None:
    for hart in (0, 1, 0, 2):
        page = full.scene.call(hart, "page_alloc")
        check(page == 0, f"no page is left: page_alloc on hart {hart} returns 0", f"{page:#x}")
    for turn in (1, 2):
        page = full.next_pages(1)[0]
        full.free(page, 1)
        again = full.take(1)
        full.check_count(again, 1, f"freed and allocated again, time {turn}")
        page = full.scene.call(1, "page_alloc")
        check(page == 0, "one page was freed: the second page_alloc returns 0", f"{page:#x}")


def check_all_come_back(bench: Bench, pages: list[int], what: str, *harts: int) -> None:
    """These were freed: they can be allocated on these harts, one after the other."""
    found = bench.collect(harts)
    again = sorted({page for page in found if found.count(page) > 1})
    stranger = [page for page in found if page in bench.held]
    check(not again, f"{what}: each comes back once", f"{again and hex(again[0])} came twice")
    check(not stranger, f"{what}: none that is in use", f"{stranger and hex(stranger[0])}")
    check(
        len(found) == len(pages),
        expected=f"{what}: {len(pages)} can be allocated again",
        found=f"{len(found)} pages, then page_alloc returned 0",
    )
    for page in found:
        bench.check_count(page, 1, f"{what} and allocated again")
    bench.held |= set(found)


@pytest.mark.parametrize("count", [1, 2, 5, MANY])
def test_freed_pages_come_back(full: Bench, count: int) -> None:
    for turn in (1, 2, 3):
        pages = full.next_pages(count)
        for page in pages:
            full.free(page)
        check_all_come_back(full, pages, f"round {turn} of {count} pages freed", 0)


def refused(scene: Callable[[], Scene], prepare: Prepare, what: str) -> str:
    """page_free(prepare()) panics: with what text."""
    bench = Bench(scene())
    bench.free(bench.take())  # is not refused
    return panic_of(bench, "page_free", what, prepare(bench))


def twice(bench: Bench) -> int:
    page = bench.take()
    bench.free(page)
    return page


def twice_with_others_between(bench: Bench) -> int:
    """The page is in the free queue by then, not at its end."""
    pages = [bench.take() for _ in range(MANY)]
    for page in pages:
        bench.free(page)
    return pages[2]


def on_two_harts(bench: Bench) -> int:
    page = bench.take(1)
    bench.free(page, 1)
    return page


def fill_cache(bench: Bench) -> int:
    """Free pages until the hart's cache (hart.h) is full, or so many that it
    could be: one of these."""
    scene, hart = bench.scene, bench.scene.hart_page(0)
    physical = scene.memory(0).translate
    ceiling = scene.offset("hart", "cache") + CACHE_SIZE * scene.symbols.struct("cached_page").size
    pages = [bench.take() for _ in range(2 * CACHE_SIZE)]
    for page in pages:
        top = physical(scene.field(hart, "hart", "cache_top")) - physical(hart)
        if top == ceiling:
            break
        bench.free(page)
    return pages[2]


def null_with_a_full_cache(bench: Bench) -> int:
    fill_cache(bench)
    return 0


def shared(bench: Bench) -> int:
    page = bench.take()
    bench.scene.call(0, "page_get", page)
    return page


def chained(bench: Bench) -> int:
    pages = [bench.take() for _ in range(3)]
    bench.chain(pages)
    return pages[1]


@pytest.mark.parametrize(
    ("prepare", "what"),
    [
        (twice, "a page that was just freed"),
        (twice_with_others_between, "a page that was freed before others"),
        (fill_cache, "a page that lies in a full cache"),
        (on_two_harts, "a page that another hart has freed"),
        (chained, "a page whose count page_put has brought to zero"),
    ],
    ids=["at-once", "later", "full-cache", "other-hart", "chained"],
)
def test_double_free_panics(scene: Callable[[], Scene], prepare: Prepare, what: str) -> None:
    refused(scene, prepare, what)


@pytest.mark.parametrize(
    ("what", "prepare"),
    [*WILD.values(), ("0, with a full cache", null_with_a_full_cache)],
    ids=[*WILD, "null-full-cache"],
)
def test_wild_free_panics(scene: Callable[[], Scene], what: str, prepare: Prepare) -> None:
    refused(scene, prepare, what)


@pytest.mark.parametrize("prepare", [above_the_mark, above_another_mark], ids=["largest", "other"])
@pytest.mark.parametrize("function", ["page_free", "page_get", "page_put"])
def test_free_above_the_mark_panics(
    scene: Callable[[], Scene], function: str, prepare: Prepare
) -> None:
    bench = Bench(scene())
    bench.free(bench.take())  # is not refused
    chain = bench.structure()
    panic_of(bench, function, "a page that was never handed out", prepare(bench), chain)


@pytest.mark.parametrize(
    ("prepare", "what"),
    [
        (twice, "a page that was just freed"),
        (shared, "a page with count 2"),
        WILD["user"][::-1],
        WILD["middle"][::-1],
    ],
    ids=["free", "count-2", "no-page", "inside"],
)
def test_refused_free_names_the_caller(
    scene: Callable[[], Scene], prepare: Prepare, what: str
) -> None:
    address = 0

    def prepare_and_note(bench: Bench) -> int:
        nonlocal address
        address = prepare(bench)
        return address

    text = refused(scene, prepare_and_note, what)
    check(
        f"{address:x}" in text.lower(),
        expected=f"page_free of {what} panics and tells the address, {address:#x}",
        found=text,
    )
    check(
        CALLER in text,
        expected=f"called from {CALLER}, page_free of {what} panics and names {CALLER}",
        found=text,
        hint="__builtin_return_address(0) in page_free itself; symbol() is its name",
    )


@pytest.mark.parametrize("count", [0, 2, 3, 512])
def test_free_of_a_shared_page_panics(scene: Callable[[], Scene], count: int) -> None:
    def counted(bench: Bench) -> int:
        page = bench.take()
        bench.scene.call(0, "page_count_add", page, count - 1)
        return page

    refused(scene, counted, f"a page with count {count}")


def test_retired_page_comes_back(full: Bench) -> None:
    """Whatever its count."""
    counts = (0, 1, 2, 7, 512)
    pages = full.next_pages(len(counts))
    chain = full.structure()
    for page, count in zip(pages, counts, strict=True):
        full.scene.call(0, "page_count_add", page, count - 1)
        full.scene.call(0, "page_retire", page, chain)
    found = full.chained(chain)
    check(
        sorted(found) == sorted(pages),
        expected=f"page_retire puts a page into the chain, whatever its count: {len(pages)} pages",
        found=f"{len(found)} pages",
    )
    for page in pages:
        full.held.discard(page)
        check(full.entry(page) & 1 == 0, "a retired page's entry is even", f"{full.entry(page):#x}")
