"""Exercise 3: exit against what other harts do at the same time."""

from __future__ import annotations

import pytest
from exit_bench import EXIT, state_text, whole
from process_bench import (
    CALL_PARK,
    CALLS,
    EVENT_WAKE,
    PARKED,
    PLENTY,
    SPINS,
    TERMINATED,
    Bench,
    explore,
)
from stag.explore import Thread
from stag.model import Call
from stag.scene import Scene
from stag.verdict import check, fail


@pytest.fixture
def bench(scene) -> Bench:
    return Bench(scene())


ONE_WORD = (
    "TERMINATED and EXECUTING stand in one word: whoever sets TERMINATED either is the"
    " one to complete it, or finds a holder who will"
)
ONCE = (
    "whoever finds the list empty begins the teardown: under the lock, once `alive` is cleared,"
    " and only if `torn` is still SPACE_WHOLE"
)


def explore_exit(bench: Bench, space: int, executor: int, other: Thread, hint: str) -> None:
    """space_exit on hart 0, against another. The teardown itself, which is
    long, comes after it, in the oracle."""
    root = bench.field(space, "space", "root")
    explore(
        bench.scene,
        [Thread(0, Call("space_exit", (space,))), other],
        lambda _: whole(bench, space, executor, root),
        hint,
    )


def test_exit_and_dispatch(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    bench.start(executor)
    other = Thread(1, waits=True, until=["exit_tear_down"])
    explore_exit(bench, space, executor, other, ONE_WORD)


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
    explore_exit(bench, space, executor, Thread(2, wake), ONE_WORD)


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

    explore(
        bench.scene,
        [
            Thread(0, Call("space_exit", (space,))),
            Thread(1, Call("executor_create", (space, result))),
        ],
        oracle,
        "first alive no more, then the list: executor_create looks at `alive` under the lock",
    )


def test_two_exits(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    other = Thread(1, Call("space_exit", (space,)))
    hint = "who makes `alive` 0, in one atomic step, exits; the other leaves no reference"
    explore_exit(bench, space, executor, other, hint)


def test_exit_and_last_end(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    bench.scene.call(0, "executor_terminate", executor)  # and the end is for us to do
    other = Thread(1, Call("executor_end", (executor,)))
    explore_exit(bench, space, executor, other, ONCE)


def test_teardown_as_soon_as_it_may_begin(bench: Bench) -> None:
    """Exit on hart 0 has just cleared `alive`. Hart 1 ends the last executor,
    begins the teardown, and completes it."""
    space, executor = bench.process(SPINS)
    root = bench.field(space, "space", "root")
    bench.scene.call(0, "executor_terminate", executor)
    bench.scene.enter(0, "space_exit", space)
    if not bench.goes_until(0, lambda: bench.field(space, "space", "alive") == 0):
        fail("space_exit clears `alive`", bench.scene.where(0), EXIT)
    bench.scene.enter(1, "executor_end", executor)
    if bench.goes_to(1):  # no lock of hart 0 is in the way
        bench.scene.enter(1, "reap_all")
        bench.goes_to(1, budget=PLENTY)
    bench.goes_to(0)
    complaint = whole(bench, space, executor, root)
    if complaint:
        fail(
            "exit holds a reference for the teardown from before `alive` is cleared",
            f"where hart 1 tears the space down as soon as hart 0 has cleared it: {complaint}",
            EXIT,
            "the teardown gives the reference back, on whichever hart",
        )
