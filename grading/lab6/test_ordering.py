"""Exercise 6: the ordering contract (kernel/map.h, kernel/unmap.h). An access
before the call sees what was mapped, one after it faults or sees the new
mapping, one during it does either; each for unmap, and for map over something.
"""

from __future__ import annotations

import pytest
from process_bench import (
    BREAKPOINT,
    CALL_UNMAP,
    CODE,
    DATA,
    EBREAK,
    ECALL,
    FLAG,
    LOAD_FAULT,
    MAP_REPLACE,
    PROT_RW,
    PROT_RX,
    READS,
    S0,
    S1,
    SPINS,
    T0,
    T1,
    T2,
    Bench,
    beq,
    explore,
    ld,
    sd,
    stuck,
)
from stag.explore import Thread
from stag.model import Call
from stag.pagetable import PAGE
from stag.scene import Scene
from stag.verdict import check, fail

SHOOTDOWN = "shootdown (kernel/shootdown.c)"
OLD, STORED = 0x77, 0x55
SCAUSE, STVAL = 0x142, 0x143
FENCE_I = 0x100F


@pytest.fixture
def bench(scene) -> Bench:
    return Bench(scene())


def cause(bench: Bench, hart: int) -> tuple[int, int]:
    csr = bench.world.harts[hart].csr
    return csr[SCAUSE], csr[STVAL]


# Reads FLAG, then DATA, until FLAG is set; then it must not come to the ebreak.
READS_TILL_FLAG = (ld(T0, S1), ld(T2, S0), beq(T0, 0, -8), EBREAK)
UNMAPS_THEN_SETS_FLAG = (ECALL, sd(T1, S1), EBREAK)


def test_access_after_unmap(bench: Bench) -> None:
    space, reader = bench.process(READS_TILL_FLAG)
    bench.program(space, UNMAPS_THEN_SETS_FLAG, CODE + PAGE)
    unmapper = bench.executor(space, "unmapper")
    bench.set_registers(unmapper, a1=DATA, a2=1, a7=CALL_UNMAP, t1=1, s1=FLAG)
    bench.memory(space, FLAG)
    # In another space the page stays: it is not freed, but it is gone here.
    page = bench.memory(space, DATA, OLD)
    bench.memory(space, DATA + PAGE)
    bench.share(page, bench.space("other space"), DATA)
    bench.dispatch(1, reader, steps=2)
    bench.dispatch(2, unmapper, steps=0, pc=CODE + PAGE)

    def oracle(_: Scene) -> str | None:
        if cause(bench, 1) == (LOAD_FAULT, DATA):
            return None
        return "hart 1 has seen that unmap had returned on hart 2, and has read the page after that"

    explore(
        bench.scene,
        [Thread(1, until=["fault"]), Thread(2, until=["fault"])],
        oracle,
        hint="whatever becomes of the page, each hart in user mode in the space has to flush",
    )


def test_access_during_unmap(bench: Bench) -> None:
    space, reader = bench.process((ld(T0, S0), beq(T0, T1, -4), EBREAK))
    bench.set_registers(reader, t1=OLD)
    bench.memory(space, DATA, OLD)
    bench.memory(space, DATA + PAGE, OLD)
    bench.dispatch(1, reader)
    unmapper = bench.executor(space, "unmapper")
    bench.prepare_call(unmapper, 0, DATA, 1)

    def oracle(_: Scene) -> str | None:
        if cause(bench, 1) == (LOAD_FAULT, DATA):
            return None
        found = bench.register(reader, T0)
        return f"hart 1 has read {found:#x} where {OLD:#x} was mapped, and then nothing"

    bench.scene.explore(
        [Thread(0, Call("call_unmap", (unmapper,))), Thread(1, until=["fault"])],
        oracle,
        models=["sc"],
        hint="page walkers look on: an entry is either as it was, or invalid, at every moment",
    )


def map_over(bench: Bench, executor: int, prot: int = PROT_RW, va: int = DATA) -> bool:
    """Hart 0 maps a new page over what is there; true when it has returned
    without waiting."""
    bench.prepare_call(executor, 0, va, 1, prot, MAP_REPLACE)
    bench.scene.enter(0, "call_map", executor)
    return not stuck(bench, 0)


