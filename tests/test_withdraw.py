"""Who serves interrupts has withdrawn before: an interrupt that asks for that
would be used up, and the hart that sent it wait on (kernel/shootdown.c)."""

from __future__ import annotations

import pytest
from conftest import BootSystem

SOFTWARE = 1 << 63 | 1  # of scause


@pytest.mark.parametrize("place", ["trap", "trap_reap", "idle"])
def test_who_serves_interrupts_has_withdrawn(boot_system: BootSystem, place: str) -> None:
    system = boot_system(harts=1)
    system.run_to_prompt()
    harts, remote, memory = system.harts, system.remote, system.kernel_memory(0)
    hart = system.symbols.struct("hart")

    def published() -> int:
        return memory.u64(remote.register(0, "tp") + hart["published"].offset)

    system.machine.serial.type("x")
    if place != "idle":
        harts.run("call_dispatch")
        assert published() != 0, "a call takes nothing back"
        memory.set_u64(remote.register(0, "tp") + hart["reap_due"].offset, 1)
        remote.set_register(0, "a1", SOFTWARE)
        remote.set_register(0, "pc", system.symbols[place])
    harts.run("interrupt_serve")
    assert published() == 0, f"interrupts are served, by way of {place}, before the hart withdraws"
