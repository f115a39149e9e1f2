"""Lab 5, exercise 6: a mutex and a condition variable in user space.

Threads of the user library run in the model, in user mode, each on a hart of
its own, and make their calls of the kernel.
"""

from __future__ import annotations

from park_bench import DATA, EVENT_WAKE, EXECUTING, PARKED, QUEUED, Bench
from stag.errors import GuestPanic
from stag.explore import Thread, depth
from stag.model import DONE, WAITS
from stag.verdict import check, fail
from user_code import CONDITION, COUNTER, FLAG, LOG, MUTEX, Process

TURNS = 12


def word(process: Process, address: int) -> int:
    return process.bench.memory.u32(process.bench.data + address - DATA)


def log(process: Process) -> list[int]:
    return [word(process, LOG + 4 + 4 * i) for i in range(min(word(process, LOG), 8))]


def threads(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


def run(process: Process, hart: int, *until: int | str) -> str:
    try:
        return process.bench.scene.run(hart, *until)
    except GuestPanic as panic:
        fail("the thread goes on, or sleeps", str(panic), hint="a thread that waits must sleep")


def must_sleep(process: Process, thread: int, until: int, why: str) -> None:
    """Let a thread go on; it must fall asleep before it has come there."""
    bench = process.bench
    executor = process.threads[thread]
    ended = run(process, thread + 1, until)
    check(
        ended == WAITS and bench.state(executor) & (PARKED | EXECUTING | QUEUED) == PARKED,
        f"thread {thread} sleeps in the kernel, {why}",
        f"hart {thread + 1} is at {bench.scene.where(thread + 1)}; {bench.describe(executor)}",
    )


def must_end(process: Process, thread: int, until: int, why: str) -> None:
    ended = run(process, thread + 1, until)
    said = process.bench.scene.world.console.decode(errors="replace").strip()
    check(
        ended == DONE,
        f"thread {thread} goes on, {why}",
        f"hart {thread + 1} sleeps; {process.bench.describe(process.threads[thread])}"
        + (f"; the program said: {said}" if said else ""),
    )


def locked_increment(process: Process) -> int:
    """A thread that adds 1 to COUNTER under the mutex: where it ends."""
    code = process.code()
    code.call(process["mutex_lock"], MUTEX)
    code.increment(COUNTER)
    code.call(process["mutex_unlock"], MUTEX)
    end = code.end()
    process.thread(code)
    return end


def waiter(process: Process) -> int:
    """A thread that waits once and then puts its number on the log."""
    return waiter_again(process, 1)[0]


def waiter_again(process: Process, times: int = 2) -> list[int]:
    """One that does so several times: where it is after each."""
    number = len(process.threads)
    code = process.code()
    ends = []
    for _ in range(times):
        code.call(process["mutex_lock"], MUTEX)
        code.call(process["condition_wait"], CONDITION, MUTEX)
        code.append(LOG, number)
        code.call(process["mutex_unlock"], MUTEX)
        ends.append(code.here)
        code.put(FLAG, 0)
    ends[-1] = code.end()
    process.thread(code)
    return ends


def test_mutex_of_one_thread(scene, kernel) -> None:
    process = Process(Bench(scene()), kernel)
    code = process.code()
    steps = ("try_lock", "try_lock", "unlock", "lock", "try_lock", "unlock", "try_lock")
    for i, step in enumerate(steps):
        code.call(process[f"mutex_{step}"], MUTEX)
        code.keep_result(LOG + 4 * i)
    end = code.end()
    process.thread(code)
    must_end(process, 0, end, "with a mutex that nobody else uses")
    found = [word(process, LOG + 4 * i) & 0xFF for i in (0, 1, 4, 6)]
    check(
        found == [1, 0, 0, 1],
        "try_lock is true, then false; false after lock; true after unlock",
        ", ".join("true" if each else "false" for each in found),
    )


def test_mutex_waiter_sleeps(scene, kernel) -> None:
    process = Process(Bench(scene()), kernel)
    code = process.code()
    code.call(process["mutex_lock"], MUTEX)
    locked = code.here
    code.call(process["mutex_unlock"], MUTEX)
    end = code.end()
    process.thread(code)
    must_end(process, 0, locked, "with a mutex that is free")
    other = locked_increment(process)
    must_sleep(process, 1, other, "while thread 0 holds the mutex")
    must_end(process, 0, end, "since mutex_unlock never sleeps")
    must_end(process, 1, other, "since the mutex was given back")
    check(word(process, COUNTER) == 1, "the counter is 1", f"{word(process, COUNTER)}")


def test_mutex_stray_wake(scene, kernel) -> None:
    """EVENT_WAKE comes from somewhere else, while the mutex is held."""
    process = Process(Bench(scene()), kernel)
    code = process.code()
    code.call(process["mutex_lock"], MUTEX)
    locked = code.here
    code.call(process["mutex_unlock"], MUTEX)
    end = code.end()
    process.thread(code)
    must_end(process, 0, locked, "with a mutex that is free")
    other = locked_increment(process)
    must_sleep(process, 1, other, "while thread 0 holds the mutex")
    for _ in range(2):
        process.bench.scene.call(0, "executor_unpark", process.threads[1], EVENT_WAKE)
        must_sleep(process, 1, other, "again after a stray EVENT_WAKE: the mutex is still held")
    must_end(process, 0, end, "since mutex_unlock never sleeps")
    must_end(process, 1, other, "since the mutex was given back")


def explore_increments(process: Process, models: tuple[str, ...]) -> None:
    ends = [locked_increment(process) for _ in range(2)]

    def judge(_: object) -> str | None:
        count = word(process, COUNTER)
        return None if count == 2 else f"two threads have added 1 under the mutex: {count}, not 2"

    process.bench.scene.explore(
        [Thread(1, until=ends), Thread(2, until=ends)],
        judge,
        models=models,
        hint="at most one thread holds the mutex, and it sees what earlier holders wrote",
    )


def test_mutex_excludes(scene, kernel) -> None:
    process = Process(Bench(scene()), kernel)
    explore_increments(process, ("sc",))


def test_mutex_orders_memory(scene, kernel) -> None:
    process = Process(Bench(scene()), kernel)
    explore_increments(process, ("tso", "pso"))


def test_mutex_hand_over_orders_memory(scene, kernel) -> None:
    """From a holder to the next in line: thread 2 is about to sleep when thread
    1, which has waited itself, gives the mutex back."""
    process = Process(Bench(scene()), kernel)
    stops: list[int] = []
    for thread in range(3):
        code = process.code()
        code.call(process["mutex_lock"], MUTEX)
        stops.append(code.here)
        if thread > 0:
            code.increment(COUNTER)
        if thread < 2:
            code.call(process["mutex_unlock"], MUTEX)
        stops.append(code.end())
        process.thread(code)
    must_end(process, 0, stops[0], "with a mutex that is free")
    must_sleep(process, 1, stops[2], "while thread 0 holds the mutex")
    run(process, 3, "trap_entry")  # its first call of the kernel
    must_end(process, 0, stops[1], "since mutex_unlock never sleeps")
    must_end(process, 1, stops[2], "since the mutex was given back")

    def judge(_: object) -> str | None:
        count = word(process, COUNTER)
        if count == 2 or process.bench.state(process.threads[2]) & PARKED:
            return None  # or it was too early, and its wake-up is not sent here
        return f"two threads have added 1 under the mutex: {count}, not 2"

    process.bench.scene.explore(
        [
            Thread(2, until=[stops[3], "trap_entry"]),
            Thread(3, until=[stops[5]], waits=True),
        ],
        judge,
        models=("pso",),
        hint="what tells a thread that the mutex is its own must release what the last holder"
        " wrote, and be read by an acquire",
    )


def test_mutex_starves_nobody(scene, kernel) -> None:
    """Thread 1 waits, while threads 0 and 2 take the mutex again and again. Who
    is woken always comes before who takes it anew."""
    process = Process(Bench(scene()), kernel)
    places: list[int] = []
    ends: list[int] = []

    def taker(times: int) -> None:
        code = process.code()
        for _ in range(times):
            code.call(process["mutex_lock"], MUTEX)
            places.append(code.here)
            code.call(process["mutex_unlock"], MUTEX)
            places.append(code.here)
        ends.append(code.end())
        process.thread(code)

    def one_step(hart: int) -> None:
        pc = process.bench.scene.world.harts[hart].pc
        if pc not in ends:
            run(process, hart, *(place for place in places if place != pc))

    taker(TURNS)
    one_step(1)
    ends.append(locked_increment(process))
    places.append(ends[-1])
    must_sleep(process, 1, ends[-1], "while thread 0 holds the mutex")
    taker(TURNS)
    one_step(3)
    for _ in range(2 * TURNS):
        for hart in (1, 2, 3):
            one_step(hart)
        if word(process, COUNTER):
            break
    check(
        word(process, COUNTER) == 1,
        "thread 1 gets the mutex, which it waits for",
        f"it has not got it: threads 0 and 2 have had it {TURNS} times each, by turns",
        hint="wake the thread that has waited longest, not the one that came last (sync.h)",
    )


def test_mutex_of_three_threads(scene, kernel) -> None:
    """One holds the mutex, two wait; each must get it."""
    process = Process(Bench(scene()), kernel)
    code = process.code()
    code.call(process["mutex_lock"], MUTEX)
    locked = code.here
    code.call(process["mutex_unlock"], MUTEX)
    ends = [code.end()]
    process.thread(code)
    must_end(process, 0, locked, "with a mutex that is free")
    for thread in (1, 2):
        ends.append(locked_increment(process))
        must_sleep(process, thread, ends[-1], "while thread 0 holds the mutex")
    must_end(process, 0, ends[0], "since mutex_unlock never sleeps")
    # Either hart may have been woken for either thread, one after the other.
    for hart in (2, 3, 2, 3):
        run(process, hart, *ends)
    count = word(process, COUNTER)
    check(count == 2, "both threads that waited got the mutex: the counter is 2", f"{count}")


def test_condition_signal_wakes_the_first(scene, kernel) -> None:
    """And again, when all have gone on and wait once more."""
    process = Process(Bench(scene()), kernel)
    ends = [waiter_again(process), waiter_again(process)]
    code = process.code()
    stops = []
    for _ in range(4):
        code.call(process["mutex_lock"], MUTEX)
        code.call(process["condition_signal"], CONDITION)
        code.call(process["mutex_unlock"], MUTEX)
        stops.append(code.here)
        code.put(FLAG, 0)
    stops[-1] = code.end()
    process.thread(code)
    signals = ("one signal", "two signals", "two signals, and one when both wait again", "a fourth")
    for i, after in enumerate(signals):
        if i % 2 == 0:
            for thread in (0, 1):
                why = "in condition_wait" + " for the second time" * (i // 2)
                must_sleep(process, thread, ends[thread][i // 2], f"{why}, and the mutex is free")
        must_end(process, 2, stops[i], "since condition_signal never sleeps")
        for thread in (0, 1):
            run(process, thread + 1, ends[thread][i // 2])
        wanted = [0, 1, 0, 1][: i + 1]
        check(
            log(process) == wanted,
            f"after {after} these threads have gone on, in this order: {threads(wanted)}",
            threads(log(process)),
        )


def test_signal_without_waiters(scene, kernel) -> None:
    """It is not kept for later."""
    process = Process(Bench(scene()), kernel)
    code = process.code()
    code.call(process["mutex_lock"], MUTEX)
    code.call(process["condition_signal"], CONDITION)
    code.call(process["condition_broadcast"], CONDITION)
    code.call(process["condition_wait"], CONDITION, MUTEX)
    end = code.end()
    process.thread(code)
    must_sleep(process, 0, end, "since both signals came before it waited")


def test_condition_stray_wake(scene, kernel) -> None:
    process = Process(Bench(scene()), kernel)
    end = waiter(process)
    must_sleep(process, 0, end, "in condition_wait")
    process.bench.scene.call(0, "executor_unpark", process.threads[0], EVENT_WAKE)
    must_sleep(process, 0, end, "again after a stray EVENT_WAKE: nobody has signalled")


def test_broadcast_wakes_all(scene, kernel) -> None:
    process = Process(Bench(scene()), kernel)
    ends = [waiter(process), waiter(process)]
    code = process.code()
    code.call(process["mutex_lock"], MUTEX)
    code.call(process["condition_broadcast"], CONDITION)
    code.call(process["mutex_unlock"], MUTEX)
    ends.append(code.end())
    process.thread(code)
    for thread in (0, 1):
        must_sleep(process, thread, ends[thread], "in condition_wait, and the mutex is free")
    must_end(process, 2, ends[2], "since condition_broadcast never sleeps")
    for hart in (1, 2, 1, 2):
        run(process, hart, *ends)
    found = sorted(log(process))
    check(found == [0, 1], "threads 0 and 1 have gone on", f"these have: {threads(found)}")


def waits_for_flag(process: Process) -> int:
    code = process.code()
    code.call(process["mutex_lock"], MUTEX)
    code.while_zero(FLAG, process["condition_wait"], CONDITION, MUTEX)
    code.increment(COUNTER)
    code.call(process["mutex_unlock"], MUTEX)
    end = code.end()
    process.thread(code)
    return end


def sets_flag(process: Process) -> int:
    """Does not sleep: then there is much less to explore."""
    code = process.code()
    code.repeat_until(process["mutex_try_lock"], MUTEX)
    code.put(FLAG, 1)
    code.increment(COUNTER)
    code.call(process["condition_signal"], CONDITION)
    code.call(process["mutex_unlock"], MUTEX)
    end = code.end()
    process.thread(code)
    return end


def test_no_signal_lost(scene, kernel) -> None:
    """One waits for a flag, the other sets it and signals."""
    process = Process(Bench(scene()), kernel)
    ends = [waits_for_flag(process), sets_flag(process)]
    must_end(process, 0, process["condition_wait"], "with the mutex, and is about to wait")

    def judge(_: object) -> str | None:
        count = word(process, COUNTER)
        return None if count == 2 else f"both have added 1 under the mutex: {count}, not 2"

    process.bench.scene.explore(
        [Thread(1, until=ends), Thread(2, until=ends)],
        judge,
        models=("sc",),
        switches=max(1, depth() - 1),
        hint="condition_wait must be in line before it gives the mutex back",
    )
