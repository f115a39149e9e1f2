"""Lab 5, exercise 3: park_and_swap."""

from __future__ import annotations

from park_bench import (
    DATA,
    DEADLINE_NONE,
    EFAULT,
    EINVAL,
    EVENT_WAKE,
    PARKED,
    PTE_R,
    READ_ONLY,
    UNMAPPED,
    Bench,
)
from stag.explore import Thread
from stag.model import Call
from stag.verdict import check
from user_code import AMOADD_W, JUMP_HERE, put_code

OTHER = 1 << 5
OLD, NEW = 0x10, 0x80000020


def old_value(bench: Bench, executor: int) -> int:
    """What the call has brought in a1, a 32-bit value."""
    return bench.register(executor, 11) & 0xFFFFFFFF


def test_swap_refuses_bad_words(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    constant = bench.map(READ_ONLY, PTE_R)
    for address, wanted in (
        (DATA + 2, -EINVAL),
        (UNMAPPED, -EFAULT),
        (READ_ONLY, -EFAULT),
        (bench.handle(a), -EFAULT),
    ):
        bench.arguments(a, address, NEW, DEADLINE_NONE)
        bench.go_on(1, "call_park_and_swap", a)
        bench.check_result(a, wanted, f"park_and_swap({address:#x}, …)")
        check(bench.state(a) & PARKED == 0, "no park has begun", bench.describe(a))
    words = bench.memory.u64(constant), bench.memory.u64(bench.data)
    check(words == (0, 0), "the words are as before", f"{words[0]:#x}, {words[1]:#x}")


def test_swap_then_sleeps(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.memory.set_u64(bench.data, OLD << 32 | 7)
    bench.arguments(a, DATA + 4, 0xABC00000000 | NEW, DEADLINE_NONE)
    bench.sleep(1, "call_park_and_swap", a)
    bench.check_at_rest(a, PARKED, "park_and_swap")
    words = bench.memory.u64(bench.data)
    wanted = NEW << 32 | 7
    check(words == wanted, f"the word is {NEW:#x}, its neighbour 7: {wanted:#x}", f"{words:#x}")
    bench.scene.call(2, "executor_unpark", a, OTHER)
    bench.check_at_rest(a, PARKED, "an event that is not EVENT_WAKE")
    bench.scene.call(2, "executor_unpark", a, EVENT_WAKE)
    bench.check_queued(a, after="EVENT_WAKE")
    bench.check_result(a, EVENT_WAKE, "EVENT_WAKE")
    check(old_value(bench, a) == OLD, f"a1 is the old value {OLD:#x}", f"{old_value(bench, a):#x}")


def test_swap_under_the_lock(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.scene.call(2, "executor_unpark", a, EVENT_WAKE)
    bench.arguments(a, DATA, NEW, DEADLINE_NONE)
    bench.check_looked_under_lock(1, "call_park_and_swap", a, DATA)


def test_swap_with_a_pending_wake(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.memory.set_u32(bench.data, OLD)
    bench.scene.call(2, "executor_unpark", a, EVENT_WAKE | OTHER)
    bench.arguments(a, DATA, NEW, DEADLINE_NONE)
    bench.go_on(1, "call_park_and_swap", a)
    bench.check_result(a, EVENT_WAKE, "park_and_swap with EVENT_WAKE pending")
    word = bench.memory.u32(bench.data)
    check(
        word == NEW and old_value(bench, a) == OLD,
        f"swapped all the same: the word is {NEW:#x}, a1 {OLD:#x}",
        f"the word is {word:#x}, a1 {old_value(bench, a):#x}",
    )
    check(bench.events(a) == OTHER, "EVENT_WAKE is taken, the other stays", bench.describe(a))


def test_swap_is_atomic(scene) -> None:
    """A program on another hart adds to the word by an atomic instruction."""
    bench = Bench(scene())
    code = put_code(bench, [AMOADD_W, JUMP_HERE])
    b = bench.started("B", code)
    bench.set_register(b, 10, DATA)
    bench.set_register(b, 11, 1)
    bench.scene.run(2, code)
    a = bench.running(1, "A")
    bench.memory.set_u32(bench.data, OLD)
    bench.arguments(a, DATA, NEW, DEADLINE_NONE)

    def judge(_: object) -> str | None:
        word, old = bench.memory.u32(bench.data), old_value(bench, a)
        if (word, old) in ((NEW + 1, OLD), (NEW, OLD + 1)):
            return None
        return (
            f"the word was {OLD:#x}; A swapped it for {NEW:#x}, B added 1: now it is {word:#x},"
            f" and A was told that it had been {old:#x}"
        )

    bench.scene.explore(
        [
            Thread(1, Call("call_park_and_swap", (a,)), waits=True),
            Thread(2, until=[code + 4]),
        ],
        judge,
        hint="the program's other threads use atomic instructions on the word, and know nothing"
        " of the kernel's locks: so must you",
    )


def test_swap_after_it_announces(scene) -> None:
    """Another hart that sees the new value may wake A: it must find A parked."""
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.arguments(a, DATA, NEW, DEADLINE_NONE)
    state = a + bench.scene.offset("executor", "state")

    def judge(_: object) -> str | None:
        word = bench.memory.u32(bench.scratch)
        if word == NEW and not bench.memory.u64(bench.scratch + 8) & PARKED:
            return "hart 2 has seen the new value in the word, and A was not parked then"
        return None

    bench.scene.explore(
        [
            Thread(1, Call("call_park_and_swap", (a,)), waits=True),
            Thread(
                2,
                Call("memcpy", (bench.scratch, bench.data, 8)),
                Call("memcpy", (bench.scratch + 8, state, 8)),
            ),
        ],
        judge,
        hint="first set PARKED; then swap, ordered behind it",
    )
