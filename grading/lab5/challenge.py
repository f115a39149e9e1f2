"""The challenge: a lock for readers and writers, in user space.

Threads of the user library run in the model, as in test_mutex_condition.py.
"""

from __future__ import annotations

from collections.abc import Callable

from park_bench import EVENT_WAKE
from rwlock_threads import LOCK, Threads
from stag.explore import Thread, depth
from stag.verdict import check
from test_mutex_condition import TURNS, run

LIMIT = 3_000  # schedules: enough for all with locks like those in the handout


def explore(
    threads: Threads,
    harts: list[Thread],
    judge: Callable[[object], str | None],
    hint: str,
    switches: int | None = None,
) -> None:
    """Every order, and every delay of stores."""
    scene = threads.process.bench.scene
    scene.explore(harts, judge, models=("pso",), switches=switches, limit=LIMIT, hint=hint)


def test_readers_together(scene, kernel) -> None:
    """Two read at once, whether they waited or not; a writer sleeps until the
    last of them has left."""
    threads = Threads(scene, kernel)
    first, second, writer = (threads.add(kind) for kind in ("read", "read", "write"))
    threads.enter(first, "with a lock that nobody has")
    threads.enter(second, "since one that reads has the lock, and none waits")
    threads.sleep(writer, "while two that read have the lock")
    threads.leave(first)
    check(
        threads.asleep(writer),
        f"thread {writer}, which is to write, sleeps on while one that reads has the lock",
        threads.process.bench.describe(threads.process.threads[writer]),
    )
    threads.leave(second)
    threads.come([writer], "since the last that read has given it back")

    threads = Threads(scene, kernel)
    writer, *readers = (threads.add(kind) for kind in ("write", "read", "read"))
    threads.enter(writer, "with a lock that nobody has")
    for reader in readers:
        threads.sleep(reader, "while one that writes has the lock")
    threads.leave(writer)
    threads.come(readers, "together with the other: the one that wrote has given it back")


def test_writer_alone(scene, kernel) -> None:
    for kind in ("read", "write"):
        threads = Threads(scene, kernel)
        writer, other = threads.add("write"), threads.add(kind)
        threads.enter(writer, "with a lock that nobody has")
        threads.sleep(other, "while one that writes has the lock")
        bench = threads.process.bench
        bench.scene.call(0, "executor_unpark", threads.process.threads[other], EVENT_WAKE)
        threads.sleep(other, "again after a stray EVENT_WAKE: one that writes has the lock")
        threads.leave(writer)
        threads.come([other], "since the one that wrote has given it back")


def test_nobody_starves(scene, kernel) -> None:
    waiting_writer_comes_first(Threads(scene, kernel))
    reader_is_not_starved(Threads(scene, kernel))


def waiting_writer_comes_first(threads: Threads) -> None:
    """While one waits to write, others that want to read wait, too."""
    first, writer, second = (threads.add(kind) for kind in ("read", "write", "read"))
    threads.enter(first, "with a lock that nobody has")
    threads.sleep(writer, "while one that reads has the lock")
    threads.sleep(second, "while one waits to write, though one that reads has the lock")
    threads.leave(first)
    threads.come([writer], "since the one that read has given it back")
    threads.leave(writer)
    threads.come([second], "since the one that wrote has given it back")


def reader_is_not_starved(threads: Threads) -> None:
    """Thread 1 waits to read, while threads 0 and 2 write again and again."""
    process = threads.process
    places: list[int] = []

    def writes_often() -> None:
        code = process.code()
        for _ in range(TURNS):
            for call in ("rwlock_write_lock", "rwlock_write_unlock"):
                code.call(process[call], LOCK)
                places.append(code.here)
        threads.inside.append(places[-1])
        threads.ends.append(code.end())
        process.thread(code)

    def one_step(hart: int) -> None:
        pc = process.bench.scene.world.harts[hart].pc
        if pc not in threads.ends:
            run(process, hart, *threads.ends, *(place for place in places if place != pc))

    writes_often()
    one_step(1)
    reader = threads.add("read")
    threads.sleep(reader, "while one that writes has the lock")
    writes_often()
    one_step(3)
    for _ in range(2 * TURNS):
        for hart in (1, 2, 3):
            one_step(hart)
    check(
        threads.hart_of(reader) is not None,
        f"thread {reader} gets the lock to read, which it waits for",
        f"it has not got it: threads 0 and 2 have had it {TURNS} times each to write, by turns",
        hint="after one that wrote the turn is that of those who wait to read",
    )


def test_decided_in_one_step(scene, kernel) -> None:
    for kinds in (("write", "write"), ("write", "read"), ("read", "read")):
        both_take(Threads(scene, kernel), kinds)
    last_reader(Threads(scene, kernel))


def both_take(threads: Threads, kinds: tuple[str, str]) -> None:
    """Two want the lock at once, and do not give it back."""
    both = [threads.add(kind) for kind in kinds]
    wanted = 1 if "write" in kinds else 2

    def judge(_: object) -> str | None:
        count = sum(threads.hart_of(thread) is not None for thread in both)
        if count == wanted:
            return None
        want = " and one to ".join(kinds)
        return f"one wants to {want}: {count} of them have the lock, not {wanted}"

    explore(
        threads,
        [Thread(thread + 1, until=threads.inside, waits=True) for thread in both],
        judge,
        hint="that the lock is free is seen, and it is taken, in one step",
    )


def last_reader(threads: Threads) -> None:
    """The two that read give it back at once, and one waits to write. Then one
    of them wants to read again."""
    readers = [threads.add("read", then="read"), threads.add("read")]
    writer = threads.add("write")
    for reader in readers:
        threads.enter(reader, "since only others that read have the lock")
    threads.sleep(writer, "while two that read have the lock")
    places = [*threads.ends, threads.inside[writer]]

    def judge(_: object) -> str | None:
        if not threads.asleep(readers[0]):
            return f"thread {readers[0]} has it again, to read, and thread {writer} waited to write"
        if threads.asleep(writer):
            return f"thread {writer}, which is to write, sleeps, and nobody has the lock"
        return None

    explore(
        threads,
        [Thread(reader + 1, until=places, waits=reader == readers[0]) for reader in readers],
        judge,
        hint="that one leaves, and whether it is the last, is done and seen in one step",
        switches=max(1, depth() - 1),
    )


def test_lock_is_handed_on(scene, kernel) -> None:
    """Two take it and give it back; the first of them may have it already."""
    for first, second, inside in (
        ("write", "write", False),
        ("write", "read", False),
        ("write", "write", True),
        ("write", "read", True),
        ("read", "write", True),
    ):
        take_and_give_back(Threads(scene, kernel), first, second, inside)


def take_and_give_back(threads: Threads, first: str, second: str, inside: bool) -> None:
    both = [threads.add(first), threads.add(second)]
    if inside:
        threads.enter(both[0], "with a lock that nobody has")
    writers = (first, second).count("write")
    explore(
        threads,
        [threads.whole(thread) for thread in both],
        lambda _: threads.wrong(writers),
        hint="who finds the lock taken is in line before it can be given back; and sees what"
        " those wrote who had it before",
        switches=max(1, depth() - 1),
    )
