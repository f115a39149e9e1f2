"""Exercise 5: when map and share change the tables, and when what was mapped goes:
under the locks, and with a shootdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from executor_stage import EXECUTE, READ, WRITE, Stage, entry_text, errno_text
from stag.pagetable import PAGE, V, X
from stag.verdict import check
from test_map_and_share import (
    AREA,
    HOLE,
    READABLE,
    REPLACE,
    TO_EXECUTOR,
    TO_OTHER,
    WRITABLE,
    Two,
    make_two,
)
from traced import Guarded, check_locked, entry_address


@pytest.fixture
def two(ready) -> Two:
    return make_two(Stage(ready(harts=1)))


@dataclass
class Shootdowns:
    """What a call's shootdowns find. `good` says what is wrong with the tables,
    or nothing, when one comes."""

    two: Two
    space: int
    good: Callable[[], str]
    complaints: list[str] = field(default_factory=list)

    def look(self, space: int) -> None:
        if space != self.space:
            self.complaints.append(f"shootdown({space:#x}) is of another space")
        elif not self.two.stage.get("space", space, "lock"):
            self.complaints.append("the space's lock is not held")
        else:
            self.complaints.append(self.good())

    def run(self, function: str, *arguments: int) -> None:
        stage, caller = self.two.stage, self.two.caller
        result = stage.handler(function, caller, *arguments, look={"shootdown": self.look}).result
        check(result == 0, f"{function} is 0", errno_text(result))

    def check_good(self, wanted: str) -> None:
        """One of them came when all was as it must be."""
        found = "; ".join(dict.fromkeys(self.complaints)) or "shootdown is not called"
        check(
            "" in self.complaints,
            expected=f"{wanted}: shootdown({self.space:#x}), with the lock held",
            found=found,
            where="kernel/shootdown.h",
        )


def test_shootdown_before_pages_go(two: Two) -> None:
    """MAP_REPLACE: the old entries are gone when it is called, what they refer to
    is still counted."""
    stage = two.stage
    executor = (stage.pte(two.space, TO_EXECUTOR) >> 10) * PAGE + stage.offset

    def count(va: int) -> int | None:
        page = two.pages.get(va)
        return stage.count(page) if page else stage.references("executor", executor)

    for replaced in ((WRITABLE, READABLE), (TO_EXECUTOR,)):
        entries = {va: stage.pte(two.space, va) for va in replaced}
        counts = {va: count(va) for va in replaced}
        seen: list[dict[int, int | None]] = []

        def good(entries: dict[int, int] = entries, seen: list = seen) -> str:
            for va, before in entries.items():
                pte = stage.pte(two.space, va)
                if pte & V and pte >> 10 == before >> 10:
                    return f"the old entry is still at {va:#x}: {entry_text(pte)}"
            seen.append({va: count(va) for va in entries})
            return ""

        shootdowns = Shootdowns(two, two.space, good)
        shootdowns.run("call_map", 0, replaced[0], len(replaced), READ | WRITE, REPLACE)
        shootdowns.check_good("when MAP_REPLACE has taken the old entries away")
        check(
            seen[0] == counts,
            expected="what was mapped is dropped after the shootdown: until then other harts may"
            f" use it, and its counts are {list(counts.values())}",
            found=f"{list(seen[0].values())}",
            where="at shootdown, in call_map with MAP_REPLACE",
        )


def test_shootdown_for_new_code(two: Two) -> None:
    """New mappings with X: other harts may remember what they fetched there."""
    for space, first, function, arguments in (
        (two.space, AREA, "call_map", (0, AREA, 2, READ | EXECUTE, 0)),
        (two.other, AREA, "call_share", (0, WRITABLE, TO_OTHER, AREA, 2, READ | EXECUTE)),
        (two.space, WRITABLE, "call_map", (0, WRITABLE, 2, READ | EXECUTE, REPLACE)),
    ):

        def good(space: int = space, first: int = first) -> str:
            for va in (first, first + PAGE):
                pte = two.stage.pte(space, va)
                if not pte & X:
                    return f"the entry of {va:#x} is still {entry_text(pte)}"
            return ""

        shootdowns = Shootdowns(two, space, good)
        shootdowns.run(function, *arguments)
        shootdowns.check_good(f"when {function} has made mappings with X")


def test_tables_change_under_the_locks(two: Two) -> None:
    stage = two.stage
    entry = entry_address(stage, two.space, WRITABLE) + (HOLE - WRITABLE) // PAGE * 8
    new = (Guarded("the new entry", entry, (two.space,)),)
    stage.set_arguments(two.caller, 0, HOLE, 1, READ | WRITE, 0)
    check_locked(stage, new, "call_map", two.caller)

    result = two.map(TO_OTHER, AREA, 1, READ)
    check(result == 0, "map is 0", errno_text(result))
    target = entry_address(stage, two.other, AREA) + 8
    both = (two.space, two.other)
    for source, to in ((WRITABLE, AREA + PAGE), (TO_EXECUTOR, AREA + PAGE)):
        guarded = (
            Guarded("the source's entry", entry_address(stage, two.space, source), both),
            Guarded("the target's entry", target, both),
        )
        stage.set_arguments(two.caller, 0, source, TO_OTHER, to, 1, READ)
        check_locked(stage, guarded, "call_share", two.caller)
