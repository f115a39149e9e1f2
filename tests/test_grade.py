"""`make grade`, from a submission to points."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from conftest import processes
from course import PARTS, PATIENCE, SOURCE, Course, Submit, copy_parts, in_page_alloc
from stag.grade_plan import COURSE
from stag.labs import load_lab

pytest_plugins = ["course_fixtures"]

# Harts other than the first get the page that the first was given last.
SAME_PAGE = (
    in_page_alloc("    static void *last;\n    if (hart->index != 0)\n        return last;"),
    ("    hart->cache_top = top - 1;\n", "    hart->cache_top = top - 1;\n    last = page;\n"),
)


def test_reference_gets_all_points_and_the_same_report_twice(probed: Course) -> None:
    first, second = probed.grade(), probed.grade("--jobs=1")
    assert first.status == 0, first.shown + first.progress
    assert first.data["got"] == first.data["points"] == 100
    assert (first.shown, first.files) == (second.shown, second.files)
    assert set(first.files) == {"results.json", "junit.xml"}
    assert all(len(line) <= 80 for line in first.shown.splitlines())


def test_failure_is_explained_and_blocks_what_needs_it(probed: Course, submit: Submit) -> None:
    graded = probed.grade(submit(*SAME_PAGE))
    assert graded.status == 1
    assert graded.outcomes["test_distinct"] == "fail", graded.shown
    assert graded.outcomes["test_again"] == "blocked"
    assert graded.message("test_again") == "blocked by test_distinct"
    assert "handouts/2-page-allocator.md#exercise-1" in graded.shown
    assert ": kernel scheduler_next (scheduler.c:" in graded.shown
    assert b"<skipped" in graded.files["junit.xml"]


def test_chosen_test_comes_with_what_it_needs(probed: Course) -> None:
    graded = probed.grade("--test=again")
    assert graded.outcomes == {"test_distinct": "pass", "test_again": "pass"}
    assert (graded.status, graded.data["points"]) == (0, 70)


@pytest.mark.parametrize(
    "option",
    [
        *("--test=nothing", "--lab=9", "--tree=/nowhere", "--tree=/etc/passwd"),
        *("--out=/etc/passwd", "--depth=-1", "--jobs=0", f"--tree={'long' * 100}"),
    ],
)
def test_wrong_option_gets_one_line(probed: Course, option: str) -> None:
    graded = probed.grade(option)
    assert graded.status == 2
    assert len(graded.progress.splitlines()) == 1, graded.progress


def test_nothing_is_written_through_a_link(probed: Course, submit: Submit, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("something of the instructor's")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/lock").symlink_to(mine)
    graded = probed.grade(submit(), f"--out={tmp_path}/out", "--test=distinct")
    assert graded.status == 2 and len(graded.progress.splitlines()) == 1, graded.progress
    assert mine.read_text()


def test_edits_elsewhere_are_ignored_and_listed(probed: Course, tmp_path: Path) -> None:
    copy_parts(probed.root, tmp_path, *PARTS)
    (tmp_path / "Makefile").write_text("kernel: ; false\n")
    (tmp_path / "kernel/boot.c").write_text("this is no C\n")
    (tmp_path / "kernel/more.c").write_text("nor this\n")
    (tmp_path / "kernel/print.c").unlink()
    (tmp_path / "grading/conftest.py").write_text("raise SystemExit(0)\n")
    graded = probed.grade(f"--tree={tmp_path}")
    assert graded.status == 0, graded.shown
    assert graded.data["ignored"] == [
        "Makefile (changed)",
        "kernel/boot.c (changed)",
        "kernel/more.c (added)",
        "kernel/print.c (removed)",
    ]


def test_extra_file_is_graded_too(probed: Course, submit: Submit, tmp_path: Path) -> None:
    tree = submit(in_page_alloc("    void lab2_count(void);\n    lab2_count();"))
    graded = probed.grade(tree)
    assert graded.status == 1
    assert "lab2_count" in graded.data["rejected"]
    (tmp_path / "kernel/lab2.c").write_text("void lab2_count(void);\nvoid lab2_count(void) {\n}\n")
    assert probed.grade(tree).status == 0


@pytest.mark.slow
def test_labs_after_it_may_be_hollow(probed: Course) -> None:
    graded = probed.grade("--hollow")
    assert graded.status == 0, graded.shown


def test_test_that_can_not_judge_costs_nothing(probed: Course) -> None:
    graded = probed.grade(TEST_NO_TOOLS="1")
    assert graded.status == 3
    assert graded.outcomes == {"test_distinct": "pass", "test_sound": "error", "test_again": "pass"}
    assert "something is not installed" in graded.shown


# A student's clone


def git(tree: Path, *arguments: str) -> None:
    author = ["-c", "user.name=Student", "-c", "user.email=student@localhost"]
    subprocess.run(["git", *author, *arguments], cwd=tree, check=True, capture_output=True)


@pytest.fixture
def clone(probed: Course, tmp_path: Path) -> Course:
    """What a student has: no labs/, one lab.json, and the course's commit."""
    # A path that pytest and Python would take apart; little has to be built anew.
    clone = Course(tmp_path / "a clone: lab[2]", probed.out)
    copy_parts(probed.root, clone.root, *(part for part in PARTS if part != "labs"))
    lab = load_lab(probed.root, 2)
    data = tomllib.loads((probed.root / lab.source).read_text())
    for exercise in data["exercise"]:
        exercise.pop("hollow", None)
        exercise.pop("remove", None)
    for key in ("neutral", "given", "remove_essay"):
        data.pop(key, None)
    prior = [*load_lab(probed.root, 1).owned]
    text = json.dumps({"name": lab.name, "prior": prior, **data})
    (clone.root / "grading/lab.json").write_text(text)
    git(clone.root, "init", "-q")
    git(clone.root, "add", "-A")
    git(clone.root, "commit", "-q", "-m", "Lab 2", f"--author={COURSE}")
    return clone


