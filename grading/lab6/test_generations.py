"""Exercise 5: generations. A hart that is in the kernel while something is
unmapped finds out on its way back."""

from __future__ import annotations

import pytest
from process_bench import (
    CALL_UNMAP,
    CALL_YIELD,
    DATA,
    EBREAK,
    ECALL,
    LOAD_FAULT,
    OTHER,
    READS,
    S0,
    T0,
    Bench,
    explore,
    jump,
    ld,
    unmap_waits,
)
from stag.explore import Thread
from stag.model import Call
from stag.pagetable import PAGE
from stag.scene import Scene
from stag.verdict import check, fail

SHOOTDOWN = "shootdown (kernel/shootdown.c)"
PUBLISH = "shootdown_publish (kernel/shootdown.c)"
WITHDRAW = "shootdown_withdraw (kernel/shootdown.c)"

READS_AND_YIELDS = (ld(T0, S0), ECALL, ld(T0, S0), jump(-4))


@pytest.fixture
def bench(scene) -> Bench:
    return Bench(scene())


def in_the_kernel(bench: Bench, hart: int = 1) -> tuple[int, int]:
    """The hart has read DATA and has made a call. The space, and an executor
    that unmaps."""
    space, executor = bench.process(READS_AND_YIELDS, a7=CALL_YIELD)
    bench.memory(space, DATA)
    bench.dispatch(hart, executor, steps=1)
    if not bench.goes_to(hart, "call_dispatch"):
        fail("the call gets to call_dispatch", bench.scene.where(hart), WITHDRAW)
    return space, bench.executor(space, "unmapper")


def test_hart_in_the_kernel_is_left_alone(bench: Bench) -> None:
    _, unmapper = in_the_kernel(bench)
    check(
        not unmap_waits(bench, unmapper),
        "unmap does not wait for a hart that is in the kernel: it may be waiting for our lock",
        "it waits",
        f"{WITHDRAW}, {SHOOTDOWN}",
        "bit 0 of a hart's word says that it is in user mode",
    )


def test_return_after_a_change(bench: Bench) -> None:
    _, unmapper = in_the_kernel(bench)
    unmap_waits(bench, unmapper)
    bench.check_faults(
        1,
        "when hart 1, in the kernel while hart 0 unmapped, has returned to user mode",
        "compare the space's generation with that at which this hart last flushed",
    )


def test_hart_that_comes_into_the_kernel(bench: Bench) -> None:
    space, executor = bench.process(READS)
    bench.memory(space, DATA)
    bench.reads(1, executor)
    unmap_waits(bench, bench.executor(space, "unmapper"))
    if not bench.goes_to(1, "trap"):
        fail("hart 1 takes the interrupt", bench.scene.where(1), SHOOTDOWN)
    check(
        bench.goes_to(0),
        "unmap returns when hart 1 has come out of user mode: it may stay in the kernel for long",
        "it waits on",
        SHOOTDOWN,
        "wait until the word is even, or new",
    )
    bench.check_faults(1, "when hart 1 has returned to user mode")


def test_number_used_before(bench: Bench) -> None:
    """A space with the address space number of one that has ended."""
    space, executor = bench.process(READS)
    bench.memory(space, DATA)
    number = bench.field(space, "space", "asid")
    bench.reads(1, executor)
    bench.scene.call(0, "space_exit", space)
    bench.scene.run(1)  # it ends the executor, tears down, and goes idle
    bench.scene.call(0, "executor_put", executor)
    bench.scene.call(0, "space_put", space)
    bench.long_call(0, "reap_all")
    for i in range(3):
        space, executor = bench.process(READS, f"space {i}")
        if bench.field(space, "space", "asid") == number:
            break
    bench.memory(space, DATA + PAGE)
    bench.dispatch(1, executor)
    bench.check_faults(
        1,
        "in a new space with the number of one that has ended, where nothing is mapped",
        "a hart that enters a space for the first time has flushed nothing of it yet",
    )


def test_return_and_shootdown(bench: Bench) -> None:
    # Hart 0 is the first whose word is looked at: no earlier look has a fence.
    _, unmapper = in_the_kernel(bench, hart=0)
    if not bench.goes_to(0, "shootdown_publish"):
        fail("after the call the hart comes to shootdown_publish", bench.scene.where(0))
    bench.prepare_call(unmapper, 0, DATA, 1)

    def oracle(_: Scene) -> str | None:
        cause = bench.world.harts[0].csr[0x142]
        return None if cause == LOAD_FAULT else f"hart 0 traps with cause {cause}, not for the load"

    explore(
        bench.scene,
        [Thread(0, until=["fault"]), Thread(1, Call("call_unmap", (unmapper,)))],
        oracle,
        models=["tso", "pso"],
        hint="a hart that waits for ever in user mode still reads the page. Each side stores,"
        " fences, then loads what the other stores; the flush comes after the generation was read",
    )


def test_two_harts_shoot(bench: Bench) -> None:
    """Both are in user mode in one space, and unmap there."""
    space, first = bench.process((ECALL, EBREAK), a1=DATA, a2=1, a7=CALL_UNMAP)
    second = bench.executor(space, "second")
    bench.set_registers(second, a1=OTHER, a2=1, a7=CALL_UNMAP)
    for va in (DATA, DATA + PAGE, OTHER, OTHER + PAGE):
        bench.memory(space, va)
    bench.dispatch(1, first)
    bench.dispatch(2, second)

    def oracle(scene: Scene) -> str | None:
        left = [f"{va:#x}" for va in (DATA, OTHER) if bench.mapped(space, va)]
        return f"still mapped: {', '.join(left)}" if left else None

    explore(
        bench.scene,
        [Thread(1, until=["fault"]), Thread(2, until=["fault"])],
        oracle,
        hint="a hart in the kernel is not waited for: it may itself be waiting for an answer, or"
        " for the lock",
    )
