"""Exercise 5: harts that have nothing to run, and how they are woken."""

from __future__ import annotations

import pytest
from scheduler_bench import EXECUTING, QUEUED, STOPPED, Bench, flags_text, make_bench
from stag.explore import Thread
from stag.model import DONE, MASK, SOFTWARE, STVEC, TIMER, WAITS, Call
from stag.verdict import check, fail

REAP_DUE = "reap_due"


@pytest.fixture
def bench(scene) -> Bench:
    return make_bench(scene())


def wake(bench: Bench, hart: int, wanted: str) -> None:
    """An idle hart that was interrupted goes on."""
    ended, state = bench.scene.run(hart), bench.scene.world.harts[hart]
    found = state.results[-1] if ended == DONE else None
    check(
        found == bench.executors[wanted],
        expected=f"hart {hart} wakes up, and scheduler_next returns {wanted}",
        found=bench.name(found),
        where=bench.scene.where(hart) if found is None else "",
    )


def test_idle_hart_sleeps(bench: Bench) -> None:
    """In wfi; again after an interrupt that brought nothing; until there is
    something."""
    bench.sleep(1)
    check(bench.running(1) == 0, "hart 1, which sleeps, runs no executor",
          f"hart.executor is {bench.name(bench.running(1))}", "kernel/hart.h")  # fmt: skip
    for _ in range(2):
        bench.scene.world.harts[1].accepts |= 1 << SOFTWARE
        bench.expect_sleep(1, "interrupted for nothing")
        check(not bench.interrupted(1), "the interrupt was served", "it is pending still")
    bench.enqueue(0, "A")
    bench.scene.world.harts[1].accepts |= 1 << SOFTWARE
    wake(bench, 1, "A")


def test_enqueue_wakes_an_idle_hart(bench: Bench) -> None:
    """Also where the firmware's numbers of the harts are others."""
    harts = bench.scene.world.harts
    for hart, name in ((2, "A"), (3, "B"), (2, "C"), (1, "D")):
        if name == "C":
            for state in harts:
                state.id = len(harts) - 1 - state.index
                bench.scene.set_field(bench.scene.hart_page(state.index), "hart", "id", state.id)
        bench.sleep(hart)
        told = bench.count_interrupts(lambda n=name: bench.enqueue(0, n))
        check(
            hart in told,
            expected=f"scheduler_enqueue({name}) interrupts hart {hart}, the only one that sleeps",
            found="it interrupts " + (" and ".join(f"hart {h}" for h in told) or "nobody"),
            where=f"ipi_send (kernel/ipi.h); hart.index is {hart}, hart.id, the firmware's number,"
            f" {harts[hart].id}",
        )
        wake(bench, hart, name)


def test_woken_too_late(bench: Bench) -> None:
    """Another has taken what it was woken for: it sleeps again, and can be woken
    again."""
    bench.sleep(2)
    for name in "AB":
        bench.enqueue(0, name)
        check(
            bench.interrupted(2),
            expected=f"scheduler_enqueue({name}) interrupts hart 2, which sleeps"
            + ("" if name == "A" else " again: A, for which it woke, another hart had taken"),
            found="it does not",
            where="global.idle_harts (kernel/global.h)",
            hint="a hart that sleeps again announces that again: whoever woke it has cleared its"
            " bit",
        )
        bench.expect_next(3, name)
        bench.expect_sleep(2, f"woken for {name}, which hart 3 has taken")


def test_two_wake_two(bench: Bench) -> None:
    """Two sleep, and two queue at a time: each wakes another one."""
    bench.sleep(2, 3)
    a, b = bench.ready("A", "B")

    def judge(_: object) -> str | None:
        told = [hart for hart in (2, 3) if bench.interrupted(hart)]
        if len(told) == 2:
            return None
        return (
            f"two were queued while two harts sleep, and only hart {told[0]} was interrupted"
            if told
            else "two were queued while two harts sleep, and neither was interrupted"
        )

    bench.scene.explore(
        [Thread(0, Call("scheduler_enqueue", (a,))), Thread(1, Call("scheduler_enqueue", (b,)))],
        judge,
        models=["sc"],
        hint="a bit of idle_harts is cleared in one atomic step, which tells whether it was set:"
        " whoever finds it cleared already looks for another one",
    )


