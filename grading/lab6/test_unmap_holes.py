"""Exercise 2: holes and empty tables."""

from __future__ import annotations

import pytest
from process_bench import DATA, GIB, MAP_PAGES_MAX, OTHER, SPINS, TABLE_SPAN, USER_END, Bench
from stag.pagetable import PAGE
from stag.scene import Scene
from stag.snapshot import Snapshot
from stag.verdict import check

WHERE = "unmap_range (kernel/unmap.c)"
SPARSE = 30  # tables with one page each: more entries than one slice may look at


@pytest.fixture
def bench(scene) -> Bench:
    return Bench(scene())


def check_unmaps(bench: Bench, mapped: list[int], va: int, end: int, kept: int) -> None:
    """A process maps pages at these places, and unmaps [va, end)."""
    space, executor = bench.process(SPINS)
    bench.memory(space, kept)
    bench.memory(space, kept + PAGE)
    for at in mapped:
        bench.memory(space, at)
    result = bench.unmap(executor, va, (end - va) // PAGE)
    check(result == 0, "unmap of a range with holes returns 0", f"{result}", WHERE)
    left = [f"{at:#x}" for at in mapped if bench.mapped(space, at)]
    check(
        not left,
        f"of [{va:#x}, {end:#x}) nothing is mapped any more",
        f"pages are mapped at {', '.join(left)}",
        WHERE,
    )
    check(bench.mapped(space, kept) is not None, f"{kept:#x} is still mapped", "it is not", WHERE)


def test_holes(bench: Bench) -> None:
    pages = [DATA + i * PAGE for i in (1, 2, 5, 9, 200)]
    check_unmaps(bench, pages, DATA, DATA + 300 * PAGE, DATA + 300 * PAGE)


def test_missing_tables(bench: Bench) -> None:
    pages = [DATA + 3 * TABLE_SPAN, DATA + GIB + 7 * PAGE, DATA + 3 * GIB]
    check_unmaps(bench, pages, DATA, DATA + 4 * GIB, DATA + 5 * GIB)


def test_range_across_tables(bench: Bench) -> None:
    for border in (OTHER + TABLE_SPAN, 2 * GIB):
        pages = [border - PAGE, border, border + PAGE]
        check_unmaps(bench, pages, border - PAGE, border + PAGE * 2, border + 2 * PAGE)
    space, executor = bench.process(SPINS, "last space")
    for va in pages:
        bench.memory(space, va)
    bench.prepare_call(executor, 0, pages[0], len(pages))
    bench.scene.enter(0, "call_unmap", executor)
    steps = bench.counts_entries(0, "page_free_chain")
    check(
        steps == 1,
        "what reached zero is freed in one step",
        f"unmap calls page_free_chain {steps} times",
        WHERE,
        "one chain for the whole range",
    )


def test_empty_tables_are_given_back(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    before = bench.tables(space)
    pages = [DATA, DATA + PAGE, 2 * GIB, 2 * GIB + TABLE_SPAN]
    for va in pages:
        bench.memory(space, va)
    made = [page for page in bench.tables(space) if page not in before]
    for va in pages:
        bench.unmap(executor, va, 1)
    linked = [page for page in bench.tables(space) if page not in before]
    check(
        not linked,
        "a table without entries is not linked any more",
        f"{len(linked)} empty tables are",
        WHERE,
    )
    counts = bench.counts()
    kept = [page for page in made if page in counts]
    check(
        not kept,
        "the page of a table that became empty is free",
        f"{len(kept)} of {len(made)} are still allocated",
        WHERE,
        "page_retire frees a table, by way of the chain",
    )


def test_tables_in_use_stay(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    for va in (DATA, DATA + 2 * PAGE, DATA + TABLE_SPAN, 2 * GIB, 2 * GIB + TABLE_SPAN):
        bench.memory(space, va)
    bench.unmap(executor, DATA, 2)
    bench.unmap(executor, 2 * GIB, 1)
    for va in (DATA + 2 * PAGE, DATA + TABLE_SPAN, 2 * GIB + TABLE_SPAN):
        check(
            bench.mapped(space, va) is not None,
            f"{va:#x}, outside of what was unmapped, is still mapped",
            "its table is gone",
            WHERE,
        )
    counts = bench.counts()
    used = [page for page in bench.tables(space) if page not in counts]
    check(not used, "page tables in use are allocated", f"{len(used)} are free", WHERE)


def test_table_counts(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    for i in (0, 1, 7, 20, 100, 400):
        bench.memory(space, DATA + i * PAGE)
    bench.memory(space, DATA + TABLE_SPAN)
    bench.unmap(executor, DATA + PAGE, 3)
    bench.check_tables(space)
    bench.unmap(executor, DATA + PAGE, 200)
    bench.check_tables(space)
    bench.unmap(executor, DATA + 100 * PAGE, 512)
    bench.check_tables(space)
    bench.unmap(executor, DATA, 1)
    bench.check_tables(space)


def test_unmap_in_slices(bench: Bench) -> None:
    """The last entry of each table is used: no entry before it can be passed
    over, in tables of leaves and in those above."""
    check_slices(bench, SPARSE, TABLE_SPAN, DATA, 512)
    check_slices(bench, SPARSE // 2, GIB, GIB, 512 + 512)


def check_slices(bench: Bench, tables: int, span: int, begin: int, entries: int) -> None:
    """Unmap from `begin` on, where so many tables that span so much have one
    page each, for which so many entries must be looked at."""
    space, executor = bench.process(SPINS, f"space of {tables} tables")
    places = [begin + i * span - PAGE for i in range(1, tables + 1)]
    pages = [bench.memory(space, va) for va in places]
    va, end = begin, begin + tables * span
    for _ in range(2 * tables):
        bench.prepare_call(executor, 0, va, (end - va) // PAGE)
        bench.long_call(0, "call_unmap", executor)
        again = bench.field(executor, "executor", "pc") == 0x1000000
        stopped = bench.register(executor, 11) if again else end
        looked_at = sum(va <= at < stopped for at in places) * entries
        check(
            va < stopped and looked_at <= MAP_PAGES_MAX,
            f"one call looks at no more than {MAP_PAGES_MAX} entries, and comes further",
            f"it went from {va:#x} to {stopped:#x}: about {looked_at} entries",
            "call_unmap, unmap_range (kernel/unmap.c)",
            "entries of tables of any level count; the call is made again for the rest",
        )
        rest = bench.register(executor, 12) if again else 0
        check(
            rest == (end - stopped) // PAGE and (not again or bench.register(executor, 10) == 0),
            f"where the call is made again, at {stopped:#x}, a0 is as before and a2 says how many"
            f" pages are left: {(end - stopped) // PAGE}",
            f"a0 is {bench.register(executor, 10):#x}, a2 {rest}",
            "call_unmap (kernel/unmap.c)",
        )
        left = [at for at in places if at < stopped and bench.mapped(space, at)]
        check(
            not left,
            f"when it has come to {stopped:#x} all before is unmapped",
            f"{len(left)} pages are not",
            WHERE,
        )
        counts = bench.counts()
        kept = [p for at, p in zip(places, pages, strict=True) if at < stopped and p in counts]
        check(
            not kept,
            "… and its pages are free: each slice drops what it has cleared",
            f"{len(kept)} pages are still allocated",
            WHERE,
            "finish steps 3 to 5 before you return",
        )
        va = stopped
        if not again:
            break
    check(va == end, "the call comes to its end", f"it is at {va:#x}", WHERE)
    check(bench.result(executor) == 0, "then it returns 0", f"{bench.result(executor)}", WHERE)


def test_unmap_sv48(ready) -> None:
    bench = Bench(Scene(Snapshot.take(ready(harts=1, arguments="mmu=sv48"))))
    end = USER_END << 9
    pages = [DATA, USER_END - PAGE, USER_END, 3 * USER_END, end - PAGE]
    check_unmaps(bench, pages, DATA, end, DATA - 2 * PAGE)