def test_clone_is_graded_on_the_files_that_it_began_with(clone: Course) -> None:
    (clone.root / "kernel/boot.c").write_text("this is no C\n")
    git(clone.root, "commit", "-q", "-a", "-m", "A mistake")
    graded = clone.grade()
    assert graded.status == 0, graded.shown + graded.progress
    assert graded.data["ignored"] == ["kernel/boot.c (changed)"]
    assert graded.data["notes"] == []


def test_clone_has_its_own_files_of_earlier_labs(clone: Course) -> None:
    (clone.root / "kernel/riscv/page_table.c").write_text("this is no C\n")
    graded = clone.grade()
    assert graded.status == 1
    assert "kernel/riscv/page_table.c" in graded.data["rejected"]
    assert "lab2-base" in clone.grade("--prior=reference").data["broken"]
    git(clone.root, "update-ref", "refs/remotes/origin/lab2-base", "HEAD")
    assert clone.grade("--prior=reference").status == 0


def test_clone_of_unknown_origin_is_graded_with_a_note(clone: Course) -> None:
    git(clone.root, "commit", "-q", "--amend", "--reset-author", "--no-edit")
    graded = clone.grade("--test=distinct")
    assert graded.status == 0, graded.shown + graded.progress
    assert "no commit of the course for lab 2" in graded.data["notes"][0]


def test_graders_at_once(probed: Course, submit: Submit) -> None:
    """In one folder one waits for the other, and each sees what is its own."""
    alone = probed.grade()
    with (probed.out / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        graders = [
            subprocess.Popen(
                probed.command(*options),
                env=probed.environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for options in ((), (submit(*SAME_PAGE),), ())
        ]
        for grader in graders:
            assert grader.stderr is not None and "another grader" in grader.stderr.readline()
    said = [grader.communicate(timeout=PATIENCE) for grader in graders]
    assert [grader.returncode for grader in graders] == [0, 1, 0], said
    assert said[0][0] == said[2][0] == alone.shown
    assert "handouts/2-page-allocator.md#exercise-1" in said[1][0]


# Leaving nothing behind


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere children outlive their parent")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_end_of_the_grader_ends_all(probed: Course, submit: Submit, number: signal.Signals) -> None:
    tree = submit(in_page_alloc("    for (;;)\n        ;"))
    grader = subprocess.Popen(
        probed.command(tree),
        env=probed.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE
    while not any("qemu" in line for line in processes(str(probed.root))):
        assert grader.poll() is None and time.monotonic() < deadline, "no machine was started"
        time.sleep(0.02)
    os.killpg(grader.pid, number)
    said = grader.communicate()[1]
    assert grader.returncode != 0
    assert "Traceback" not in said
    while left := processes(str(probed.root)):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
    assert not list(probed.out.glob("*.*"))


def test_killed_worker_is_an_error_and_another_goes_on(probed: Course) -> None:
    probe = probed.root / "grading/lab2/test_probe.py"
    kept = probe.read_text()
    try:
        die = "    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        probe.write_text(kept.replace("def test_sound(ready):\n", f"def test_sound(ready):\n{die}"))
        graded = probed.grade("--jobs=1")
    finally:
        probe.write_text(kept)
    assert graded.status == 3
    assert graded.outcomes == {"test_distinct": "pass", "test_sound": "error", "test_again": "pass"}


def test_source_is_only_read(probed: Course) -> None:
    """Grading does not touch the tree that it grades."""
    before = (probed.root / SOURCE).stat()
    probed.grade("--test=distinct")
    assert (probed.root / SOURCE).stat().st_mtime_ns == before.st_mtime_ns
