"""The operations cost what they may cost, in instructions (grading/bench.py)."""

from __future__ import annotations

import bench
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def figures() -> dict[str, int]:
    return bench.measure()


@pytest.mark.parametrize("row", bench.ROWS, ids=lambda row: row.name)
def test_goal(figures: dict[str, int], row: bench.Row) -> None:
    assert row.name in figures, f"nobody counts {row.title}"
    goal = bench.goal_of(row, figures)
    assert goal is not None
    assert figures[row.name] <= goal, f"{row.title}: {figures[row.name]} instructions"
