"""Exercise 2: making tables and mapping, in a table that the grader has made."""

from __future__ import annotations

import random

import pytest
from paging_bench import GIB, MIB, Bench, entry, make_bench, walk_text
from stag import addressmap
from stag.addressmap import Piece
from stag.errors import GuestHang
from stag.harts import SP
from stag.pagetable import PAGE, A, D, Entry, G, PageTable, R, U, V, W, X, rights_text
from stag.verdict import check

HERE = 0xFFFFFFC000000000
LINEAR = 0xFFFFFFE000000000
SLACK = 0x400  # below the stack pointer: room for a struct page_list


@pytest.fixture
def bench(boot) -> Bench:
    bench = make_bench(boot(harts=1))
    bench.call("page_table_init", 3)
    return bench


def listed(bench: Bench, count: int) -> int:
    """A struct page_list with so many pages on it, full of rubbish."""
    pages = bench.system.remote.general_registers(bench.hart)[SP] - 0x1000 - SLACK
    bench.set_word(pages, 0)
    bench.pages.page_list_fill(pages, count, 0)
    return pages


def check_map(bench: Bench, root: int, levels: int, wanted: list[Piece]) -> PageTable:
    """Exactly this is mapped; whatever sizes the leaves have."""
    table = bench.table(root, levels)
    wanted = addressmap.merged(wanted)
    wrong = addressmap.difference(wanted, addressmap.found(table.ranges()))
    check(
        not wrong,
        expected="page_table_map maps each address of the range to its own, with the rights"
        " asked for, and nothing else",
        found="\n" + wrong,
        where=walk_text(table, wanted[0].va),
    )
    return table


def do_map(bench: Bench, root: int, levels: int, piece: Piece) -> None:
    bits = sum(
        bit for letter, bit in zip("RWXG", (R, W, X, G), strict=True) if letter in piece.rights
    )
    bench.call("page_table_map", root, piece.va, piece.pa, piece.size, bits)


def map_and_check(bench: Bench, levels: int, *pieces: Piece) -> PageTable:
    root = bench.new_table()
    for piece in pieces:
        do_map(bench, root, levels, piece)
    return check_map(bench, root, levels, list(pieces))


# page_table_make and page_table_missing


def check_make(bench: Bench, root: int, levels: int, va: int, level: int) -> None:
    """One call on a list with two pages more than can be needed."""
    pages = listed(bench, levels + 1)
    made = bench.call("page_table_make", root, va, level, pages)
    table = bench.table(root, levels)
    at = table.root
    for upper in range(levels - 1, level, -1):
        value = bench.physical.u64(at + (va >> 12 + 9 * upper & 511) * 8)
        check(
            bool(value & V) and not value & (R | W | X),
            expected=f"the entry at level {upper} on the way to {va:#x} points to a table",
            found=f"it is {value:#x}",
            where=walk_text(table, va),
        )
        at = (value >> 10) * PAGE
    wanted = at + (va >> 12 + 9 * level & 511) * 8 + bench.linear_offset
    check(
        made == wanted,
        expected=f"page_table_make({va:#x}, level {level}) returns {wanted:#x}, the linear"
        " address of the entry at that level",
        found=f"it returns {made:#x}",
        where=walk_text(table, va),
    )
    left = set(bench.pages.listed(pages))
    used = {page + bench.linear_offset for page in table.tables()}
    check(
        not left & used,
        expected="a page that has become a table is taken off the list",
        found="it is still on it: " + ", ".join(f"{page:#x}" for page in left & used),
        where="page_table_make, pages taken by page_list_take",
    )


def put_stale(bench: Bench, root: int, levels: int, va: int, level: int) -> None:
    """An entry that is not valid any more: it holds the address of what was
    a table."""
    bench.put(root, levels, va, entry(bench.pages.page() - bench.linear_offset, 0), level)


