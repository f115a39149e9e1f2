"""Lab 5, exercise 5: stop and resume."""

from __future__ import annotations

from park_bench import (
    EBUSY,
    EINVAL,
    ESRCH,
    ETIMEDOUT,
    EXECUTING,
    PARKED,
    QUEUED,
    SPARE,
    STOPPED,
    Bench,
)
from stag.explore import Thread
from stag.model import SOFTWARE, WAITS, Call, signed_result
from stag.verdict import check
from user_code import JUMP_HERE, put_code

EVENT = 1 << 3
LOAD_FAULT = 13


def returns(bench: Bench, function: str, executor: int, wanted: int, what: str) -> None:
    found = bench.scene.call_signed(SPARE, function, executor) & 0xFFFFFFFF
    bench.check_locks_given_back(SPARE, function)
    check(
        found == wanted & 0xFFFFFFFF,
        f"{function} of an executor that {what} returns {wanted}",
        f"{found - (1 << 32) if found >> 31 else found}",
    )


def test_stop_resume_errors(scene) -> None:
    bench = Bench(scene())
    new = bench.executor("new")
    returns(bench, "executor_resume", new, -EINVAL, "was never started")
    queued = bench.started("queued")
    returns(bench, "executor_resume", queued, -EBUSY, "is queued")
    bench.check_queued(queued, after="a start")
    running = bench.running(1, "running")
    returns(bench, "executor_resume", running, -EBUSY, "runs")
    bench.park(1, running, EVENT)
    returns(bench, "executor_resume", running, -EBUSY, "is parked")
    returns(bench, "executor_stop", running, 0, "is parked")
    returns(bench, "executor_stop", running, 0, "is stopped")
    bench.scene.call(SPARE, "executor_terminate", running)
    returns(bench, "executor_stop", running, -ESRCH, "has ended")
    returns(bench, "executor_resume", running, -ESRCH, "has ended")


def test_stop_while_queued(scene) -> None:
    bench = Bench(scene())
    a = bench.started("A")
    returns(bench, "executor_stop", a, 0, "is queued")
    bench.check_queued(after="a stop of A, which was queued")
    bench.check_at_rest(a, STOPPED, "that")
    returns(bench, "executor_resume", a, 0, "is stopped")
    bench.check_queued(a, after="resume")
    b, c = bench.started("B"), bench.started("C")
    returns(bench, "executor_stop", b, 0, "is queued")
    returns(bench, "executor_resume", b, 0, "is stopped, and queued still")
    bench.check_queued(b, c, after="stop and resume, before any hart came to it")


def test_stop_interrupts_the_hart(scene) -> None:
    bench = Bench(scene())
    code = put_code(bench, [JUMP_HERE])
    a = bench.started("A", code)
    scene = bench.scene
    scene.run(2, code)
    returns(bench, "executor_stop", a, 0, "runs on hart 2")
    check(
        bool(scene.world.harts[2].accepts >> SOFTWARE & 1),
        "stop interrupts the hart that runs A",
        f"no interrupt is pending there; {bench.describe(a)}",
        hint="STOPPED is a request: whoever has EXECUTING must come to the word (rule 4)",
    )
    slept = scene.run(2) == WAITS
    check(slept, "hart 2 lets A go and sleeps", f"hart 2 is at {scene.where(2)}")
    bench.check_at_rest(a, STOPPED, "the interrupt")
    returns(bench, "executor_resume", a, 0, "is stopped")
    scene.run(2, code)
    check(
        scene.in_user_mode(2) and bench.state(a) & (EXECUTING | STOPPED) == EXECUTING,
        f"A runs on at pc {code:#x}",
        f"hart 2 is at {scene.where(2)}; {bench.describe(a)}",
    )


