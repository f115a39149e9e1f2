"""Exercise 4: the final table with its final rights, made on the grader's own
first table."""

from __future__ import annotations

from pathlib import Path

import pytest
from paging_bench import MIB, Bench, entry, make_bench, walk_text
from stag import addressmap
from stag.addressmap import KERNEL_HALF, KERNEL_IMAGE, LINEAR_MAP, Piece
from stag.devicetree import Devicetree, Node
from stag.errors import GuestHang
from stag.images import move_load_address
from stag.pagetable import PAGE, PageTable, R, U, V
from stag.remote import PC
from stag.symbols import Symbols
from stag.verdict import check, fail

GIB = 1 << 30
SPACE_END = 1 << 64
USER_END = 1 << 38  # in Sv39
UART, POWER = 0x10000000, 0x100000  # pages of QEMU's machine
CSR_SATP = 0x180
NOT_TO_BE_MAPPED = (
    (0x40000000, 0x2000),
    (0x85FFE000, 0x4000),
    (0x88000000, 0x1000),
    (0x8BFFF000, 0x3000),
    (0x8D000000, 0x45000),
    (0x8D010000, 0x1000),
    (0x8D044000, 0x4000),
    (0x8E0FF000, 0x1000),
)


@pytest.fixture
def bench(boot) -> Bench:
    return make_bench(boot(harts=1))


def image(bench: Bench) -> list[Piece]:
    return addressmap.image(bench.system.symbols, bench.system.load_address)


def shared(bench: Bench) -> list[Piece]:
    """What all kernel tables hold."""
    pieces = image(bench) + addressmap.linear(bench.tree) + addressmap.devices(bench.tree)
    return addressmap.merged(pieces)


def within(table: PageTable, low: int, high: int) -> list[Piece]:
    return [piece for piece in addressmap.found(table.ranges()) if low <= piece.va < high]


def check_same(table: PageTable, wanted: list[Piece], found: list[Piece], what: str) -> None:
    wrong = addressmap.difference(wanted, found)
    if wrong:
        first = next(piece.va for piece in [*wanted, *found] if f"{piece}" in wrong)
        fail(expected=what, found=f"\n{wrong}", where=walk_text(table, first))


def test_rights_of_the_image(bench: Bench) -> None:
    table = bench.run_kernel_table_init()
    found = within(table, KERNEL_IMAGE, KERNEL_IMAGE + GIB)
    both = [piece for piece in found if "W" in piece.rights and "X" in piece.rights]
    check(
        not both,
        expected="nothing is writable and executable",
        found="; ".join(str(piece) for piece in both),
        where=walk_text(table, both[0].va) if both else "",
    )
    check_same(
        table, image(bench), found, "the image: text R X, constants R, data R W, global, no U"
    )


def test_linear_map(bench: Bench) -> None:
    table = bench.run_kernel_table_init()
    found = within(table, LINEAR_MAP, SPACE_END)
    check_same(table, addressmap.linear(bench.tree), found, "the linear map: RAM, R W, global")


def describe(bench: Bench, **fields: int) -> None:
    """Run to kernel_table_init, and tell it of another machine_description."""
    bench.run_to_kernel_table()
    symbols = bench.system.symbols
    members = symbols.struct("machine_description")
    for name, value in fields.items():
        bench.set_word(symbols["machine_description"] + members[name].offset, value)


def test_devices(boot, bench: Bench) -> None:
    table = bench.run_kernel_table_init()
    for device in addressmap.devices(bench.tree):
        found = within(table, device.va, device.end)
        check_same(table, [device], found, "devices at their own addresses: R W, not global")
    check_described(boot, {"uart": UART + 0x400, "power": POWER + 0xFFC}, UART, POWER)
    check_described(boot, {"power": 0}, UART)


