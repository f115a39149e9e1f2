"""Structures have their promised layout, as the debug information tells it."""

from __future__ import annotations

import pytest
from stag.symbols import Symbols

PAGE = 4096
LAYOUTS = {
    "executor": {
        "pc": 0x000,
        "x": 0x008,
        "next": 0x100,
        "satp": 0x110,
        "space": 0x118,
        "hart": 0x120,
        "state": 0x200,
        "references": 0x400,
        "lock": 0x800,
    },
    "hart": {"mcs_lock_next": 0x000, "mcs_lock_held": 0x200},
    "global": {
        "page_alloc_head": 0x000,
        "page_alloc_tail": 0x200,
        "sched_mcs_lock": 0x400,
        "sched_head": 0x600,
        "sched_tail": 0x608,
    },
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_offsets(symbols: Symbols, name: str) -> None:
    layout = symbols.struct(name)
    found = {member: layout[member].offset for member in LAYOUTS[name]}
    assert found == LAYOUTS[name]
    assert layout.size <= PAGE


def test_executor_saves_31_registers(symbols: Symbols) -> None:
    registers = symbols.struct("executor")["x"]
    assert (registers.count, registers.stride) == (31, 8)


def test_info_page_fits(symbols: Symbols) -> None:
    assert symbols.struct("info_page").size <= PAGE


def test_global_page_is_aligned(symbols: Symbols) -> None:
    assert symbols["global_page"] % PAGE == 0


def test_gp_is_not_the_linkers(symbols: Symbols) -> None:
    """gp points to the global page; the linker must not use it for its own."""
    assert "__global_pointer$" not in symbols
