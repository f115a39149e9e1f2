"""Lab 5, exercise 4: deadlines."""

from __future__ import annotations

from park_bench import (
    A0,
    DATA,
    DEADLINE_NONE,
    ETIMEDOUT,
    EVENT_WAKE,
    EXECUTING,
    PARKED,
    QUEUED,
    REASON,
    REASON_TIMEOUT,
    SEQUENCE,
    SEQUENCE_ONE,
    SPARE,
    Bench,
)
from stag.explore import Thread
from stag.model import MASK, Call
from stag.verdict import check

EVENT = 1 << 3
SOON, LATER = 100, 100_000  # ticks from now
CALLS = ("call_park", "call_park_if", "call_park_and_swap")


def arguments(bench: Bench, call: str, executor: int, deadline: int) -> None:
    """The executor waits for EVENT_WAKE in any of the three calls."""
    if call == "call_park":
        bench.arguments(executor, EVENT_WAKE, deadline)
    else:
        bench.arguments(executor, DATA, bench.memory.u32(bench.data), deadline)


def nearest(bench: Bench) -> int:
    return bench.scene.call(SPARE, "deadline_nearest")


def test_passed_deadline(scene) -> None:
    bench = Bench(scene())
    now = bench.scene.world.time
    a = bench.running(1, "A")
    references = bench.references(a)
    for call in CALLS:
        for deadline in (now - 1, now, 0):
            arguments(bench, call, a, deadline)
            bench.go_on(1, call, a)
            bench.check_result(a, -ETIMEDOUT, f"{call} with deadline {deadline}, and it is {now}")
            check(
                bench.state(a) & (PARKED | QUEUED | EXECUTING | REASON) == EXECUTING
                and nearest(bench) == DEADLINE_NONE,
                "A executes, and no deadline is left",
                f"{bench.describe(a)}; the nearest deadline is {nearest(bench):#x}",
            )
    bench.no_more_than(a, references)


