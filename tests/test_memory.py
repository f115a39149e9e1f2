"""No page is lost: not by programs that run, nor by calls that fail."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from conftest import BootSystem
from stag.pagetable import PAGE
from stag.system import Caller, System

CALL_YIELD, CALL_DESTROY = 1, 11
CALL_MAP, CALL_UNMAP, CALL_SHARE, CALL_CREATE_SPACE, CALL_CREATE_EXECUTOR = 3, 4, 5, 6, 7
ENOMEM = 12
READ, WRITE = 1, 2
AREA = 0x1000000000  # far from everything that programs use
HANDLE = 0x3000000000
GIB = 1 << 30


def check_free_pages(system: System, before: int, what: str) -> None:
    state = system.allocation()
    state.check()
    assert state.free == before, f"{what}: {before - state.free} pages are missing; {state}"


def test_table_is_sound_at_the_prompt(boot_system: BootSystem) -> None:
    system = boot_system(harts=4)
    system.run_to_prompt()
    state = system.allocation()
    state.check()
    assert state.free + state.allocated == state.pages, str(state)
    assert len(state.caches) == 4


def test_most_of_ram_is_free(boot_system: BootSystem) -> None:
    """The allocation table takes a 512th, firmware and kernel a few MiB."""
    system = boot_system(harts=1, memory="128M")
    system.run_to_prompt()
    assert system.allocation().free * PAGE > 120 << 20


@pytest.mark.parametrize("harts", [1, 4])
def test_programs_give_everything_back(boot_system: BootSystem, harts: int) -> None:
    system = boot_system(harts=harts)
    system.run_to_prompt()
    system.command("hello")  # the shell's own heap has grown by now
    before = system.allocation().free
    for line in ("hello", "mem", "pingpong", "primes", "philosophers", "hello"):
        said = system.command(line)
        assert said, f"{line} printed nothing"
        check_free_pages(system, before, f"after {line}")


def test_crashes_give_everything_back(boot_system: BootSystem) -> None:
    system = boot_system(harts=2)
    system.run_to_prompt()
    system.command("crash null")
    before = system.allocation().free
    for _ in range(3):
        system.command("crash null")
        check_free_pages(system, before, "after a crash")


@dataclass(frozen=True)
class Call:
    """A system call that needs pages, and the one that undoes it."""

    name: str
    arguments: tuple[int, ...]
    undo: tuple[int, ...]
    prepare: tuple[tuple[int, ...], ...] = ()
    clean_up: tuple[tuple[int, ...], ...] = ()


MAP_SPACE = (CALL_CREATE_SPACE, HANDLE)
DROP_SPACE = (CALL_UNMAP, 0, HANDLE, 1)
CALLS = [
    Call("map one page", (CALL_MAP, 0, AREA, 1, READ | WRITE, 0), (CALL_UNMAP, 0, AREA, 1)),
    Call(
        "map over a table's border",
        (CALL_MAP, 0, AREA + GIB - 3 * PAGE, 6, READ | WRITE, 0),
        (CALL_UNMAP, 0, AREA + GIB - 3 * PAGE, 6),
    ),
    Call("map 40 pages", (CALL_MAP, 0, AREA, 40, READ, 0), (CALL_UNMAP, 0, AREA, 40)),
    Call("create a space", MAP_SPACE, DROP_SPACE),
    Call(
        "create an executor",
        (CALL_CREATE_EXECUTOR, HANDLE, AREA),
        (CALL_UNMAP, 0, AREA, 1),
        (MAP_SPACE,),
        (DROP_SPACE,),
    ),
    Call(
        "share with another space",
        (CALL_SHARE, 0, AREA, HANDLE, AREA + GIB, 3, READ),
        (CALL_UNMAP, HANDLE, AREA + GIB, 3),
        (MAP_SPACE, (CALL_MAP, 0, AREA, 3, READ | WRITE, 0)),
        ((CALL_UNMAP, 0, AREA, 3), DROP_SPACE),
    ),
    Call(
        "map in another space",
        (CALL_MAP, HANDLE, AREA, 5, READ | WRITE, 0),
        (CALL_UNMAP, HANDLE, AREA, 5),
        (MAP_SPACE,),
        (DROP_SPACE,),
    ),
]
ATTEMPTS = 100


def succeed(caller: Caller, *calls: tuple[int, ...]) -> None:
    for number, *arguments in calls:
        result = caller.call(number, *arguments)
        assert result >= 0, f"call {number} with {arguments} returned {result}"
    free_the_rest(caller)


def free_the_rest(caller: Caller) -> None:
    """If a tick comes while objects are freed, what is left of them is for the next
    trap (kernel/reap.h)."""
    system = caller.system
    page = system.memory.u64(system.symbols["harts"])
    due = page + system.symbols.struct("hart")["reap_due"].offset
    for _ in range(ATTEMPTS):
        if system.memory.u64(due) == 0:
            return
        caller.call(CALL_YIELD)
    raise AssertionError("reap_due stays set")


@pytest.mark.parametrize("mmu", ["sv39", "sv48"])
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name.replace(" ", "-"))
def test_nth_page_cannot_be_had(boot_system: BootSystem, call: Call, mmu: str) -> None:
    """For each page that the call allocates: without it the call fails with
    -ENOMEM, and everything is as before."""
    system = boot_system(harts=1, mmu=mmu)
    hart = system.run_to_user()
    before_all = system.allocation().free
    with system.borrowed(hart) as caller:
        succeed(caller, *call.prepare)
        before = system.allocation().free
        number, *arguments = call.arguments
        for n in range(1, ATTEMPTS):
            result, entries = caller.call_failing("page_alloc", n, number, *arguments)
            if entries < n:
                break
            assert result == -ENOMEM, f"without page {n}: {result} instead of -ENOMEM"
            free_the_rest(caller)
            check_free_pages(system, before, f"after {call.name} failed at page {n}")
        assert n > 1, f"{call.name} allocated no page"
        assert n < ATTEMPTS
        assert result >= 0, f"with all its pages {call.name} returned {result}"
        assert system.allocation().free < before
        succeed(caller, call.undo)
        check_free_pages(system, before, f"after {call.name} was undone")
        succeed(caller, *call.clean_up)
    check_free_pages(system, before_all, "in the end")


def test_truly_out_of_memory(boot_system: BootSystem) -> None:
    """Map until there is nothing left, then give it back."""
    system = boot_system(harts=1, memory="32M")
    hart = system.run_to_user()
    before = system.allocation().free
    chunk = 512
    with system.borrowed(hart) as caller:
        mapped = []
        for address in range(AREA, AREA + GIB, chunk * PAGE):
            result = caller.call(CALL_MAP, 0, address, chunk, READ | WRITE, 0)
            if result != 0:
                break
            mapped.append(address)
        assert result == -ENOMEM
        assert mapped, "not even the first map succeeded"
        state = system.allocation()
        state.check()
        assert state.free < chunk + 4, f"map gave up too early: {state}"
        for address in mapped:
            assert caller.call(CALL_UNMAP, 0, address, chunk) == 0
    check_free_pages(system, before, "in the end")
