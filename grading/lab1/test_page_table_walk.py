"""Exercise 1: walking a table, which the grader has made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from paging_bench import Bench, entry, make_bench, walk_text
from stag.pagetable import PAGE, A, D, R, V, W, X
from stag.verdict import check

ALL = (1 << 64) - 1


@pytest.fixture
def bench(boot) -> Bench:
    return make_bench(boot(harts=1))


def addresses(levels: int) -> Iterator[int]:
    """Pages in both halves. Their indices differ from level to level."""
    bits = 12 + 9 * levels
    for indices in (
        (0, 1, 2, 3),
        (0, 1, 2, 4),
        (0, 1, 5, 3),
        (1, 2, 2, 3),
        (255, 511, 0, 511),
        (256, 256, 0, 0),
        (384, 300, 129, 65),
        (511, 511, 511, 511),
    ):
        va = 0
        for index in indices[-levels:]:
            va = va << 9 | index
        va <<= 12
        yield va | ALL + 1 - (1 << bits) if va >> bits - 1 else va


def set_levels(bench: Bench, levels: int) -> None:
    bench.call("page_table_init", levels)


def check_walk(bench: Bench, root: int, levels: int, va: int, wanted: int, why: str) -> None:
    found = bench.call("page_table_walk", root, va)
    check(
        found == wanted,
        expected=f"page_table_walk of {va:#x} returns {wanted:#x}: {why}",
        found=f"it returns {found:#x}",
        where=walk_text(bench.table(root, levels), va),
    )


def check_finds_entries(bench: Bench, levels: int) -> None:
    set_levels(bench, levels)
    root = bench.new_table()
    slots = {}
    for number, va in enumerate(addresses(levels)):
        leaf = entry(0x1_2345_6000 + number * PAGE, V | R | W | A | D)
        slots[va] = bench.put(root, levels, va, leaf)
    for va, slot in slots.items():
        check_walk(bench, root, levels, va, slot, "the linear address of the entry for this page")


def test_walk_finds_the_entry(bench: Bench) -> None:
    check_finds_entries(bench, 3)


def test_walk_finds_an_empty_entry(bench: Bench) -> None:
    """The entry is wanted also if nothing is mapped yet, or nothing any more."""
    set_levels(bench, 3)
    root = bench.new_table()
    va = 0x4567000
    for value, what in ((0, "0"), (entry(0x87654000, R | W), "not valid any more")):
        slot = bench.put(root, 3, va, value)
        check_walk(bench, root, 3, va, slot, f"the entry, whose table is there; it is {what}")


def test_walk_makes_nothing(bench: Bench) -> None:
    set_levels(bench, 3)
    root = bench.new_table()
    here = 0x4567000
    bench.put(root, 3, here, entry(0x87654000, V | R))
    before = bench.contents(root, 3)
    for va, missing in ((here + (1 << 21), "lowest"), (here + (1 << 30), "middle")):
        check_walk(bench, root, 3, va, 0, f"the {missing} table on the way is missing")
    after = bench.contents(root, 3)
    check(
        after == before and bench.pages.handed_out == 0,
        expected="page_table_walk changes no table and takes no page",
        found=f"{bench.pages.handed_out} pages were taken, "
        + ("tables were changed" if after != before else "no table was changed"),
        where="walks to where a table is missing",
    )


def test_walk_of_an_entry_without_v(bench: Bench) -> None:
    """Of an entry with V clear no other bit means anything."""
    set_levels(bench, 3)
    root = bench.new_table()
    va = 0xFFFFFFC012345000
    table = bench.new_table() - bench.linear_offset
    for level in (2, 1):
        bench.put(root, 3, va, entry(table, 0), level)
        check_walk(bench, root, 3, va, 0, f"the entry at level {level} is not valid")
        bench.put(root, 3, va, entry(bench.new_table() - bench.linear_offset, V), level)


def test_walk_stops_at_a_larger_leaf(bench: Bench) -> None:
    set_levels(bench, 3)
    root = bench.new_table()
    for va, level, bits in (
        (0xFFFFFFE000000000, 2, R | W),
        (0xFFFFFFC000000000, 1, R | X),
        (0x40200000, 1, R),
        (0x80400000, 1, X),
    ):
        bench.put(root, 3, va, entry(0x80000000, V | bits | A), level)
        check_walk(bench, root, 3, va + 0x3000, 0, f"a leaf of level {level} maps this address")


def test_walk_sv48(bench: Bench) -> None:
    check_finds_entries(bench, 4)
    root = bench.new_table()
    va = 0xFFFFFFE000000000
    bench.put(root, 4, va, entry(0x80000000, V | R | A), 2)
    check_walk(bench, root, 4, va, 0, "a leaf of level 2 maps this address")
    check_walk(bench, root, 4, 1 << 40, 0, "the table of level 2 is missing")
