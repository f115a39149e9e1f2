"""Lab 5, exercise 1: park and unpark."""

from __future__ import annotations

from park_bench import (
    DEADLINE_NONE,
    EBADF,
    EINVAL,
    EXECUTING,
    PARKED,
    QUEUED,
    REASON,
    STOPPED,
    TERMINATED,
    Bench,
)
from stag.explore import Thread
from stag.model import Call, Event
from stag.verdict import check

FIRST, SECOND, OTHER = 1 << 3, 1 << 31, 1 << 5


def test_park_takes_pending_events(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.scene.call(2, "executor_unpark", a, FIRST | OTHER)
    bench.scene.call(2, "executor_unpark", a, SECOND)
    bench.arguments(a, FIRST | SECOND | 1, DEADLINE_NONE)
    bench.go_on(1, "call_park", a)
    bench.check_result(a, FIRST | SECOND, "a park for two events that were pending")
    check(
        bench.state(a) & (PARKED | QUEUED | EXECUTING) == EXECUTING and bench.events(a) == OTHER,
        "the events of the mask are taken, the other one stays pending; A executes",
        bench.describe(a),
    )


def test_park_refuses_bad_masks(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.scene.call(2, "executor_unpark", a, FIRST)
    for mask in (0, 1 << 32, 1 << 63 | FIRST):
        before = bench.state(a)
        bench.arguments(a, mask, DEADLINE_NONE)
        bench.go_on(1, "call_park", a)
        bench.check_result(a, -EINVAL, f"a park for the events {mask:#x}")
        check(bench.state(a) == before, "A as it was before", bench.describe(a))


def test_park_sleeps_until_its_event(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.park(1, a, FIRST | SECOND)
    bench.check_at_rest(a, PARKED, "a park")
    bench.scene.call(2, "executor_unpark", a, OTHER)
    bench.check_at_rest(a, PARKED, "an event that is not in the mask")
    bench.check_queued(after="an event that is not in the mask")
    bench.scene.call(2, "executor_unpark", a, SECOND)
    check(bench.state(a) & PARKED == 0, "the event ends the park", bench.describe(a))
    bench.check_queued(a, after="an event of the mask")
    bench.check_result(a, SECOND, "the event that A waited for")


def test_wake_takes_only_its_events(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.scene.call(2, "executor_unpark", a, OTHER)
    bench.park(1, a, FIRST | SECOND)
    for event in (FIRST, OTHER << 1, SECOND):
        bench.scene.call(2, "executor_unpark", a, event)
    bench.check_queued(a, after="three events, two of them of the mask")
    bench.check_result(a, FIRST | SECOND, "two events that A waited for, before it ran")
    check(
        bench.events(a) == OTHER | OTHER << 1,
        f"the others stay pending: {OTHER | OTHER << 1:#x}",
        bench.describe(a),
        hint="what a park takes is gone, what it does not take stays: each event is told once",
    )
    # It runs on hart 0 now. A second park for the same finds nothing.
    bench.park(0, a, FIRST | SECOND)


def test_result_written_once(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.park(1, a, FIRST)
    bench.scene.call(2, "executor_unpark", a, FIRST)
    got = bench.scene.call(1, "scheduler_next")
    check(got == a, "A runs", bench.name(got))
    bench.set_register(a, 10, 0x1234)  # the program goes on with its register …
    bench.scene.call(2, "executor_unpark", a, FIRST)
    bench.started("another")
    bench.scene.call(1, "scheduler_yield", a)  # … and is preempted
    bench.check_queued(a, after="A was preempted")
    check(
        bench.register(a) == 0x1234 and bench.events(a) == FIRST,
        "a0 as the program left it, and the later event still pending",
        f"a0 is {bench.register(a):#x}; {bench.describe(a)}",
        hint="the end of a park is made a result once: what says that there is one must go",
    )


def test_unpark_call(scene) -> None:
    bench = Bench(scene())
    a, b = bench.running(1, "A"), bench.running(2, "B")
    bench.park(1, a, FIRST)

    def unpark(handle: int, events: int, wanted: int) -> None:
        bench.arguments(b, handle, events)
        bench.go_on(2, "call_unpark", b)
        bench.check_result(b, wanted, f"unpark({handle:#x}, {events:#x})")

    unpark(bench.handle(a), 0, -EINVAL)
    unpark(bench.handle(a), 1 << 32, -EINVAL)
    unpark(bench.handle(a), 1 << 63 | FIRST, -EINVAL)
    unpark(bench.handle(a) + 64 * 4096, FIRST, -EBADF)
    unpark(0, FIRST, -EBADF)
    bench.check_at_rest(a, PARKED, "calls that were refused")
    unpark(bench.handle(a), OTHER, 0)
    bench.check_at_rest(a, PARKED, "an event that is not in the mask")
    unpark(bench.handle(a), FIRST, 0)
    bench.check_queued(a, after="unpark with an event of the mask")
    bench.check_result(a, FIRST, "the event that A waited for")
    check(
        bench.scene.field(bench.space, "space", "lock") == 0,
        "the lock of the space is free after the calls",
        "it is held",
    )


def test_unpark_holds_on_to_the_executor(scene) -> None:
    """Another hart may destroy the handle at any moment, and with it, if there
    is no other reference, the executor."""
    bench = Bench(scene())
    a, b = bench.running(1, "A"), bench.running(2, "B")
    bench.park(1, a, FIRST)
    references = bench.references(a)
    entry = bench.scene.table(bench.scene.field(b, "executor", "satp")).lookup(bench.handle(a))
    assert entry is not None
    state = bench.memory.translate(a + bench.scene.offset("executor", "state"))
    seen: list[int] = []

    def watch(event: Event) -> None:
        seen.append(event.word)
        kept = event.word == state >> 3 and bench.references(a) > references
        what = "A's state" if event.word == state >> 3 else "the table, for A's handle,"
        check(
            kept or bench.scene.field(bench.space, "space", "lock") != 0,
            f"call_unpark holds the lock of the space while it looks at {what}"
            + (" (or a reference to A)" if event.word == state >> 3 else ""),
            "nobody holds it: another hart might destroy the handle just now, and A with it",
            where=bench.scene.symbols.describe(event.pc),
            hint="kernel/handle.h: the lock keeps the object; call_executor takes a reference",
        )

    bench.arguments(b, bench.handle(a), OTHER)
    bench.watched(2, "call_unpark", b, watch, entry.at, state)
    check({entry.at >> 3, state >> 3} <= set(seen), "call_unpark finds A", bench.describe(a))


def test_unpark_keeps_references(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    running = bench.references(a)
    for way in ("awake", "asleep", "by a call"):
        bench.park(1, a, FIRST)
        bench.no_more_than(a, running - 1)
        if way == "by a call":
            b = bench.running(2, "B")
            bench.arguments(b, bench.handle(a), FIRST)
            bench.go_on(2, "call_unpark", b)
        else:
            bench.scene.call(2, "executor_unpark", a, OTHER)
            bench.scene.enter(2, "executor_unpark", a, FIRST)
            bench.scene.run(2, "scheduler_enqueue")
            found = bench.references(a)
            check(
                found >= running,
                f"when scheduler_enqueue is called {running} references to A: it gets one",
                f"{found}",
                where="kernel/scheduler.h",
                hint="as soon as A is in the queue another hart may run it, and give that back",
            )
            bench.scene.run(2)
        bench.no_more_than(a, running)
        got = bench.scene.call(1, "scheduler_next")
        check(got == a, "A runs again", bench.name(got))
        bench.no_more_than(a, running)


def test_unpark_leaves_others_at_rest(scene) -> None:
    bench = Bench(scene())
    new = bench.executor("new")
    bench.scene.call(2, "executor_unpark", new, FIRST)
    check(
        bench.state(new) & ~REASON == STOPPED | FIRST << 32,
        "an executor that was never started stays stopped, with the event pending",
        bench.describe(new),
    )
    a = bench.running(1, "A")
    bench.park(1, a, FIRST)
    bench.scene.call(2, "executor_terminate", a)
    bench.scene.call(2, "executor_unpark", a, FIRST)
    bench.check_at_rest(a, TERMINATED, "an event for one that has ended")
    bench.check_queued(after="an event for one that was never started, and one that has ended")


def test_unpark_under_locks(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.park(1, a, FIRST)
    page = bench.scene.hart_page(2)
    bench.scene.set_field(page, "hart", "ranks_held", 0b11111)  # all below the scheduler's
    bench.scene.call(2, "executor_unpark", a, FIRST)
    bench.scene.set_field(page, "hart", "ranks_held", 0)
    bench.check_queued(a, after="an unpark by a hart that holds locks")


def lost(bench: Bench, a: int) -> str | None:
    if bench.asleep(1):
        return f"A sleeps, and the event was sent: {bench.describe(a)}"
    if bench.scene.world.harts[1].results != (a,):
        return "hart 1 runs, but not A"
    if bench.register(a) != FIRST:
        return f"A's a0 is {bench.register(a):#x}, not the event {FIRST:#x}"
    if bench.events(a):
        return "the event was told to A, and is pending still"
    if queued := bench.queued():
        return (
            f"hart 1 runs A, and in the run queue is {bench.name(queued[0])}: while A is"
            " EXECUTING nobody queues it (rule 2)"
        )
    return None


def explore_park(bench: Bench, models: tuple[str, ...]) -> None:
    """A had parked for another event before."""
    a = bench.running(1, "A")
    bench.park(1, a, OTHER)
    bench.scene.call(2, "executor_unpark", a, OTHER)
    bench.scene.call(1, "scheduler_next")
    bench.arguments(a, FIRST, DEADLINE_NONE)
    bench.scene.explore(
        [
            Thread(1, Call("call_park", (a,)), waits=True),
            Thread(2, Call("executor_unpark", (a, FIRST))),
        ],
        lambda _: lost(bench, a),
        models=models,
        hint="look for the event in the same atomic step that sets PARKED; and whoever finds"
        " PARKED set must find the mask of that park",
    )


def test_no_wakeup_lost(scene) -> None:
    explore_park(Bench(scene()), ("sc",))


def test_no_wakeup_lost_with_store_buffers(scene) -> None:
    explore_park(Bench(scene()), ("tso", "pso"))


def test_two_wakers(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    references = bench.references(a)
    bench.park(1, a, FIRST | SECOND)

    def judge(_: object) -> str | None:
        if wrong := bench.wrongly_woken(a, references):
            return wrong
        told, pending = bench.register(a), bench.events(a)
        if told | pending != FIRST | SECOND or told & pending or not told:
            return f"events {FIRST:#x} and {SECOND:#x} were sent: A was told {told:#x}," \
                f" and {pending:#x} is pending"  # fmt: skip
        return None

    bench.scene.explore(
        [
            Thread(1, Call("executor_unpark", (a, FIRST))),
            Thread(2, Call("executor_unpark", (a, SECOND))),
        ],
        judge,
        hint="whoever clears PARKED sets QUEUED in the same step, and alone queues (rule 2)",
    )


def test_registers_left_to_the_holder(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.arguments(a, FIRST, 1 << 62)  # far away: it goes to sleep in several steps

    def judge(_: object) -> str | None:
        told = bench.register(a)
        if not bench.asleep(1) and told & 0xFF != 0x77:
            return f"A has gone on and put 0x77 into a0; now there is {told:#x}"
        return None

    bench.scene.explore(
        [
            Thread(1, Call("call_park", (a,)), Call("memset", (a + 80, 0x77, 1)), waits=True),
            Thread(2, Call("executor_unpark", (a, FIRST))),
        ],
        judge,
        models=("sc",),
        hint="registers are written only by the hart that holds EXECUTING",
    )


def test_park_lets_go_of_its_hart(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    references = bench.references(a)
    bench.arguments(a, FIRST, DEADLINE_NONE)

    def judge(_: object) -> str | None:
        if bench.state(a) & (EXECUTING | QUEUED):
            return f"A sleeps, and {bench.describe(a)}"
        if bench.references(a) != references - 1:
            return (
                f"A has {bench.references(a)} references, of {references} while it ran: the one"
                " for running goes back, and no other"
            )
        if bench.scene.field(bench.scene.hart_page(1), "hart", "executor"):
            return "hart 1 has nothing to run, but hart->executor is not 0"
        return None

    bench.scene.explore(
        [Thread(1, Call("call_park", (a,)), waits=True)],
        judge,
        models=("sc",),
        hint="scheduler_leave does all of that",
    )


def test_park_of_a_terminated(scene) -> None:
    """Terminated by hart 2 before it sleeps, or while it goes to sleep, or after
    that: either hart 1 ends it, or hart 2 is told to."""
    bench = Bench(scene())
    bench.park(1, bench.running(1, "B"), FIRST)  # so that its end is not the end of all
    a = bench.running(1, "A")
    bench.arguments(a, FIRST, DEADLINE_NONE)

    def judge(_: object) -> str | None:
        told = bench.scene.world.harts[2].results[0] != 0
        ended = a not in bench.scene.executors_of(bench.space)
        if told == ended:
            return (
                f"executor_terminate tells hart 2 {'to end A' if told else 'that its hart ends A'};"
                f" and A {'has ended all the same' if ended else 'has not ended'}"
            )
        return None

    bench.scene.explore(
        [
            Thread(1, Call("call_park", (a,)), waits=True),
            Thread(2, Call("executor_terminate", (a,))),
        ],
        judge,
        models=("sc",),
        hint="kernel/state.h, rule 5: whoever clears EXECUTING while TERMINATED is set calls"
        " executor_end, as scheduler_leave does",
    )
