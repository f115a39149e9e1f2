"""Exercise 6: what becomes of an executor that faults."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from executor_stage import (
    CODE,
    EVENT_CHILD,
    EXECUTING,
    EXECUTOR,
    HANDLE,
    LOOP,
    QUEUED,
    RO,
    RW,
    RX,
    STOPPED,
    TERMINATED,
    Stage,
    differences,
    entry_text,
    pattern,
)
from stag.model import Event
from stag.pagetable import PAGE, A, R, U, V
from stag.verdict import check
from traced import LOCK_BITS, Guarded, Traced, check_locked, entry_address

FETCH, LOAD, STORE, ILLEGAL_CAUSE, BREAKPOINT, LOAD_ACCESS = 12, 13, 15, 2, 3, 5
TO_CHILD, TO_PARENT = 0x2000000000, 0x2000001000
NOWHERE = 0x123456789000
READABLE, WRITABLE, CODE_PAGE = 0x30000, 0x31000, 0x32000
FAULT_NONE = (1 << 64) - 1


@dataclass
class Family:
    """A child that runs, and stands at trap_exit, and a parent in another
    space that is queued behind it."""

    stage: Stage
    child: int
    parent: int
    child_space: int
    parent_space: int

    def fault(self, cause: int, address: int) -> int:
        """fault() for the child: who runs now."""
        return self.stage.call("fault", self.child, cause, address) & (1 << 64) - 1

    def told(self) -> tuple[int, int]:
        return (
            self.stage.get("executor", self.child, "fault_cause"),
            self.stage.get("executor", self.child, "fault_address"),
        )


@pytest.fixture
def orphan(ready) -> Family:
    """Nobody supervises the child."""
    stage = Stage(ready(harts=1))
    child_space, child = stage.program(LOOP)
    parent_space, parent = stage.program(LOOP)
    stage.map(child_space, READABLE, stage.page(), RO)
    stage.map(child_space, WRITABLE, stage.page(), RW)
    stage.map(child_space, CODE_PAGE, stage.page(), RX)
    for va, executor in ((TO_CHILD, child), (TO_PARENT, parent)):
        stage.hold(executor)
        stage.map(parent_space, va, executor, HANDLE | EXECUTOR)
    return Family(stage, child, parent, child_space, parent_space)


def run(family: Family) -> Family:
    family.stage.enter(family.child, pattern(5))
    family.stage.must("executor_start", family.parent, CODE, 0, 0)
    return family


@pytest.fixture
def family(orphan: Family) -> Family:
    """The parent supervises the child."""
    orphan.stage.check_handler("call_supervise", orphan.parent, 0, TO_CHILD, TO_PARENT)
    return run(orphan)


def test_fault_stops_the_executor(family: Family) -> None:
    stage = family.stage
    next_one = family.fault(STORE, NOWHERE + 0x123)
    state = stage.state(family.child)
    check(
        bool(state & STOPPED) and not state & (EXECUTING | QUEUED | TERMINATED),
        expected="the executor is stopped: STOPPED, and neither EXECUTING, QUEUED nor TERMINATED",
        found=f"its state is {state:#x}",
    )
    check(
        next_one == family.parent,
        expected=f"fault returns who runs now: {family.parent:#x}, the only one in the queue",
        found=f"{next_one:#x}",
    )
    now = stage.get("hart", stage.hart_page, "executor")
    check(now == family.parent, "that one runs on this hart", f"{now:#x}")
    wrong = differences([CODE, *pattern(5)[1:]], stage.saved(family.child))
    check(not wrong, "the registers and pc of the executor stay as they were", wrong)


def check_told(family: Family, cause: int, address: int) -> None:
    """What `inspect` will say of the fault, to whoever has a handle."""
    found = family.told()
    check(
        found == (cause, address),
        expected=f"fault_cause {cause} and fault_address {address:#x}",
        found="fault_cause {:#x} and fault_address {:#x}".format(*found),
        where="in the executor's page",
    )


def test_fault_is_recorded(family: Family) -> None:
    family.fault(LOAD, NOWHERE + 0x123)
    check_told(family, LOAD, NOWHERE + 0x123)


def test_supervisor_is_told(family: Family) -> None:
    stage = family.stage
    check_supervisor_is_kept(family)
    references = stage.references("executor", family.parent)
    family.fault(ILLEGAL_CAUSE, 0)
    state = stage.state(family.parent)
    check(
        bool(state & EVENT_CHILD),
        expected="EVENT_CHILD is pending for the supervisor",
        found=f"its state is {state:#x}",
    )
    found = stage.references("executor", family.parent)
    check(
        found == references,
        expected=f"the supervisor has as many references as before, {references}",
        found=f"{found}",
    )
    alive = stage.get("space", family.child_space, "alive")
    check(alive == 1, "a process whose fault is somebody's business lives on", f"alive {alive}")


def check_supervisor_is_kept(family: Family) -> None:
    """By a reference, from before the lock is released until it has been told: `supervise`
    of another hart may give back the one that the executor holds."""
    before = count = family.stage.references("executor", family.parent)
    held = told = False
    for word, event, where in traced_fault(family):
        if word == "lock" and event.mask == LOCK_BITS:
            held = bool(event.value)
        elif word == "parent's references":
            check(
                held or event.value <= count,
                expected="the reference to the supervisor is taken while the executor's lock is"
                " held, which keeps it no longer",
                found="it is taken without the lock",
                where=where,
            )
            count = event.value
        elif word == "parent's state" and event.value & EVENT_CHILD and not told:
            told = True
            check(
                count > before,
                expected="the supervisor is told while fault holds a reference to it: else it may"
                " be gone by then",
                found=f"it has {count}, as many as before the fault",
                where=where,
            )
    check(told, "EVENT_CHILD is set in the supervisor's state word", "it is not")


def traced_fault(family: Family) -> list[tuple[str, Event, str]]:
    """What fault() does to the state words of both, to the lock and the note of the
    child, and to the references to the parent, in order: which of them, how, where."""
    layout = family.stage.layout("executor")
    words = {name: family.child + layout[name].offset for name in ("state", "lock", "fault_cause")}
    words |= {f"parent's {n}": family.parent + layout[n].offset for n in ("state", "references")}
    traced = Traced(family.stage, *words.values())
    _, events = traced.call("fault", family.child, LOAD, NOWHERE)
    names = {traced.key(at): name for name, at in words.items()}
    return [(names[e.word], e, traced.where(e)) for e in events if e.what != "load"]


def test_supervisor_finds_it_at_rest(family: Family) -> None:
    """Told earlier it might look, and find the executor still running."""
    state = family.stage.state(family.child)
    told = False
    for word, event, where in traced_fault(family):
        if word == "state":
            state = event.value
        elif word == "parent's state" and event.value & EVENT_CHILD and not told:
            told = True
            check(
                not state & EXECUTING,
                expected="the supervisor is told when the hart has let go of the executor:"
                " scheduler_release comes before executor_unpark",
                found=f"EVENT_CHILD is set while the executor's state is {state:#x}, EXECUTING",
                where=where,
            )
    check(told, "EVENT_CHILD is set in the supervisor's state word", "it is not")


def test_state_changed_meanwhile(family: Family) -> None:
    """Another hart may change the state word at any moment: nothing of that is
    lost, and an executor that was made runnable again goes on."""
    held, holds = False, 0  # of the executor's lock
    noted = stopped = None  # in which hold; 0: in none. Whether it is noted is another test's
    place = ""
    for word, event, where in traced_fault(family):
        if word == "lock" and event.mask == LOCK_BITS:
            held = bool(event.value)
            holds += held
        elif word == "fault_cause":
            noted = holds if held else 0
        elif word == "state":
            check(
                event.what != "store",
                expected="the state word is changed by one atomic step each time (state.h, rule 1)",
                found=f"a plain store of {event.value:#x}: what another hart has changed since it"
                " was read is lost",
                where=where,
            )
            if event.value & STOPPED and stopped is None:
                stopped, place = holds if held else 0, where
    check(stopped is not None, "STOPPED is set in the executor's state word", "it is not")
    check(
        bool(stopped) and noted in (stopped, None),
        expected="STOPPED is set in the hold of the executor's lock in which the fault is noted: a"
        " resume that comes between would forget the fault, and the executor stop after that",
        found="STOPPED is set " + ("in another hold" if stopped else "without the lock"),
        where=place,
    )
    check_made_runnable(family)


def check_made_runnable(family: Family) -> None:
    """scheduler_release says false: somebody has resumed the executor meanwhile."""
    stage = family.stage
    harts, remote = stage.system.harts, stage.system.remote
    state = stage.state(family.child)
    harts.begin_call(stage.hart, "fault", family.child, LOAD, NOWHERE)
    back = remote.register(stage.hart, "ra")
    release, following = (harts.address(n) for n in ("scheduler_release", "scheduler_next"))
    reached = stage.run(release, back, following)
    check(
        reached == release,
        expected="the hart lets go of the executor by scheduler_release",
        found=stage.system.harts.where(stage.hart),
    )
    stage.set("executor", family.child, "state", state)
    harts.return_now(stage.hart, 0)
    reached = stage.run(back, following)
    found = remote.register(stage.hart, "a0")
    check(
        reached == back and found == family.child,
        expected="when scheduler_release says false fault returns the executor: it was made"
        " runnable again, and goes on",
        found="scheduler_next is called" if reached == following else f"it returns {found:#x}",
        where="kernel/scheduler.h",
    )


def check_process_ends(family: Family, why: str) -> None:
    stage = family.stage
    next_one = family.fault(LOAD, NOWHERE)
    alive = stage.get("space", family.child_space, "alive")
    state = stage.state(family.child)
    check(
        alive == 0 and bool(state & TERMINATED) and not state & EXECUTING,
        expected=f"{why}, the process ends: its space is not alive, its executor TERMINATED",
        found=f"alive is {alive}, the executor's state {state:#x}",
    )
    check(
        next_one == family.parent,
        expected=f"fault returns who runs now: {family.parent:#x}",
        found=f"{next_one:#x}",
    )
    alive = stage.get("space", family.parent_space, "alive")
    check(alive == 1, "another process lives on", f"alive is {alive}")
    check_told(family, LOAD, NOWHERE)


def test_fault_without_a_supervisor(orphan: Family) -> None:
    check_process_ends(run(orphan), "without a supervisor")


def test_fault_with_a_dead_supervisor(orphan: Family) -> None:
    """One that has ended can't help."""
    stage = orphan.stage
    _, dead = stage.program(LOOP)
    stage.hold(dead)
    stage.map(orphan.parent_space, TO_PARENT + 0x1000, dead, HANDLE | EXECUTOR)
    stage.check_handler("call_supervise", orphan.parent, 0, TO_CHILD, TO_PARENT + 0x1000)
    ended = stage.call("executor_terminate", dead)
    check(ended == 1, "executor_terminate says that it is at rest", f"{ended}")
    stage.call("executor_end", dead)
    run(orphan)
    # The child's, which it gives back when it ends.
    wanted = stage.references("executor", dead) - 1
    check_process_ends(orphan, "with a supervisor that has ended")
    found = stage.references("executor", dead)
    check(
        found == wanted,
        expected=f"fault leaves no reference to a supervisor that has ended: {wanted}",
        found=f"{found}",
    )


