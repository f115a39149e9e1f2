"""Exercise 1: the run queue, one hart at a time."""

from __future__ import annotations

import pytest
from scheduler_bench import EXECUTING, LINEAR_MAP, QUEUED, STOPPED, TERMINATED, Bench, make_bench
from stag.verdict import check


@pytest.fixture
def bench(scene) -> Bench:
    return make_bench(scene())


def test_next_dispatches(bench: Bench) -> None:
    bench.enqueue(0, "A")
    bench.check_state("A", QUEUED, "once scheduler_enqueue has returned")
    bench.expect_next(1, "A", "the only one that is queued")
    bench.check_state("A", EXECUTING, "once it was dispatched", "kernel/state.h, rule 3")
    bench.check_references("A", 2, "once it was dispatched")
    executor, found = bench.executors["A"], bench.running(1)
    check(
        found == executor,
        expected="the page of hart 1 says that A runs there",
        found=f"hart.executor is {bench.name(found)}",
        where="hart.executor (kernel/hart.h)",
    )


def test_executor_knows_its_hart(bench: Bench) -> None:
    """… so that who wants to interrupt it finds the hart."""
    for name, hart in (("A", 2), ("B", 1)):
        bench.enqueue(0, name)
        bench.expect_next(hart, name)
        executor = bench.executors[name]
        told = bench.count_interrupts(
            lambda e=executor: bench.scene.call(3, "executor_interrupt", e)
        )
        field = bench.scene.field(executor, "executor", "hart")
        check(
            told == [hart],
            expected=f"executor_interrupt({name}) interrupts hart {hart}, which runs it",
            found="it interrupts " + (f"hart {told[0]}" if told else "nobody"),
            where=f"executor.hart is {field:#x} (kernel/executor.h)",
            hint="on every hart the hart page is at one address: what others are to follow is"
            " the page's linear address, hart.self"
            if 0 < field < LINEAR_MAP
            else "",
        )


def test_fifo_order(bench: Bench) -> None:
    """Whoever queues, and whoever takes."""
    names = ["A", "B", "C", "D", "E"]
    for i, name in enumerate(names):
        bench.enqueue(i % 4, name)
    for i, name in enumerate(names):
        bench.expect_next(1 + i % 3, name, f"number {i + 1} of those that were queued, A first")


def test_queue_fills_again(bench: Bench) -> None:
    """After it was empty, and before it was."""
    for round_ in ("AB", "C", "DEF"):
        bench.enqueue(1, *round_)
        for name in round_:
            bench.expect_next(1, name, f"after {', '.join(round_)} went into an empty queue")
    bench.enqueue(1, "G", "H")
    bench.expect_next(1, "G")
    bench.enqueue(1, "I", "A")
    for name in "HIA":
        bench.expect_next(1, name, "when I and A were queued behind H")
    bench.enqueue(1, "J")
    bench.expect_next(
        1,
        "J",
        "the only one that is queued",
        "A, taken before, once stood before B in the queue: is `next` of a new last one cleared?",
    )


def test_stopped_is_not_dispatched(bench: Bench) -> None:
    bench.enqueue(0, "A", "B", "C")
    bench.set_state("A", QUEUED | STOPPED)
    bench.expect_next(1, "B", "as A, before it, was stopped while it was queued")
    bench.check_state("A", STOPPED, "taken off the queue", "kernel/state.h, rule 3")
    bench.check_references("A", 1, "taken off the queue")
    bench.expect_next(1, "C")


def test_terminated_in_the_queue(bench: Bench) -> None:
    """Who takes it off completes its end: without a lock."""
    bench.start("A")
    bench.start("B")
    must_end = bench.scene.call(2, "executor_terminate", bench.executors["A"])
    check(must_end == 0, "executor_terminate leaves the end of A, which is queued, to others",
          f"it returns {must_end}")  # fmt: skip
    bench.check_reference_until_end(1, "A", "scheduler_next")
    bench.expect_next(1, "B", "as A, before it, was terminated while it was queued")
    bench.check_state("A", TERMINATED, "taken off the queue", "kernel/state.h, rule 3")
    check(
        bench.has_ended("A"),
        expected="executor_end was called for A: it is not in the list of its space any more",
        found="it is still there",
        where="kernel/state.h, rules 4 and 5",
        hint="whoever takes it off the queue clears QUEUED, which completes the request",
    )
    bench.check_references("A", 1, "taken off the queue")