def check_not_marked_after_sleep(bench: Bench, hart: int) -> None:
    """A hart wakes up, for an interrupt that somebody else than the scheduler has
    sent. It has other things to do before it looks at the queue."""
    scene = bench.scene
    bench.sleep(hart)
    scene.world.harts[hart].accepts |= 1 << SOFTWARE
    scene.set_field(scene.hart_page(hart), "hart", REAP_DUE, 1)
    for function in ("interrupt_serve", "reap_all"):
        if scene.run(hart, function) == WAITS:
            return
        idle = scene.field(scene.symbols["global_page"], "global", "idle_harts")
        check(
            not idle >> hart & 1,
            expected=f"hart {hart}, which has woken, is not marked idle any more when it calls"
            f" {function}",
            found=f"idle_harts is {idle:#x}",
            where="scheduler_next (kernel/scheduler.h)",
            hint="it is awake, and may be at that for long: an interrupt on account of an executor"
            " that is queued now would be spent on it, while others sleep. Its bit goes first",
        )
    scene.set_field(scene.hart_page(hart), "hart", REAP_DUE, 0)
    bench.expect_sleep(hart, "woken for nothing")


def test_busy_hart_is_not_woken(bench: Bench) -> None:
    """Harts 1 and 3 sleep, hart 2 looks for work while A is queued. When it runs
    A, more are queued: these are for the two. Nor is a hart marked that has woken
    and serves interrupts, or reaps."""
    check_not_marked_after_sleep(bench, 1)
    bench.sleep(1, 3)
    (a,) = bench.ready("A")
    bench.create("B")
    bench.create("C")

    def judge(_: object) -> str | None:
        if bench.results(2) != [a]:
            return None  # it sleeps, and A is for others
        for name in "BC":
            asleep = {hart for hart in (1, 3) if not bench.interrupted(hart)}
            told = bench.count_interrupts(lambda n=name: bench.enqueue(0, n))
            if asleep and asleep.isdisjoint(told):
                return (
                    f"hart 2 runs A, {name} is queued, and"
                    f" {'hart 2' if 2 in told else 'nobody'} is interrupted, while hart"
                    f" {' and hart '.join(map(str, sorted(asleep)))} sleeps"
                )
        return None

    bench.scene.explore(
        [
            Thread(0, Call("scheduler_enqueue", (a,))),
            Thread(2, Call("scheduler_next"), waits=True),
        ],
        judge,
        models=["sc"],
        hint="a hart that has taken an executor must not be marked idle any more, whichever way"
        " it came to it",
    )


def check_interrupts(told: list[int], queued: int) -> None:
    check(
        len(told) <= queued,
        expected=f"no more interrupts than executors that were queued: {queued}",
        found=f"{len(told)} interrupts, of harts {', '.join(map(str, told))}",
        where="scheduler_enqueue, and scheduler_next on the harts that woke up",
        hint="of several that wake a hart, one wins its bit of idle_harts, and clears it",
    )


def test_one_interrupt_for_each(bench: Bench) -> None:
    """Three sleep, three are queued: no more than three are interrupted, and
    each takes one."""
    bench.sleep(1, 2, 3)
    told: list[int] = []
    for name in "ABC":
        told += bench.count_interrupts(lambda n=name: bench.enqueue(0, n))
        check_interrupts(told, "ABC".index(name) + 1)
    running: dict[int, int] = {}
    while woken := [h for h in (1, 2, 3) if h not in running and bench.interrupted(h)]:
        for hart in woken:
            told += bench.count_interrupts(lambda h=hart: bench.scene.run(h))
            state = bench.scene.world.harts[hart]
            if state.status == DONE:
                running[hart] = state.results[-1]
    left = [name for name in "ABC" if bench.state(name) == QUEUED]
    check(
        not left,
        expected="A, B and C, queued while harts 1 to 3 sleep, run on one hart each",
        found=f"{' and '.join(left)} waits, though not all harts run; interrupted were, in turn:"
        f" {told}",
    )
    check_interrupts(told, 3)


