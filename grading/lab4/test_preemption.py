"""Exercise 4: letting go of an executor, and the timer."""

from __future__ import annotations

import pytest
from scheduler_bench import EXECUTING, QUEUED, STOPPED, TERMINATED, Bench, flags_text, make_bench
from stag.explore import Thread
from stag.model import STVEC, Call
from stag.verdict import check, fail

STATE_REASON_TIMEOUT = 2 << 8  # include/stag/abi.h
ENDS_ONCE = (
    "one step of the state word must both see that TERMINATED is set and clear EXECUTING"
    " (kernel/state.h, rules 1 and 5)"
)


@pytest.fixture
def bench(scene) -> Bench:
    return make_bench(scene())


def release(bench: Bench, name: str, wanted: bool, why: str) -> None:
    found = bench.scene.call(1, "scheduler_release", bench.executors[name])
    check(
        bool(found & 0xFF) == wanted,
        expected=f"scheduler_release({name}) returns {str(wanted).lower()}, {why}",
        found="the other",
        where="kernel/scheduler.h",
    )


def check_hart_is_free(bench: Bench, why: str) -> None:
    found = bench.running(1)
    check(found == 0, f"hart 1 runs no executor, {why}", f"hart.executor is {bench.name(found)}",
          "kernel/hart.h")  # fmt: skip


def test_release_of_a_runnable(bench: Bench) -> None:
    """It runs on; nobody else gets it."""
    bench.enqueue(0, "A", "B")
    bench.expect_next(1, "A")
    release(bench, "A", False, "as A is runnable")
    bench.check_state("A", EXECUTING, "as it runs on")
    bench.check_references("A", 2, "as it runs on")
    found = bench.running(1)
    check(
        found == bench.executors["A"],
        expected="the page of hart 1 says that A runs there, as it runs on",
        found=f"hart.executor is {bench.name(found)}",
        where="hart.executor (kernel/hart.h)",
    )
    bench.expect_next(2, "B", "the only one that is queued")
    taken = bench.drain()
    check(not taken, "nobody is queued any more", f"{', '.join(taken)} is")


def test_release_of_a_stopped(bench: Bench) -> None:
    bench.enqueue(0, "A")
    bench.expect_next(1, "A")
    bench.set_state("A", EXECUTING | STOPPED)
    release(bench, "A", True, "as A was stopped")
    bench.check_state("A", STOPPED, "once it was let go", "kernel/state.h, rule 4")
    bench.check_references("A", 1, "once it was let go")
    check_hart_is_free(bench, "once it has let go of A")


def test_release_of_a_terminated(bench: Bench) -> None:
    bench.start("A")
    bench.expect_next(1, "A")
    bench.start("B")
    must_end = bench.scene.call(2, "executor_terminate", bench.executors["A"])
    check(must_end == 0, "executor_terminate leaves the end of A, which runs, to its hart",
          f"it returns {must_end}")  # fmt: skip
    bench.check_reference_until_end(1, "A", "scheduler_release", bench.executors["A"])
    release(bench, "A", True, "as A was terminated")
    bench.check_state("A", TERMINATED, "once it was let go", "kernel/state.h, rule 4")
    check(
        bench.has_ended("A"),
        expected="executor_end was called for A: it is not in the list of its space any more",
        found="it is still there",
        where="kernel/state.h, rule 5",
        hint="whoever clears EXECUTING completes the request",
    )
    bench.check_references("A", 1, "once it was let go")


def test_park_is_finished(bench: Bench) -> None:
    """Of one that comes back from a park, on each way, and of nobody else."""
    bench.enqueue(0, "A", "B")
    bench.expect_next(1, "A")
    a = bench.executors["A"]
    for name, hart, function, arguments in (
        ("B", 2, "scheduler_next", ()),
        ("B", 1, "scheduler_yield", (a,)),
        ("A", 1, "scheduler_release", (a,)),
    ):
        for reason in (STATE_REASON_TIMEOUT, 0):
            start = bench.scene.world.save()
            state = bench.scene.field(bench.executors[name], "executor", "state")
            bench.scene.set_field(bench.executors[name], "executor", "state", state | reason)
            called = bench.comes_to(hart, "park_finish", function, *arguments)
            given = bench.scene.world.harts[hart].x[10]
            runs, flags = bench.running(hart), bench.state(name)
            bench.scene.world.restore(start)
            if not reason:
                check(
                    not called,
                    expected=f"{function} does not call park_finish: {name} has not parked",
                    found="it does",
                    where="STATE_REASON (include/stag/abi.h): none is set",
                )
                continue
            check(
                called and given == bench.executors[name],
                expected=f"{function} calls park_finish({name}), as a STATE_REASON is set:"
                f" {name} comes back from a park",
                found=f"it calls park_finish({bench.name(given)})" if called else "it does not",
                where="kernel/scheduler.h",
                hint="scheduler_next, scheduler_yield and scheduler_release can each find one that"
                " goes on after a park",
            )
            check(
                runs == bench.executors[name] and flags == EXECUTING,
                expected=f"when park_finish is called {name} runs: it has EXECUTING set, and the"
                f" page of hart {hart} names it",
                found=f"it has {flags_text(flags)} set, and hart.executor is {bench.name(runs)}",
                where="park_finish (kernel/park.h)",
            )