def test_event_while_stopped(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.park(1, a, EVENT)
    returns(bench, "executor_stop", a, 0, "is parked")
    bench.scene.call(2, "executor_unpark", a, EVENT)
    bench.check_at_rest(a, STOPPED, "an event for one that is parked and stopped")
    bench.check_queued(after="an event for A, which is parked and stopped")
    returns(bench, "executor_resume", a, 0, "is stopped")
    bench.check_queued(a, after="resume, as the event has come")
    bench.check_result(a, EVENT, "the event")


def test_resume_while_parked(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.park(1, a, EVENT)
    returns(bench, "executor_stop", a, 0, "is parked")
    returns(bench, "executor_resume", a, 0, "is parked and stopped")
    bench.check_at_rest(a, PARKED, "stop and resume")
    bench.check_queued(after="stop and resume of A, which waits for an event")
    bench.scene.call(2, "executor_unpark", a, EVENT)
    bench.check_queued(a, after="the event that A waits for")
    bench.check_result(a, EVENT, "the event")


def test_resume_while_executing(scene) -> None:
    """Resume comes before the hart that runs A has seen to the stop."""
    bench = Bench(scene())
    a = bench.running(1, "A")
    references = bench.references(a)
    returns(bench, "executor_stop", a, 0, "runs on hart 1")
    stopped = bench.scene.world.save()
    returns(bench, "executor_resume", a, 0, "is stopped, and hart 1 still has it")
    hint = "hart 1 goes on with it: queued as well, two harts would run it (rule 2)"
    check(
        bench.state(a) & (EXECUTING | QUEUED | STOPPED) == EXECUTING,
        "after stop and resume hart 1 still executes A, and A is not queued",
        bench.describe(a),
        hint=hint,
    )
    bench.check_queued(after="stop and resume of A, which hart 1 still has", hint=hint)
    bench.scene.world.restore(stopped)

    def judge(_: object) -> str | None:
        here = not bench.asleep(1)
        if wrong := bench.wrongly_queued(*[a] * (not here)):
            return f"{'hart 1 runs A' if here else 'A was resumed'}; {wrong}"
        if bench.references(a) != references:
            return f"A runs, and has {bench.references(a)} references, not {references}"
        return None

    bench.scene.explore(
        [
            Thread(1, Call("scheduler_leave", (a,)), waits=True),
            Thread(2, Call("executor_resume", (a,))),
        ],
        judge,
        hint="what the word was in the step that cleared STOPPED decides who has A: its hart, or"
        " the run queue",
    )


def test_deadline_while_stopped(scene) -> None:
    bench = Bench(scene())
    deadline = bench.scene.world.time + 100
    a = bench.running(1, "A")
    bench.park(1, a, EVENT, deadline)
    returns(bench, "executor_stop", a, 0, "is parked")
    bench.scene.call(2, "deadline_expire", deadline)
    bench.check_at_rest(a, STOPPED, "the deadline of one that is parked and stopped")
    bench.check_queued(after="the deadline of A, which is stopped")
    returns(bench, "executor_resume", a, 0, "is stopped")
    bench.check_queued(a, after="resume, as the deadline has passed")
    bench.check_result(a, -ETIMEDOUT, "the deadline")


def test_stop_against_wake(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    bench.park(1, a, EVENT)

    def judge(_: object) -> str | None:
        if wrong := bench.wrongly_queued():
            return f"A was stopped: {wrong}"
        if bench.state(a) & (STOPPED | EXECUTING | QUEUED) != STOPPED:
            return f"A was stopped: {bench.describe(a)}"
        bench.scene.call(SPARE, "executor_resume", a)
        if bench.queued() != [a]:
            return f"A was woken and resumed, but is not in the run queue: {bench.describe(a)}"
        if (bench.register(a), bench.events(a)) != (EVENT, 0):
            return f"a0 is {bench.register(a):#x}; {bench.describe(a)}"
        return None

    bench.scene.explore(
        [Thread(1, Call("executor_stop", (a,))), Thread(2, Call("executor_unpark", (a, EVENT)))],
        judge,
        hint="each change of the state word is one compare-and-swap of the whole word",
    )


def test_resume_against_wake(scene) -> None:
    bench = Bench(scene())
    a = bench.running(1, "A")
    references = bench.references(a)
    bench.park(1, a, EVENT)
    returns(bench, "executor_stop", a, 0, "is parked")

    def judge(_: object) -> str | None:
        if wrong := bench.wrongly_woken(a, references):
            return wrong
        if (bench.register(a), bench.events(a)) != (EVENT, 0):
            return f"a0 is {bench.register(a):#x}; {bench.describe(a)}"
        return None

    bench.scene.explore(
        [Thread(1, Call("executor_resume", (a,))), Thread(2, Call("executor_unpark", (a, EVENT)))],
        judge,
        hint="the step after which nothing keeps A from running sets QUEUED too (rule 2)",
    )


def test_two_resumes(scene) -> None:
    bench = Bench(scene())
    a = bench.started("A")
    returns(bench, "executor_stop", a, 0, "is queued")
    bench.check_queued(after="a stop of A, which was queued")

    def judge(_: object) -> str | None:
        results = sorted(signed_result(bench.scene.world.harts[h].results[0]) for h in (1, 2))
        if results != [-EBUSY, 0]:
            return f"one resume must return 0, the other -EBUSY, not {results}"
        if wrong := bench.wrongly_queued(a):
            return wrong
        return None

    bench.scene.explore(
        [Thread(1, Call("executor_resume", (a,))), Thread(2, Call("executor_resume", (a,)))],
        judge,
        hint="look at STOPPED again whenever the compare-and-swap has failed",
    )


def test_stop_against_dispatch(scene) -> None:
    bench = Bench(scene())
    code = put_code(bench, [JUMP_HERE])
    a = bench.started("A", code)

    def judge(_: object) -> str | None:
        hart = bench.scene.world.harts[1]
        if bench.state(a) & EXECUTING and not hart.accepts >> SOFTWARE & 1:
            return "A was stopped, but runs on in user mode, and no interrupt is on its way"
        return None

    bench.scene.explore(
        [Thread(1, until=[code], waits=True), Thread(2, Call("executor_stop", (a,)))],
        judge,
        hint="whether a hart runs A is what the word was in the step that set STOPPED",
    )


def test_resume_keeps_a_new_fault(scene) -> None:
    """A goes on, on hart 2, and faults at once: put into the queue by resume,
    or in it still."""
    bench = Bench(scene())
    a, b = bench.started("A"), bench.executor("B")
    bench.scene.set_field(a, "executor", "supervisor", b)
    returns(bench, "executor_stop", a, 0, "is queued")
    bench.scene.set_field(a, "executor", "fault_cause", 15)  # an old one

    def judge(_: object) -> str | None:
        cause = bench.scene.field(a, "executor", "fault_cause")
        if bench.state(a) & STOPPED and cause != LOAD_FAULT:
            return f"A has faulted with cause {LOAD_FAULT}, and the cause kept is {cause:#x}"
        if not bench.state(a) & STOPPED and cause != (1 << 64) - 1:
            return f"A was resumed, and the cause of its old fault {cause:#x} is still there"
        return None

    for queued in (True, False):
        if not queued:
            bench.check_queued(after="a stop of A, which was queued")
        bench.scene.explore(
            [
                Thread(1, Call("executor_resume", (a,))),
                Thread(2, Call("scheduler_next"), Call("fault", (a, LOAD_FAULT, 0)), waits=True),
            ],
            judge,
            models=("sc",),
            hint="A may run, and fault, before executor_resume has returned: fault() takes the"
            " executor's lock, which must span both the step that clears STOPPED and the"
            " forgetting of the old cause",
        )
