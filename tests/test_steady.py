"""`make grade-steady`, and the short form of what it is for: the verdict is the
same every time, also while others hold the processors."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import steady as program
from conftest import ROOT, processes
from rich.console import Console

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


def test_other_results_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Full points each time, but the third run of lab 2 wrote something else."""
    good = b'{"got": 1, "points": 1, "status": 0}'
    ran: list[tuple[int, int]] = []

    def grade(number: int, place: int) -> tuple[bytes, str]:
        ran.append((number, place))
        return good + b" " * (len(ran) == 6), f"run {len(ran)}"

    monkeypatch.setattr(program, "grade", grade)
    monkeypatch.setattr(program, "OUT", tmp_path)
    said = io.StringIO()
    assert program.count_wrong([1, 2], 4, 1, Console(file=said, width=200)) == 1
    assert ran == [(number, 0) for _ in range(4) for number in (1, 2)]
    assert "run 6, lab 2: another verdict" in said.getvalue() and "4/4" in said.getvalue()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("wrong-1.txt", "run 6")]


def test_full_disk_gets_one_line(tmp_path: Path) -> None:
    """What could not be kept is told, and the program ends."""
    script = f"""import shutil, steady, sys
steady.OUT = steady.Path({str(tmp_path / "out")!r})
steady.grade = lambda *_: (b"", str(shutil.rmtree(steady.OUT, ignore_errors=True)))
sys.argv = ["steady.py", "--lab=1", "--times=2"]
sys.exit(steady.main())"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT / "grading",
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = f"steady: {tmp_path}/out/wrong-1.txt: No such file or directory"
    assert (done.returncode, done.stderr.strip()) == (3, said)


def test_busy_loops(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(program, "ENDLESS", f"{program.ENDLESS} # {tmp_path}")
    with program.busy(3):
        assert len(processes(str(tmp_path))) == 3
    assert not processes(str(tmp_path))