def test_leave(bench: Bench) -> None:
    bench.enqueue(0, "A", "B")
    bench.expect_next(1, "A")
    for flags, wanted in ((EXECUTING, "A"), (EXECUTING | STOPPED, "B")):
        bench.set_state("A", flags)
        found = bench.scene.call(1, "scheduler_leave", bench.executors["A"])
        check(
            found == bench.executors[wanted],
            expected=f"scheduler_leave(A) returns {wanted}, as A has {flags_text(flags)} set",
            found=f"it returns {bench.name(found)}",
            where="kernel/scheduler.h",
            hint="if scheduler_release says false it runs on; else scheduler_next says who does",
        )


def test_release_of_one_that_is_resumed(bench: Bench) -> None:
    """Another hart clears STOPPED before any one step of scheduler_release: as
    EXECUTING is still set then, nobody queues A, and it must run on."""
    scene, world = bench.scene, bench.scene.world
    bench.enqueue(0, "A")
    bench.expect_next(1, "A")
    bench.set_state("A", EXECUTING | STOPPED)
    executor, state = bench.executors["A"], world.harts[1]
    start = world.save()
    for instructions in range(1000):
        world.restore(start)
        state.steps = ()
        scene.enter(1, "scheduler_release", executor)
        ended = bench.run_for(1, instructions) != "on and on"
        if ended or not bench.state("A") & EXECUTING:
            check(instructions > 5, "scheduler_release looks before it lets go of A", "it does not")
            return
        where = scene.where(1)
        bench.set_state("A", EXECUTING)
        bench.run_for(1, 5000)
        check(
            state.x[10] & 0xFF == 0 and bench.state("A") == EXECUTING,
            expected="A was made runnable before its hart let go of it: scheduler_release"
            f" returns false, and A has {flags_text(EXECUTING)} set",
            found=f"it returns {'true' if state.x[10] & 0xFF else 'false'}, and A has"
            f" {flags_text(bench.state('A'))} set: no hart runs it, and nobody queues it",
            where=f"made runnable when hart 1 was at {where}",
            hint="decide anew each time that the compare-and-swap fails",
        )
    fail("scheduler_release lets go of A within 1000 instructions", "it does not", scene.where(1))


def judge_end(bench: Bench, ends: int) -> str | None:
    """A was terminated while a hart had it: it ended by then, or the caller of
    executor_terminate was told to end it."""
    state = bench.state("A")
    if state != TERMINATED:
        return f"A was terminated and let go, and has {flags_text(state)} set"
    if bench.has_ended("A") and ends:
        return "two are to end A: its hart has ended it, and executor_terminate said true"
    if not bench.has_ended("A") and not ends:
        return "nobody ends A: its hart did not, and executor_terminate said false"
    return None


def test_release_and_terminate(bench: Bench) -> None:
    """One lets go of an executor that was stopped, while another ends it."""
    bench.start("A")
    bench.expect_next(1, "A")
    bench.start("B")
    bench.set_state("A", EXECUTING | STOPPED)
    executor = bench.executors["A"]

    def judge(_: object) -> str | None:
        ends = bench.scene.world.harts[2].results[0]
        bench.set_state("A", bench.state("A") & ~STOPPED)
        return judge_end(bench, ends)

    bench.scene.explore(
        [
            Thread(1, Call("scheduler_release", (executor,))),
            Thread(2, Call("executor_terminate", (executor,))),
        ],
        judge,
        models=["sc"],
        hint=ENDS_ONCE,
    )


def test_dispatch_and_terminate(bench: Bench) -> None:
    """One takes an executor off the queue, while another ends it. Either it
    ends, or its hart is interrupted and finds out."""
    bench.start("A")
    bench.start("B")
    executor = bench.executors["A"]

    def judge(_: object) -> str | None:
        if bench.results(1) == [executor]:
            if bench.state("A") & EXECUTING and not bench.interrupted(1):
                return "hart 1 runs A, which was terminated, and was not interrupted"
            return None
        return judge_end(bench, 0)

    bench.scene.explore(
        [
            Thread(1, Call("scheduler_next")),
            Thread(2, Call("executor_terminate", (executor,))),
        ],
        judge,
        hint="the word is changed in one step (kernel/state.h, rules 1 and 3); whoever finds"
        " EXECUTING set finds the hart in executor.hart",
    )


