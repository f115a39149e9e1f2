"""When a hart takes back that it uses a space (kernel/shootdown.c): before it
serves interrupts, as one that asks for that would be used up, and the hart that
sent it wait on; and before anything that takes long."""

from __future__ import annotations

import pytest
from conftest import BootSystem, System

SOFTWARE = 1 << 63 | 1  # of scause
WORD = 8
QUEUED, STOPPED = 2, 8  # of a state word
READ_WRITE = 3
AREA = 0x8000000
A0 = 9  # of an executor's registers


@pytest.fixture
def shell(boot_system: BootSystem) -> System:
    """The one hart is asleep, and will run the shell, for which a key was typed."""
    system = boot_system(harts=1)
    system.run_to_prompt()
    system.machine.serial.type("x")
    return system


def published(system: System) -> int:
    """The space in which the hart is published, 0 for none."""
    hart = system.remote.register(0, "tp")
    return system.kernel_memory(0).u64(hart + system.symbols.struct("hart")["published"].offset)


@pytest.mark.parametrize("place", ["trap", "trap_reap", "idle"])
def test_who_serves_interrupts_has_withdrawn(shell: System, place: str) -> None:
    if place != "idle":
        shell.harts.run("call_dispatch")
        assert published(shell) != 0, "a call takes nothing back"
        due = shell.symbols.struct("hart")["reap_due"].offset
        shell.kernel_memory(0).set_u64(shell.remote.register(0, "tp") + due, 1)
        shell.remote.set_register(0, "a1", SOFTWARE)
        shell.remote.set_register(0, "pc", shell.symbols[place])
    shell.harts.run("interrupt_serve")
    assert published(shell) == 0, f"interrupts are served, by way of {place}, before it withdraws"


def test_who_zeroes_many_pages_has_withdrawn(shell: System) -> None:
    shell.harts.run("call_dispatch")
    assert published(shell) != 0
    registers = shell.remote.register(0, "a0") + shell.symbols.struct("executor")["x"].offset
    for index, argument in enumerate((0, AREA, 4096, READ_WRITE, 0)):
        shell.kernel_memory(0).set_u64(registers + (A0 + index) * WORD, argument)
    shell.remote.set_register(0, "pc", shell.symbols["call_map"])
    shell.harts.run("page_list_fill")
    assert published(shell) == 0, "a map zeroes 4,096 pages before the hart withdraws"


def test_who_lets_go_of_many_has_withdrawn(shell: System) -> None:
    """The run queue may be full of executors that were stopped meanwhile: each is
    let go, and whoever unmaps waits for one of them at most."""
    shell.harts.run("call_park")
    memory, executor = shell.kernel_memory(0), shell.symbols.struct("executor")
    stopped = [shell.harts.call(0, "page_alloc") for _ in range(3)]
    for page, following in zip(stopped, [*stopped[1:], 0], strict=True):
        shell.harts.call(0, "page_zero", page)
        memory.set_u64(page + executor["state"].offset, QUEUED | STOPPED)
        memory.set_u64(page + executor["references"].offset, 2)
        memory.set_u64(page + executor["next"].offset, following)
    queue, ends = shell.symbols["global_page"], shell.symbols.struct("global")
    memory.set_u64(queue + ends["sched_head"].offset, stopped[0])
    memory.set_u64(queue + ends["sched_tail"].offset, stopped[-1])
    shell.harts.run("mcs_lock_acquire")
    assert published(shell) != 0, "nothing was let go yet"
    shell.harts.run("mcs_lock_acquire")
    assert published(shell) == 0, "the next is taken off the queue before the hart withdraws"
