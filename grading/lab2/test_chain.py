"""Exercise 4: a chain goes back as a whole."""

from __future__ import annotations

import pytest
from allocator_bench import Bench
from stag.verdict import check
from test_queue import check_all_come_back

SHORT, LONG, SLACK = 4, 4096, 32


@pytest.mark.parametrize("count", [1, 2, 5, 50])
def test_chain_comes_back(full: Bench, count: int) -> None:
    for turn in (1, 2, 3):
        pages = full.next_pages(count)
        full.scene.call(1, "page_free_chain", full.chain(pages, 1))
        what = f"chain {turn} of {count} pages, which hart 1 freed, on hart 3"
        check_all_come_back(full, pages, what, 3)


def test_empty_chain(full: Bench) -> None:
    pages = full.next_pages(3)
    empty, chain = full.structure(), full.chain(pages)
    full.scene.call(0, "page_free_chain", empty)
    full.scene.call(0, "page_free_chain", chain)
    full.scene.call(0, "page_free_chain", empty)
    for name in ("first", "last", "count"):
        value = full.scene.field(chain, "page_chain", name)
        check(
            value == 0,
            expected="page_free_chain leaves the chain empty: first, last and count are 0",
            found=f"{name} is {value:#x}",
            where="page_free_chain (kernel/page_alloc.c)",
        )
    check_all_come_back(full, pages, "a chain of 3 pages between empty ones", 0)


def test_append_is_constant_time(full: Bench) -> None:
    counts = {}
    for length in (SHORT, LONG):
        pages = full.next_pages(length)
        chain = full.chain(pages)
        found = len(full.chained(chain))
        check(found == length, f"page_put makes a chain of {length} pages", f"{found} pages")
        _, counts[length] = full.scene.count_call(0, "page_free_chain", chain)
    first = full.scene.call(0, "page_alloc")
    check(first != 0, "a page of the chain can be allocated", "page_alloc returned 0")
    check(
        counts[LONG] - counts[SHORT] <= SLACK,
        expected=f"page_free_chain takes as long for {LONG} pages as for {SHORT}"
        f" ({counts[SHORT]} instructions, {SLACK} more are allowed)",
        found=f"{counts[LONG]} instructions",
        where="page_free_chain (kernel/page_alloc.c)",
        hint="the chain knows its first and last entry and its length: nothing is to be walked",
    )