def test_make_returns_the_entry(bench: Bench) -> None:
    root = bench.new_table()
    for va, level in (
        (0x1000, 0),
        (0x2000, 0),
        (HERE + 0x345678000, 0),
        (HERE + 64 * GIB, 2),
        (HERE + 32 * GIB + 6 * MIB, 1),
        (HERE + 32 * GIB + 511 * PAGE, 0),
        (0xFFFFFFFFFFFFF000, 0),
    ):
        check_make(bench, root, 3, va, level)
    for va, level in ((HERE + 5 * GIB, 1), (HERE + 96 * GIB, 2)):
        put_stale(bench, root, 3, va, level)
        check_make(bench, root, 3, va, 0)


def test_make_sv48(bench: Bench) -> None:
    bench.call("page_table_init", 4)
    root = bench.new_table()
    for va, level in ((0x1000, 0), (LINEAR, 2), (1 << 40, 2), (LINEAR + GIB, 1)):
        check_make(bench, root, 4, va, level)


def test_new_tables_are_empty(bench: Bench) -> None:
    """Pages off a list hold anything."""
    root = bench.new_table()
    va = HERE + 3 * GIB + 4 * MIB
    bench.call("page_table_make", root, va, 0, listed(bench, 2))
    counts = list(bench.table(root, 3).tables().values())
    check(
        counts == [1, 1, 0],
        expected="of the tables on the way to the first page, two hold one entry and the last none",
        found=f"valid entries in the tables found: {counts[:6]}",
        where="page_table_make, with pages whose contents are unknown",
        hint="page_list_fill was asked for pages that are not cleared",
    )


def orders_stores(word: int) -> bool:
    """A fence that keeps earlier stores before later ones."""
    return word & 0x707F == 0x0F and bool(word >> 24 & 1) and bool(word >> 20 & 1)


def is_release(word: int) -> bool:
    """An atomic instruction with .rl."""
    return word & 0x7F == 0x2F and bool(word >> 25 & 1)


def test_tables_are_seen_empty(bench: Bench) -> None:
    """As soon as the pointer to it is stored another hart's walk may read a
    table: step by step, when is that, and what had been cleared by then?"""
    root = bench.new_table()
    va = HERE + 3 * GIB + 4 * MIB
    pages = listed(bench, 2)
    physical = bench.physical
    new = [page - bench.linear_offset for page in bench.pages.listed(pages)]
    clear: set[int] = set()  # before the last fence
    level, last = 2, 0
    slot = root - bench.linear_offset + (va >> 30 & 511) * 8
    for word in bench.steps("page_table_make", root, va, 0, pages):
        pointer = physical.u64(slot)
        if pointer & V:
            table = (pointer >> 10) * PAGE
            left = sum(byte != 0 for byte in physical.read(table, PAGE)[::8])
            check(
                left == 0,
                expected="a new table is empty before the pointer to it is stored",
                found=f"the pointer at level {level} is stored, and {left} entries of the table"
                " are not cleared yet",
                where=bench.where(),
                hint="another hart may walk there as soon as the pointer can be read",
            )
            check(
                table in clear or is_release(last),
                expected="between the clearing of a table and the store of the pointer to it, a"
                " fence (or a store with release): another hart sees them in this order",
                found=f"none before the pointer at level {level}",
                where=bench.where(),
                hint="pte_publish, not pte_store",
            )
            level -= 1
            if level == 0:
                return
            slot = table + (va >> 12 + 9 * level & 511) * 8
        if orders_stores(word):
            clear |= {page for page in new if not any(physical.read(page, PAGE))}
        last = word
    check(False, "page_table_make makes two tables", f"{2 - level} of them")


def test_make_stops_at_a_leaf(bench: Bench) -> None:
    """… which it would take for a table, and write into somebody's memory."""
    root = bench.new_table()
    check_make(bench, root, 3, 0x1000, 0)
    for va, level, pa, bits in ((HERE, 1, 0x83000000, X), (LINEAR, 2, 0x80000000, R | W)):
        bench.put(root, 3, va, entry(pa, V | bits | A | D), level)
        saved = bench.system.remote.save_registers(bench.hart)
        end = bench.call(
            "page_table_make", root, va, 0, listed(bench, 3), ends=("panic_assert", "panic", "stop")
        )
        check(
            isinstance(end, str),
            expected=f"page_table_make asserts that no leaf is on the way: at level {level} of"
            f" {va:#x} there is one",
            found=f"it returns {end:#x}" if isinstance(end, int) else "",
            where=walk_text(bench.table(root, 3), va),
        )
        bench.system.remote.restore_registers(bench.hart, saved)


