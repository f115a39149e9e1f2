"""Exercise 3: the end of a space and of a process, and the reap lists."""

from __future__ import annotations

from itertools import pairwise

import pytest
from exit_bench import EXIT, LEAVE, REAP, TEAR_DOWN, check_counts, check_ended, leaks
from process_bench import (
    CALLS,
    DATA,
    ESRCH,
    EXECUTOR,
    GIB,
    HANDLES,
    PLENTY,
    SPACE,
    SPINS,
    TABLE_SPAN,
    Bench,
)
from stag.pagetable import PAGE
from stag.verdict import check, fail

UNMAP = "call_unmap (kernel/unmap.c)"
MANY = 130  # executors: reap_all must serve interrupts twice


@pytest.fixture
def bench(scene) -> Bench:
    return Bench(scene())


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


def test_unmap_in_a_space_that_ends(bench: Bench) -> None:
    """It ends while unmap waits for its lock, or has ended before."""
    for ends_now in (True, False):
        space, executor = bench.process(SPINS)
        bench.memory(space, DATA)
        before = bench.references(space, "space")
        bench.prepare_call(executor, 0, DATA, 1)
        bench.scene.set_field(space, "space", "lock", 1 if ends_now else 0)
        bench.scene.set_field(space, "space", "alive", 1 if ends_now else 0)
        bench.scene.enter(0, "call_unmap", executor)
        if ends_now:
            check(
                not bench.goes_to(0),
                "unmap waits for the lock of the space, which another hart holds",
                "it returns",
                UNMAP,
            )
            bench.scene.set_field(space, "space", "alive", 0)
            bench.scene.set_field(space, "space", "lock", 0)
        bench.goes_to(0)
        when = "ends while unmap waits for its lock" if ends_now else "has ended"
        check(
            bench.returned(0) and bench.result(executor) == ESRCH,
            f"unmap in a space that {when} returns -ESRCH",
            f"{bench.result(executor)}" if bench.returned(0) else bench.scene.where(0),
            UNMAP,
            "`alive` is certain only under the lock: then the root may be gone",
        )
        after = bench.references(space, "space")
        check(
            after == before,
            f"after the call the space has {before} references, as before",
            str(after),
            UNMAP,
            "what call_space has brought goes back in any case",
        )


