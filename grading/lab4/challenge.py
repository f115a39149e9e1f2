"""The challenge: a lock that hands over to the nearest.

Harts 2k and 2k + 1 are a pair. Who gets the lock at a release is compared with
`Line`, which is written from the handout; that it still excludes, and leaves
nobody waiting, is explored from lines in which harts stand when it begins.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations

import pytest
from stag.errors import GuestPanic
from stag.explore import Thread
from stag.verdict import check, fail
from test_mcs_lock import Lock

IN_A_ROW = 4
HARTS = range(4)


@dataclass
class Line:
    """Who holds the lock and who waits, first come first, as it must be."""

    holder: int
    waiting: list[int] = field(default_factory=list)
    passed_over: int = 0  # so often in a row the first in line was

    @property
    def wanted(self) -> int:
        """Who gets the lock next."""
        partner = self.holder ^ 1
        may = partner in self.waiting and self.passed_over < IN_A_ROW
        return partner if may else self.waiting[0]

    @property
    def why(self) -> str:
        if self.wanted == self.waiting[0]:
            if self.holder ^ 1 in self.waiting[1:]:
                return f"the first in line was passed over {IN_A_ROW} times in a row"
            return "it is the first in line"
        return f"it is the partner of hart {self.holder}"

    def hand_over(self) -> None:
        wanted = self.wanted
        self.passed_over = 0 if wanted == self.waiting[0] else self.passed_over + 1
        self.waiting.remove(wanted)
        self.holder = wanted

    def __str__(self) -> str:
        return f"hart {self.holder} holds it, and in line are {', '.join(map(str, self.waiting))}"


class PairLock(Lock):
    """The lock, and beside it the line as it must be."""

    line: Line

    def begin(self, holder: int, *waiting: int) -> None:
        """This hart holds the lock, these wait, in the order in which they came."""
        self.scene.call(holder, "mcs_lock_acquire", self.at)
        self.line = Line(holder)
        for hart in waiting:
            self.come(hart)

    def come(self, hart: int) -> None:
        self.acquire(hart)
        check(
            self.waits_on(hart) is not None,
            expected=f"hart {hart} waits while hart {self.line.holder} holds the lock",
            found="mcs_lock_acquire returns",
        )
        self.line.waiting.append(hart)

    def release(self) -> int:
        """The holder releases, and the right one gets the lock. Who released."""
        line = self.line
        expected = f"{line}. It releases, and hart {line.wanted} gets the lock: {line.why}"
        try:
            self.scene.call(line.holder, "mcs_lock_release", self.at)
        except GuestPanic as panic:
            fail(expected, str(panic))
        # The last in line is looked at first: it must not push in.
        got = [hart for hart in reversed(line.waiting) if self.waits_on(hart) is None]
        check(
            got == [line.wanted],
            expected=expected,
            found="the lock went to " + (" and ".join(f"hart {h}" for h in got) or "nobody"),
            where="\n".join(f"hart {h}: {self.scene.where(h)}" for h in line.waiting),
            hint="in line is whoever has linked itself to the one before it",
        )
        released = line.holder
        line.hand_over()
        return released

    def end(self) -> None:
        """All that still wait get it, one after the other; then it is free."""
        while self.line.waiting:
            self.release()
        self.scene.call(self.line.holder, "mcs_lock_release", self.at)
        check(
            self.word() == 0,
            expected="the lock, given back by the last, is 0",
            found=f"{self.word():#x}",
            hint="the lock names the last in line; who leaves from the end of the line is last no"
            " more",
        )

    def explore(self, waiting: Sequence[int], coming: Sequence[int], model: str) -> None:
        """Hart 0 holds the lock, some wait in line, some are about to come: all add
        one under it, in any order of events. Hart 0 then comes again."""
        scene = self.scene
        scene.call(0, "mcs_lock_acquire", self.at)
        for hart in waiting:
            state = scene.world.harts[hart]
            scene.world.prepare(state, self.add_one(), scene.resolve)
            self.waits_on(hart)
        scene.explore(
            [
                Thread(0, *self.add_one()[1:], *self.add_one()),
                *(Thread(hart) for hart in waiting),
                *(Thread(hart, *self.add_one()) for hart in coming),
            ],
            lambda _: self.judge(2 + len(waiting) + len(coming)),
            models=[model],
            hint="one that is taken out of the middle leaves its neighbours to be linked; one that"
            " is taken from the end is still named by the lock, and another may be about to link"
            " itself to it",
        )


@pytest.fixture
def lock(scene) -> PairLock:
    return PairLock(scene())


def test_lock_prefers_the_partner(lock: PairLock) -> None:
    """Whoever holds it, and in whatever order the others came."""
    for order in permutations(HARTS):
        lock.begin(*order)
        lock.end()


def test_lock_passes_over_four_times(lock: PairLock) -> None:
    """Two of a pair come again and again, while others wait."""
    for others in ((2, 3), (3, 2), (3,)):
        lock.begin(0, *others, 1)
        for _ in range(4 * (IN_A_ROW + 1)):
            lock.come(lock.release())
        lock.end()


def test_lock_counts_in_a_row(lock: PairLock) -> None:
    """They come again or not, as the dice fall: the count starts anew whenever the
    first in line gets the lock."""
    dice = random.Random(4)
    lock.begin(0)
    away = [1, 2, 3]
    for _ in range(300):
        for hart in list(away):
            if not lock.line.waiting or dice.random() < 0.8:
                away.remove(hart)
                lock.come(hart)
        away.append(lock.release())
    lock.end()


def test_lock_pairs_exclude(scene) -> None:
    """One hart at a time, and nobody waits for ever, in any order of events."""
    for waiting, coming in (((2, 1), (3,)), ((2, 3, 1), ()), ((2,), (1,))):
        PairLock(scene()).explore(waiting, coming, "sc")


def test_lock_pairs_memory_order(scene) -> None:
    """… also while stores reach memory late, and pass each other."""
    for waiting, coming in (((2, 1), (3,)), ((2, 3, 1), ())):
        PairLock(scene()).explore(waiting, coming, "pso")
