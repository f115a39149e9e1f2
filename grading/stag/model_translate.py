"""How the model's harts find memory: by the page tables, and by what they have
cached of them (model.py)."""

from __future__ import annotations

from .errors import StagError
from .isa import Decoded
from .model_hart import (
    FETCH,
    LEVELS,
    LOAD,
    MXR,
    PAGE,
    SATP,
    SSTATUS,
    STORE,
    SUM,
    SUPERVISOR,
    USER,
    A,
    D,
    G,
    Hart,
    R,
    Trap,
    U,
    V,
    W,
    X,
)
from .model_state import State


def walk(world: State, hart: Hart, va: int) -> tuple[int, int, bool]:
    """(physical page, flags, global) by the tables; flags 0: not mapped."""
    satp = hart.csr[SATP]
    levels = LEVELS.get(satp >> 60)
    if levels is None:
        raise StagError(f"hart {hart.index} runs with satp {satp:#x}: no Sv39, no Sv48")
    table, shift = (satp & (1 << 44) - 1) * PAGE, 12 + 9 * levels
    if va >> (shift - 1) not in (0, (1 << (65 - shift)) - 1):
        return 0, 0, False
    is_global = False
    while shift > 12:
        shift -= 9
        k = (table >> 3) + (va >> shift & 511)
        world.touch(hart, k, False)
        entry = world.word(k)
        is_global = is_global or bool(entry & G)
        if not entry & V or (entry & W and not entry & R):
            return 0, 0, False
        table = (entry >> 10 & (1 << 44) - 1) * PAGE
        if entry & (R | X):
            inside = (1 << shift) - PAGE
            return (0, 0, False) if table & inside else (
                table | va & inside, entry & 0xFF, is_global
            )  # fmt: skip
    return 0, 0, False


def translation(world: State, hart: Hart, va: int) -> tuple[int, int]:
    """The same through what the hart has cached."""
    page = va >> 12
    asid = hart.csr[SATP] >> 44 & 0xFFFF
    found = hart.tlb.get((asid, page)) or hart.tlb.get((-1, page))
    if found is None:
        pa, flags, is_global = walk(world, hart, va)
        found = pa, flags
        if flags and hart.mode == USER:
            hart.tlb[-1 if is_global else asid, page] = found
    return found


def physical(world: State, hart: Hart, va: int, cause: int) -> int:
    pa, flags = translation(world, hart, va)
    needed = {FETCH: X | A, LOAD: R | A, STORE: W | A | D}[cause]
    if hart.csr[SSTATUS] & MXR and cause == LOAD and flags & X:
        flags |= R
    user_allowed = hart.mode == USER or (hart.csr[SSTATUS] & SUM and cause != FETCH)
    if flags & needed != needed or (flags & U and not user_allowed) or (
        not flags & U and hart.mode == USER
    ):  # fmt: skip
        raise Trap(cause, va)
    return pa | va & PAGE - 1


def address(world: State, hart: Hart, va: int, size: int, cause: int) -> int:
    """Physical address of an access."""
    if va % size:
        raise Trap(4 if cause == LOAD else 6, va)
    if hart.mode == SUPERVISOR:
        cache = hart.reads if cause == LOAD else hart.writes
        page = cache.get(va >> 12)
        if page is None:
            page = physical(world, hart, va & -PAGE, cause)
            cache[va >> 12] = page
        return page | va & PAGE - 1
    return physical(world, hart, va, cause)


def flush(world: State, hart: Hart, decoded: Decoded) -> None:
    """sfence.vma (privileged manual, section 11.2.1)."""
    hart.forget_translations()
    va = hart.x[decoded.rs1] >> 12 if decoded.rs1 else None
    asid = hart.x[decoded.rs2] & 0xFFFF if decoded.rs2 else None
    hart.tlb = {
        key: entry
        for key, entry in hart.tlb.items()
        if (asid is not None and key[0] != asid) or (va is not None and key[1] != va)
    }
