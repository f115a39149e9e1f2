"""The challenge: text and constants are read-only wherever they are mapped, so
that no memory is writable at one address and executable at another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from paging_bench import GIB, MIB, TABLE_MODES, Bench, make_bench, walk_text
from stag import addressmap
from stag.addressmap import KERNEL_IMAGE, LINEAR_MAP, Piece
from stag.devicetree import Devicetree, Node
from stag.images import move_load_address
from stag.pagetable import PAGE, Entry, PageTable, R, W, X, rights_text
from stag.symbols import Symbols
from stag.system import System
from stag.verdict import check
from test_hart_page import make_tables
from test_kernel_table import SPACE_END, check_same, image, other_machine, within

KINDS = {"R-X-G": "the kernel's text", "R---G": "constants", "RW--G": "data"}


@pytest.fixture
def bench(boot) -> Bench:
    return make_bench(boot(harts=1))


# What is asked for


def linear(bench: Bench) -> list[Piece]:
    """The linear map: all RAM, of which text and constants are read-only."""
    fixed = [piece for piece in image(bench) if "W" not in piece.rights]
    low, high = min(piece.pa for piece in fixed), max(piece.pa + piece.size for piece in fixed)
    pieces = []
    for ram in addressmap.linear(bench.tree):
        start, end = ram.pa, ram.pa + ram.size
        cuts = sorted({start, end, *(at for at in (low, high) if start < at < end)})
        for at, to in pairwise(cuts):
            rights = "R---G" if low <= at < high else ram.rights
            pieces.append(Piece(ram.va + at - start, at, to - at, rights))
    return pieces


def check_linear(bench: Bench, table: PageTable, what: str) -> None:
    wanted, found = linear(bench), within(table, LINEAR_MAP, SPACE_END)
    wrong = addressmap.difference(wanted, found)
    starts = sorted(piece.va for piece in [*wanted, *found])
    first = next((va for va in starts if not is_mapped(table, va, wanted)), LINEAR_MAP)
    check(
        not wrong,
        expected=f"{what}: text and constants R, global, other RAM R W, global",
        found=f"\n{wrong}",
        where=walk_text(table, first),
    )


def is_mapped(table: PageTable, va: int, wanted: list[Piece]) -> bool:
    """As it should be, or not at all if it should not."""
    leaf = table.lookup(va)
    piece = next((p for p in wanted if p.va <= va < p.end), None)
    if leaf is None or piece is None:
        return leaf is None and piece is None
    same = leaf.pa + va - leaf.va == piece.pa + va - piece.va
    return same and rights_text(leaf.flags) == piece.rights


def check_map(bench: Bench, what: str) -> PageTable:
    """The table of kernel_table_init: the linear map as asked for, all else as
    in exercise 4."""
    table = bench.run_kernel_table_init()
    check_linear(bench, table, f"the linear map, {what}")
    wanted = [*image(bench), *linear(bench), *addressmap.devices(bench.tree)]
    check_same(
        table,
        addressmap.merged(wanted),
        addressmap.found(table.ranges()),
        f"{what}: beside the linear map image and devices, as before, and nothing else",
    )
    return table


def leaves_with(tables: dict[str, PageTable], right: int) -> Iterator[tuple[str, Entry]]:
    seen = set()
    for name, table in tables.items():
        for leaf in table.leaves():
            if leaf.flags & right and (leaf.va, leaf.value) not in seen:
                seen.add((leaf.va, leaf.value))
                yield name, leaf


def check_apart(tables: dict[str, PageTable], pieces: list[Piece]) -> None:
    """No physical page is writable in one place and executable in another, of
    these tables together."""
    executable = list(leaves_with(tables, X))
    check(bool(executable), "the kernel's text can be executed", "no leaf with X in any table")
    for writing, w in leaves_with(tables, W):
        for running, x in executable:
            low, high = max(w.pa, x.pa), min(w.pa + w.size, x.pa + x.size)
            if low < high:
                at = w.va + low - w.pa
                check(
                    False,
                    expected="no memory is writable at one address and executable at another",
                    found=f"physical {low:#x} to {high:#x}, {described(low, pieces)}:"
                    f" {rights_text(w.flags)} at {at:#x} in {writing},"
                    f" {rights_text(x.flags)} at {x.va + low - x.pa:#x} in {running}",
                    where=walk_text(tables[writing], at),
                )


def described(pa: int, pieces: list[Piece]) -> str:
    kinds = [KINDS[p.rights] for p in pieces if p.pa <= pa < p.pa + p.size]
    return kinds[0] if kinds else "which is not in the image"


# The tests


def test_linear_map_of_text_and_constants(bench: Bench) -> None:
    check_linear(bench, bench.run_kernel_table_init(), "the linear map")


@pytest.mark.parametrize("mmu", ["sv39", "sv48"])
def test_no_memory_is_writable_and_executable(boot, mmu: str) -> None:
    """In the kernel's table, those of harts, and that of a program together."""
    bench = make_bench(boot(harts=1, mmu=mmu))
    shared, *harts = make_tables(bench, 2)
    tables = {"the kernel's table": shared.table}
    tables |= {f"the table of hart {n}": made.table for n, made in enumerate(harts)}
    root = bench.new_table()
    bench.call("kernel_table_show_image", root)
    levels = shared.table.levels
    check(
        levels == {"sv39": 3, "sv48": 4}[mmu],
        expected=f"with mmu={mmu} a table of that mode",
        found=f"satp {shared.satp:#x}",
    )
    tables["the table of a program"] = PageTable(
        bench.physical, TABLE_MODES[levels] << 60 | (root - bench.linear_offset) // PAGE
    )
    check_apart(tables, image(bench))