def test_release_is_a_release(bench: Bench) -> None:
    """What the hart wrote to the executor is in memory before another hart can
    have it: hart 1 writes a part of pc, hart 2 starts A anew."""
    bench.start("A")
    bench.expect_next(1, "A")
    bench.set_state("A", EXECUTING | STOPPED)
    executor = bench.executors["A"]
    pc = executor + bench.scene.offset("executor", "pc")

    def judge(_: object) -> str | None:
        if bench.scene.world.harts[2].results[0] & 0xFF:
            return None  # it was not yet let go: busy
        if bench.scene.memory().u64(pc) != 0x1000200:
            return "A was started at 0x1000200, and then what its last hart wrote to its pc arrived"
        return bench.complain_lost([], "A")

    bench.scene.explore(
        [
            Thread(1, Call("memset", (pc, 0x55, 1)), Call("scheduler_release", (executor,))),
            Thread(2, Call("executor_start", (executor, 0x1000200, 0, 0))),
        ],
        judge,
        hint="clearing EXECUTING is a release (kernel/state.h, memory order; kernel/compiler.h,"
        " CAS_ORDER)",
    )


# In user mode


def test_timer_preempts(bench: Bench) -> None:
    """Three programs that loop for ever, on one hart: each gets its turn, and
    finds its registers as they were."""
    scene, hart = bench.scene, 1
    registers = scene.world.harts[hart].x
    starts = {name: bench.start(name) for name in "ABC"}
    for turn, name in enumerate("ABCABCA"):
        at = scene.where(hart)
        if turn:
            bench.tick(hart)
        run_to_any(bench, hart, list(starts.values()))
        check(
            scene.where(hart) == f"user {starts[name]:#x}",
            expected=f"as turn number {turn + 1} of A, B, C, A, …, {name} runs",
            found=f"the hart is at {scene.where(hart)}; A, B and C loop at "
            + ", ".join(f"{pc:#x}" for pc in starts.values()),
            where=f"the tick came in {at}" if turn else "",
        )
        for number in range(1, 32):
            wanted = number << 16 | starts[name]
            if turn < 3:
                registers[number] = wanted
            found = registers[number]
            check(found == wanted, f"x{number} of {name} is {wanted:#x}, as before its tick",
                  f"{found:#x}", scene.where(hart), "nobody but the program writes to its"
                  " registers, when it was not a call that brought it here")  # fmt: skip


def test_everybody_gets_a_turn(bench: Bench) -> None:
    """Five programs on two harts, which tick in turn."""
    scene = bench.scene
    starts = {bench.start(name): name for name in "ABCDE"}
    turns: list[str] = []
    for turn in range(20):
        hart = 1 + turn % 2
        if turn >= 2:
            bench.tick(hart)
        run_to_any(bench, hart, list(starts))
        turns.append(starts[scene.world.harts[hart].pc])
    wanted = ["ABCDE"[turn % 5] for turn in range(20)]
    check(
        turns == wanted,
        expected=f"five programs on two harts run in the order {''.join(wanted)}",
        found="".join(turns),
        where="scheduler_yield and scheduler_next, ticks on hart 1 and hart 2 in turn",
        hint="whoever waits longest comes next, on whichever hart",
    )


def run_to_any(bench: Bench, hart: int, places: list[int]) -> None:
    """Let a hart go on, into the kernel if something is pending, and to user
    mode."""
    ended = bench.scene.run(hart, *places)
    check(bench.scene.in_user_mode(hart), f"hart {hart} goes on in user mode",
          f"{ended} at {bench.scene.where(hart)}")  # fmt: skip


def test_terminated_while_it_runs(bench: Bench) -> None:
    """A program that loops, ended by another hart."""
    scene = bench.scene
    starts = {name: bench.start(name) for name in "AB"}
    bench.run_to_user(1, starts["A"], "A")
    told = bench.count_interrupts(lambda: scene.call(2, "executor_terminate", bench.executors["A"]))
    check(told == [1], "executor_terminate interrupts hart 1, which runs A",
          "it interrupts nobody" if not told else f"it interrupts hart {told[0]}",
          "executor.hart")  # fmt: skip
    scene.run(1, scene.world.harts[1].csr[STVEC] & -4)
    scene.run(1, *starts.values())
    check(
        scene.where(1) == f"user {starts['B']:#x}" and bench.has_ended("A"),
        expected="A ends, and hart 1 goes on with B",
        found=f"A has {flags_text(bench.state('A'))} set, and hart 1 is at {scene.where(1)}",
    )
    bench.check_state("B", EXECUTING, "when its turn has come")
    check(bench.state("A") & (EXECUTING | QUEUED) == 0, "A, which has ended, is let go",
          f"it has {flags_text(bench.state('A'))} set")  # fmt: skip