def describe_pointer(pointer: Entry, problem: str) -> str:
    return f"{pointer.value:#x} at level {pointer.level} for {pointer.va:#x}: {problem}"


def test_pointers_have_v_alone(bench: Bench) -> None:
    root = bench.new_table()
    do_map(bench, root, 3, Piece(HERE + MIB, 0x80300000, 3 * PAGE, "RW--G"))
    bench.call("page_table_make", root, 0x5000, 0, listed(bench, 2))
    pointers = [e for e in bench.table(root, 3).entries() if e.level and not e.is_leaf]
    wrong = [
        describe_pointer(pointer, f"bits {pointer.flags & ~(V | G):#x} are set")
        for pointer in pointers
        if pointer.flags & (A | D | U) or pointer.defect()
    ]
    check(
        not wrong and len(pointers) == 4,
        expected="four entries that point to tables, in which R, W, X, U, A and D are clear",
        found="; ".join(wrong) or f"{len(pointers)} such entries",
        where="kernel/riscv/page_table.h",
        hint="the manual reserves U, A and D in an entry that points to a table",
    )


def test_tables_count_their_entries(bench: Bench) -> None:
    root = bench.new_table()
    pages = listed(bench, 8)
    for va in (0x1000, 0x3000, 0x200000, 1 << 30):
        bench.call("page_table_make", root, va, 0, pages)
    do_map(bench, root, 3, Piece(HERE + 0x5000, 0x80305000, 7 * PAGE, "R---G"))
    do_map(bench, root, 3, Piece(LINEAR, 0x80000000, GIB + 4 * MIB, "RW--G"))
    table = bench.table(root, 3)
    for page, valid in table.tables().items():
        # The grader's root began with the count that page_alloc gives.
        wanted = valid + (page == table.root)
        found = bench.pages.out.get(page + bench.linear_offset)
        check(
            found == wanted,
            expected=f"the count of the table at {page:#x} is {wanted}"
            + (", 1 and its entries" if page == table.root else ", its number of valid entries"),
            found=f"{found}",
            where="kept by page_count_add (kernel/page_alloc.h)",
            hint="a page comes with count 1, a new table's starts at zero",
        )