def asleep_beside_work(bench: Bench, *harts: int) -> str | None:
    """Nobody sleeps for good while one waits in the queue."""
    sleeping = [h for h in harts if bench.scene.world.harts[h].status == WAITS]
    waiting = [name for name in bench.executors if bench.state(name) == QUEUED]
    if sleeping and waiting:
        return (
            f"hart {' and hart '.join(map(str, sleeping))} sleeps for good, while"
            f" {' and '.join(waiting)} is in the queue"
        )
    return None


def explore_wakeup(bench: Bench, models: list[str], hint: str) -> None:
    (a,) = bench.ready("A")
    bench.scene.explore(
        [
            Thread(1, Call("scheduler_enqueue", (a,))),
            Thread(2, Call("scheduler_next"), waits=True),
        ],
        lambda _: asleep_beside_work(bench, 2) or bench.complain_lost(bench.results(2), "A"),
        models=models,
        hint=hint,
    )


def test_no_wakeup_is_lost(bench: Bench) -> None:
    """One queues at any moment of another's falling asleep."""
    explore_wakeup(
        bench,
        ["sc"],
        "first say that you are idle, then look once more at the queue; and the other way"
        " round: first queue, then look who is idle",
    )


def test_wakeup_memory_order(bench: Bench) -> None:
    """The same while stores reach memory late."""
    explore_wakeup(
        bench,
        ["tso", "pso"],
        "each side stores, then loads what the other stores: between the two a fence, on both"
        " sides, of order __ATOMIC_SEQ_CST",
    )


def test_two_take_one(bench: Bench) -> None:
    """One executor is queued, and two harts see it: one takes it, the other
    finds the queue empty, and must not go to sleep with the lock."""
    scene = bench.scene
    lock = scene.symbols["global_page"] + scene.offset("global", "sched_mcs_lock")
    bench.enqueue(0, "A")

    def judge(_: object) -> str | None:
        if scene.memory().u64(lock):
            return (
                "both harts are done or asleep, and the scheduler's lock is held: deadlock, as"
                " soon as another hart wants it"
            )
        return bench.complain_lost(bench.results(2, 3), "A")

    scene.explore(
        [Thread(hart, Call("scheduler_next"), waits=True) for hart in (2, 3)],
        judge,
        models=["sc"],
        hint="every way out gives the lock back",
    )


def test_yield_while_all_are_taken(bench: Bench) -> None:
    """A yields to B, which was stopped in the queue. Meanwhile another hart comes:
    it may let go of B, and take A too, and leave the queue empty."""
    bench.enqueue(0, "A", "B")
    bench.expect_next(1, "A")
    bench.set_state("B", QUEUED | STOPPED)

    def judge(_: object) -> str | None:
        if bench.state("B") != STOPPED:
            flags = flags_text(bench.state("B"))
            return f"B was stopped in the queue and let go, and has {flags} set"
        for hart in (1, 2):
            page = bench.name(bench.running(hart))
            for found in bench.results(hart):
                if bench.name(found) != "A":
                    return f"hart {hart} goes on with {bench.name(found)}"
                if page != "A" or bench.state("A") != EXECUTING:
                    flags = flags_text(bench.state("A"))
                    return (
                        f"hart {hart} goes on with A; its page says that {page} runs there, and A"
                        f" has {flags} set"
                    )
            if not bench.results(hart) and page != "0":
                return f"hart {hart} has nothing to run, and its page says that {page} runs there"
        return bench.complain_lost(bench.results(1, 2), "A")

    bench.scene.explore(
        [
            Thread(1, Call("scheduler_yield", (bench.executors["A"],)), waits=True),
            Thread(2, Call("scheduler_next"), waits=True),
        ],
        judge,
        models=["sc", "pso"],
        hint="once it is in the queue another hart may take whoever yields; and whoever is taken"
        " off may have been stopped",
    )


