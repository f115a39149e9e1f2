"""Exercise 3: the end of a space and of a process."""

from __future__ import annotations

import pytest
from process_bench import (
    CALL_PARK,
    CALLS,
    DATA,
    ENOUGH,
    ESRCH,
    EVENT_WAKE,
    EXECUTING,
    EXECUTOR,
    GIB,
    HANDLES,
    PARKED,
    QUEUED,
    SPACE,
    SPINS,
    TERMINATED,
    Bench,
)
from stag.explore import Thread
from stag.model import Call
from stag.scene import Scene
from stag.verdict import check, fail

EXIT = "space_exit (kernel/exit.c)"
TEAR_DOWN = "exit_tear_down (kernel/exit.c)"
LEAVE = "exit_leave (kernel/exit.c)"
REAP = "reap_all (kernel/reap.c)"


@pytest.fixture
def bench(scene) -> Bench:
    return Bench(scene())


def state_text(state: int) -> str:
    names = ("EXECUTING", "QUEUED", "PARKED", "STOPPED", "TERMINATED")
    return " ".join(name for i, name in enumerate(names) if state >> i & 1) or "runnable"


def check_ended(bench: Bench, executor: int, what: str) -> None:
    state = bench.state(executor)
    check(
        bool(state & TERMINATED) and not state & (EXECUTING | QUEUED),
        f"{what} has ended: TERMINATED, and neither EXECUTING nor QUEUED",
        state_text(state),
        EXIT,
    )


def leaks(before: dict[int, int], after: dict[int, int]) -> str:
    """What is allocated now and was not before, or has another count."""
    more = [f"{page:#x}" for page in after if page not in before]
    both = [page for page in before if page in after]
    counts = [f"{page:#x} has count {after[page]}" for page in both if after[page] != before[page]]
    lost = [f"{page:#x} is free" for page in before if page not in after]
    parts = [f"{len(more)} pages more are allocated: {', '.join(more[:4])}"] if more else []
    return "; ".join(parts + counts[:3] + lost[:3])


def check_counts(bench: Bench, before: dict[int, int], where: str, hint: str = "") -> None:
    after = bench.counts()
    check(
        after == before,
        "all that the process held is given back: the allocated pages are those from before",
        leaks(before, after),
        where,
        hint,
    )


def test_exit_terminates_executors(bench: Bench) -> None:
    space, first = bench.process(SPINS)
    second = bench.executor(space, "second")
    bench.scene.call(0, "space_exit", space)
    check(
        bench.field(space, "space", "alive") == 0,
        "after space_exit the space is alive no more",
        "`alive` is still set",
        EXIT,
    )
    check_ended(bench, first, "an executor at rest")
    check_ended(bench, second, "a second executor at rest")
    error = bench.scene.call_signed(0, "executor_create", space, bench.out)
    check(error == ESRCH, "executor_create in it returns -ESRCH", f"{error}", EXIT)
    bench.prepare_call(second, 0, DATA, 1)
    bench.scene.call(0, "call_unmap", second)
    check(
        bench.result(second) == ESRCH,
        "unmap in a space that has ended returns -ESRCH",
        f"{bench.result(second)}",
        "call_unmap (kernel/unmap.c)",
    )


def test_exit_gives_everything_back(bench: Bench) -> None:
    before = bench.counts()
    space, executor = bench.process(SPINS)
    bench.memory(space, DATA)
    bench.memory(space, 3 * GIB)
    bench.memory(space, 200 * GIB)
    # As a program has it: a handle to its own executor, and ours let go.
    bench.handle(space, HANDLES, executor, EXECUTOR)
    bench.scene.call(0, "executor_put", executor)
    held = len(bench.counts()) - len(before)
    check(held > 10, "the process holds pages", f"{held}")
    bench.scene.call(0, "space_exit", space)
    bench.long_call(0, "reap_all")
    bench.scene.call(0, "space_put", space)
    bench.long_call(0, "reap_all")
    check_counts(bench, before, f"{EXIT}, {TEAR_DOWN}, {REAP}")


def test_space_without_references(bench: Bench) -> None:
    before = bench.counts()
    space, executor = bench.process(SPINS)
    bench.memory(space, DATA)
    bench.handle(space, HANDLES, executor, EXECUTOR)
    bench.scene.call(0, "executor_put", executor)
    bench.scene.call(0, "space_put", space)
    bench.long_call(0, "reap_all")
    check_counts(
        bench,
        before,
        REAP,
        "a space that loses its last reference and is alive exits by way of the reap list",
    )


