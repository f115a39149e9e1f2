"""Fixtures for lab 2."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from allocator_bench import Bench
from full_machine import FullMachine, make_full
from stag.errors import StagError
from stag.scene import Scene


@pytest.fixture(scope="session")
def _full(kernel: Path) -> Iterator[Callable[[], FullMachine]]:
    """Made once, when first asked for."""
    made: list[FullMachine] = []
    failed: list[StagError] = []
    with contextlib.ExitStack() as machines:

        def make() -> FullMachine:
            if failed:
                raise failed[0]
            if not made:
                try:
                    made.append(make_full(kernel, machines))
                except StagError as error:
                    failed.append(error)
                    raise
            return made[0]

        yield make


@pytest.fixture
def full_machine(_full: Callable[[], FullMachine]) -> FullMachine:
    return _full()


@pytest.fixture
def bench(scene: Callable[[], Scene]) -> Bench:
    """The kernel as it has booted."""
    return Bench(scene())


@pytest.fixture
def full(_full: Callable[[], FullMachine]) -> Bench:
    """The kernel with every page handed out to the grader: page_alloc returns
    0 until the test frees something."""
    machine = _full()
    return Bench(Scene(machine.snapshot), machine.held)