def check_goes_on(family: Family, cause: int, address: int, what: str) -> None:
    before = family.stage.state(family.child)
    next_one = family.fault(cause, address)
    state = family.stage.state(family.child)
    check(
        next_one == family.child and state == before,
        expected=f"{what}: the fault is spurious, and the executor goes on",
        found=f"{'it' if next_one == family.child else 'another one'} runs now, its state is"
        f" {state:#x}, was {before:#x}",
        where=f"cause {cause} at {address:#x}, entry"
        f" {entry_text(family.stage.pte(family.child_space, address))}",
    )
    family.stage.check_locks(family.child_space)


def test_spurious_faults(family: Family) -> None:
    """The entry has become valid since, and permits the access."""
    for cause, address, what in (
        (LOAD, READABLE + 0x10, "a load from a page that can be read"),
        (LOAD, WRITABLE, "a load from a page that can be read and written"),
        (STORE, WRITABLE + 0xFF8, "a store to a page that can be written"),
        (FETCH, CODE_PAGE + 4, "a fetch from a page that can be executed"),
        (LOAD, CODE_PAGE, "a load from a page that can be read and executed"),
    ):
        check_goes_on(family, cause, address, what)
    check(family.told()[0] == FAULT_NONE, "no fault is recorded", f"cause {family.told()[0]}")
    stage, space = family.stage, family.child_space
    entry = Guarded("the entry", entry_address(stage, space, READABLE), (space,))
    check_locked(stage, (entry,), "fault", family.child, LOAD, READABLE)
    check_flushed(family, WRITABLE)


