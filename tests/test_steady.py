"""`make grade-steady`, and the short form of what it is for: the verdict is the
same every time, also while others hold the processors."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / "labs").is_dir(), reason="no labs here")


def steady(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "grading/steady.py", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_verdict_beside_busy_loops() -> None:
    done = steady("--lab=2", "--times=2", "--busy=4", "--jobs=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "2 of 2 runs gave full points and the same results, beside 4 busy loops\n"


def test_lost_points_are_told() -> None:
    """There is no lab 9: its grader has no results, but for those of long ago."""
    old = ROOT / "build/steady/lab9-0/results.json"
    old.parent.mkdir(parents=True, exist_ok=True)
    old.write_text('{"got": 1, "points": 1, "status": 0}')
    done = steady("--lab=9", "--times=1")
    assert done.returncode == 1
    assert done.stdout == "0 of 1 runs gave full points and the same results\n"
    assert "run 1, lab 9: another verdict" in done.stderr
