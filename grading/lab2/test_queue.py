"""Exercise 2: a free page comes back; what is no such page is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from allocator_bench import CACHE_SIZE, PAGE, Bench
from stag.errors import GuestPanic
from stag.scene import Scene
from stag.verdict import check, fail

NO_PANIC = ("the kernel trapped", "came to no end", "no code is there")
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


def refused(scene: Callable[[], Scene], prepare: Callable[[Bench], int], what: str) -> None:
    """page_free(prepare()) panics."""
    bench = Bench(scene())
    bench.free(bench.take())  # is not refused
    page = prepare(bench)
    try:
        bench.scene.call(0, "page_free", page)
    except GuestPanic as panic:
        check(
            not any(text in str(panic) for text in NO_PANIC),
            expected=f"page_free of {what} panics",
            found=str(panic),
        )
        return
    fail(
        expected=f"page_free of {what} ({page:#x}) panics and names the caller",
        found="it returned",
        where="page_free (kernel/page_alloc.c)",
    )


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


def chained(bench: Bench) -> int:
    pages = [bench.take() for _ in range(3)]
    bench.chain(pages)
    return pages[1]


@pytest.mark.parametrize(
    ("prepare", "what"),
    [
        (twice, "a page that was just freed"),
        (twice_with_others_between, "a page that was freed before others"),
        (on_two_harts, "a page that another hart has freed"),
        (chained, "a page whose count page_put has brought to zero"),
    ],
    ids=["at-once", "later", "other-hart", "chained"],
)
def test_double_free_panics(
    scene: Callable[[], Scene], prepare: Callable[[Bench], int], what: str
) -> None:
    refused(scene, prepare, what)


def largest(bench: Bench) -> int:
    return max(range(len(bench.banks)), key=lambda i: bench.banks[i].size)


WILD: dict[str, tuple[str, Callable[[Bench], int]]] = {
    "null": ("0", lambda bench: 0),
    "user": ("an address of a program", lambda bench: 0x1000000),
    "image": ("the kernel's code", lambda bench: bench.scene.symbols["page_free"] & -PAGE),
    "middle": ("an address inside of a page", lambda bench: bench.take() + 64),
    "table": (
        "the page allocation table",
        lambda bench: bench.banks[largest(bench)].entries,
    ),
    "behind": (
        "the address behind the last bank",
        lambda bench: bench.banks[-1].base + bench.banks[-1].size,
    ),
    "physical": (
        "a physical address",
        lambda bench: bench.scene.memory().translate(bench.take()),
    ),
}


@pytest.mark.parametrize("name", WILD)
def test_wild_free_panics(scene: Callable[[], Scene], name: str) -> None:
    what, prepare = WILD[name]
    refused(scene, prepare, what)


def test_free_above_the_mark_panics(scene: Callable[[], Scene]) -> None:
    """Never handed out: its entry may hold anything, that of an allocated page
    as well."""

    def last_page(bench: Bench) -> int:
        bank = bench.banks[largest(bench)]
        page = bank.base + bank.size - PAGE
        bench.scene.memory().set_u64(bench.entry_address(page), 3)
        return page

    refused(scene, last_page, "a page that was never handed out")


@pytest.mark.parametrize("count", [0, 2, 3, 512])
def test_free_of_a_shared_page_panics(scene: Callable[[], Scene], count: int) -> None:
    def shared(bench: Bench) -> int:
        page = bench.take()
        bench.scene.call(0, "page_count_add", page, count - 1)
        return page

    refused(scene, shared, f"a page with count {count}")


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
