"""A quantum ends whatever the hart was called into the kernel for: the tick may
come with another interrupt, or while objects are freed."""

from __future__ import annotations

import pytest
from conftest import BootSystem

SOFTWARE, TIMER = 1 << 63 | 1, 1 << 63 | 5  # of scause


@pytest.mark.parametrize("place", ["trap", "trap_reap"])
def test_tick_ends_a_turn(boot_system: BootSystem, place: str) -> None:
    system = boot_system(harts=1)
    system.run_to_prompt()
    system.machine.serial.type("loop &\nloop &\n")
    harts, remote = system.harts, system.remote
    head = system.symbols["global_page"] + system.symbols.struct("global")["sched_head"].offset
    memory = system.kernel_memory(0)
    while remote.register(0, "a1") != TIMER or memory.u64(head) == 0:
        harts.run("trap")
    executor = remote.register(0, "a0")
    if place == "trap":
        remote.set_register(0, "a1", SOFTWARE)
    else:
        due = system.symbols.struct("hart")["reap_due"].offset
        memory.set_u64(remote.register(0, "tp") + due, 1)
        remote.set_register(0, "pc", system.symbols["trap_reap"])
    harts.run(remote.register(0, "ra"))
    assert remote.register(0, "a0") != executor, "it goes on, though its tick was served"