def test_executor_without_references(bench: Bench) -> None:
    space = bench.space()
    kept = bench.executor(space, "another")
    before = bench.counts()
    executor = bench.executor(space)
    bench.scene.call(0, "executor_put", executor)
    bench.long_call(0, "reap_all")
    after = bench.counts()
    check(
        executor not in after,
        "an executor without references is freed by reap_all",
        "its page is still allocated",
        REAP,
    )
    check(
        bench.field(space, "space", "executors") == kept and set(after) == set(before),
        "it has left the list of its space, which holds the other one",
        f"the list begins with {bench.field(space, 'space', 'executors'):#x}",
        f"{LEAVE}, {REAP}",
    )


def test_reap_list_of_many(bench: Bench) -> None:
    space = bench.space()
    executors = [bench.executor(space, f"executor {i}") for i in range(70)]
    for executor in executors:
        bench.scene.call(0, "executor_put", executor)
    bench.world.harts[0].accepts |= 1 << 1
    bench.long_call(0, "reap_all")
    left = set(executors) & set(bench.counts())
    check(not left, "reap_all frees all that is listed", f"{len(left)} of 70 are left", REAP)
    check(
        not bench.pending(0),
        "reap_all serves interrupts every now and then",
        "one that was pending still is when all is done",
        REAP,
        "interrupt_serve between two slices",
    )


def test_address_space_number(bench: Bench) -> None:
    numbers = []
    for _ in range(3):
        space = bench.space()
        numbers.append(bench.field(space, "space", "asid"))
        bench.scene.call(0, "space_exit", space)
        bench.long_call(0, "reap_all")
        bench.scene.call(0, "space_put", space)
        bench.long_call(0, "reap_all")
    check(
        len(set(numbers)) == 1,
        "the address space number of a space that was torn down can be had again",
        f"three spaces, one after the other, had the numbers {numbers}",
        TEAR_DOWN,
    )


