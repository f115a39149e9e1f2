"""Tries every order of what two or three harts do to each other.

    exploration = explore(world, [
        Thread(0, Call("page_alloc")),
        Thread(1, Call("page_free", (page,))),
    ], oracle)

The harts make their calls in the model (model.py). Whenever one is about to do
something that another can notice, the explorer chooses who goes on, and, with
store buffers, whether what a hart holds back has arrived. It goes through all
choices, depth first, with at most so many *switches* away from a hart that
could have gone on (a hart that waits for another is left at no cost; research
on bounded search found nearly all bugs with two: Musuvathi and Qadeer, "Iterative
Context Bounding", 2007). States that have been met before, with as many
switches left, are not gone through twice.

At the end of each schedule the oracle looks at the world and complains, or
not. Deadlocks, panics, traps in the kernel and endless loops are complaints of
the explorer itself. The bound is raised step by step, so that the schedule
reported is one with the fewest switches.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from .errors import StagError
from .model import (
    BEGINS,
    DONE,
    SPINS,
    STEPS_MAX,
    USER,
    VISIBLE,
    WAITS,
    Call,
    Event,
    Hart,
    KernelFault,
    SharedWord,
    World,
)

SWITCHES = 2
SCHEDULES_MAX = 40_000
FINDINGS_MAX = 2_000  # times that words are found to be shared: more is a bug of ours
SCHEDULES_STALE = 30  # gone through to find more such words before exploring anew

Oracle = Callable[[World], str | None]


def depth() -> int:
    """The bound on switches that the person wants (make grade DEPTH=…)."""
    return int(os.environ.get("STAG_DEPTH") or SWITCHES)


@dataclass(frozen=True)
class Thread:
    """What one hart does: calls of kernel functions, one after the other; with
    none it goes on from where it stands. It ends when the last call returns,
    or when it comes to one of `until`. `waits`: it may be asleep in the end."""

    hart: int
    calls: tuple[Call, ...] = ()
    waits: bool = False
    until: tuple[int | str, ...] = ()

    def __init__(
        self, hart: int, *calls: Call, waits: bool = False, until: Sequence[int | str] = ()
    ) -> None:
        object.__setattr__(self, "hart", hart)
        object.__setattr__(self, "calls", calls)
        object.__setattr__(self, "waits", waits)
        object.__setattr__(self, "until", tuple(until))


@dataclass(frozen=True)
class Option:
    """One way to go on: which hart, what arrives in memory before, and whether
    it may take an interrupt that is pending."""

    hart: int
    arrivals: tuple[tuple[int, int], ...] = ()  # (hart, number of entries)
    defer: bool = False
    flush: bool = False  # only let all that the hart holds back arrive


@dataclass
class Exploration:
    """What was tried."""

    model: str
    switches: int  # the bound
    schedules: int = 0  # gone through to their end, or to a state met before
    end_states: set[int] = field(default_factory=set)
    exhausted: bool = True  # no schedule was left out but by the bound on switches
    bounded: bool = False  # the bound on switches left some out
    seconds: float = 0.0
    instructions: int = 0

    def __str__(self) -> str:
        reach = "all" if not self.bounded else f"all with up to {self.switches} switches"
        cut = "" if self.exhausted else ", cut short"
        return (
            f"{self.model}: {self.schedules} schedules ({reach}{cut}),"
            f" {len(self.end_states)} end states"
        )


@dataclass
class Finding:
    """A schedule that went wrong, and why."""

    model: str
    switches: int
    options: list[Option]
    complaint: str
    hart: int | None = None
    schedules: int = 0


class _Complaint(Exception):
    def __init__(self, text: str, hart: int | None = None) -> None:
        self.text, self.hart = text, hart


class Explorer:
    """Goes through the schedules of one scene. The world is as before after
    each."""

    def __init__(
        self,
        world: World,
        threads: Sequence[Thread],
        resolve: Callable[[int | str], int],
        oracle: Oracle | None,
        model: str,
    ) -> None:
        self.world, self.threads, self.oracle, self.model = world, threads, oracle, model
        self.resolve = resolve
        world.select_model(model)
        world.settle()
        world.shared, world.touched = set(), {}
        self.start = world.save()
        self.harts = [world.harts[thread.hart] for thread in threads]
        self.may_wait = {thread.hart for thread in threads if thread.waits}
        self.plain = {hart.index: Option(hart.index) for hart in self.harts}
        self.visited: dict[Any, int] = {}
        self.stale = False  # a word was found to be shared: explore anew
        self.report: Exploration
        self.bound = 0

    # One schedule

    def begin(self) -> None:
        world = self.world
        world.restore(self.start)
        world.watching = True
        world.until = {}
        world.add_boundaries(self.resolve(p) for thread in self.threads for p in thread.until)
        for thread in self.threads:
            hart = world.harts[thread.hart]
            world.until[thread.hart] = frozenset(self.resolve(p) for p in thread.until)
            if thread.calls:
                world.prepare(hart, thread.calls, self.resolve)
            else:
                hart.status, hart.point, hart.granted = BEGINS, None, False
                hart.budget = STEPS_MAX
                hart.looped.clear()

    def _foreign(self, hart: Hart, k: int) -> list[tuple[int, list[int]]]:
        """Other harts that hold back stores to a word, with the number of each
        such store."""
        return [
            (other.index, [i + 1 for i, entry in enumerate(other.buffer) if entry[0] == k])
            for other in self.harts
            if other is not hart and any(entry[0] == k for entry in other.buffer)
        ]

    def _not_yet(self, hart: Hart, index: int) -> list[None]:
        """[None] if nothing of what another hart holds back need arrive before
        this one touches the word: it must if the word is that hart's alone."""
        k = hart.point
        alone = any(held[0] == k and held[4] for held in self.world.harts[index].buffer)
        return [] if alone and hart.point_writes else [None]

    def _ways(self, hart: Hart) -> list[Option]:
        """The ways in which a hart may go on; none if it can't."""
        if hart.status == DONE:
            return []
        if hart.status == WAITS:
            return [self.plain[hart.index]] if hart.pending else []
        arrivals: list[tuple[tuple[int, int], ...]] = [()]
        held = any(other.buffer for other in self.harts)
        if held and hart.point is not None:
            per_hart = [
                [*self._not_yet(hart, index), *((index, count) for count in counts)]
                for index, counts in self._foreign(hart, hart.point)
            ]
            arrivals = [tuple(a for a in way if a is not None) for way in product(*per_hart)]
        interrupted = bool(hart.mode == USER and hart.pending)
        if hart.status == SPINS and hart.waits_at == self.world.digest and not interrupted:
            arrivals = [
                ((index, count),)
                for k in (hart.recent if held else ())
                for index, counts in self._foreign(hart, k)
                for count in counts
            ]
        options = [Option(hart.index, way) if way else self.plain[hart.index] for way in arrivals]
        if interrupted:
            options += [Option(hart.index, way, defer=True) for way in arrivals]
        return options

    def options(self, current: int | None) -> list[tuple[Option, int]]:
        """How to go on from here, and what each costs in switches."""
        result: list[tuple[Option, int]] = []
        ways = {hart.index: self._ways(hart) for hart in self.harts}
        goes_on = current is not None and bool(ways.get(current))
        if goes_on:
            result += [(option, 0) for option in ways[current]]
        for index, options in ways.items():
            if index != current:
                result += [(option, 1 if goes_on else 0) for option in options]
        if not result:
            result = [(Option(hart.index, flush=True), 0) for hart in self.harts if hart.buffer]
        if not result:
            # Who counts while it waits may give up some time.
            result = [
                (Option(hart.index), 0)
                for hart in self.harts
                if hart.status == SPINS and hart.counts
            ]
        return result

    def take(self, option: Option) -> None:
        """Go on that way, until the hart must stop."""
        world = self.world
        hart = world.harts[option.hart]
        if option.flush:
            world.arrive_all(hart)
            return
        for index, count in option.arrivals:
            world.arrive(world.harts[index], count)
        hart.granted, hart.deferred = hart.status == VISIBLE, option.defer
        while True:
            try:
                world.run(hart)
                hart.granted = False
                return
            except SharedWord:
                self.stale = True  # what was tried before missed a point
            except KernelFault as fault:
                raise _Complaint(str(fault), fault.hart) from None

    def judge_end(self) -> None:
        """Nobody can go on."""
        for hart in self.harts:
            if hart.status == SPINS:
                raise _Complaint(f"deadlock: hart {hart.index} waits for ever", hart.index)
            if hart.status == WAITS and hart.index not in self.may_wait:
                raise _Complaint(f"hart {hart.index} sleeps, and nobody wakes it", hart.index)
        world = self.world
        until, trace = world.until, world.trace
        world.watching, world.trace = False, None
        try:
            complaint = self.oracle(world) if self.oracle else None
        except StagError as error:
            complaint = str(error)
        finally:
            world.watching, world.until, world.trace = True, until, trace
        if complaint:
            raise _Complaint(complaint)

    # All schedules

    def _key(self, current: int | None) -> Any:
        return (current, self.world.digest, tuple(hart.key() for hart in self.harts))

    def _search(self, limit: int) -> Finding | None:
        """Depth first, with at most self.bound switches."""
        world, report = self.world, self.report
        self.begin()
        report.end_states.clear()
        report.schedules = 0
        # A node: the state if it will be needed again, options not tried,
        # switches left, and how many options led there.
        path: list[Option] = []
        stack: list[tuple[Any, list[tuple[Option, int]], int, int]] = []

        def enter(current: int | None, left: int) -> Finding | None:
            """At a new state: note what can be done from here."""
            options = self.options(current)
            if not options:
                report.schedules += 1
                end = hash((world.digest, *(hart.results for hart in self.harts)))
                if end not in self.report.end_states or any(h.status != DONE for h in self.harts):
                    report.end_states.add(end)
                    try:
                        self.judge_end()
                    except _Complaint as complaint:
                        return self._finding(path, complaint)
                return None
            affordable = [(option, cost) for option, cost in options if cost <= left]
            if len(affordable) < len(options):
                report.bounded = True
            if len(affordable) > 1:
                key = self._key(current)
                if self.visited.get(key, -1) >= left:
                    report.schedules += 1
                    return None
                self.visited[key] = left
            state = world.save() if len(affordable) > 1 else None
            stack.append((state, affordable, left, len(path)))
            return None

        finding = enter(None, self.bound)
        entered = True  # the world is as the last node has it
        patience = SCHEDULES_STALE
        while stack and finding is None and patience > 0:
            patience -= self.stale
            if report.schedules >= limit:
                report.exhausted = False
                break
            state, options, left, depth_here = stack[-1]
            option, cost = options.pop(0)
            if not options:
                stack.pop()
            if not entered:
                world.restore(state)
            del path[depth_here:]
            path.append(option)
            try:
                self.take(option)
            except _Complaint as complaint:
                report.schedules += 1
                finding = self._finding(path, complaint)
                break
            nodes = len(stack)
            finding = enter(option.hart, left - cost)
            entered = len(stack) > nodes
        return finding

    def _finding(self, path: list[Option], complaint: _Complaint) -> Finding:
        done = self.report.schedules
        return Finding(self.model, self.bound, list(path), complaint.text, complaint.hart, done)

    def run(self, switches: int, limit: int = SCHEDULES_MAX) -> Exploration | Finding:
        began = time.perf_counter()
        finding: Finding | None = None
        self.report = Exploration(self.model, switches)
        executed = self.world.executed
        restarts = 0
        bounds = list(range(switches + 1))
        while bounds:
            self.bound = bounds[0]
            self.visited = {}
            self.report.bounded = False
            self.stale = False
            finding = self._search(limit)
            if self.stale:
                restarts += 1
                if restarts > FINDINGS_MAX:
                    raise StagError("the explorer finds ever more shared words") from None
                self.world.touched = {}
                continue
            bounds.pop(0)
            if finding or not self.report.bounded or not self.report.exhausted:
                break
        self.world.watching = False
        self.world.restore(self.start)
        self.report.seconds = time.perf_counter() - began
        self.report.instructions = self.world.executed - executed
        return finding or self.report

    def replay(
        self, options: Sequence[Option], watch: Callable[[Event], None] | None = None
    ) -> tuple[list[Event], str]:
        """Go one schedule again, and note what happened: the events, and how it
        ended. `watch` is told of each event before it happens."""
        world = self.world
        self.begin()
        world.trace, world.watch = [], watch
        text = ""
        try:
            for option in options:
                self.take(option)
            if not self.options(None):
                self.judge_end()
        except _Complaint as complaint:
            text = complaint.text
        events, world.trace, world.watch = world.trace, None, None
        world.watching = False
        return events, text