def check_flushed(family: Family, address: int) -> None:
    """The hart remembers that the page may only be read: after a spurious fault it
    does no longer. Nor anything else of the space: what it remembers may be an
    entry that points to a table, which the flush of a page need not reach."""
    stage = family.stage
    traced = Traced(stage)
    asid = stage.get("space", family.child_space, "asid")
    for page in (address, CODE_PAGE):
        entry = stage.pte(family.child_space, page) >> 10, V | R | U | A
        traced.world.harts[0].tlb[asid, page // PAGE] = entry
    who, _ = traced.call("fault", family.child, STORE, address + 8)
    left = traced.world.harts[0].tlb
    for page, whole in ((address, "this page"), (CODE_PAGE, "all of this space")):
        check(
            who == family.child and (asid, page // PAGE) not in left,
            expected=f"what the hart remembers of {whole} goes: sfence_vma_asid(asid)",
            found=f"what it remembers of {page:#x} is still there",
            where=f"a spurious store fault at {address + 8:#x} in the space with the number {asid}",
            hint="(Else the program faults for ever. The flush of one page need not reach what is"
            " remembered of the tables on the way.)",
        )


TRUE_FAULTS = {
    "a store to a page that can only be read": (STORE, READABLE),
    "a fetch from a page without X": (FETCH, WRITABLE),
    "a store to a page of code": (STORE, CODE_PAGE),
    "a load from the kernel's image": (LOAD, 0xFFFFFFC000000000),
    "a load where nothing is mapped": (LOAD, NOWHERE),
    "a load from an address that is none": (LOAD, READABLE + (1 << 39)),
    "a breakpoint at a mapped address": (BREAKPOINT, READABLE),
    "a load access fault at a mapped address": (LOAD_ACCESS, READABLE),
}


def run_crowd(family: Family, count: int) -> int:
    """So many executors in the child's space, which somebody supervises who
    never runs: the first of them, which runs."""
    stage = family.stage
    crowd = []
    for number in range(count):
        executor = stage.executor(family.child_space)
        stage.hold(executor)
        va = TO_CHILD + (2 + number) * PAGE
        stage.map(family.parent_space, va, executor, HANDLE | EXECUTOR)
        stage.check_handler("call_supervise", family.parent, 0, va, TO_PARENT)
        crowd.append(executor)
    for executor in crowd[1:]:
        stage.must("executor_start", executor, CODE, 0, 0)
    stage.must("executor_start", crowd[0], CODE, 0, 0)
    stage.system.harts.return_now(stage.hart, 0)
    stage.run("trap_exit")
    return stage.get("hart", stage.hart_page, "executor")


def test_true_faults(orphan: Family) -> None:
    """The entry does not permit the access: going on would fault for ever."""
    stage = orphan.stage
    running = run_crowd(orphan, len(TRUE_FAULTS) + 1)
    for what, (cause, address) in TRUE_FAULTS.items():
        next_one = stage.call("fault", running, cause, address) & (1 << 64) - 1
        state = stage.state(running)
        check(
            next_one != running and bool(state & STOPPED),
            expected=f"{what} stops the executor",
            found=f"its state is {state:#x}",
            where=f"cause {cause} at {address:#x}, entry"
            f" {entry_text(stage.pte(orphan.child_space, address))}",
        )
        running = next_one


def test_access_to_a_handle(family: Family) -> None:
    """Its entry is valid, readable and writable, but not the program's."""
    stage = family.stage
    handle = TO_CHILD + (1 << 30)
    stage.map(family.child_space, handle, stage.executor(family.child_space), HANDLE | EXECUTOR)
    next_one = family.fault(LOAD, handle)
    state = stage.state(family.child)
    check(
        next_one == family.parent and state & (STOPPED | TERMINATED) == STOPPED,
        expected="a load from a handle stops the executor, and does not end it",
        found=f"its state is {state:#x}",
        where=f"the entry is {entry_text(stage.pte(family.child_space, handle))}",
    )
