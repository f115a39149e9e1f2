"""A computer that stands still for a while makes no verdict."""

from __future__ import annotations

import socket
import time

import pytest
from conftest import BootSystem
from stag import patience
from stag.errors import GuestHang
from stag.patience import LOOK, Patience
from stag.remote import Remote

HOUR = 3600.0


class Clock:
    """Goes on by so much, each time that somebody looks."""

    def __init__(self, step: float) -> None:
        self.now, self.step, self.looks = 0.0, step, 0

    def monotonic(self) -> float:
        self.now += self.step
        self.looks += 1
        return self.now


class Stalls(Clock):
    """The true clock, but an hour passes at some looks."""

    def monotonic(self) -> float:
        self.looks += 1
        self.now += self.step * (self.looks in (4, 5, 20, 40))
        return time.monotonic() + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(HOUR)
    monkeypatch.setattr(patience, "time", clock)
    return clock


def test_time_is_counted(clock: Clock) -> None:
    clock.step = 0.25
    waiting = Patience(1.0)
    assert [waiting.pause() for _ in range(5)] == [0.5, 0.5, 0.25, 0.0, 0.0]


def test_an_hour_counts_as_one_look(clock: Clock) -> None:
    waiting = Patience(3.5 * LOOK)
    assert [waiting.pause() > 0 for _ in range(5)] == [True, True, True, False, False]


def test_the_stub_may_answer_after_a_stall(clock: Clock) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        remote = Remote(ours)
        with pytest.raises(GuestHang, match="no answer from the debug stub within 5 seconds"):
            remote.wait(5.0)
        assert clock.looks == 6
        theirs.sendall(b"$W00#b7")
        assert remote.wait(0.0).exit_code == 0


def test_no_verdict_after_stalls(
    boot_system: BootSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever waits for a machine looks again before it gives up."""
    system = boot_system(harts=2)
    clock = Stalls(HOUR)
    monkeypatch.setattr(patience, "time", clock)
    system.run_to_prompt()
    system.settle()
    assert "hello" in system.command("hello")
    assert clock.now == 4 * HOUR
