"""Exercise 1: the page allocation table and the counts in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from allocator_bench import ALLOCATED, PAGE, TABLE_HINT, WORD, Bench, read_banks
from refusals import WILD, Prepare, panic_of
from stag.scene import Scene
from stag.verdict import check

SOME = 100


def test_allocated_page_has_count_one(bench: Bench) -> None:
    for n in range(SOME):
        page = bench.take()
        bench.check_count(page, 1, f"allocation {n + 1}")


def test_pages_are_distinct(bench: Bench) -> None:
    """Bench.take checks that each is a page of a bank that it has not had."""
    in_use = [page for page in _below_marks(bench) if bench.entry(page) & ALLOCATED]
    check(
        bool(in_use),
        expected="entries of pages that the boot has allocated are odd",
        found="no entry below the marks is",
        hint=TABLE_HINT,
    )
    bench.held |= set(in_use)
    for hart in (0, 1, 2, 3):
        for _ in range(SOME // 4):
            bench.take(hart)


def _below_marks(bench: Bench) -> list[int]:
    return [
        bank.base + offset
        for bank in bench.banks
        for offset in range(0, min(bank.marked, bank.size), PAGE)
    ]


def test_get_and_put_count(bench: Bench) -> None:
    page, other, chain = bench.take(), bench.take(), bench.structure()
    for count in range(2, 8):
        bench.scene.call(count % 4, "page_get", page)
        bench.check_count(page, count, f"after {count - 1} times page_get")
    for count in range(6, 0, -1):
        bench.scene.call(count % 4, "page_put", page, chain)
        bench.check_count(page, count, f"after {7 - count} times page_put")
    found = bench.chained(chain)
    check(not found, "a page with count 1 is not in the chain", f"{len(found)} pages are")
    bench.check_count(other, 1, "a page that nothing was done to")


def test_put_to_zero_joins_the_chain(bench: Bench) -> None:
    chain = bench.structure()
    pages = [bench.take() for _ in range(5)]
    bench.scene.call(0, "page_get", pages[2])
    bench.scene.call(0, "page_put", pages[2], chain)
    for number, page in enumerate(pages, 1):
        bench.scene.call(0, "page_put", page, chain)
        found = bench.chained(chain)
        check(
            sorted(found) == sorted(pages[:number]),
            expected=f"the chain holds the {number} pages whose count has come to zero",
            found=", ".join(f"{p:#x}" for p in found) or "none",
            where="page_put (kernel/page_alloc.c)",
        )
    for page in pages:
        check(
            not bench.entry(page) & ALLOCATED,
            expected="the entry of a page in a chain is even: it is free",
            found=f"{bench.entry(page):#x}",
            hint=TABLE_HINT,
        )


def chained(bench: Bench) -> int:
    page = bench.take()
    bench.chain([page])
    return page


def without_count(bench: Bench) -> int:
    page = bench.take()
    bench.scene.call(0, "page_count_add", page, -1)
    return page


NO_PAGE = {name: WILD[name] for name in ("null", "user", "middle", "behind")}
PUT = {"free": ("a free page", chained), "count-0": ("a page with count 0", without_count)}


@pytest.mark.parametrize(
    ("function", "what", "prepare"),
    [
        pytest.param(function, *case, id=f"{function}-{name}")
        for function, cases in (("page_get", NO_PAGE), ("page_put", NO_PAGE | PUT))
        for name, case in cases.items()
    ],
)
def test_get_and_put_refuse(
    scene: Callable[[], Scene], function: str, what: str, prepare: Prepare
) -> None:
    bench = Bench(scene())
    page, chain = bench.take(), bench.structure()
    bench.scene.call(0, "page_get", page)  # is not refused
    bench.scene.call(0, "page_put", page, chain)
    panic_of(bench, function, what, prepare(bench), chain)


@pytest.mark.parametrize("changes", [(1, 1, -1), (511, -500, -12), (-1, 3, 5), (-1, 512)])
def test_count_add(bench: Bench, changes: tuple[int, ...]) -> None:
    page, count = bench.take(), 1
    for change in changes:
        count += change
        result = bench.scene.call_signed(0, "page_count_add", page, change)
        check(
            result == count,
            expected=f"page_count_add(page, {change}) returns the count after it: {count}",
            found=f"{result}",
        )
        bench.check_count(page, count, f"after page_count_add(page, {change})")


def test_entries_above_the_mark_hold_anything(bench: Bench) -> None:
    """They are not initialised (bank.h): fill them with rubbish first."""
    memory = bench.scene.memory()
    marks = [bank.marked for bank in bench.banks]
    for bank in bench.banks:
        first = bank.marked // PAGE
        for index in range(first, min(first + 2 * SOME, bank.pages)):
            memory.set_u64(bank.entries + index * WORD, (0x5A5A5A5A5A5A5A5A, 7, 3)[index % 3])
    for n in range(SOME):
        page = bench.take()
        bench.check_count(page, 1, f"allocation {n + 1}, with rubbish above the marks before")
    for bank, mark in zip(read_banks(bench.scene.symbols, memory), marks, strict=True):
        for page in range(bank.base + mark, bank.base + min(bank.marked, bank.size), PAGE):
            check(
                page in bench.held or not bench.entry(page) & ALLOCATED,
                expected="a page below the mark that nobody has is free: its entry is even",
                found=f"the entry is {bench.entry(page):#x}",
                where=f"page {page:#x}, which lay above the mark before",
                hint="what a refill takes from above a mark lies in the cache: it is free until"
                " page_alloc returns it",
            )