def check_described(boot, fields: dict[str, int], *pages: int) -> None:
    """These are the pages of UART and power switch."""
    bench = make_bench(boot(harts=1))
    plic = [p for p in addressmap.devices(bench.tree) if p.va not in (UART, POWER)]
    describe(bench, **fields)
    told = ", ".join(f"{name} at {at:#x}" if at else f"no {name}" for name, at in fields.items())
    what = f"a page for each of UART and power switch, PLIC, nothing else below: {told}"
    try:
        bench.run(bench.system.remote.register(bench.hart, "ra"))
    except GuestHang:
        fail(expected=what, found="kernel_table_init does not return", where=bench.where())
    table = PageTable(bench.physical, bench.system.remote.register(bench.hart, "satp"))
    wanted = [*plic, *(Piece(page, page, PAGE, "RW---") for page in pages)]
    check_same(table, addressmap.merged(wanted), within(table, 0, bench.tree.memory[0][0]), what)


def test_nothing_else_is_mapped(bench: Bench) -> None:
    table = bench.run_kernel_table_init()
    wanted = shared(bench)
    extra = [
        leaf
        for leaf in table.leaves()
        if not any(piece.va <= leaf.va and leaf.va + leaf.size <= piece.end for piece in wanted)
    ]
    check(
        not extra,
        expected="nothing is mapped beside image, linear map and devices",
        found="; ".join(str(leaf) for leaf in extra[:4]),
        where=walk_text(table, extra[0].va) if extra else "",
        hint="the identity map and the devicetree's map were for the boot alone",
    )
    check(bool(list(table.leaves())), expected="mappings", found="none")


def test_table_is_installed(bench: Bench) -> None:
    bench.run_to_kernel_table()
    before = bench.system.remote.register(bench.hart, "satp")
    bench.run(bench.system.remote.register(bench.hart, "ra"))
    after = bench.system.remote.register(bench.hart, "satp")
    check(
        after != before and after >> 60 == 8,
        expected="kernel_table_init switches to the table that it has made, Sv39",
        found=f"satp was {before:#x}, now it is {after:#x}",
    )
    table = PageTable(bench.physical, after)
    check(table.asid == 0, "address space number 0 is the kernel's", f"{table.asid}")
    check(not table.defects(), "entries as the manual allows them", "; ".join(table.defects()[:3]))


def test_user_root_shows_the_image(boot) -> None:
    """… and nothing else of the kernel, whatever the mode."""
    for mmu, levels in (("sv39", 3), ("sv48", 4)):
        bench = make_bench(boot(harts=1, mmu=mmu))
        shown = within(bench.run_kernel_table_init(), KERNEL_IMAGE, KERNEL_IMAGE + GIB)
        check(bool(shown), expected="an image in the kernel's table", found="nothing")
        root = bench.new_table()
        bench.put(root, levels, 0x5000, entry(0x87654000, V | R | U))
        before, count = bench.contents(root, levels), bench.pages.out[root]
        taken = bench.pages.handed_out
        bench.call("kernel_table_show_image", root)
        table = bench.table(root, levels)
        check_same(
            table,
            shown,
            within(table, KERNEL_HALF, SPACE_END),
            f"a user root shows the image, as the kernel's table does, and no more ({mmu})",
        )
        taken = bench.pages.handed_out - taken
        check(
            taken == 0 and bench.pages.out[root] == count,
            expected=f"kernel_table_show_image takes no page, and counts nothing ({mmu})",
            found=f"pages taken: {taken}; the root's count was {count}, now it is"
            f" {bench.pages.out[root]}",
            hint="it is called for each new space: what it needs was made once",
        )
        after = bench.contents(root, levels)
        changed = sum(
            before[page][at : at + 8] != after.get(page, b"")[at : at + 8]
            for page in before
            for at in range(0, PAGE, 8)
        )
        check(
            changed == 1,
            expected=f"kernel_table_show_image changes one entry of the root, no more ({mmu})",
            found=f"{changed} entries have changed",
            where=walk_text(table, 0x5000),
        )


def test_kernel_table_sv48(boot) -> None:
    bench = make_bench(boot(harts=1, mmu="sv48"))
    high = Piece(1 << 40, 1 << 40, PAGE, "RW---")  # the power switch: in reach here
    wanted = [piece for piece in shared(bench) if piece.va != POWER] + [high]
    describe(bench, power=high.pa)
    back = bench.system.remote.register(bench.hart, "ra")
    check(
        bench.run("stop", back) == back,
        expected="with four levels a device at 1 TiB is in reach",
        found="kernel_table_init calls stop",
        hint="user_end() tells how far the lower half reaches",
    )
    table = PageTable(bench.physical, bench.system.remote.register(bench.hart, "satp"))
    check(
        table.levels == 4,
        expected="with mmu=sv48 satp selects Sv48",
        found=f"satp is {table.satp:#x}, {table.levels} levels",
    )
    check_same(
        table,
        addressmap.merged(wanted),
        addressmap.found(table.ranges()),
        "the same map in four levels, with the power switch at 1 TiB",
    )


