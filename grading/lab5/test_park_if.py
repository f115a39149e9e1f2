"""Lab 5, exercise 2: park_if."""

from __future__ import annotations

from park_bench import (
    DATA,
    DEADLINE_NONE,
    EAGAIN,
    EFAULT,
    EINVAL,
    EVENT_WAKE,
    EXECUTING,
    PARKED,
    QUEUED,
    UNMAPPED,
    Bench,
)
from stag.explore import Thread
from stag.model import Call
from stag.verdict import check

OTHER = 1 << 5


def test_park_if_refuses_bad_words(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    for address, wanted in (
        (DATA + 2, -EINVAL),
        (DATA + 5, -EINVAL),
        (UNMAPPED, -EFAULT),
        (0, -EFAULT),
        (bench.handle(a), -EFAULT),
        (bench.data, -EFAULT),  # an address of the kernel's
    ):
        bench.arguments(a, address, 0, DEADLINE_NONE)
        bench.go_on(1, "call_park_if", a)
        bench.check_result(a, wanted, f"park_if({address:#x}, …)")
        check(bench.state(a) & PARKED == 0, "no park has begun", bench.describe(a))
    check(
        bench.scene.field(bench.space, "space", "lock") == 0,
        "the lock of the space is free after the calls",
        "it is held",
    )


def test_park_if_returns_when_the_word_differs(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.memory.set_u32(bench.data + 4, 0x80000001)
    bench.scene.call(2, "executor_unpark", a, OTHER)
    for address, expected in ((DATA + 4, 0), (DATA, 0x80000001), (DATA + 4, 1)):
        bench.arguments(a, address, expected, DEADLINE_NONE)
        bench.go_on(1, "call_park_if", a)
        bench.check_result(a, -EAGAIN, f"park_if for {expected:#x}, which the word is not")
        check(
            bench.state(a) & (PARKED | EXECUTING | QUEUED) == EXECUTING
            and bench.events(a) == OTHER,
            "A executes, and an event of others stays pending",
            bench.describe(a),
        )
    # Nothing of that is left over: an event now is one for later.
    bench.scene.call(2, "executor_unpark", a, EVENT_WAKE)
    bench.check_queued(after="an event after park_if has returned -EAGAIN")


def test_park_if_sleeps_until_wake(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.memory.set_u32(bench.data + 4, 0x80000001)
    for expected in (0x80000001, 0xFFFFFFFF80000001, 0x700000000 | 0x80000001):
        bench.arguments(a, DATA + 4, expected, DEADLINE_NONE)
        bench.sleep(1, "call_park_if", a, hint="only the lower 32 bits of a1 count")
        bench.check_at_rest(a, PARKED, "park_if on a word with the value expected")
        bench.scene.call(2, "executor_unpark", a, OTHER)
        bench.check_at_rest(a, PARKED, "an event that is not EVENT_WAKE")
        bench.scene.call(2, "executor_unpark", a, EVENT_WAKE)
        got = bench.scene.call(1, "scheduler_next")
        check(got == a, "EVENT_WAKE queues A", bench.name(got))
        bench.check_result(a, EVENT_WAKE, "EVENT_WAKE")


def test_park_if_looks_under_the_lock(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.arguments(a, DATA, 1, DEADLINE_NONE)
    bench.check_looked_under_lock(1, "call_park_if", a, DATA)


def test_park_if_takes_a_pending_wake(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.scene.call(2, "executor_unpark", a, EVENT_WAKE | OTHER)
    bench.arguments(a, DATA, 0, DEADLINE_NONE)
    bench.go_on(1, "call_park_if", a)
    bench.check_result(a, EVENT_WAKE, "park_if with EVENT_WAKE pending")
    check(bench.events(a) == OTHER, "EVENT_WAKE is taken, the other stays", bench.describe(a))


def explore_compare(bench: Bench, models: tuple[str, ...]) -> None:
    """Another hart stores to the word and then looks whether A is parked. If
    not, it need not wake: A has to see the store when it compares."""
    a = bench.running(1, "A")
    bench.arguments(a, DATA, 0, DEADLINE_NONE)

    def judge(_: object) -> str | None:
        seen = bench.memory.u64(bench.scratch)
        if bench.asleep(1) and not seen & PARKED:
            return (
                "A sleeps on a word that is not what it expects: the word was changed before"
                " A was parked, as hart 2 saw, and A compared too early"
            )
        if not bench.asleep(1) and bench.register(a) != (1 << 64) - EAGAIN:
            return f"the word differs, and a0 is {bench.register(a):#x}, not -EAGAIN"
        return None

    bench.scene.explore(
        [
            Thread(1, Call("call_park_if", (a,)), waits=True),
            Thread(
                2,
                Call("memset", (bench.data, 1, 1)),
                Call("ipi_receive"),  # for its fence
                Call("memcpy", (bench.scratch, a + bench.scene.offset("executor", "state"), 8)),
            ),
        ],
        judge,
        models=models,
        hint="first set PARKED, then a fence that orders that store before the load, then"
        " compare: user/lib/call.h promises it",
    )


def test_park_if_compares_after_it_announces(scene) -> None:
    explore_compare(Bench(scene()), ("sc",))


def test_park_if_compares_behind_a_fence(scene) -> None:
    explore_compare(Bench(scene()), ("tso", "pso"))


def test_park_if_event_or_mismatch(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.memory.set_u32(bench.data, 1)
    bench.arguments(a, DATA, 0, DEADLINE_NONE)

    def judge(_: object) -> str | None:
        if bench.asleep(1):
            return f"A sleeps on a word that is not what it expects: {bench.describe(a)}"
        result, pending = bench.register(a), bench.events(a)
        if (result, pending) not in ((EVENT_WAKE, 0), ((1 << 64) - EAGAIN, EVENT_WAKE)):
            return f"a0 is {result:#x} and {pending:#x} is pending: the event must be either" \
                " the result, or pending after -EAGAIN"  # fmt: skip
        # A goes on and is preempted: the result stays as it is.
        bench.set_register(a, 10, 0x1234)
        bench.started("another")
        bench.scene.call(1, "scheduler_yield", a)
        if bench.queued() != [a] or bench.register(a) != 0x1234:
            return f"later, when A is preempted, a0 changes again to {bench.register(a):#x}"
        return None

    bench.scene.explore(
        [
            Thread(1, Call("call_park_if", (a,)), waits=True),
            Thread(2, Call("executor_unpark", (a, EVENT_WAKE))),
        ],
        judge,
        hint="when the value differs the park must be ended in one atomic step, which fails if"
        " the event has ended it meanwhile",
    )