def check_reap_due(bench: Bench, due: bool, when: str, where: str) -> None:
    found = bench.field(bench.scene.hart_page(0), "hart", "reap_due")
    check(
        bool(found) == due,
        f"{when} reap_due of this hart is {int(due)}",
        str(found),
        where,
        "a hart that leaves the kernel, or has nothing to do, looks at that",
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
    check_reap_due(bench, True, "with a space on the reap list", "reap_space (kernel/reap.c)")
    bench.long_call(0, "reap_all")
    check_reap_due(bench, False, "after reap_all", REAP)
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
    first, second, third = (bench.executor(space, f"executor {i}") for i in range(3))
    for executor in (second, third, first):  # of four from their midst, then at both ends
        bench.scene.call(0, "executor_put", executor)
        where = "reap_executor (kernel/reap.c)"
        check_reap_due(bench, True, "with an executor on the reap list", where)
        bench.long_call(0, "reap_all")
        check_reap_due(bench, False, "after reap_all", REAP)
        check(
            executor not in bench.counts(),
            "an executor without references is freed by reap_all",
            "its page is still allocated",
            REAP,
        )
    head = bench.field(space, "space", "executors")
    links = [bench.field(kept, "executor", f"space_{name}") for name in ("next", "previous")]
    check(
        head == kept and links == [0, 0] and set(bench.counts()) == set(before),
        "they have left the list of their space, which holds the other one alone",
        f"the list begins with {head:#x}; of {kept:#x}, the other one, space_next is"
        f" {links[0]:#x}, space_previous {links[1]:#x}",
        f"{LEAVE}, {REAP}",
    )


def many_to_be_freed(bench: Bench, space: int) -> list[int]:
    executors = [bench.executor(space, f"executor {i}") for i in range(MANY)]
    for executor in executors:
        bench.scene.call(0, "executor_put", executor)
    return executors


def test_reap_list_of_many(bench: Bench) -> None:
    space = bench.space()
    executors = many_to_be_freed(bench, space)
    most = most_without_interrupts(bench, "executor_end")
    left = set(executors) & set(bench.counts())
    check(not left, "reap_all frees all that is listed", f"{len(left)} of {MANY} are left", REAP)
    check(
        most <= 64,
        "reap_all serves interrupts at the latest after 64 executors",
        f"one that is pending waits until {most} have ended",
        REAP,
        "interrupt_serve between two slices",
    )
    executors = many_to_be_freed(bench, space)
    check_ends_with_the_quantum(bench, f"{MANY} executors")
    left = set(executors) & set(bench.counts())
    check(not left, "reap_all, called again, frees the rest", f"{len(left)} are left", REAP)


def check_ends_with_the_quantum(bench: Bench, what: str) -> None:
    """Hart 0 has more than a slice to do, and its timer is due; then it does the
    rest."""
    page, state = bench.scene.hart_page(0), bench.world.harts[0]
    bench.scene.set_field(page, "hart", "timer_at", bench.world.time)
    state.timer = bench.world.time
    bench.world.advance(0)
    bench.long_call(0, "reap_all")
    check(
        bench.field(page, "hart", "reap_due") == 1,
        f"reap_all, with {what} to free, returns when the timer has gone off and was set anew, and"
        " leaves reap_due set",
        "reap_due is 0: it goes on until all is done",
        REAP,
        "look whether hart.timer_at has moved since the call: somebody waits for a turn",
    )
    bench.long_call(0, "reap_all")
    check_reap_due(bench, False, "after reap_all is called again, and no timer goes off,", REAP)


def most_without_interrupts(bench: Bench, function: str) -> int:
    """Hart 0 enters reap_all, and always has an interrupt pending: how often at
    most it comes to that function before it takes one."""
    bench.scene.enter(0, "reap_all")
    most = count = 0
    while bench.goes_to(0, function, budget=PLENTY) and not bench.returned(0):
        count = count + 1 if bench.pending(0) else 1
        most = max(most, count)
        bench.world.harts[0].accepts |= 1 << 1
        bench.leaves_start(0)
    if not bench.returned(0):
        fail("reap_all comes to an end", bench.scene.where(0), REAP)
    bench.world.harts[0].accepts &= ~(1 << 1)
    return most


def large_process_that_ends(bench: Bench) -> tuple[int, int]:
    space, executor = bench.process(SPINS)
    for i in range(1, 31):  # the last entry of each table: more than a slice looks at
        bench.memory(space, DATA + i * TABLE_SPAN - PAGE)
    bench.scene.call(0, "space_exit", space)
    return space, executor


def test_teardown_in_slices(bench: Bench) -> None:
    before = bench.counts()
    space, executor = large_process_that_ends(bench)
    most = most_without_interrupts(bench, "unmap_range")
    check(
        most <= 1,
        "interrupts are served between any two slices of a teardown",
        f"one that is pending waits for {most} slices",
        f"{REAP}, {TEAR_DOWN}",
        "a space that is not torn down yet goes back on the list",
    )
    other, its_executor = large_process_that_ends(bench)
    check_ends_with_the_quantum(bench, "a space of several slices")
    for thread, of in ((executor, space), (its_executor, other)):
        bench.scene.call(0, "executor_put", thread)
        bench.scene.call(0, "space_put", of)
    bench.long_call(0, "reap_all")
    check_counts(bench, before, f"{REAP}, {TEAR_DOWN}")


def test_address_space_number(bench: Bench) -> None:
    numbers = []
    for _ in range(3):
        space = bench.space()
        numbers.append(bench.field(space, "space", "asid"))
        bench.scene.call(0, "space_exit", space)
        bench.long_call(0, "reap_all")
        root = bench.field(space, "space", "root")
        check(root == 0, "after the teardown the space's root is 0", f"{root:#x}", TEAR_DOWN)
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


def check_held_while_ended(bench: Bench) -> None:
    """Others may let go of an executor while space_exit ends it."""
    space, executor = bench.process(SPINS)
    bench.scene.enter(0, "space_exit", space)
    bench.scene.run(0, "executor_end")
    held = bench.references(executor, "executor")
    check(
        held >= 2 or bench.returned(0),
        "when executor_end is called 2 references: the test's and that of space_exit",
        str(held),
        EXIT,
        "else it could be freed while you end it",
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
    check_held_while_ended(bench)


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
        for space, following in pairwise(spaces):
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