def answer(bench: Bench, returned: bool, hart: int = 1) -> None:
    """Hart 0's call returns, if need be after a hart in user mode has taken the
    interrupt and gone back."""
    if not returned:
        pc = bench.world.harts[hart].pc
        back = bench.goes_to(hart, "shootdown_publish") and bench.goes_to(hart, pc, pc + 4, pc - 4)
        if not back or not bench.goes_to(0):
            fail("map returns when the other hart has answered", "it waits on", SHOOTDOWN)


def test_access_after_map_over(bench: Bench) -> None:
    space, reader = bench.process(READS)
    bench.memory(space, DATA, OLD)
    bench.reads(1, reader)
    answer(bench, map_over(bench, bench.executor(space, "mapper")))
    for _ in range(2):
        bench.step(1)
    found = bench.world.harts[1].x[T0]
    check(
        found == 0,
        f"a load after map has put a new page at {DATA:#x} reads that: 0",
        f"hart 1 reads {found:#x}, from the page that was there before",
        SHOOTDOWN,
        "map over something takes the same shootdown as unmap",
    )


def test_access_during_map_over(bench: Bench) -> None:
    space, reader = bench.process((ld(T0, S0), beq(T0, T1, -4), EBREAK))
    bench.set_registers(reader, t1=OLD)
    bench.memory(space, DATA, OLD)
    bench.dispatch(1, reader)
    mapper = bench.executor(space, "mapper")
    bench.prepare_call(mapper, 0, DATA, 1, PROT_RW, MAP_REPLACE)

    def oracle(_: Scene) -> str | None:
        found = bench.register(reader, T0)
        if cause(bench, 1)[0] != BREAKPOINT or found != 0:
            return f"hart 1 has found {found:#x} (or nothing) where {OLD:#x} gives way to 0"
        return None

    bench.scene.explore(
        [Thread(0, Call("call_map", (mapper,))), Thread(1, until=["fault"])],
        oracle,
        models=["sc"],
        hint="one that waits for ever in user mode still reads the page that was mapped over",
    )


def test_store_before_the_call(bench: Bench) -> None:
    """What a hart has stored as a user is there when the call returns: who
    gets the page next is not disturbed by it."""
    program = (ld(T2, S0), sd(T1, S0), ld(T0, S0), beq(T0, T1, -4), EBREAK)
    for hart, call, arguments in (
        (1, "call_unmap", (0, DATA, 1)),
        (2, "call_map", (0, DATA, 1, PROT_RX, MAP_REPLACE)),
    ):
        space, writer = bench.process(program, call)
        bench.set_registers(writer, t1=STORED)
        page = bench.memory(space, DATA)
        bench.memory(space, DATA + PAGE)
        bench.dispatch(hart, writer, steps=1)
        caller = bench.executor(space, "caller")
        bench.prepare_call(caller, *arguments)

        def oracle(scene: Scene, page: int = page, call: str = call) -> str | None:
            found = scene.memory().u64(page)
            if found == 0:
                return None
            return (
                f"the page was cleared after {call} had returned, and holds {found:#x}:"
                " a store of another hart, from before, came later"
            )

        explore(
            bench.scene,
            [
                # The last one is there for its fence: what was cleared is cleared.
                Thread(0, Call(call, (caller,)), Call("page_zero", (page,)), Call("ipi_receive")),
                Thread(hart, until=["fault"]),
            ],
            oracle,
            hint="withdrawing is a release",
        )


def test_new_code_is_fetched(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    bench.memory(space, DATA)
    bench.dispatch(1, executor)
    if map_over(bench, bench.executor(space, "mapper"), PROT_RX):
        fail("map over something executable waits for harts in user mode", "it returns", SHOOTDOWN)
    if not bench.goes_to(1, "shootdown_withdraw"):
        fail("hart 1 takes the interrupt", bench.scene.where(1), SHOOTDOWN)
    fenced = bench.goes_to(1, CODE, *bench.places_of(FENCE_I)) and bench.world.harts[1].mode != 0
    check(
        fenced,
        "after a page was mapped executable a hart executes fence.i before it returns to user mode",
        "it does not",
        "shootdown_publish (kernel/shootdown.c)",
        "what is fetched may come from a cache that stores do not reach",
    )