def test_pending_event_beats_passed_deadline(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    for call in CALLS:
        bench.scene.call(2, "executor_unpark", a, EVENT_WAKE)
        arguments(bench, call, a, 0)
        bench.go_on(1, call, a)
        bench.check_result(a, EVENT_WAKE, f"{call} with an event pending and a deadline of 0")


def test_deadline_ends_the_park(scene) -> None:
    bench = Bench(scene())
    world = bench.scene.world
    a, b = bench.running(1, "A"), bench.running(2, "B")
    references = bench.references(a)
    far = 1 << 63
    bench.park(2, b, EVENT, far)
    deadline = world.time + SOON
    bench.park(1, a, EVENT, deadline)
    timer = bench.scene.field(bench.scene.hart_page(1), "hart", "timer_at")
    check(
        timer <= deadline and nearest(bench) == deadline,
        f"the timer of the hart that parks A goes off at {deadline} at the latest",
        f"it goes off at {timer}; the nearest deadline is {nearest(bench)}",
    )
    world.advance(SOON - 1)
    bench.scene.call(3, "timer_interrupt")
    bench.check_at_rest(a, PARKED, "a time one tick before the deadline")
    world.advance(1)
    bench.scene.call(1, "timer_interrupt")
    bench.scene.call(1, "executor_unpark", a, EVENT)
    bench.check_queued(a, after="the deadline of A's park")
    bench.check_result(a, -ETIMEDOUT, "the deadline")
    check(bench.events(a) == EVENT, "an event that comes later stays pending", bench.describe(a))
    bench.no_more_than(a, references)
    bench.check_at_rest(b, PARKED, f"the wait for {far:#x}, far ahead")


def test_deadlines_in_order(scene) -> None:
    bench = Bench(scene())
    now = bench.scene.world.time
    a, b, c = (bench.running(hart, name) for hart, name in ((1, "A"), (2, "B"), (3, "C")))
    late, early, middle = (now + ticks for ticks in (3 * SOON, SOON, 2 * SOON))
    for hart, call, executor, deadline in (
        (1, "call_park", a, late),
        (2, "call_park_if", b, early),
        (3, "call_park_and_swap", c, middle),
    ):
        arguments(bench, call, executor, deadline)
        bench.sleep(hart, call, executor)
    bench.scene.call(1, "deadline_expire", early - 1)
    bench.check_queued(after="a time before any deadline")
    bench.scene.call(1, "deadline_expire", early)
    bench.check_queued(b, after="the first deadline")
    bench.scene.call(1, "deadline_expire", late)
    bench.check_queued(c, a, after="the other two deadlines, at once")


def test_event_takes_out_the_deadline(scene) -> None:
    bench = Bench(scene())
    now = bench.scene.world.time
    a = bench.running(1, "A")
    references = bench.references(a)
    bench.park(1, a, EVENT, now + SOON)
    bench.scene.call(2, "executor_unpark", a, EVENT)
    bench.check_queued(a, after="the event")
    check(
        nearest(bench) == DEADLINE_NONE,
        "A runs again, and its deadline is out of the heap",
        f"the nearest deadline is {nearest(bench)}",
        hint="deadline.h: it leaves the heap when its park has ended otherwise and it runs again",
    )
    bench.no_more_than(a, references)


def test_event_or_timeout(scene) -> None:
    bench = Bench(scene())
    deadline = bench.scene.world.time + LATER
    a = bench.running(1, "A")
    references = bench.references(a)
    bench.park(1, a, EVENT, deadline)

    def judge(_: object) -> str | None:
        if wrong := bench.wrongly_woken(a, references):
            return wrong
        result, pending = bench.register(a), bench.events(a)
        if (result, pending) not in ((EVENT, 0), (-ETIMEDOUT & MASK, EVENT)):
            return f"a0 is {result:#x} and {pending:#x} is pending: the event must be either the" \
                " result, or pending after -ETIMEDOUT"  # fmt: skip
        return None

    bench.scene.explore(
        [
            Thread(1, Call("executor_unpark", (a, EVENT))),
            Thread(2, Call("deadline_expire", (deadline,))),
        ],
        judge,
        hint="one atomic step ends the park and says why; who comes second finds no park",
    )


def test_timeout_while_going_to_sleep(scene) -> None:
    bench = Bench(scene())
    deadline = bench.scene.world.time + LATER
    a = bench.running(1, "A")
    bench.arguments(a, EVENT, deadline)

    def judge(_: object) -> str | None:
        asleep = bench.asleep(1)
        if asleep:  # it was not in the heap yet
            bench.scene.call(SPARE, "deadline_expire", deadline)
        if wrong := bench.wrongly_queued(*[a] * asleep):
            where = "is asleep" if asleep else "runs on hart 1"
            return f"A {where}, its deadline has passed; {wrong}"
        if bench.register(a) != -ETIMEDOUT & MASK:
            return f"a0 is {bench.register(a):#x}, not -ETIMEDOUT"
        return None

    bench.scene.explore(
        [
            Thread(1, Call("call_park", (a,)), waits=True),
            Thread(2, Call("deadline_expire", (deadline,))),
        ],
        judge,
        hint="while A is EXECUTING its own hart goes on with it; nobody queues it (rule 2). And A"
        " gets into the heap only when PARKED is set: a deadline that finds no park ends none",
    )


def test_late_timeout(scene) -> None:
    bench = Bench(scene())
    now = bench.scene.world.time
    a = bench.running(1, "A")
    bench.park(1, a, EVENT, now + SOON)
    late = bench.scene.field(a, "executor", "deadline_sequence")
    bench.scene.call(2, "executor_unpark", a, EVENT)
    check(bench.scene.call(1, "scheduler_next") == a, "A runs", "it does not")
    before = bench.state(a)
    queue = bench.scene.call(2, "park_timeout", a, late) & 1
    check(
        not queue and bench.state(a) == before,
        "park_timeout of a park that is over does nothing",
        f"it returns {bool(queue)}; {bench.describe(a)}",
    )
    bench.park(1, a, EVENT, now + LATER)
    current = bench.scene.field(a, "executor", "deadline_sequence")
    queue = bench.scene.call(2, "park_timeout", a, late) & 1
    check(
        not queue and bench.state(a) & (PARKED | QUEUED) == PARKED,
        "a late timeout leaves the next park alone",
        f"it returns {bool(queue)}; {bench.describe(a)}",
        hint="the sequence number says which park a timeout is for",
    )
    queue = bench.scene.call(2, "park_timeout", a, current) & 1
    check(
        bool(queue) and bench.state(a) & (PARKED | QUEUED) == QUEUED,
        "the timeout of this park ends it and tells the caller to queue A",
        f"it returns {bool(queue)}; {bench.describe(a)}",
    )
    explore_late_timeout(Bench(scene()))


def explore_late_timeout(bench: Bench) -> None:
    """While the timeout looks at the word, that park ends, and A parks again."""
    a = bench.running(1, "A")
    bench.park(1, a, EVENT, bench.scene.world.time + SOON)
    late = bench.scene.field(a, "executor", "deadline_sequence")
    first = bench.state(a) & SEQUENCE
    bench.arguments(a, EVENT, DEADLINE_NONE)

    def judge(_: object) -> str | None:
        state = bench.state(a)
        if state & SEQUENCE == first or (state & PARKED and not state & REASON_TIMEOUT):
            return None
        return f"the timeout of A's first park has reached its second one; {bench.describe(a)}"

    bench.scene.explore(
        [
            Thread(2, Call("park_timeout", (a, late))),
            Thread(
                1,
                Call("executor_unpark", (a, EVENT)),
                Call("scheduler_next"),
                Call("call_park", (a,)),
                waits=True,
            ),
        ],
        judge,
        models=["sc"],
        switches=1,
        hint="the sequence number is compared in the same step that ends the park",
    )


def test_sequence_wraps(scene) -> None:
    """The sequence number has 20 bits, and above it are the events."""
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.scene.set_field(a, "executor", "state", bench.state(a) | SEQUENCE)
    for wanted in (0, SEQUENCE_ONE):
        bench.park(1, a, EVENT)
        state = bench.state(a)
        check(
            state & (SEQUENCE | PARKED) == wanted | PARKED and not state >> 32,
            f"after {SEQUENCE >> 12:#x} the parks count on from 0, and no event is pending",
            f"the sequence number is {(state & SEQUENCE) >> 12:#x}; {bench.describe(a)}",
        )
        bench.scene.call(2, "executor_unpark", a, EVENT)
        bench.scene.call(1, "scheduler_next")
        bench.check_result(a, EVENT, "the event", A0)
