"""A schedule that failed can be looked at in the debugger, at any of its steps."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import KERNEL, ROOT
from stag import case
from stag.explore import Thread
from stag.grade_machine import bring_up, graded
from stag.machine import MachineConfig
from stag.model import Call
from stag.scene import Scene, ScheduleFailure
from stag.snapshot import Snapshot
from stag.system import symbols_of


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A schedule of two harts that refill their caches, called wrong."""
    folder = tmp_path_factory.mktemp("cases")
    os.environ["STAG_CASES"] = str(folder)
    try:
        with graded(MachineConfig(KERNEL, harts=4)) as system:
            bring_up(system)
            scene = Scene(Snapshot.take(system))
            threads = [Thread(hart, Call("page_alloc")) for hart in (2, 3)]

            def second_first(scene: Scene) -> str | None:
                pages = [scene.world.harts[hart].results[0] for hart in (2, 3)]
                return "hart 3 got the lower page" if pages[1] < pages[0] else None

            with pytest.raises(ScheduleFailure, match="make replay CASE="):
                scene.explore(threads, second_first)
    finally:
        del os.environ["STAG_CASES"]
    (path,) = folder.glob("*.case")
    yield path


def replay(path: Path, step: str = "", *extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "grading" / "replay.py"), str(path), *extra],
        env={**os.environ, "STEP": step},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_debugger_stands_at_the_step(stored: Path) -> None:
    """At some steps, the debugger and the model agree where every hart is."""
    found = case.load(stored)
    symbols = symbols_of(KERNEL)
    assert len(found.steps) > 10
    for number in (1, len(found.steps) // 2, len(found.steps)):
        step = found.steps[number - 1]
        done = replay(stored, str(number))
        assert done.returncode == 0, done.stderr
        assert "hart 3 got the lower page" in done.stdout
        threads = [line for line in done.stdout.splitlines() if "(CPU#" in line]
        assert len(threads) == 4
        for hart in step.harts:
            function = symbols.function_at(hart["pc"])
            line = threads[hart["id"]]
            if function is None:
                assert f"{hart['pc']:#x}"[2:] in line
            else:
                where = symbols.line(hart["pc"])
                assert function.name in line or (where and where.file in line), line
        chosen = [line for line in threads if line.startswith("*")]
        assert chosen == [threads[step.harts[step.hart]["id"]]]


def test_last_step_without_a_choice(stored: Path) -> None:
    done = replay(stored)
    assert "after the last step" in done.stdout


def check_refused(done: subprocess.CompletedProcess[str], words: str) -> None:
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("step", ["0", "9999", "two"])
def test_no_such_step(stored: Path, step: str) -> None:
    check_refused(replay(stored, step), "give a number from 1 to")


def test_no_such_file(tmp_path: Path) -> None:
    check_refused(replay(tmp_path / "nothing"), "can't be read")


def test_no_schedule(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no schedule")
    check_refused(replay(path), "holds no schedule")


def test_kernel_has_changed(stored: Path, tmp_path: Path) -> None:
    text = stored.read_text()
    digest = case.load(stored).digest
    path = tmp_path / "old"
    path.write_text(text.replace(digest, "0" * len(digest)))
    check_refused(replay(path), "is not the kernel any more")


def test_without_a_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "grading" / "replay.py"), ""],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    check_refused(done, "usage: make replay CASE=")
