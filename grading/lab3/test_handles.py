"""Exercise 4: handles, and the calls that make and end objects."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from executor_stage import (
    CODE,
    EBADF,
    EEXIST,
    EINVAL,
    ENOMEM,
    ESRCH,
    EXECUTING,
    EXECUTOR,
    HANDLE,
    LOOP,
    MEMORY,
    RW,
    SPACE,
    TERMINATED,
    TYPE,
    TYPE_NAMES,
    Outcome,
    Stage,
    entry_text,
    errno_text,
    pattern,
)
from stag.pagetable import PAGE, R, U, V, X
from stag.verdict import check
from traced import Guarded, check_locked, entry_address

TO_EXECUTOR, TO_SPACE, TO_MEMORY, NOTHING = 0x2000000000, 0x2000001000, 0x10000, 0x2000005000
FRESH = 0x2040000000  # where tables are missing too
USER_END = 1 << 38
ALIAS = 1 << 39
TO_TEAR_DOWN = 1  # in a space's `torn`
BAD_ADDRESSES = (0, 0x2000002001, USER_END, (1 << 64) - 0x1000, TO_EXECUTOR + ALIAS)


@dataclass
class Handles:
    """An executor whose space holds a handle of each type and a page."""

    stage: Stage
    space: int
    caller: int
    executor: int
    other: int  # a space


@pytest.fixture
def handles(ready) -> Handles:
    stage = Stage(ready(harts=1))
    space = stage.space()
    caller = stage.executor(space)
    other = stage.space()
    executor = stage.executor(other)
    stage.map(space, TO_EXECUTOR, executor, HANDLE | EXECUTOR)
    stage.map(space, TO_SPACE, other, HANDLE | SPACE)
    stage.map(space, TO_MEMORY, stage.page(), RW | MEMORY)
    return Handles(stage, space, caller, executor, other)


def look_up(handles: Handles, function: str, va: int) -> int:
    with handles.stage.locked(handles.space):
        return handles.stage.call(function, handles.space, va) & (1 << 64) - 1


def check_look_up(handles: Handles, function: str, va: int, wanted: int, why: str) -> None:
    found = look_up(handles, function, va)
    walked = va % USER_END  # by the indices alone
    entry = entry_text(handles.stage.pte(handles.space, walked))
    check(
        found == wanted,
        expected=f"{function}({va:#x}) is {wanted:#x}: {why}",
        found=f"{found:#x}",
        where=f"the walk takes it for {walked:#x}, whose entry is {entry}"
        if walked != va
        else f"the entry there is {entry}",
    )


def test_handle_finds_its_object(handles: Handles) -> None:
    check_look_up(handles, "handle_executor", TO_EXECUTOR, handles.executor, "the executor's page")
    check_look_up(handles, "handle_space", TO_SPACE, handles.other, "the space's page")


def test_handle_of_another_type(handles: Handles) -> None:
    """An executor is no space, nor the other way round, and memory is neither."""
    for function, va, what in (
        ("handle_space", TO_EXECUTOR, "it is an executor's handle"),
        ("handle_executor", TO_SPACE, "it is a space's handle"),
        ("handle_executor", TO_MEMORY, "it is the program's own memory"),
        ("handle_space", TO_MEMORY, "it is the program's own memory"),
    ):
        check_look_up(handles, function, va, 0, what)


def test_no_handle_there(handles: Handles) -> None:
    for va, why in (
        (NOTHING, "nothing is mapped"),
        (FRESH, "no table is there"),
        (TO_EXECUTOR + 8, "it is not the start of a page"),
        (TO_SPACE + 0x800, "it is not the start of a page"),
        (TO_EXECUTOR + ALIAS, "there is no such user address"),
        (0xFFFFFFC000000000, "it is the kernel's"),
    ):
        check_look_up(handles, "handle_executor", va, 0, why)
        check_look_up(handles, "handle_space", va, 0, why)


def check_reference(handles: Handles, kind: str, va: int, wanted: int, why: str) -> None:
    """call_space or call_executor: its result, which holds a reference."""
    stage = handles.stage
    before = stage.references(kind, wanted) if wanted else 0
    found = stage.call(f"call_{kind}", handles.caller, va) & (1 << 64) - 1
    check(
        found == wanted,
        expected=f"call_{kind}({va:#x}) is {wanted:#x}: {why}",
        found=f"{found:#x}",
    )
    if wanted:
        after = stage.references(kind, wanted)
        check(
            after == before + 1,
            expected=f"call_{kind} takes one reference: {before + 1}",
            found=f"{after}",
            where="the object might end while the call works on it",
        )
    stage.check_locks(handles.space, handles.other)


def test_argument_is_looked_up(handles: Handles) -> None:
    check_reference(handles, "space", TO_SPACE, handles.other, "the handle's object")
    check_reference(handles, "space", 0, handles.space, "0 is the caller's own space")
    check_reference(handles, "executor", TO_EXECUTOR, handles.executor, "the handle's object")


def test_argument_of_another_type(handles: Handles) -> None:
    check_reference(handles, "space", TO_EXECUTOR, 0, "it is an executor's handle")
    check_reference(handles, "executor", TO_SPACE, 0, "it is a space's handle")
    check_reference(handles, "executor", 0, 0, "0 names no executor")


def test_argument_under_the_lock(handles: Handles) -> None:
    """What is found under the lock is an object's only as long as it is held: the
    entry is read under it, and the reference taken."""
    stage, lock = handles.stage, (handles.space,)
    for kind, va, target in (
        ("space", TO_SPACE, handles.other),
        ("executor", TO_EXECUTOR, handles.executor),
    ):
        references = target + stage.layout(kind)["references"].offset
        guarded = (
            Guarded("the handle's entry", entry_address(stage, handles.space, va), lock),
            Guarded("the object's count of references", references, lock),
        )
        check_locked(stage, guarded, f"call_{kind}", handles.caller, va)


def check_handle(handles: Handles, va: int, kind: int) -> int:
    """The entry of a new handle: its object."""
    pte = handles.stage.pte(handles.space, va)
    check(
        pte & (V | R | X | U | TYPE) == V | R | kind,
        expected=f"the entry of the handle at {va:#x} is a leaf of the type {TYPE_NAMES[kind]},"
        " with R, without X and U",
        found=entry_text(pte),
        where="kernel/riscv/page_table.h",
    )
    return (pte >> 10) * PAGE + handles.stage.offset


def test_create_space(handles: Handles) -> None:
    stage = handles.stage
    stage.check_handler("call_create_space", handles.caller, 0, FRESH)
    made = check_handle(handles, FRESH, SPACE)
    found = stage.references("space", made)
    check(found == 1, "the new space has one reference, its handle's", f"{found}")
    stage.check_locks(handles.space)


def test_create_executor(handles: Handles) -> None:
    stage = handles.stage
    for va, argument, home in (
        (FRESH, 0, handles.space),
        (FRESH + 0x1000, TO_SPACE, handles.other),
    ):
        before = stage.references("space", home)
        stage.check_handler("call_create_executor", handles.caller, 0, argument, va)
        made = check_handle(handles, va, EXECUTOR)
        found = stage.get("executor", made, "space")
        check(
            found == home,
            expected=f"create_executor({argument:#x}, …) makes one in the space {home:#x}",
            found=f"{found:#x}",
        )
        found = stage.references("executor", made)
        check(found == 1, "the new executor has one reference, its handle's", f"{found}")
        after = stage.references("space", home)
        check(
            after == before,
            expected=f"the call gives back its reference to the space: {before}",
            found=f"{after}",
        )
    stage.check_locks(handles.space, handles.other)


def test_create_refuses(handles: Handles) -> None:
    stage, caller = handles.stage, handles.caller
    references = stage.references("space", handles.other)
    for va in BAD_ADDRESSES:
        why = "no address for a handle"
        stage.check_handler("call_create_space", caller, -EINVAL, va, why=why)
        stage.check_handler("call_create_executor", caller, -EINVAL, TO_SPACE, va, why=why)
    for va in (TO_SPACE, TO_MEMORY):
        why = "something is mapped there"
        stage.check_handler("call_create_space", caller, -EEXIST, va, why=why)
        stage.check_handler("call_create_executor", caller, -EEXIST, 0, va, why=why)
    for space in (TO_EXECUTOR, TO_MEMORY, NOTHING):
        why = "the first argument is no space's handle"
        stage.check_handler("call_create_executor", caller, -EBADF, space, FRESH, why=why)
    check(
        stage.pte(handles.space, FRESH) == 0,
        expected="a call that fails maps nothing",
        found=f"{stage.pte(handles.space, FRESH):#x}",
    )
    found = stage.references("space", handles.other)
    check(
        found == references,
        expected=f"a call that fails leaves no reference to a space behind: {references}",
        found=f"{found}",
    )


def check_no_leak(handles: Handles, function: str, *arguments: int) -> None:
    """With each page_alloc in turn finding none: -ENOMEM, nothing is mapped,
    and all is given back."""
    stage = handles.stage
    leaves = stage.user_leaves(handles.space)
    homes = {kind: stage.references("space", kind) for kind in (handles.space, handles.other)}
    for n in range(1, 20):
        before = stage.free_pages()
        lists = [stage.executors(space) for space in (handles.space, handles.other)]
        outcome = stage.handler(function, handles.caller, *arguments, fail_at=n)
        if outcome.pages_asked < n:
            check(n > 2, f"{function} asks for pages", f"{n - 1} calls of page_alloc")
            return
        check(
            outcome.result == -ENOMEM,
            expected=f"{function} is -ENOMEM when page_alloc number {n} finds no page",
            found=errno_text(outcome.result),
        )
        lost = before - stage.free_pages() - stage.pages_of(outcome.released)
        check(
            lost == 0,
            expected=f"nothing is lost when page_alloc number {n} of {function} finds no page",
            found=f"{lost} pages are neither free nor on the reap list",
        )
        check(
            stage.user_leaves(handles.space) == leaves,
            expected="a call that fails leaves the space as it was",
            found=f"another mapping, after page_alloc number {n}",
        )
        for space, references in homes.items():
            found = stage.references("space", space)
            check(
                found == references,
                expected=f"a call that fails leaves no reference to a space behind: {references}",
                found=f"{found}, after page_alloc number {n} of {function}",
            )
        check_lists(handles, lists, outcome, f"page_alloc number {n} of {function} finds no page")
        stage.check_locks(handles.space)


def check_lists(handles: Handles, before: list[list[int]], outcome: Outcome, when: str) -> None:
    """The executors of both spaces are those from before, and what is about to be
    reaped."""
    reaped = {address for _, address in outcome.released}
    for space, was in zip((handles.space, handles.other), before, strict=True):
        found = [e for e in handles.stage.executors(space) if e not in reaped]
        check(
            found == was,
            expected="a new executor that nobody gets a handle of leaves its space again, when its"
            " last reference is given back",
            found=f"the list of the space {space:#x} leads to {len(set(found) - set(was))} more",
            where=f"when {when}",
        )


def test_failed_create_leaks_nothing(handles: Handles) -> None:
    check_no_leak(handles, "call_create_space", FRESH)
    check_no_leak(handles, "call_create_executor", TO_SPACE, FRESH + (1 << 30))


def test_create_at_an_occupied_address(handles: Handles) -> None:
    """… gives the new object back."""
    stage = handles.stage
    for function, arguments, what in (
        ("call_create_space", (TO_MEMORY,), "reap_space"),
        ("call_create_executor", (0, TO_MEMORY), "reap_executor"),
    ):
        before = stage.free_pages()
        lists = [stage.executors(space) for space in (handles.space, handles.other)]
        outcome = stage.handler(function, handles.caller, *arguments)
        check(outcome.result == -EEXIST, f"{function} is -EEXIST", errno_text(outcome.result))
        lost = before - stage.free_pages() - stage.pages_of(outcome.released)
        names = [name for name, _ in outcome.released]
        check(
            lost == 0 and names in ([], [what]),
            expected=f"{function}: the new object, which nobody has a handle to, loses its last"
            " reference",
            found=f"{lost} pages are lost",
        )
        check_lists(handles, lists, outcome, f"{function} is -EEXIST")


def test_destroy(handles: Handles) -> None:
    stage, caller = handles.stage, handles.caller
    for va in (TO_EXECUTOR, TO_MEMORY, NOTHING):
        stage.check_handler("call_destroy", caller, -EBADF, va, why="no space's handle")
    stage.check_handler("call_destroy", caller, 0, TO_SPACE)
    alive = stage.get("space", handles.other, "alive")
    check(alive == 0, "the space has ended", f"alive is {alive}")
    # The handle has one, and so has the end of the space until it is torn down.
    wanted = 1 + (stage.get("space", handles.other, "torn") == TO_TEAR_DOWN)
    for number in ("first", "second"):
        found = stage.references("space", handles.other)
        check(
            found == wanted,
            expected=f"the {number} destroy gives its reference to the space back: {wanted}",
            found=f"{found}",
        )
        stage.check_handler("call_destroy", caller, -ESRCH, TO_SPACE, why="it has ended")
    stage.check_handler(
        "call_create_executor", caller, -ESRCH, TO_SPACE, FRESH, why="the space has ended"
    )


def destroy_itself(stage: Stage, argument: int) -> None:
    """An executor that runs ends its own space; another one waits."""
    space, own = stage.program(LOOP)
    _, other = stage.program(LOOP)
    stage.set("space", space, "references", stage.references("space", space) + 1)
    stage.map(space, TO_SPACE, space, HANDLE | SPACE)
    stage.enter(own, pattern(5))
    stage.must("executor_start", other, CODE, 0, 0)
    stage.handler("call_destroy", own, argument, resumes=other)
    alive, state = stage.get("space", space, "alive"), stage.state(own)
    check(
        alive == 0 and bool(state & TERMINATED) and not state & EXECUTING,
        expected="the space has ended, and the executor: TERMINATED, and no hart has it",
        found=f"alive is {alive}, the state {state:#x}",
    )
    now = stage.get("hart", stage.hart_page, "executor")
    check(now == other, f"{other:#x} runs on this hart", f"{now:#x}")


def test_destroy_itself(ready) -> None:
    """By 0, and by a handle of the own space."""
    for argument in (0, TO_SPACE):
        destroy_itself(Stage(ready(harts=1)), argument)
