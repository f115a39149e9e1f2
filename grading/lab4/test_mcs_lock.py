"""Exercise 3: the MCS lock, and the queue under it.

What harts do under the lock is read a byte, then write it one higher: if two
hold the lock at a time, or one does not see what the other wrote, one of the
additions is lost. (memcmp and memset are the kernel's own, and do just that.)
"""

from __future__ import annotations

import pytest
from scheduler_bench import Bench, make_bench
from stag.explore import Thread
from stag.model import DONE, SPINS, Call, KernelFault, SharedWord
from stag.scene import Scene
from stag.timeline import place
from stag.verdict import check


@pytest.fixture
def bench(scene) -> Bench:
    """For the queue under the lock."""
    return make_bench(scene())


@pytest.fixture
def lock(scene) -> Lock:
    return Lock(scene())


class Lock:
    """The scheduler's lock, and a byte that it guards."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.at = scene.symbols["global_page"] + scene.offset("global", "sched_mcs_lock")
        self.byte = scene.call(0, "page_alloc")
        self.zero = self.byte + 64
        scene.memory().set_u64(self.byte, 0)
        scene.memory().set_u64(self.zero, 0)
        scene.add_object(self.byte, "byte")

    def add_one(self, rounds: int = 1) -> tuple[Call, ...]:
        """Take the lock, add one to the byte, give the lock back."""
        return (
            Call("mcs_lock_acquire", (self.at,)),
            Call("memcmp", (self.byte, self.zero, 1)),
            Call("memset", (self.byte, lambda results: results[-1] + 1, 1)),
            Call("mcs_lock_release", (self.at,)),
        ) * rounds

    def judge(self, additions: int) -> str | None:
        found = self.scene.memory().u64(self.byte) & 0xFF
        if found != additions:
            return f"{additions} times a hart added one under the lock, and the sum is {found}"
        held = self.word()
        return f"nobody holds the lock, and yet it is {held:#x}, not 0" if held else None

    def word(self) -> int:
        return self.scene.memory().u64(self.at)

    def acquire(self, hart: int) -> None:
        """Begin to acquire; run on to see how far it comes."""
        self.scene.world.harts[hart].steps = ()
        self.scene.enter(hart, "mcs_lock_acquire", self.at)

    def waits_on(self, hart: int) -> frozenset[int] | None:
        """Let a hart go on. The words of memory that it reads over and over, or
        None if it has acquired."""
        world, state = self.scene.world, self.scene.world.harts[hart]
        world.watching, world.shared, world.touched = True, set(), {}
        state.granted, state.recent, state.budget = True, (), 5000
        state.looped.clear()
        try:
            ended = world.run(state)
        except SharedWord:  # it spins, on words that the model did not know to be shared
            ended = SPINS
        except KernelFault:
            if state.budget >= 0:
                raise
            ended = SPINS  # with a counter, or in some other way of its own
        finally:
            world.watching = False
        return None if ended == DONE else frozenset(state.recent)


def test_lock_on_one_hart(lock: Lock) -> None:
    for _ in range(2):
        for hart in (1, 2):
            check(lock.word() == 0, "the lock, which nobody holds, is 0", f"{lock.word():#x}")
            lock.acquire(hart)
            check(
                lock.waits_on(hart) is None,
                expected=f"hart {hart} gets the lock, which is free",
                found="it waits",
                where=lock.scene.where(hart),
            )
            page = lock.scene.hart_page(hart)
            check(
                lock.word() == page,
                expected=f"the lock, which hart {hart} holds, names that hart's page: {page:#x}",
                found=f"{lock.word():#x}",
                where="sched_mcs_lock (kernel/global.h)",
                hint="other harts follow it: it is the linear address, hart.self",
            )
            lock.scene.call(hart, "mcs_lock_release", lock.at)
    check(lock.word() == 0, "the lock, which was given back, is 0", f"{lock.word():#x}")


def test_lock_hands_over_in_order(lock: Lock) -> None:
    """Those that wait get it in the order in which they came, one at a time."""
    scene = lock.scene
    for order in ((2, 0, 3), (3, 0, 2)):
        scene.call(1, "mcs_lock_acquire", lock.at)
        holder = 1
        for hart in order:
            lock.acquire(hart)
            check(
                lock.waits_on(hart) is not None,
                expected=f"hart {hart} waits while hart {holder} holds the lock",
                found="mcs_lock_acquire returns",
            )
        for turn, wanted in enumerate(order):
            scene.call(holder, "mcs_lock_release", lock.at)
            # The last in line is looked at first: it must not push in.
            got = [h for h in reversed(order[turn:]) if lock.waits_on(h) is None]
            check(
                got == [wanted],
                expected=f"hart {holder} releases, and hart {wanted} gets the lock: harts came in"
                f" the order 1, {', '.join(map(str, order))}",
                found="the lock went to " + (" and ".join(f"hart {h}" for h in got) or "nobody"),
                where="\n".join(f"hart {h}: {scene.where(h)}" for h in order[turn:]),
            )
            holder = wanted
        scene.call(holder, "mcs_lock_release", lock.at)
        check(lock.word() == 0, "the lock, given back by the last, is 0", f"{lock.word():#x}")


def test_each_waits_on_its_own_word(lock: Lock) -> None:
    scene = lock.scene
    scene.call(1, "mcs_lock_acquire", lock.at)
    words = {}
    for hart in (2, 3):
        lock.acquire(hart)
        words[hart] = lock.waits_on(hart)
        check(bool(words[hart]), f"hart {hart} waits for the lock, reading a word of memory",
              "mcs_lock_acquire returns, or reads nothing")  # fmt: skip
    pages = {scene.memory().translate(scene.hart_page(hart)) >> 12: hart for hart in range(4)}
    common = words[2] & words[3]
    for hart in (2, 3):
        foreign = {word for word in words[hart] if pages.get(word * 8 >> 12, hart) != hart}
        strange = sorted(common | foreign)
        check(
            not strange,
            expected=f"hart {hart}, while it waits, reads a word that is its own, in its hart page",
            found="it reads over and over " + ", ".join(place(scene, word) for word in strange),
            where=f"{scene.where(hart)}, with hart {5 - hart} waiting too",
            hint="each waits for a store of the one before it",
        )


def test_lock_two_harts(lock: Lock) -> None:
    """Every order in which two harts can take it."""
    lock.scene.explore(
        [Thread(0, *lock.add_one(2)), Thread(1, *lock.add_one())],
        lambda _: lock.judge(3),
        models=["sc"],
        hint="between the swap in mcs_lock_acquire and the store into the predecessor's `next`"
        " the chain is open",
    )


def test_lock_three_harts(lock: Lock) -> None:
    lock.scene.explore(
        [Thread(hart, *lock.add_one()) for hart in (0, 1, 2)],
        lambda _: lock.judge(3),
        models=["sc"],
    )


def test_lock_memory_order(lock: Lock) -> None:
    """The same while stores reach memory late, and pass each other."""
    lock.scene.explore(
        [Thread(0, *lock.add_one()), Thread(1, *lock.add_one())],
        lambda _: lock.judge(2),
        models=["tso", "pso"],
        hint="what was stored under the lock must be in memory before the lock is seen to be"
        " free: release",
    )


# The queue under the lock

UNLOCKED = "the queue is read and changed only while mcs_lock_acquire holds the lock"


def test_two_enqueue(bench: Bench) -> None:
    a, b = bench.ready("A", "B")
    bench.scene.explore(
        [Thread(1, Call("scheduler_enqueue", (a,))), Thread(2, Call("scheduler_enqueue", (b,)))],
        lambda _: bench.complain_lost([], "A", "B"),
        models=["sc", "pso"],
        hint=UNLOCKED,
    )


def test_two_take(bench: Bench) -> None:
    bench.enqueue(0, "A", "B")
    bench.scene.explore(
        [Thread(1, Call("scheduler_next")), Thread(2, Call("scheduler_next"))],
        lambda _: bench.complain_lost(bench.results(1, 2), "A", "B"),
        models=["sc", "pso"],
        hint=UNLOCKED,
    )


def test_yield_while_another_takes(bench: Bench) -> None:
    bench.enqueue(0, "A", "B", "C")
    bench.expect_next(1, "A")
    bench.scene.explore(
        [
            Thread(1, Call("scheduler_yield", (bench.executors["A"],))),
            Thread(2, Call("scheduler_next")),
        ],
        lambda _: bench.complain_lost(bench.results(1, 2), "A", "B", "C"),
        models=["sc", "pso"],
        hint=UNLOCKED,
    )
