"""The operations cost what they may cost, in instructions (grading/bench.py)."""

from __future__ import annotations

from pathlib import Path

import bench
import pytest

# Goals that the kernel does not meet, and what it must not exceed meanwhile.
MISSED = {
    "block_wake": 880,
    "executor_life": 2860,
}

# Of operations between two harts, which have no goals.
BOUNDS = {
    "wake_harts": 4000,
    "unmap_harts": 3000,
    "unmap_256_harts": 40_000,
    "replace_harts": 6000,
}


@pytest.fixture(scope="module")
def figures() -> dict[str, int]:
    return bench.measure()


@pytest.mark.slow
@pytest.mark.parametrize("row", bench.ROWS, ids=lambda row: row.name)
def test_goal(figures: dict[str, int], row: bench.Row) -> None:
    assert row.name in figures, f"nobody counts {row.title}"
    goal = bench.goal_of(row, figures)
    assert goal is not None
    count = figures[row.name]
    assert count <= MISSED.get(row.name, goal), f"{row.title}: {count} instructions"
    if count > goal:
        pytest.xfail(f"{row.title}: {count} instructions, the goal is {goal}")


@pytest.mark.slow
def test_across_harts() -> None:
    """Not too many, and exact: the next time as many."""
    figures = bench.count_across()
    assert figures == bench.count_across()
    assert figures.keys() == BOUNDS.keys()
    for name, bound in BOUNDS.items():
        assert 0 < figures[name] <= bound, f"{bench.ACROSS[name]}: {figures[name]} instructions"


def test_figures_that_cannot_be_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "measure", dict)
    monkeypatch.setattr(bench, "table_of", str)
    monkeypatch.setattr(bench, "RESULT", tmp_path / "none" / "bench.json")
    monkeypatch.setattr("sys.argv", ["bench.py"])
    assert bench.main() == 1
    assert capsys.readouterr().err == f"{tmp_path}/none/bench.json: No such file or directory\n"
