"""The page tables of every hart and program are exactly the address map."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from conftest import BootSystem
from stag import addressmap
from stag.addressmap import HART_PAGE, HART_STACK, HART_STACK_SIZE, KERNEL_HALF, LINEAR_MAP, Piece
from stag.devicetree import Devicetree
from stag.pagetable import PAGE, A, D, PageTable, U, V, W
from stag.system import System

HARTS = 4
INFO_PAGE = 0xFFF000
MMU = pytest.mark.parametrize("mmu", ["sv39", "sv48"])


@dataclass
class Booted:
    system: System
    tree: Devicetree
    mmu: str

    @property
    def image(self) -> list[Piece]:
        return addressmap.image(self.system.symbols, self.system.load_address)


def boot_to_entry(boot_system: BootSystem, mmu: str, **settings: object) -> Booted:
    system = boot_system(harts=HARTS, mmu=mmu, **settings)
    tree = system.read_devicetree(system.run_to_entry())
    return Booted(system, tree, mmu)


def check_entries(table: PageTable) -> None:
    """What holds for every entry of every table."""
    assert not table.defects()
    for leaf in table.leaves():
        assert leaf.flags & A, f"A is clear in {leaf}"
        assert bool(leaf.flags & D) == bool(leaf.flags & W), f"D does not follow W in {leaf}"


def hart_pieces(table: PageTable) -> list[Piece]:
    """The hart page and the stack, wherever they are in memory."""
    pages = [HART_PAGE, *range(HART_STACK, HART_STACK + HART_STACK_SIZE, PAGE)]
    pieces = []
    for va in pages:
        pa = table.translate(va)
        assert pa is not None, f"nothing is mapped at {va:#x}"
        pieces.append(Piece(va, pa, PAGE, "RW---"))
    return addressmap.merged(pieces)


def check_kernel_tables(booted: Booted) -> None:
    """Each hart's own table: everything that must be there and nothing else."""
    system = booted.system
    fixed = booted.image + addressmap.linear(booted.tree) + addressmap.devices(booted.tree)
    memory_of_harts: dict[int, int] = {}
    for hart in range(HARTS):
        table = system.kernel_table(hart)
        assert table.levels == (3 if booted.mmu == "sv39" else 4)
        check_entries(table)
        own = hart_pieces(table)
        expected = addressmap.merged(fixed + own)
        wrong = addressmap.difference(expected, addressmap.found(table.ranges()))
        assert not wrong, f"the kernel table of hart {hart} is not the address map:\n{wrong}"
        for piece in own:
            for page in range(piece.pa, piece.pa + piece.size, PAGE):
                other = memory_of_harts.setdefault(page, hart)
                assert other == hart, f"harts {other} and {hart} share the page {page:#x}"
        # The page at HART_PAGE is the one that the kernel knows by this index.
        layout = system.symbols.struct("hart")
        index = system.physical.u64(table.translate(HART_PAGE) + layout["index"].offset)
        linear = LINEAR_MAP + table.translate(HART_PAGE) - addressmap.linear_base(booted.tree)
        assert system.hart_page(index) == linear
    assert len(memory_of_harts) == 3 * HARTS, "pages behind one address are shared between harts"


def check_user_table(booted: Booted, table: PageTable) -> None:
    """User half: pages of the program, handles. Kernel half: the image."""
    check_entries(table)
    assert table.asid != 0, "address space number 0 is the kernel's"
    ranges = table.ranges()
    kernel_half = [piece for piece in ranges if piece.va >= KERNEL_HALF]
    wrong = addressmap.difference(booted.image, addressmap.found(kernel_half))
    assert not wrong, f"a user table's kernel half is not the image alone:\n{wrong}"
    for leaf in table.leaves():
        if leaf.va >= KERNEL_HALF:
            continue
        is_handle = bool(leaf.rsw & 2)
        assert is_handle != bool(leaf.flags & U), f"type and U don't agree in {leaf}"
        assert "G" not in str(leaf).split(" leaf ")[1].split()[0], f"G in the user half: {leaf}"
        assert leaf.level == 0, f"a large page in the user half: {leaf}"
        assert leaf.va != 0
        rights = leaf.flags & (W | 8)
        assert rights != (W | 8), f"writable and executable: {leaf}"
    info = table.lookup(INFO_PAGE)
    assert info is not None, "the info page is not mapped"
    assert info.flags & (V | 2 | W | 8 | U) == V | 2 | U, f"the info page: {info}"


@MMU
def test_kernel_tables_when_idle(boot_system: BootSystem, mmu: str) -> None:
    booted = boot_to_entry(boot_system, mmu)
    booted.system.run_to_prompt()
    check_kernel_tables(booted)


@MMU
def test_first_program_in_user_mode(boot_system: BootSystem, mmu: str) -> None:
    """At its very first instruction: nothing of the boot is left over."""
    booted = boot_to_entry(boot_system, mmu)
    system = booted.system
    hart = system.run_to_user()
    check_user_table(booted, system.user_table(hart))
    table = system.kernel_table(hart)
    wrong = addressmap.difference(
        addressmap.merged(
            booted.image
            + addressmap.linear(booted.tree)
            + addressmap.devices(booted.tree)
            + hart_pieces(table)
        ),
        addressmap.found(table.ranges()),
    )
    assert not wrong, f"the kernel's table while hart {hart} is in user mode:\n{wrong}"


@MMU
def test_tables_while_programs_run(boot_system: BootSystem, mmu: str) -> None:
    """At a number of entries to user mode, on whatever hart they happen."""
    booted = boot_to_entry(boot_system, mmu, arguments="run=hello; mem; primes")
    system = booted.system
    spaces = set()
    info_pages = set()
    for round_ in range(120):
        hart = system.run_to_user()
        if round_ % 4 == 0:
            table = system.user_table(hart)
            check_user_table(booted, table)
            spaces.add(table.root)
            info_pages.add(table.translate(INFO_PAGE))
    assert len(spaces) > 1, "only one program was seen running"
    assert len(info_pages) == 1, "the info page is not the same page everywhere"
    check_kernel_tables(booted)


@MMU
def test_user_tables_own_nothing_of_the_kernels(boot_system: BootSystem, mmu: str) -> None:
    """Table pages below the kernel half are counted as what they hold."""
    booted = boot_to_entry(boot_system, mmu)
    system = booted.system
    hart = system.run_to_user()
    table = system.user_table(hart)
    counts = system.allocation().counts()
    base = addressmap.linear_base(booted.tree)
    kernel_pages = set(system.kernel_table(hart).tables())
    shared = set(table.tables()) & kernel_pages
    entries: dict[int, int] = {}
    for entry in table.entries():
        page = entry.at // PAGE * PAGE
        if page != table.root and page not in shared and entry.va < KERNEL_HALF:
            entries[page] = entries.get(page, 0) + 1
    assert entries
    for page, valid in entries.items():
        counted = counts.get(LINEAR_MAP + page - base)
        assert counted == valid, f"table page {page:#x}: {valid} valid entries, counted {counted}"