def missing_tables(table: PageTable, va: int, end: int) -> int:
    """The definition: a table for each entry that would have to point to one."""
    have = {(e.level, e.va) for e in table.entries() if e.level and not e.is_leaf}
    missing = set()
    for level in range(1, table.levels):
        size = PAGE << 9 * level
        for at in range(va // size * size, end, size):
            missing.add((level, table.canonical(at)))
    return len(missing - have)


def check_missing(bench: Bench, levels: int, ranges: list[tuple[int, int]]) -> None:
    bench.call("page_table_init", levels)
    root = bench.new_table()
    for va in (0x40000000, 0x40600000, (3 << 30) + 0x1000, 1 << 37):
        bench.put(root, levels, va, entry(0x80000000, V | R | A))
    for va, level in ((0x40A00000, 1), (1 << 32, 2)):
        put_stale(bench, root, levels, va, level)
    table = bench.table(root, levels)
    before = bench.contents(root, levels)
    for va, end in ranges:
        wanted = missing_tables(table, va, end)
        found = bench.call("page_table_missing", root, va, end)
        check(
            found == wanted,
            expected=f"page_table_missing says {wanted} for [{va:#x}, {end:#x})",
            found=f"it says {found}",
            where=f"{walk_text(table, va)}\n{walk_text(table, end - PAGE)}",
        )
    check(
        bench.contents(root, levels) == before and bench.pages.handed_out == 0,
        expected="page_table_missing changes nothing",
        found="the tables are not what they were, or pages were taken",
    )


def test_missing_tables(bench: Bench) -> None:
    ranges = [
        (0x40000000, 0x40001000),
        (0x40200000, 0x40201000),
        (0x401FF000, 0x40201000),
        (0x40000000, 0x40800000),
        (0x3FFFF000, 0x40001000),
        (0x1000, 0x2000),
        (0xBFE00000, 0xC0400000),
        (0x7FFFF000, 0x7FFFF000 + 4096 * PAGE),
        (0x40A00000, 0x40A01000),  # entries that are not valid any more
        (1 << 32, (1 << 32) + PAGE),
    ]
    dice = random.Random(1)
    for _ in range(20):
        va = dice.randrange(0x30000000, 0x110000000) // PAGE * PAGE
        ranges.append((va, va + dice.choice((1, 2, 511, 512, 513, 4096)) * PAGE))
    check_missing(bench, 3, ranges)


def test_missing_tables_sv48(bench: Bench) -> None:
    edge = 1 << 39
    check_missing(
        bench,
        4,
        [
            (0x40000000, 0x40001000),
            (0x40200000, 0x40400000),
            (0x1000, 0x2000),
            (edge - PAGE, edge + PAGE),
            (edge + 0x1000, edge + 0x401000),
        ],
    )


# page_table_map


def check_map_of_nothing(bench: Bench) -> None:
    root = bench.new_table()
    try:
        do_map(bench, root, 3, Piece(HERE + 0x3000, 0x80203000, 0, "R----"))
        found = [str(leaf) for leaf in bench.table(root, 3).leaves()]
    except GuestHang:
        found = ["it does not return"]
    check(
        not found,
        expected="page_table_map of size 0 maps nothing",
        found="; ".join(found[:3]),
        where=f"page_table_map(root, {HERE + 0x3000:#x}, 0x80203000, 0, R)",
        hint="page_table.h: size may be 0",
    )


def test_map_pages(bench: Bench) -> None:
    check_map_of_nothing(bench)
    map_and_check(
        bench,
        3,
        Piece(HERE + 0x3000, 0x80203000, PAGE, "R---G"),
        Piece(HERE + 0x7000, 0x80F00000, 5 * PAGE, "RW---"),
        Piece(0x10000000, 0x10000000, PAGE, "RW---"),
    )


def test_map_across_tables(bench: Bench) -> None:
    """Ranges that begin in one table and end in another."""
    map_and_check(
        bench,
        3,
        Piece(HERE + 0x1FE000, 0x803FE000, 6 * PAGE, "RW--G"),
        Piece(LINEAR + GIB - 2 * PAGE, 0x80000000 - 2 * PAGE, 4 * PAGE, "R----"),
    )


def test_map_rights(bench: Bench) -> None:
    """No right more than was asked for, and none less."""
    pieces = [
        Piece(HERE + number * 8 * MIB, 0x80000000 + number * 8 * MIB, 2 * PAGE, rights)
        for number, rights in enumerate(("R----", "RW---", "R-X--", "R---G", "RW--G", "R-X-G"))
    ]
    map_and_check(bench, 3, *pieces)


def test_map_accessed_and_dirty(bench: Bench) -> None:
    table = map_and_check(
        bench,
        3,
        Piece(HERE, 0x80000000, PAGE, "R-X-G"),
        Piece(HERE + 8 * MIB, 0x80800000, 4 * MIB, "RW---"),
    )
    for leaf in table.leaves():
        wanted = A | (D if leaf.flags & W else 0)
        check(
            leaf.flags & (A | D) == wanted,
            expected="in a leaf A is set, and D if it may be written",
            found=f"{leaf.value:#x}, rights {rights_text(leaf.flags)}, A"
            f" {bool(leaf.flags & A):d}, D {bool(leaf.flags & D):d}",
            where=walk_text(table, leaf.va),
            hint="hardware may fault on a page whose A is clear, or D when it is written",
        )


def test_map_large(bench: Bench) -> None:
    """Megabytes and gigabytes. Large leaves only where both addresses are
    aligned: else they would map other memory, or fault."""
    table = map_and_check(
        bench,
        3,
        Piece(HERE, 0x80200000, 2 * MIB + 3 * PAGE, "RW--G"),
        Piece(HERE + 8 * MIB, 0x80201000, 4 * MIB, "R---G"),
        Piece(LINEAR + 0x7FF000, 0x807FF000, 2 * GIB + 5 * MIB, "RW--G"),
        Piece(LINEAR + 16 * GIB, 0x140000000 + 2 * MIB, GIB, "RW---"),
    )
    check(
        not table.defects(),
        expected="leaves as the manual allows them",
        found="; ".join(table.defects()[:3]),
    )


def test_map_sv48(bench: Bench) -> None:
    bench.call("page_table_init", 4)
    map_and_check(
        bench,
        4,
        Piece(HERE + 0x3000, 0x80203000, 3 * PAGE, "R-X-G"),
        Piece(LINEAR + 2 * MIB, 0x80200000, 3 * GIB, "RW--G"),
        Piece(0x10000000, 0x10000000, PAGE, "RW---"),
    )


def test_map_to_the_last_address(bench: Bench) -> None:
    """The linear map may reach to the end of the address space."""
    size = 2 * GIB
    piece = Piece((1 << 64) - size, 0x2000000000, size, "RW--G")
    map_and_check(bench, 3, piece)


def test_map_beside_another(bench: Bench) -> None:
    """What is mapped already stays, and its tables are used."""
    root = bench.new_table()
    first = Piece(HERE + 0x3000, 0x80203000, PAGE, "R-X-G")
    second = Piece(HERE + 0x4000, 0x80304000, 2 * PAGE, "RW--G")
    third = Piece(HERE + 2 * MIB, 0x80600000, PAGE, "R---G")
    do_map(bench, root, 3, first)
    tables = set(bench.table(root, 3).tables())
    do_map(bench, root, 3, second)
    do_map(bench, root, 3, third)
    table = check_map(bench, root, 3, [first, second, third])
    check(
        tables <= set(table.tables()) and len(table.tables()) == len(tables) + 1,
        expected="the tables that are there are used, and one more is made",
        found=f"there were {len(tables)} tables, now there are {len(table.tables())}",
        where=walk_text(table, second.va),
    )


def test_map_leaks_no_table(bench: Bench) -> None:
    """Every page that was taken is a table of the tree, or was given back."""
    root = bench.new_table()
    outside = set(bench.pages.out)
    for number, size in enumerate((PAGE, 3 * MIB, GIB + MIB, PAGE)):
        at = 4 * number * GIB + 12 * PAGE
        do_map(bench, root, 3, Piece(LINEAR + at, 0x80000000 + at, size, "RW--G"))
    do_map(bench, root, 3, Piece(LINEAR, 0x80000000, 12 * PAGE, "RW--G"))
    used = {page + bench.linear_offset for page in bench.table(root, 3).tables()}
    lost = set(bench.pages.out) - outside - used
    check(
        bench.pages.handed_out > 0 and not lost,
        expected="the pages taken from the allocator are the tables that were made",
        found=f"{bench.pages.handed_out} pages were taken; neither in the tree nor given back: "
        + (", ".join(f"{page:#x}" for page in sorted(lost)) or "none"),
        where="page_table_map, five calls",
    )


def test_map_out_of_memory(bench: Bench) -> None:
    """… stops the boot, instead of writing through a null pointer."""
    root = bench.new_table()
    for left in (0, 1):
        bench.pages.left = left
        va = LINEAR + left * GIB + MIB
        system = bench.system
        saved = system.remote.save_registers(bench.hart)
        ends = {
            "lab_todo": "a function is yours to write",
            "boot_trap": "a trap",
            "stop": "",
            "panic": "",
        }
        end = bench.call("page_table_map", root, va, 0x80000000, PAGE, R | W, ends=tuple(ends))
        found = ends.get(str(end), "it returned")
        if end == "boot_trap":
            cause, address = (system.remote.register(bench.hart, n) for n in ("scause", "stval"))
            found = f"a trap: scause {cause}, stval {address:#x}"
        check(
            not found,
            expected=f"page_table_map calls stop when the allocator has {left} pages left",
            found=found,
            where=f"a page at {va:#x}, which lacks two tables",
        )
        system.remote.restore_registers(bench.hart, saved)
