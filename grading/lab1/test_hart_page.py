"""Exercise 5: one hart page at one address on every hart."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from paging_bench import Bench, make_bench, walk_text
from stag import addressmap
from stag.addressmap import HART_PAGE, HART_STACK, HART_STACK_SIZE, LINEAR_MAP, Piece
from stag.pagetable import PAGE, PageTable
from stag.system import System
from stag.verdict import check
from test_kernel_table import within

HART_GIB = 1 << 30
NAMES = {HART_PAGE: "hart page", HART_STACK: "stack", HART_STACK + PAGE: "upper half of the stack"}


@dataclass
class Made:
    """A call of kernel_table_for_hart and what came of it."""

    pages: dict[int, int]  # virtual: physical
    satp: int
    table: PageTable

    def check_pages(self, why: str) -> None:
        for va, pa in self.pages.items():
            leaf = self.table.lookup(va)
            wanted = Piece(va, pa, PAGE, "RW---")
            found = addressmap.found([r for r in self.table.ranges() if r.va <= va < r.end])
            good = any(p.va <= va < p.end and p.pa + va - p.va == pa for p in found)
            check(
                good and leaf is not None and found[0].rights == "RW---",
                expected=f"{why}: {NAMES[va]} {wanted}",
                found=f"{leaf}" if leaf else "nothing is mapped there",
                where=walk_text(self.table, va),
            )


def make_tables(bench: Bench, count: int = 3) -> list[Made]:
    """The table of kernel_table_init, then those of so many harts."""
    shared = bench.run_kernel_table_init()
    result = [Made({}, shared.satp, shared)]
    for _ in range(count):
        # Each below the one before: the two of the stack do not follow each other.
        pages = [bench.pages.page() - bench.linear_offset for _ in NAMES][::-1]
        satp = bench.call("kernel_table_for_hart", *pages)
        table = PageTable(bench.physical, int(satp))
        result.append(Made(dict(zip(NAMES, pages, strict=True)), int(satp), table))
    return result


@pytest.fixture
def bench(boot) -> Bench:
    return make_bench(boot(harts=1))


def test_hart_page_and_stack(bench: Bench) -> None:
    make_tables(bench, 1)[1].check_pages("in the table of a hart, RW, not global")


def check_separate(made: list[Made]) -> None:
    check(
        len({each.satp for each in made}) == len(made),
        expected="a table for each hart",
        found="the values of satp are " + ", ".join(f"{each.satp:#x}" for each in made),
    )
    for number, each in enumerate(made):
        each.check_pages(f"table {number} of {len(made)}, after all were made")


def test_each_hart_has_its_own(bench: Bench) -> None:
    """A table that is made later leaves the earlier ones alone."""
    check_separate(make_tables(bench)[1:])


def test_guard_pages(bench: Bench) -> None:
    made = make_tables(bench, 1)[1]
    made.check_pages("there is something to guard")
    top = HART_STACK + HART_STACK_SIZE
    for va, what in ((HART_STACK - PAGE, "below the stack"), (top, "above the stack")):
        leaf = made.table.lookup(va)
        check(
            leaf is None,
            expected=f"the page {what}, {va:#x}, is not mapped: it guards",
            found=f"{leaf}",
            where=walk_text(made.table, va),
        )
    found = within(made.table, HART_PAGE, HART_PAGE + HART_GIB)
    size = sum(piece.size for piece in found)
    check(size == 3 * PAGE, "three pages are mapped there", f"{[str(piece) for piece in found]}")


def outside_hart_gib(table: PageTable) -> list[Piece]:
    return [p for p in addressmap.found(table.ranges()) if not 0 <= p.va - HART_PAGE < HART_GIB]


def check_rest(shared: PageTable, table: PageTable, what: str) -> None:
    """All but the hart's own pages is as kernel_table_init made it."""
    wanted = outside_hart_gib(shared)
    check(bool(wanted), expected="kernel_table_init maps image and RAM", found="no mapping")
    wrong = addressmap.difference(wanted, outside_hart_gib(table))
    check(
        not wrong,
        expected=f"{what} has image, linear map and devices like the shared one",
        found=f"\n{wrong}",
        where=f"satp {table.satp:#x}",
    )
    own = set(table.tables()) - set(shared.tables())
    check(
        len(own) <= table.levels,
        expected=f"{what} has {table.levels} tables of its own, those on the way to the hart page,"
        " and shares all others",
        found=f"{len(own)} of its own: {', '.join(f'{page:#x}' for page in sorted(own)[:8])}",
        where=walk_text(table, HART_PAGE),
    )


def test_hart_table_has_the_shared_parts(bench: Bench) -> None:
    shared, *made = make_tables(bench)
    for number, each in enumerate(made):
        check_rest(shared.table, each.table, f"table {number}")


def test_hart_tables_sv48(boot) -> None:
    bench = make_bench(boot(harts=1, mmu="sv48"))
    shared, *made = make_tables(bench)
    check_separate(made)
    for number, each in enumerate(made):
        check(each.table.levels == 4, "a table of four levels", f"satp {each.satp:#x}")
        check_rest(shared.table, each.table, f"table {number} (Sv48)")


def check_booted(system: System, harts: int) -> None:
    """Each hart, where the labs are graded from, on its own table."""
    offset = system.variable("linear_offset")
    layout = system.symbols.struct("hart")
    boot_satp = system.variable("boot_satp")
    taken: dict[int, int] = {}
    for hart in range(harts):
        satp = system.remote.register(hart, "satp")
        check(satp != boot_satp, "a hart has left the boot's table", f"satp of hart {hart}")
        table = PageTable(system.physical, satp)
        for va in NAMES:
            pa = table.translate(va)
            other = taken.setdefault(pa or 0, hart)
            check(
                pa is not None and other == hart,
                expected=f"hart {hart} has a {NAMES[va]} of its own at {va:#x}",
                found="nothing is mapped" if pa is None else f"hart {other} has the same page",
                where=walk_text(table, va),
            )
        page = table.translate(HART_PAGE) or 0
        index = system.physical.u64(page + layout["index"].offset)
        check(
            index < harts and system.hart_page(index) == page + offset,
            expected=f"at HART_PAGE hart {hart} finds the page that `harts` names",
            found=f"{page + offset:#x}, whose index is {index}",
            where=walk_text(table, HART_PAGE),
        )
        low = [piece for piece in within(table, 0, LINEAR_MAP) if piece.va == piece.pa]
        image_at = system.load_address
        check(
            not any(piece.va <= image_at < piece.end for piece in low),
            expected="no table of a hart maps the image at its physical address",
            found=f"hart {hart}: {[str(piece) for piece in low]}",
            where=walk_text(table, image_at),
        )


def test_every_hart_comes_up(ready) -> None:
    check_booted(ready(harts=4), 4)


def test_every_hart_comes_up_sv48(ready) -> None:
    check_booted(ready(harts=3, mmu="sv48"), 3)
