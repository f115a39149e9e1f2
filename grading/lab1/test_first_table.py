"""Exercise 3: the first table and the jump high, in a boot that goes its own
way from _start."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from paging_bench import BOOT_TREE_MAP, GIB, MIB, walk_text
from stag import addressmap
from stag.addressmap import KERNEL_IMAGE, LINEAR_MAP
from stag.errors import GuestHang
from stag.harts import RA, SP
from stag.images import move_load_address
from stag.pagetable import PAGE, A, D, PageTable, R, U, W, X, rights_text
from stag.remote import PC
from stag.symbols import Symbols
from stag.system import System
from stag.verdict import check, fail

SV39 = 8
AUIPC, ADDI = 0x17, 0x13
STEPS = 400  # paging_on is a few instructions
SAVED = [8, 9, *range(18, 28)]  # s0 … s11


@dataclass
class FirstTable:
    """At the return of boot_table_make, the MMU off."""

    system: System
    hart: int
    satp: int
    tree_address: int = 0
    tree_size: int = 0

    @property
    def load_address(self) -> int:
        return self.system.load_address

    @property
    def table(self) -> PageTable:
        return PageTable(self.system.physical, self.satp)

    def low(self, name: str) -> int:
        """Where a thing of the image is in physical memory."""
        return self.system.symbols[name] - KERNEL_IMAGE + self.load_address

    def check_maps(self, va: int, pa: int, size: int, rights: int, what: str) -> None:
        """All of it, with these rights at least, for the kernel."""
        for at in sorted({*range(0, size, PAGE * 64), size - 1}):
            leaf = self.table.lookup(va + at)
            found = self.table.translate(va + at)
            good = leaf is not None and found == pa + at
            check(
                good and leaf.flags & rights == rights and not leaf.flags & U,
                expected=f"the first table maps {what}: {va + at:#x} to {pa + at:#x},"
                f" rights {rights_text(rights)}",
                found=f"{leaf}" if leaf else "nothing is mapped there",
                where=walk_text(self.table, va + at),
            )


def signed(value: int, bits: int) -> int:
    return (value & (1 << bits) - 1) - (value >> bits - 1 & 1) * (1 << bits)


def move_image_end(system: System, by: int) -> None:
    """Make the code believe that image_end is further up: wherever it forms
    that address (or one a little above it), by auipc and addi, with the MMU off."""
    if by == 0:
        return
    symbols = system.symbols
    end = symbols["image_end"]
    text = next(segment for segment in symbols.segments if segment.executable)
    data = system.physical.read(system.load_address + text.virtual - KERNEL_IMAGE, text.size)
    words = struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
    for at, word in enumerate(words):
        if word & 0x7F != AUIPC:
            continue
        upper = text.virtual + 4 * at + signed(word & 0xFFFFF000, 32)
        low = [
            signed(add >> 20, 12)
            for add in words[at + 1 : at + 17]
            if add & 0x707F == ADDI and add >> 15 & 31 == word >> 7 & 31
        ]
        if low and 0 <= upper + low[0] - end <= 2 * MIB:
            here = system.load_address + text.virtual - KERNEL_IMAGE + 4 * at
            system.physical.set_u32(here, word + by & 0xFFFFFFFF)


def run_boot_table_make(system: System, at: int = 0, larger: int = 0) -> FirstTable:
    """Up to the return of boot_table_make; with the devicetree at another
    address, or with an image that is larger."""
    hart = system.run_to_entry()
    move_image_end(system, larger)
    if at:
        system.physical.write(at, system.read_devicetree(hart).flatten())
        system.remote.set_register(hart, "a1", at)
    tree_address = system.remote.register(hart, "a1")
    tree_size = len(system.read_devicetree(hart).flatten())
    low = system.load_address - KERNEL_IMAGE
    system.harts.run(system.symbols["boot_table_make"] + low, harts=[hart])
    back = system.remote.register(hart, "ra")
    stopped = system.symbols["stop"] + low
    if system.harts.run(back, stopped, harts=[hart]).address == stopped:
        fail(
            expected="boot_table_make makes the first table",
            found=f"the kernel stopped: {system.harts.let_panic().strip()}",
            where=f"load address {system.load_address:#x}, devicetree at {tree_address:#x}",
        )
    satp = system.remote.register(hart, "a0")
    check(
        satp >> 60 == SV39 and satp >> 44 & 0xFFFF == 0,
        expected="boot_table_make returns a value of satp that selects Sv39, with number 0 as"
        " its address space",
        found=f"{satp:#x}",
        where=f"load address {system.load_address:#x}",
    )
    return FirstTable(system, hart, satp, tree_address, tree_size)


def check_image(first: FirstTable) -> None:
    for segment in first.system.symbols.segments:
        rights = R | (W if segment.writable else 0) | (X if segment.executable else 0)
        pa = first.load_address + segment.virtual - KERNEL_IMAGE
        first.check_maps(segment.virtual, pa, segment.size, rights, "the image")
    at = first.low("image_offset")
    found = first.system.physical.u64(at)
    check(
        found == KERNEL_IMAGE - first.load_address,
        expected=f"image_offset is {KERNEL_IMAGE - first.load_address:#x}, image address minus"
        " physical address",
        found=f"{found:#x}",
        where=f"the kernel was loaded at {first.load_address:#x}",
    )


def check_code(first: FirstTable) -> None:
    at = first.low("paging_on")
    first.check_maps(at, at, 4, X, "the code that turns paging on at its physical address")


def check_devicetree(first: FirstTable) -> None:
    address = first.tree_address
    va = BOOT_TREE_MAP + address % GIB
    what = "the devicetree's GiB at BOOT_TREE_MAP"
    first.check_maps(va, address, first.tree_size, R, what)


def check_jump(first: FirstTable) -> None:
    """paging_on, step by step."""
    system, hart = first.system, first.hart
    system.harts.run(first.low("paging_on"), harts=[hart])
    before = system.remote.general_registers(hart)
    satp, offset = before[10], before[11]
    wanted = before[RA] + offset
    steps = 0
    while (pc := system.remote.pc(hart)) != wanted and steps < STEPS:
        system.harts.step(hart, pc)
        steps += 1
    after = system.remote.general_registers(hart)
    cause, address = (system.remote.register(hart, name) for name in ("scause", "stval"))
    check(
        after[PC] == wanted,
        expected=f"paging_on returns to {wanted:#x}, its caller's image address",
        found=f"after {steps} instructions the pc is {after[PC]:#x}; last trap: scause {cause},"
        f" stval {address:#x}",
        where=f"called at {before[RA]:#x} with satp {satp:#x}, offset {offset:#x}",
    )
    now = system.remote.register(hart, "satp")
    check(now == satp, expected=f"satp is {satp:#x} after paging_on", found=f"satp is {now:#x}")
    check(
        after[SP] == before[SP] + offset,
        expected=f"sp is {before[SP] + offset:#x}, moved by image_offset like the pc",
        found=f"sp is {after[SP]:#x}",
        where="on return from paging_on",
    )
    changed = [f"x{n}" for n in SAVED if after[n] != before[n]]
    check(
        not changed,
        expected="paging_on keeps s0 to s11, as every function does",
        found=f"changed: {', '.join(changed)}",
    )


def test_first_table_maps_the_image(boot) -> None:
    check_image(run_boot_table_make(boot(harts=1)))


def test_image_of_several_leaves(boot) -> None:
    """An image that is 4 MiB larger takes two leaves of 2 MiB more."""
    first = run_boot_table_make(boot(harts=1), larger=4 * MIB)
    size = first.system.symbols["image_end"] - KERNEL_IMAGE + 4 * MIB
    what = f"an image of {size:#x} bytes"
    first.check_maps(KERNEL_IMAGE, first.load_address, size, R | W | X, what)


def test_first_table_maps_its_code(boot) -> None:
    check_code(run_boot_table_make(boot(harts=1)))


def test_first_table_maps_the_devicetree(boot) -> None:
    check_devicetree(run_boot_table_make(boot(harts=1)))


def test_devicetree_across_a_gib(boot) -> None:
    """It may lie anywhere, half of it behind a multiple of a GiB, and in
    another GiB than the kernel."""
    check_devicetree(run_boot_table_make(boot(harts=1, memory="3G"), at=0x100000000 - 0x400))


def test_first_table_entries(boot) -> None:
    first = run_boot_table_make(boot(harts=1))
    defects = first.table.defects()
    check(not defects, expected="entries as the manual allows them", found="; ".join(defects[:3]))
    leaves = list(first.table.leaves())
    check(bool(leaves), expected="leaves in the first table", found="none")
    for leaf in leaves:
        good = leaf.flags & A and (leaf.flags & D or not leaf.flags & W)
        check(
            bool(good) and not leaf.flags & U,
            expected="in each leaf A is set, D if it may be written, U clear",
            found=f"{leaf.value:#x}: {leaf}",
            where=walk_text(first.table, leaf.va),
        )
    found = first.system.physical.u64(first.low("boot_satp"))
    check(
        found == first.satp,
        expected=f"boot_satp is what boot_table_make returns, {first.satp:#x}",
        found=f"boot_satp is {found:#x}",
        where="the other harts start with it",
    )


def test_paging_on(boot) -> None:
    check_jump(run_boot_table_make(boot(harts=1)))


def test_linear_map_of_the_boot(boot) -> None:
    """Of RAM in three pieces, from one GiB to another."""
    system = boot(harts=1, memory="8G")
    hart = system.run_to_entry()
    tree = system.read_devicetree(hart)
    pieces = (0x80000000, 64 * MIB), (0x100000000, 2 * GIB), (0x1BFF00000, 2 * MIB)
    tree.set_memory(*pieces)
    system.replace_devicetree(hart, tree.flatten())
    system.harts.run("boot_table_add_linear", harts=[hart])
    satp = system.remote.register(hart, "satp")
    system.harts.run(system.remote.register(hart, "ra"), harts=[hart])
    first = FirstTable(system, hart, satp)
    for start, size in pieces:
        base = addressmap.linear_base(tree)
        for at in range(start, start + size, GIB):
            here = min(GIB, start + size - at)
            va = LINEAR_MAP + at - base
            for offset in (0, here - PAGE):
                first.check_maps(va + offset, at + offset, PAGE, R | W, "RAM in the linear map")
            leaf = first.table.lookup(va)
            check(
                leaf is not None and leaf.flags & (A | D) == A | D,
                expected=f"A and D are set in the leaf for RAM at {at:#x}, which may be written",
                found=f"{leaf.value:#x}: {leaf}" if leaf else "nothing is mapped there",
                where=walk_text(first.table, va),
            )


def test_load_address_that_cannot_work(boot) -> None:
    """No multiple of 2 MiB, or where the address map has other things."""
    for address, why in (
        (0x80201000, "no multiple of 2 MiB"),
        (1 << 38, "not below 256 GiB"),
        ((1 << 38) + 2 * MIB, "not below 256 GiB"),
        ((1 << 39) + 2 * MIB, "not below 256 GiB"),
    ):
        system = boot(harts=1)
        hart = system.run_to_entry()
        low = system.load_address - KERNEL_IMAGE
        system.harts.run(system.symbols["boot_table_make"] + low, harts=[hart])
        system.remote.set_register(hart, "a0", address)
        back = system.remote.register(hart, "ra")
        stopped = system.symbols["stop"] + low
        try:
            at = system.harts.run(back, stopped, harts=[hart]).address
        except GuestHang:
            at = 0
        check(
            at == stopped,
            expected=f"boot_table_make calls stop for load address {address:#x}, which is {why}",
            found="it returned" if at else "it neither stopped nor returned",
            where=f"boot_table_make({address:#x}, …), the MMU off",
        )


def test_load_addresses(boot, kernel: Path, symbols: Symbols, tmp_path: Path) -> None:
    linked = min(segment.physical for segment in symbols.segments)
    for address in (0x80400000, 0x84600000, 0xC0200000):
        image = move_load_address(kernel, tmp_path / f"{address:x}.elf", address - linked)
        first = run_boot_table_make(boot(harts=1, memory="3G", kernel=image))
        check_image(first)
        check_code(first)
        check_devicetree(first)
        check_jump(first)
