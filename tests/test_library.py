"""The grader's library itself: what it decodes, against known answers."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import pytest
from conftest import KERNEL
from stag.addressmap import Piece, merged
from stag.devicetree import Devicetree, Node, of_qemu
from stag.errors import StagError
from stag.images import move_load_address
from stag.opcodes import forbidden
from stag.pagetable import PAGE, A, D, G, PageTable, R, U, V, W, X
from stag.remote import Remote, Stop, _expand, _parse_stop
from stag.symbols import Symbols

ALLOWED = {
    "lui a0, 1": 0x00001537,
    "ld a0, 0(a1)": 0x0005B503,
    "sd a0, 8(sp)": 0x00A13423,
    "addw a0, a0, a1": 0x00B5053B,
    "srai a0, a0, 63": 0x43F55513,
    "sraiw a0, a0, 31": 0x41F5551B,
    "sub a0, a0, a1": 0x40B50533,
    "amoswap.d.aqrl a0, a1, (a2)": 0x0EB6352F,
    "lr.w.aq a0, (a1)": 0x1405A52F,
    "sc.d.rl a0, a1, (a2)": 0x1AB6352F,
    "fence rw, rw": 0x0330000F,
    "fence.tso": 0x8330000F,
    "pause": 0x0100000F,
    "fence.i": 0x0000100F,
    "ecall": 0x00000073,
    "rdtime a0": 0xC0102573,
}
PRIVILEGED = {
    "csrrw t0, sscratch, t0": 0x140292F3,
    "csrr a0, satp": 0x18002573,
    "sret": 0x10200073,
    "wfi": 0x10500073,
    "sfence.vma a0, a1": 0x12B50073,
}
FORBIDDEN = {
    "mul a0, a0, a1": 0x02B50533,
    "divw a0, a0, a1": 0x02B5453B,
    "fadd.d": 0x02B57553,
    "fld fa0, 0(a0)": 0x00053507,
    "c.nop": 0x00000001,
    "c.ret, c.nop": 0x00018082,
    "vsetvli": 0x0D05F557,
    "mret": 0x30200073,
    "csrr a0, mstatus": 0x30002573,
    "csrw fcsr, a0": 0x00351073,
    "csrw cycle, a0": 0xC0051073,
    "csrr a0, hstatus": 0x60002573,
    "sh1add a0, a0, a1 (Zba)": 0x20A52533,
    "andn a0, a0, a1 (Zbb)": 0x40B57533,
    "czero.eqz (Zicond)": 0x0EB55533,
    "hlv.w": 0x6805C573,
}


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed_everywhere(name: str) -> None:
    assert forbidden(ALLOWED[name], privileged=False) is None


@pytest.mark.parametrize("name", PRIVILEGED)
def test_allowed_in_the_kernel_only(name: str) -> None:
    assert forbidden(PRIVILEGED[name], privileged=True) is None
    assert forbidden(PRIVILEGED[name], privileged=False) is not None


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_everywhere(name: str) -> None:
    assert forbidden(FORBIDDEN[name], privileged=True) is not None


class Tables:
    """Page tables in a dictionary."""

    def __init__(self) -> None:
        self.words: dict[int, int] = {}

    def set(self, table: int, index: int, pa: int, flags: int) -> None:
        self.words[table + index * 8] = pa >> 2 | flags

    def read(self, address: int, size: int) -> bytes:
        return b"".join(
            struct.pack("<Q", self.words.get(at, 0)) for at in range(address, address + size, 8)
        )


def sv39(tables: Tables) -> PageTable:
    tables.set(0x1000, 0, 0x2000, V)
    tables.set(0x2000, 3, 0x3000, V)
    for index in range(4):
        tables.set(0x3000, index, 0x80000000 + index * PAGE, V | R | W | U | A | D)
    tables.set(0x3000, 7, 0x80004000, V | R | X | A)
    tables.set(0x1000, 511, 0x40000000, V | R | G | A)
    return PageTable(tables, 8 << 60 | 1)


def test_walk() -> None:
    table = sv39(Tables())
    shown = [(r.va, r.pa, r.size, r.rights) for r in table.ranges()]
    assert shown == [
        (0x600000, 0x80000000, 4 * PAGE, "RW-U-"),
        (0x607000, 0x80004000, PAGE, "R-X--"),
        (0xFFFFFFFFC0000000, 0x40000000, 1 << 30, "R---G"),
    ]
    assert table.translate(0x601234) == 0x80001234
    assert table.translate(0xFFFFFFFFC0001234) == 0x40001234
    assert table.translate(0x604000) is None
    assert table.translate(1 << 50) is None
    assert table.tables() == {0x1000: 2, 0x2000: 1, 0x3000: 5}
    assert not table.defects()


def test_walk_finds_defects() -> None:
    tables = Tables()
    table = sv39(tables)
    tables.set(0x1000, 5, 0x80001000, V | R | A)
    tables.set(0x3000, 8, 0, V | W)
    tables.set(0x2000, 4, 0x4000, V | A)
    tables.words[0x3000 + 9 * 8] = 1 << 60 | V | R
    reasons = "\n".join(table.defects())
    for reason in ("misaligned", "W without R", "A, D or U", "reserved bits"):
        assert reason in reasons


def test_devicetree_round_trip() -> None:
    tree = of_qemu(harts=3, memory="256M")
    assert tree.memory == [(0x80000000, 256 << 20)]
    again = Devicetree.parse(tree.flatten())
    assert again.root == tree.root
    again.set_memory((0x80000000, 1 << 20), (0x90000000, 1 << 20))
    assert Devicetree.parse(again.flatten()).memory[1] == (0x90000000, 1 << 20)
    (uart,) = tree.compatible("ns16550a")
    tree.remove(uart)
    assert not tree.compatible("ns16550a")
    with pytest.raises(StagError):
        tree.node("/no/such/node")


def test_devicetree_padding() -> None:
    for length in range(6):
        tree = Devicetree(Node({"p": bytes(length), "q": b"x\0"}, {"n" * length + "a": Node()}))
        assert Devicetree.parse(tree.flatten()) == tree


def test_pieces_merge() -> None:
    pieces = [Piece(PAGE, PAGE, PAGE, "R"), Piece(0, 0, PAGE, "R"), Piece(8192, 0, PAGE, "R")]
    assert merged(pieces) == [Piece(0, 0, 2 * PAGE, "R"), Piece(8192, 0, PAGE, "R")]


def test_remote_protocol_pieces() -> None:
    assert _expand(b"0* ") == b"0000"
    assert _expand(b"}\x03x") == b"#x"
    assert _parse_stop(b"T05thread:p01.03;") == Stop(hart=2, signal=5)
    assert _parse_stop(b"T05thread:p01.0a;watch:ffffffe0;").watch == 0xFFFFFFE0
    assert _parse_stop(b"W01") == Stop(exit_code=1)


def test_symbols(symbols: Symbols) -> None:
    address = symbols["page_alloc"]
    assert symbols.describe(address + 4).startswith("page_alloc+0x4 (page_alloc.c:")
    assert symbols.function_at(0x1234) is None
    with pytest.raises(StagError, match="no symbol"):
        symbols.symbol("no such thing")


def test_load_address_moves(tmp_path: Path) -> None:
    moved = Symbols(move_load_address(KERNEL, tmp_path / "moved.elf", 0x400000))
    for old, new in zip(Symbols(KERNEL).segments, moved.segments, strict=True):
        assert (new.virtual, new.physical) == (old.virtual, old.physical + 0x400000)


def test_no_request_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer would be that of the request that was interrupted."""
    asked: list[str] = []
    remote = Remote.__new__(Remote)
    remote._breakpoints = Counter()
    monkeypatch.setattr(remote, "_request_ok", asked.append)
    with pytest.raises(KeyboardInterrupt), remote.breakpoints(4):
        raise KeyboardInterrupt
    with remote.breakpoints(8):
        pass
    assert asked == ["Z0,4,4", "Z0,8,4", "z0,8,4"]
