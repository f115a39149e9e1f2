"""Exercise 5: generations. A hart that is in the kernel while something is
unmapped finds out on its way back."""

from __future__ import annotations

import pytest
from process_bench import (
    A0,
    CALL_RESUME,
    CALL_UNMAP,
    CALL_UNPARK,
    CALLS,
    DATA,
    EBADF,
    EBREAK,
    ECALL,
    EVENT_WAKE,
    EXECUTOR,
    HANDLES,
    LOAD_FAULT,
    OTHER,
    READS,
    S0,
    S1,
    T0,
    Bench,
    addi,
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

# It reads, makes a call, and reads again and again.
READS_AND_CALLS = (ld(T0, S0), ECALL, ld(T0, S0), jump(-4))
# a0 = s1, and a call, again and again.
UNPARKS = (addi(A0, S1, 0), ECALL, jump(-8))


@pytest.fixture
def bench(scene) -> Bench:
    return Bench(scene())


def in_the_kernel(bench: Bench, hart: int = 1) -> tuple[int, int]:
    """The hart has read DATA, and is on its way back from a call that took the
    lock of its space. The space, and an executor that unmaps."""
    space, executor = bench.process(READS_AND_CALLS, a7=CALL_RESUME)
    bench.memory(space, DATA)
    bench.dispatch(hart, executor, steps=1)
    if not bench.goes_to(hart, "call_dispatch") or not bench.leaves_start(hart):
        fail("a call of resume comes to its end", bench.scene.where(hart), WITHDRAW)
    return space, bench.executor(space, "unmapper")


def test_hart_that_waits_for_the_lock(bench: Bench) -> None:
    """It waits within a call; and one that has had the lock is left alone, too."""
    space, executor = bench.process((ld(T0, S0), *CALLS), a1=OTHER, a2=1, a7=CALL_UNMAP)
    bench.memory(space, DATA)
    bench.memory(space, OTHER)
    bench.dispatch(1, executor, steps=1)
    unmapper = bench.executor(space, "unmapper")
    bench.prepare_call(unmapper, 0, DATA, 1)
    bench.scene.enter(0, "call_unmap", unmapper)
    if not bench.goes_to(0, "shootdown"):
        fail("unmap gets to its shootdown", bench.scene.where(0), SHOOTDOWN)
    bench.goes_to(1)
    check(
        bench.goes_to(0),
        "unmap does not wait for a hart that waits for the lock which unmap holds",
        "they wait for each other",
        f"{WITHDRAW}, {SHOOTDOWN}",
        "lock_acquire withdraws (kernel/lock.h): then the hart's word is even",
    )
    _, unmapper = in_the_kernel(bench, 2)
    check(
        not unmap_waits(bench, unmapper),
        "unmap does not wait for a hart in the kernel that has taken the space's lock",
        "it waits",
        f"{WITHDRAW}, {SHOOTDOWN}",
        "bit 0 of a hart's word says that it uses the space",
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
    if not bench.goes_to(1, "interrupt_serve"):
        fail("hart 1 takes the interrupt", bench.scene.where(1), SHOOTDOWN)
    check(
        bench.goes_to(0),
        "unmap returns when hart 1 has taken the interrupt: it may stay in the kernel for long",
        "it waits on",
        SHOOTDOWN,
        "wait until the word is even, or new",
    )
    bench.check_faults(1, "when hart 1 has returned to user mode")


def test_remembered_handle_goes(bench: Bench) -> None:
    space, executor = bench.process(UNPARKS, a1=EVENT_WAKE, a7=CALL_UNPARK)
    bench.set_registers(executor, s1=HANDLES)
    target = bench.executor(bench.space("another space"), "target")
    bench.handle(space, HANDLES, target, EXECUTOR)
    bench.memory(space, HANDLES + PAGE)
    bench.dispatch(1, executor, steps=5)
    hart = bench.world.harts[1]
    check(hart.x[A0] == 0, "unpark by a handle returns 0", f"{hart.x[A0]:#x}")
    unmapper = bench.executor(space, "unmapper")
    bench.prepare_call(unmapper, 0, HANDLES, 1)
    bench.scene.enter(0, "call_unmap", unmapper)
    bench.goes_to(0)  # it waits for hart 1, which comes to its next call
    bench.step(1)
    bench.step(1)
    if not bench.goes_to(0):
        fail("unmap returns when hart 1 has answered", "it waits on", SHOOTDOWN)
    bench.step(1)
    found = hart.x[A0] - (1 << 64) if hart.x[A0] >> 63 else hart.x[A0]
    check(
        found == EBADF,
        "after unmap of the handle, unpark by it on another hart returns -EBADF",
        f"{found}: hart 1 remembers what the handle led to",
        PUBLISH,
        "with the translations the hart forgets its handles: handle_forget_all (kernel/handle.h)",
    )


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
        hint="a hart that has withdrawn is not waited for: it may itself be waiting for an answer,"
        " or for the lock",
    )