def in_front_of_the_image(tree: Devicetree, at: int, _: int) -> None:
    """RAM begins with the image; a piece of it lies below."""
    tree.set_memory((0x80000000, 2 * MIB - PAGE), (at, 64 * MIB))


def around_the_image(tree: Devicetree, at: int, end: int) -> None:
    """RAM ends with the image, and what lies in front may not be mapped."""
    tree.set_memory((0x80000000, end - 0x80000000), (0x8C000000, 33 * MIB))
    areas = tree.root.children.setdefault("reserved-memory", Node())
    area = areas.children.setdefault("front", Node())
    area.set_wide("reg", at - 3 * PAGE, 3 * PAGE)
    area.properties["no-map"] = b""


def in_pieces(tree: Devicetree, _at: int, _end: int) -> None:
    other_machine(tree)


@pytest.mark.parametrize(
    ("mmu", "load", "change"),
    [
        pytest.param("sv39", 0x84600000, in_pieces, id="elsewhere"),
        pytest.param("sv48", 0x84600000, in_pieces, id="elsewhere-sv48"),
        pytest.param("sv39", 0x80200000, in_front_of_the_image, id="ram-begins-with-it"),
        pytest.param("sv39", 0x84600000, around_the_image, id="ram-ends-with-it"),
    ],
)
def test_read_only_wherever_the_image_lies(
    boot, kernel: Path, symbols: Symbols, tmp_path: Path, mmu: str, load: int, change
) -> None:
    linked = min(segment.physical for segment in symbols.segments)
    file = move_load_address(kernel, tmp_path / "moved.elf", load - linked)
    plain = boot(harts=1, memory="256M", mmu=mmu)
    tree = plain.read_devicetree(plain.run_to_entry())
    change(tree, load, load + symbols["image_end"] - KERNEL_IMAGE)
    bench = make_bench(boot(harts=1, memory="256M", mmu=mmu, kernel=file), tree)
    ram = ", ".join(f"{at:#x} to {at + size:#x}" for at, size in tree.memory)
    check_map(bench, f"image loaded at {load:#x}, RAM {ram} ({mmu})")


def test_large_leaves_remain(boot) -> None:
    """Of 2 GiB only the 2 MiB around an end of text and constants are in small
    pieces, and their GiB in pieces of 2 MiB."""
    bench = make_bench(boot(harts=1, memory="2G"))
    table = check_map(bench, "with 2 GiB of RAM")
    for leaf in table.leaves():
        if leaf.va < LINEAR_MAP or leaf.level > 1:
            continue
        block = GIB if leaf.level == 1 else 2 * MIB
        at = leaf.va // block * block
        whole = any(piece.va <= at and at + block <= piece.end for piece in linear(bench))
        check(
            not whole,
            expected=f"one leaf for the {block // MIB} MiB at {at:#x}, whose pages all have the"
            " same rights",
            found=f"{leaf}",
            where=walk_text(table, leaf.va),
            hint="only leaves in which text or constants begin or end need smaller ones",
        )


def check_booted(system: System, harts: int) -> None:
    tables = {
        f"the table of hart {hart}": PageTable(
            system.physical, system.remote.register(hart, "satp")
        )
        for hart in range(harts)
    }
    pieces = addressmap.image(system.symbols, system.load_address)
    check_apart(tables, pieces)
    offset = system.variable("linear_offset")
    for name, table in tables.items():
        for piece in pieces:
            leaf = table.lookup(piece.pa + offset)
            writable = leaf is not None and bool(leaf.flags & W)
            check(
                leaf is not None and bool(leaf.flags & R) and writable == ("W" in piece.rights),
                expected=f"{name}: in the linear map {KINDS[piece.rights]} can be read"
                f" {'and written' if 'W' in piece.rights else 'only'}",
                found=f"{leaf}" if leaf else "nothing is mapped there",
                where=walk_text(table, piece.pa + offset),
            )


@pytest.mark.parametrize(("harts", "mmu"), [(4, "sv39"), (3, "sv48")], ids=["sv39", "sv48"])
def test_every_hart_boots_without_writable_text(ready, harts: int, mmu: str) -> None:
    check_booted(ready(harts=harts, mmu=mmu), harts)
