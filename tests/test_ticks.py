"""A quantum ends whatever the hart was called into the kernel for: the tick may
come with another interrupt, or while objects are freed. And the info page's counts
of free pages are true at each tick, and when a hart goes idle."""

from __future__ import annotations

import pytest
from conftest import BootSystem, System
from stag.harts import WFI

SOFTWARE, TIMER = 1 << 63 | 1, 1 << 63 | 5  # of scause


@pytest.fixture
def ticking(boot_system: BootSystem) -> System:
    """The one hart runs a loop, another loop waits, and a tick has come: the hart is
    about to call `trap`."""
    system = boot_system(harts=1)
    system.run_to_prompt()
    system.machine.serial.type("loop &\nloop &\n")
    head = system.symbols["global_page"] + system.symbols.struct("global")["sched_head"].offset
    while system.remote.register(0, "a1") != TIMER or system.kernel_memory(0).u64(head) == 0:
        system.harts.run("trap")
    return system


def field(system: System, name: str) -> int:
    """The address of a field of the hart page."""
    return system.remote.register(0, "tp") + system.symbols.struct("hart")[name].offset


def reap_instead(system: System, switched: bool) -> int:
    """The hart goes through trap_reap, in place of trap: who goes on."""
    memory, remote = system.kernel_memory(0), system.remote
    memory.set_u64(field(system, "reap_due"), 1)
    memory.set_u64(field(system, "switched"), int(switched))
    remote.set_register(0, "pc", system.symbols["trap_reap"])
    system.harts.run(remote.register(0, "ra"))
    return remote.register(0, "a0")


@pytest.mark.parametrize("place", ["trap", "trap_reap"])
def test_tick_ends_a_turn(ticking: System, place: str) -> None:
    remote = ticking.remote
    executor = remote.register(0, "a0")
    if place == "trap":
        remote.set_register(0, "a1", SOFTWARE)
        ticking.harts.run(remote.register(0, "ra"))
    else:
        reap_instead(ticking, switched=False)
    assert remote.register(0, "a0") != executor, "it goes on, though its tick was served"


def test_tick_ends_no_turn_that_begins(ticking: System) -> None:
    """While there is more to free than a quantum is long, each trap takes one."""
    executor = ticking.remote.register(0, "a0")
    assert reap_instead(ticking, switched=True) == executor, (
        "who was dispatched in this trap has no turn, as things were freed in it"
    )


def test_tick_ends_reaping(ticking: System) -> None:
    """Two spaces are to be freed, one after the other. The rest is for the next
    traps."""
    harts, memory = ticking.harts, ticking.kernel_memory(0)
    out = harts.call(0, "page_alloc")
    for _ in range(2):
        assert harts.call(0, "space_create", out) == 0
        harts.call(0, "space_put", memory.u64(out))
    due = field(ticking, "reap_due")
    reap_instead(ticking, switched=False)
    assert memory.u64(due) == 1, "all is freed before anybody gets a turn, though a tick was served"
    traps = 0
    while memory.u64(due) != 0:
        harts.run("trap_reap")
        harts.run(ticking.remote.register(0, "ra"))
        traps += 1
        assert traps < 20, "what is left is not freed at the next traps"


def counts(system: System) -> list[int]:
    """Where the info page tells how many pages are free: in the queue and above the
    marks, and in the first hart's cache."""
    layout = system.symbols.struct("info_page")
    names = ("pages_shared_free", "pages_cached")
    return [system.variable("info_page") + layout[name].offset for name in names]


def spoil_counts(system: System) -> None:
    for address in counts(system):
        system.memory.set_u64(address, 1)


def check_counts(system: System) -> None:
    state = system.allocation()
    told = [system.memory.u64(address) for address in counts(system)]
    assert told == [state.free - state.cached, state.cached]


def test_pages_are_counted_at_a_tick(ticking: System) -> None:
    spoil_counts(ticking)
    ticking.harts.run(ticking.remote.register(0, "ra"))
    check_counts(ticking)


def test_pages_are_counted_before_a_hart_sleeps(boot_system: BootSystem) -> None:
    """The shell takes a key, and there is nothing else to do."""
    system = boot_system(harts=1)
    system.run_to_prompt()
    system.machine.serial.type("x")
    system.harts.run("idle")
    spoil_counts(system)
    system.harts.step_until(0, lambda _: system.harts.instruction(0) == WFI)
    check_counts(system)