def writes_satp(word: int) -> bool:
    """csrrw and its like, but no csrr: what sets or clears no bit is a read."""
    kind = word >> 12 & 7
    writes = kind in (1, 5) or (kind in (2, 3, 6, 7) and bool(word >> 15 & 31))
    return word & 0x7F == 0x73 and word >> 20 == CSR_SATP and writes


def test_a_machine_without_sv48(boot) -> None:
    """… ignores the write of satp: here the grader passes over it."""
    bench = make_bench(boot(harts=1, mmu="sv48"))
    symbols, remote = bench.system.symbols, bench.system.remote
    text = next(segment for segment in symbols.segments if segment.executable)
    code = range(text.virtual, text.virtual + text.size, 4)
    writes = [at for at in code if writes_satp(symbols.instruction(at) or 0)]
    bench.run_to_kernel_table()
    back = remote.register(bench.hart, "ra")
    for _ in range(4):
        at = bench.run(*writes, "stop", back)
        if at not in writes:
            break
        old = symbols.instruction(at) or 0
        registers = remote.general_registers(bench.hart)
        if old >> 7 & 31:
            registers[old >> 7 & 31] = remote.register(bench.hart, "satp")
        registers[PC] = at + 4
        remote.set_general_registers(bench.hart, registers)
    check(
        at == symbols["stop"],
        expected="kernel_table_init reads satp back, and calls stop if the machine has no Sv48",
        found="it returned" if at == back else "it writes satp again and again",
        where="the write of satp was ignored, as on a machine without that mode",
    )


@pytest.mark.parametrize(
    ("device", "fields"),
    [
        ("the power switch", {"power": 1 << 40}),
        ("the interrupt controller", {"plic": USER_END - PAGE, "plic_size": 2 * PAGE}),
    ],
    ids=["above", "across"],
)
def test_a_device_out_of_reach(bench: Bench, device: str, fields: dict[str, int]) -> None:
    describe(bench, **fields)
    back = bench.system.remote.register(bench.hart, "ra")
    try:
        found = "it returned" if bench.run("stop", back) == back else ""
    except GuestHang:
        found = "it neither stopped nor returned"
    told = ", ".join(f"{name} {value:#x}" for name, value in fields.items())
    check(
        not found,
        expected="kernel_table_init calls stop for a device that is not below user_end()",
        found=found,
        where=f"{device} is out of reach with Sv39: {told}",
    )


def other_machine(tree: Devicetree) -> Devicetree:
    """RAM in two pieces, parts of which may not be mapped: in the middle, one
    in another, two that overlap, across the end and the start of a piece, and
    some where no RAM is."""
    tree.set_memory((0x80000000, 96 * MIB), (0x8C000000, 33 * MIB))
    areas = tree.root.children.setdefault("reserved-memory", Node())
    for start, size in NOT_TO_BE_MAPPED:
        area = areas.children.setdefault(f"secret@{start:x}", Node())
        area.set_wide("reg", start, size)
        area.properties["no-map"] = b""
    used = areas.children.setdefault("used@8c400000", Node())
    used.set_wide("reg", 0x8C400000, 0x3000)
    return tree


def test_map_of_another_machine(boot, kernel: Path, symbols: Symbols, tmp_path: Path) -> None:
    linked = min(segment.physical for segment in symbols.segments)
    image_file = move_load_address(kernel, tmp_path / "moved.elf", 0x84600000 - linked)
    plain = boot(harts=1, memory="256M")
    tree = other_machine(plain.read_devicetree(plain.run_to_entry()))
    bench = make_bench(boot(harts=1, memory="256M", kernel=image_file), tree)
    table = bench.run_kernel_table_init()
    check_same(
        table,
        shared(bench),
        addressmap.found(table.ranges()),
        "image, RAM and devices of the machine that the devicetree tells of, loaded at 0x84600000",
    )