def test_no_wakeup_is_spent(bench: Bench) -> None:
    """Harts 2 and 3 sleep, A and B are queued. If hart 2 takes one of them,
    and was interrupted on account of both, hart 3 must still learn of the other."""
    bench.sleep(2, 3)
    a, b = bench.ready("A", "B")

    def judge(_: object) -> str | None:
        if bench.interrupted(3):
            return None  # it will look
        return asleep_beside_work(bench, 2) or asleep_beside_work(bench, 3)

    bench.scene.explore(
        [
            Thread(1, Call("scheduler_enqueue", (a,)), Call("scheduler_enqueue", (b,))),
            Thread(2, waits=True),
        ],
        judge,
        models=["sc"],
        hint="a hart that wakes up looks idle for a while yet: an interrupt that was meant for one"
        " that sleeps may be spent on it",
    )


def test_no_wakeup_is_spent_early(bench: Bench) -> None:
    """Hart 2 has found the queue empty, and A is queued before it has announced
    itself: it announces itself, finds A, and does not sleep. Hart 3 does, when A is
    taken. If B, queued by hart 1, is told to hart 2, hart 3 must learn of it."""
    scene = bench.scene
    scene.set_field(scene.hart_page(2), "hart", REAP_DUE, 1)
    came = bench.comes_to(2, "reap_all", "scheduler_next")
    check(came, "a hart that has nothing to run calls reap_all before it sleeps", "it does not")
    scene.set_field(scene.hart_page(2), "hart", REAP_DUE, 0)
    bench.enqueue(0, "A")
    (b,) = bench.ready("B")

    def judge(_: object) -> str | None:
        return None if bench.interrupted(3) else asleep_beside_work(bench, 3)

    scene.explore(
        [
            Thread(2, waits=True),
            Thread(3, Call("scheduler_next"), waits=True),
            Thread(1, Call("scheduler_enqueue", (b,))),
        ],
        judge,
        models=["sc"],
        switches=1,
        hint="who has announced itself, and then takes an executor without having slept, clears its"
        " bit, and no other, in one atomic step; it may have been told of another executor, and so"
        " looks once more at the queue",
    )


def check_ticks(bench: Bench, past: str) -> None:
    """Hart 1, which had nothing to run, has just dispatched A."""
    world = bench.scene.world
    ticks = world.harts[1].timer - world.time
    check(
        ticks <= bench.quantum,
        expected=f"the timer of hart 1, which has {past} and is about to run A, goes off within"
        f" a quantum ({bench.quantum} ticks of `time`)",
        found=f"in {ticks} ticks" if ticks < 1 << 60 else "it is not set",
        where="timer_need_tick (kernel/timer.h)",
        hint="else nobody takes the hart from A again",
    )


def test_tick_after_idling(bench: Bench) -> None:
    """A hart that has slept, without ticks, ticks when it runs something."""
    world = bench.scene.world
    bench.sleep(1)
    world.advance(bench.quantum)
    bench.expect_sleep(1, "its last tick over")
    world.advance(10 * bench.quantum)
    bench.enqueue(0, "A")
    world.harts[1].accepts |= 1 << SOFTWARE
    wake(bench, 1, "A")
    check_ticks(bench, "slept")


