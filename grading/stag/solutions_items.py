"""Which mutants are run: those that stand for something the graders must catch,
and the fewest others with which every point is lost at least once.

solutions/items.toml names for each lab what must be caught, and for each of it
one mutant:

    [2]
    "double free" = "free-does-not-look"
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

from .labs import Lab, TestItem
from .solutions import Mutant, SolutionError

ITEMS = "solutions/items.toml"


def lost_tests(lab: Lab, failed: Iterable[str]) -> frozenset[str]:
    """The tests that give no points when these fail: they, and all that need
    them."""
    lost = set(failed)
    for test in lab.tests:  # what a test needs stands above it
        if lost.intersection(test.needs):
            lost.add(test.name)
    return frozenset(lost)


def needed_tests(lab: Lab, names: Iterable[str]) -> list[TestItem]:
    """These tests and all that they need."""
    wanted = set(names)
    for test in reversed(lab.tests):
        if test.name in wanted:
            wanted.update(test.needs)
    return [test for test in lab.tests if test.name in wanted]


def load_items(root: Path, lab: Lab, mutants: list[Mutant]) -> dict[str, Mutant]:
    """By what must be caught: the mutant that stands for it."""
    try:
        data = tomllib.loads((root / ITEMS).read_text())
    except (OSError, ValueError) as error:
        raise SolutionError(f"{ITEMS}: {error}") from None
    items = data.get(str(lab.number))
    if not isinstance(items, dict) or not items:
        raise SolutionError(f"{ITEMS}: the table [{lab.number}] is missing")
    by_name = {mutant.name: mutant for mutant in mutants}
    for item, name in items.items():
        if not isinstance(name, str) or name not in by_name:
            raise SolutionError(f"{ITEMS}: [{lab.number}] {item}: there is no mutant {name!r}")
    return {item: by_name[name] for item, name in items.items()}


def cover(
    mutants: list[Mutant], takes: Callable[[Mutant], frozenset[str]], wanted: set[str]
) -> list[Mutant]:
    """Few mutants that take all wanted tests, as far as there are any: each
    time the one that takes most of those that are left."""
    left, found = set(wanted), []
    while left:
        best = max(mutants, key=lambda mutant: len(takes(mutant) & left), default=None)
        if best is None or not takes(best) & left:
            break
        found.append(best)
        left -= takes(best)
    return found


def choose(root: Path, lab: Lab, mutants: list[Mutant]) -> list[Mutant]:
    """The mutants of the items, and of the others the fewest with which every
    point is lost at least once; by name."""
    items = set(load_items(root, lab, mutants).values())

    def takes(mutant: Mutant) -> frozenset[str]:
        return lost_tests(lab, mutant.caught_by)

    taken = frozenset().union(*map(takes, items))
    others = [mutant for mutant in mutants if mutant not in items]
    wanted = {test.name for test in lab.tests if test.points} - taken
    chosen = items.union(cover(others, takes, wanted))
    return [mutant for mutant in mutants if mutant in chosen]


def points_never_lost(lab: Lab, mutants: Iterable[Mutant]) -> list[str]:
    """The tests with points that none of these mutants loses, as their heads
    say."""
    lost = frozenset().union(*(lost_tests(lab, mutant.caught_by) for mutant in mutants))
    return [test.name for test in lab.tests if test.points and test.name not in lost]