def test_exit_twice(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    bench.memory(space, DATA)
    references = bench.references(space, "space")
    for _ in range(2):
        bench.scene.call(0, "space_exit", space)
    bench.long_call(0, "reap_all")
    bench.scene.call(0, "space_exit", space)
    bench.long_call(0, "reap_all")
    bench.allocation()
    check_ended(bench, executor, "its executor")
    found = bench.references(space, "space")
    check(
        found == references,
        f"after the teardown the space has {references} references, as before its exit",
        f"{found}",
        EXIT,
        "without effect the second time",
    )


def test_exit_with_one_to_be_freed(bench: Bench) -> None:
    """An executor without references waits in the reap list."""
    space = bench.space()
    kept = bench.executor(space, "kept")
    before = bench.counts()
    executor = bench.executor(space)
    bench.scene.call(0, "executor_put", executor)
    bench.scene.call(0, "space_exit", space)
    if not bench.goes_through(0, "reap_all"):
        fail("reap_all comes to an end", "it goes round and round", f"{EXIT}, {REAP}")
    check(
        executor not in bench.counts() and len(bench.counts()) < len(before),
        "an executor that was on its way out is freed, once, and the space torn down",
        leaks(before, bench.counts()) or "the space is as before",
        f"{EXIT}, {REAP}",
    )
    check_ended(bench, kept, "another executor")


def test_last_executor_ends_the_process(bench: Bench) -> None:
    before = bench.counts()
    space, executor = bench.process(CALLS, a7=2)
    bench.memory(space, DATA)
    bench.handle(space, HANDLES, executor, EXECUTOR)
    bench.dispatch(1, executor)
    bench.scene.call(0, "executor_put", executor)
    bench.scene.call(0, "space_put", space)
    if bench.scene.run(1) != "waits":
        fail("the hart goes idle when its executor has terminated", bench.scene.where(1))
    check_counts(bench, before, f"{EXIT}, {LEAVE}, {REAP}")


def test_teardown_waits_for_the_last(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    bench.memory(space, DATA)
    root = bench.field(space, "space", "root")
    bench.dispatch(1, executor)
    bench.scene.call(0, "space_exit", space)
    bench.long_call(0, "reap_all")
    check(
        bench.mapped(space, DATA) is not None,
        "nothing is torn down while hart 1 is still in the program",
        f"what was mapped at {DATA:#x} is gone",
        f"{EXIT}, {LEAVE}",
        "the last executor that leaves the list begins the teardown",
    )
    check(
        bench.pending(1),
        "hart 1, which runs an executor of the space, is interrupted",
        "it is not",
        EXIT,
    )
    if bench.scene.run(1) != "waits":
        fail("the hart goes idle: its executor has been ended", bench.scene.where(1))
    check_ended(bench, executor, "the executor that ran on hart 1")
    check(
        root not in bench.counts(),
        "hart 1, which ended the last executor, has torn the space down",
        "its root table is still allocated",
        LEAVE,
    )


def test_chain_of_spaces(bench: Bench) -> None:
    """Each holds the handle of the next: the stack must not grow with it."""
    stack = bench.world.harts[0].x[2]
    memory = bench.scene.memory()

    def depth(length: int) -> int:
        before = bench.counts()
        spaces = [bench.space(f"space {i}") for i in range(length)]
        for space, following in zip(spaces, spaces[1:], strict=False):
            bench.handle(space, HANDLES, following, SPACE)
        for space in reversed(spaces):
            bench.scene.call(0, "space_put", space)
        lowest = stack - 0xC00
        for va in range(lowest, stack, 8):
            memory.set_u64(va, 0x5A5A5A5A)
        bench.long_call(0, "reap_all")
        check_counts(bench, before, REAP)
        touched = [va for va in range(lowest, stack, 8) if memory.u64(va) != 0x5A5A5A5A]
        return stack - min(touched)

    short, long = depth(3), depth(12)
    check(
        long <= short + 64,
        f"a chain of 12 spaces is freed with as much stack as one of 3, {short} bytes",
        f"{long} bytes",
        REAP,
        "put what has lost its last reference on a list, and work the list off in a loop",
    )


# With other harts


def whole(bench: Bench, space: int, executor: int, root: int) -> str | None:
    """Once all harts have come to rest: the space is torn down, once, and the
    executor has ended."""
    bench.goes_to(1, budget=10 * ENOUGH)
    for hart in range(2):
        bench.long_call(hart, "reap_all")
    state = bench.state(executor)
    if not state & TERMINATED or state & (EXECUTING | QUEUED):
        return f"the executor has not ended: {state_text(state)}"
    counts = bench.counts()
    if root in counts:
        return "the space is not torn down, though its last executor has left"
    for address, struct in ((executor, "executor"), (space, "space")):
        if address not in counts:
            return f"the page of the {struct} is freed, though there is a reference to it"
        references = bench.references(address, struct)
        if references != 1:
            return f"the {struct} has {references} references in the end: there is 1, the test's"
    return None


def explore_exit(bench: Bench, space: int, executor: int, other: Thread) -> None:
    """space_exit on hart 0, against another. The teardown itself, which is
    long, comes after it, in the oracle."""
    root = bench.field(space, "space", "root")
    bench.scene.explore(
        [Thread(0, Call("space_exit", (space,))), other],
        lambda _: whole(bench, space, executor, root),
        models=["pso"],  # which leaves out no order of the others
        hint="TERMINATED and EXECUTING stand in one word: whoever sets TERMINATED either is the"
        " one to complete it, or finds a holder who will",
    )


def test_exit_and_dispatch(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    bench.start(executor)
    explore_exit(bench, space, executor, Thread(1, waits=True, until=["exit_tear_down"]))


def parked(bench: Bench) -> tuple[int, int]:
    """A process whose executor waits for an event."""
    space, executor = bench.process(CALLS, a0=EVENT_WAKE, a7=CALL_PARK)
    bench.set_registers(executor, a1=(1 << 64) - 1)
    bench.dispatch(1, executor)
    bench.scene.run(1)
    state = bench.state(executor)
    check(bool(state & PARKED), "the executor is parked", state_text(state))
    return space, executor


def test_exit_and_wake(bench: Bench) -> None:
    space, executor = parked(bench)
    wake = Call("executor_unpark", (executor, EVENT_WAKE))
    explore_exit(bench, space, executor, Thread(2, wake))


def test_exit_and_create(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    result = bench.page()
    root = bench.field(space, "space", "root")

    def oracle(scene: Scene) -> str | None:
        created = bench.world.harts[1].results[0] == 0
        if not created:
            return whole(bench, space, executor, root)
        state = bench.state(scene.memory().u64(result))
        if not state & TERMINATED:
            return f"executor_create succeeded, but nobody ends that executor: {state_text(state)}"
        return None

    bench.scene.explore(
        [
            Thread(0, Call("space_exit", (space,))),
            Thread(1, Call("executor_create", (space, result))),
        ],
        oracle,
        models=["pso"],
        hint="first alive no more, then the list: executor_create looks at `alive` under the lock",
    )


def test_two_exits(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    explore_exit(bench, space, executor, Thread(1, Call("space_exit", (space,))))


def test_exit_and_last_end(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    bench.scene.call(0, "executor_terminate", executor)  # and the end is for us to do
    explore_exit(bench, space, executor, Thread(1, Call("executor_end", (executor,))))
