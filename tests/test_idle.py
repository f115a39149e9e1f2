"""An idle machine burns no CPU of the host, and wakes up for a key.

CPU time is what QEMU's process has used, which doesn't depend on what else the
computer does.
"""

from __future__ import annotations

import time

import pytest
from conftest import KERNEL
from stag.machine import Machine
from stag.system import PROMPT

SHARE = 0.05  # of one CPU


@pytest.mark.parametrize(
    "seconds", [pytest.param(2, id="briefly"), pytest.param(10, marks=pytest.mark.slow, id="long")]
)
def test_four_idle_harts(seconds: float) -> None:
    with Machine.of(KERNEL, harts=4, debug=False) as machine:
        serial = machine.serial
        end = serial.wait_for(PROMPT, patience=60)
        time.sleep(0.5)  # the shell goes to sleep, the last tick runs out
        before, began = machine.cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        used, passed = machine.cpu_seconds() - before, time.monotonic() - began
        assert used < SHARE * passed, f"{used:.2f} s of CPU time in {passed:.1f} s"
        serial.type("x")
        serial.wait_for("x", start=end)