def test_idle_hart_has_no_tick(bench: Bench) -> None:
    """Its program has ended: it sleeps, and is not woken quantum after quantum."""
    scene, world = bench.scene, bench.scene.world
    starts = {name: bench.start(name) for name in "AB"}
    bench.run_to_user(1, starts["A"], "A")
    bench.run_to_user(2, starts["B"], "B")
    scene.call(3, "executor_terminate", bench.executors["A"])
    scene.run(1, world.harts[1].csr[STVEC] & -4)
    bench.expect_sleep(1, "whose program was ended")
    ticks = 0
    for _ in range(4):
        world.advance(bench.quantum)
        ticks += world.harts[1].accepts >> TIMER & 1
        bench.expect_sleep(1, "whose program was ended, after a quantum")
    check(
        ticks <= 1,
        expected="the timer wakes hart 1, which sleeps, once at most: its program's last tick",
        found=f"in four quanta it goes off {ticks} times",
        where="kernel/timer.h",
        hint="timer_interrupt sets the next tick only if hart.executor is not 0",
    )


def check_reaps_with_a_tick(bench: Bench, came: bool) -> None:
    """Hart 1 has come to reap_all, with its timer off before. It goes through that,
    and there is more to do; the timer has gone off."""
    scene, world = bench.scene, bench.scene.world
    state = world.harts[1]
    check(
        came,
        expected="a hart with nothing to run calls reap_all as long as reap_due is set: it does"
        " not sleep",
        found=scene.where(1),
        where="kernel/reap.h: it may return with something left to do",
    )
    check(
        state.timer - world.time <= bench.quantum,
        expected="the timer of hart 1, which calls reap_all while reap_due is set, goes off within"
        " a quantum",
        found="it is not set" if state.timer == MASK else f"in {state.timer - world.time} ticks",
        where="timer_need_tick (kernel/timer.h)",
        hint="reap_all goes on until its lists are empty or the timer has gone off, and the timer"
        " of a hart that runs nothing may be off",
    )
    scene.run(1, state.x[1])
    leave_more_to_reap(bench)


def leave_more_to_reap(bench: Bench) -> None:
    page = bench.scene.hart_page(1)
    bench.scene.set_field(page, "hart", REAP_DUE, 1)
    bench.scene.set_field(page, "hart", "timer_at", MASK)
    bench.scene.world.harts[1].timer = MASK


def check_reaps_by_turns(bench: Bench) -> None:
    """There is so much to reap that reap_all returns with some of it left. Then A
    is queued, and runs first."""
    scene, state = bench.scene, bench.scene.world.harts[1]
    leave_more_to_reap(bench)
    check_reaps_with_a_tick(bench, bench.comes_to(1, "reap_all", "scheduler_next"))
    check_reaps_with_a_tick(bench, scene.run(1, "reap_all") != WAITS)
    bench.enqueue(0, "A")
    scene.run(1, "reap_all")
    check(
        state.status == DONE and state.results[-1:] == (bench.executors["A"],),
        expected="hart 1, whose reap_all has returned with something left to do, looks at the"
        " queue, and scheduler_next returns A",
        found=scene.where(1),
        where="kernel/scheduler.h",
        hint="what is left is for later: A need not wait for it",
    )
    check_ticks(bench, "reaped, during which its timer went off,")


def test_before_idling(bench: Bench) -> None:
    """What is to be done before a hart goes idle."""
    scene = bench.scene
    scene.set_field(scene.hart_page(1), "hart", REAP_DUE, 1)
    for function, promise in (
        ("reap_all", "what has lost its last reference is freed (kernel/reap.h)"),
        ("shootdown_withdraw", "who serves interrupts uses no space (kernel/shootdown.h)"),
        ("info_count_pages", "the free pages are counted (kernel/info.h)"),
    ):
        scene.enter(1, "scheduler_next")
        if scene.run(1, function) == WAITS:
            fail(
                expected=f"before a hart goes idle {promise}: it calls {function}",
                found="hart 1 sleeps without having called it",
                where=scene.where(1),
            )
        scene.set_field(scene.hart_page(1), "hart", REAP_DUE, 0)
    bench.sleep(1)
    check_reaps_by_turns(bench)
