"""Threads that take the lock for readers and writers, for the challenge of lab 5."""

from __future__ import annotations

from pathlib import Path

from park_bench import DATA, PAGE, PARKED, PTE_R, PTE_W, Bench
from stag.explore import Thread
from stag.model import DONE
from stag.verdict import check
from test_mutex_condition import must_end, must_sleep, run, word
from test_mutex_condition import threads as numbers
from user_code import T0, T1, Code, Process

LOCK = DATA + 16 * PAGE  # zeros
FIRST, SECOND = DATA, DATA + 0x40  # two words that writers keep equal
COPIES = DATA + 0x80  # what each that reads has seen of them: two words a thread
FUNCTIONS = ("rwlock_read_lock", "rwlock_read_unlock", "rwlock_write_lock", "rwlock_write_unlock")


def process_of(scene, kernel: Path) -> Process:
    process = Process(Bench(scene()), kernel)
    missing = [name for name in FUNCTIONS if name not in process.library]
    check(
        not missing,
        f"user/lib/sync.c defines {', '.join(FUNCTIONS)}",
        f"there is no {', '.join(missing)} in {process.library.path.name}",
        hint="the handout, Challenge; the functions are not static",
    )
    process.bench.scene.add_object(process.bench.map(LOCK, PTE_R | PTE_W), "lock")
    return process


def copy(code: Code, source: int, to: int) -> None:
    code.load_immediate(T1, source)
    code.load(T0, T1)
    code.load_immediate(T1, to)
    code.store(T0, T1)


class Threads:
    """Threads that take the lock, and where they come by."""

    def __init__(self, scene, kernel: Path) -> None:
        self.process = process_of(scene, kernel)
        self.inside: list[int] = []  # by thread: where it has the lock
        self.ends: list[int] = []

    def add(self, kind: str, then: str = "") -> int:
        """A thread that takes the lock once, to "read" or "write", and then
        perhaps once more, for ever. Its number."""
        process, code, number = self.process, self.process.code(), len(self.ends)
        code.call(process[f"rwlock_{kind}_lock"], LOCK)
        self.inside.append(code.here)
        for i, place in enumerate((FIRST, SECOND)):
            if kind == "write":
                code.increment(place)
            else:
                copy(code, place, COPIES + 8 * number + 4 * i)
        code.call(process[f"rwlock_{kind}_unlock"], LOCK)
        if then:
            code.call(process[f"rwlock_{then}_lock"], LOCK)
        self.ends.append(code.end())
        process.thread(code)
        return number

    def hart_of(self, thread: int) -> int | None:
        """The hart that has it, at one of those places."""
        places = self.inside[thread], self.ends[thread]
        harts = self.process.bench.scene.world.harts
        return next((hart.index for hart in harts if hart.pc in places), None)

    def enter(self, thread: int, why: str) -> None:
        """A thread that has not run yet gets the lock at once."""
        must_end(self.process, thread, self.inside[thread], why)

    def sleep(self, thread: int, why: str) -> None:
        must_sleep(self.process, thread, self.inside[thread], why)

    def leave(self, thread: int) -> None:
        """A thread that has the lock gives it back. Who is woken does not run."""
        hart = self.hart_of(thread)
        ended = run(self.process, hart, self.ends[thread])
        check(
            ended == DONE,
            f"thread {thread} gives the lock back, and goes on",
            f"hart {hart} sleeps; {self.process.bench.describe(self.process.threads[thread])}",
        )

    def asleep(self, thread: int) -> bool:
        return bool(self.process.bench.state(self.process.threads[thread]) & PARKED)

    def come(self, threads: list[int], why: str) -> None:
        """Threads that slept have the lock now, and no others. Either hart may
        run either."""
        for hart in (1, 2, 3) * 2:
            if hart <= len(self.ends):
                run(self.process, hart, *self.inside, *self.ends)
        for thread in threads:
            check(
                self.hart_of(thread) is not None,
                f"thread {thread} gets the lock, {why}",
                self.process.bench.describe(self.process.threads[thread]),
            )
        pcs = [hart.pc for hart in self.process.bench.scene.world.harts]
        have = [thread for thread, place in enumerate(self.inside) if place in pcs]
        check(
            have == threads,
            f"threads that have the lock now: {numbers(threads)}",
            numbers(have),
        )

    def wrong(self, writers: int) -> str | None:
        """A complaint if writers were not alone."""
        first, second = word(self.process, FIRST), word(self.process, SECOND)
        if (first, second) != (writers, writers):
            return f"{writers} that write have added 1 to two words: {first} and {second}"
        for copies in range(COPIES, COPIES + 8 * len(self.ends), 8):
            one, other = word(self.process, copies), word(self.process, copies + 4)
            if one != other:
                return f"one that reads has seen {one} and {other}, while one wrote"
        return None

    def whole(self, thread: int) -> Thread:
        return Thread(thread + 1, until=self.ends)
