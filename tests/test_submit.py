"""`make submit` packs what a student has written, and nothing else."""

from __future__ import annotations

import fcntl
import subprocess
import tarfile
from pathlib import Path

import pytest
from conftest import ROOT
from published import (
    LABS,
    base_of,
    clone,
    git,
    run,
    use_times_of_reference,
    write_reference,
)

pytest_plugins = ["published_fixtures"]
LAB = LABS[1]
OWNED = LAB.owned[0]


@pytest.fixture(scope="module")
def built(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student's clone in which lab 2 is done, once submitted."""
    tree = clone(base_of(course), "lab2-base", tmp_path_factory.mktemp("built") / "tree")
    write_reference(tree, LAB)
    use_times_of_reference(tree)
    code, text = submit(tree)
    assert code == 0, text
    return tree


def test_waits_for_a_grader(tree: Path) -> None:
    """They build in the same folder."""
    with (tree / "build/grade/lab2/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = ["make", "-s", "submit"]
        with subprocess.Popen(command, cwd=tree, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            assert any("another grader is at work" in line for line in lines)
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert process.wait() == 0


@pytest.fixture
def tree(built: Path) -> Path:
    """The same, as it was after that."""
    git(built, "checkout", "-q", "--force", "lab2-base")
    git(built, "clean", "-q", "-f", "-d")
    write_reference(built, LAB)
    return built


def submit(tree: Path, *settings: str) -> tuple[int, str]:
    done = run(["make", "-s", "submit", *settings], tree)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def archive(tree: Path) -> Path:
    return tree / "build/lab2-submission.tar.gz"


def test_owned_files_are_packed_and_nothing_else(tree: Path) -> None:
    (tree / "kernel/boot.c").write_text("this is no C\n")
    (tree / "kernel/mine.c").write_text("this is no C\n")
    code, text = submit(tree)
    assert code == 0, text
    with tarfile.open(archive(tree)) as packed:
        members = packed.getmembers()
        contents = {m.name: packed.extractfile(m.name).read() for m in members}  # type: ignore
    assert contents == {name: (tree / name).read_bytes() for name in (OWNED, LAB.extra)}
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime, m.mode) for m in members} == {
        (0, 0, "", "", 0, 0o644)
    }
    assert f"  {OWNED}\n" in text and f"  {LAB.extra}\n" in text
    left_out = text.partition("left out")[2]
    assert "kernel/boot.c (changed)" in left_out and "kernel/mine.c (added)" in left_out


def test_same_files_same_archive(tree: Path) -> None:
    assert submit(tree, "LAB=2")[0] == 0
    first = archive(tree).read_bytes()
    (tree / OWNED).touch()
    (tree / LAB.extra).chmod(0o755)
    assert submit(tree, "LAB=2")[0] == 0
    assert archive(tree).read_bytes() == first
    (tree / LAB.extra).unlink()
    assert submit(tree, "LAB=2")[0] == 0
    with tarfile.open(archive(tree)) as packed:
        assert packed.getnames() == [OWNED]


def test_untouched_file_is_told(tree: Path) -> None:
    git(tree, "checkout", "-q", "--", OWNED)
    code, text = submit(tree)
    assert code == 0
    assert f"  {OWNED}  (as it was given)\n" in text
    with (tree / OWNED).open("a") as file:
        file.write("/* my first line */\n")
    assert "functions are still to be written)\n" in submit(tree)[1]


def test_what_does_not_build_is_not_packed(tree: Path) -> None:
    assert archive(tree).exists()
    (tree / OWNED).write_text((ROOT / OWNED).read_text() + "int mistake = nothing;\n")
    code, text = submit(tree)
    assert code != 0
    assert "nothing was packed: it does not build" in text and "nothing" in text
    assert OWNED in text
    assert not archive(tree).exists()
    (tree / OWNED).unlink()
    code, text = submit(tree)
    assert code != 0
    assert "nothing was packed: " in text and OWNED in text
    (tree / OWNED).symlink_to("/dev/zero")
    code, text = submit(tree)
    assert code != 0
    assert "nothing was packed: " in text and OWNED in text


def test_another_lab(tree: Path) -> None:
    code, text = submit(tree, "LAB=3")
    assert code != 0
    assert "this tree is for lab 2" in text


def test_files_of_earlier_labs_are_built_but_not_packed(tree: Path) -> None:
    """What is handed in stands on the student's own."""
    earlier = LABS[0].owned[0]
    mine = (tree / earlier).read_text()
    (tree / earlier).write_text(mine + "/* of lab 1 */\n")
    code, text = submit(tree)
    assert code == 0 and "left out" not in text, text
    with tarfile.open(archive(tree)) as packed:
        assert packed.getnames() == [LAB.extra, OWNED]
    (tree / earlier).write_text(mine + "int mistake = nothing;\n")
    code, text = submit(tree)
    assert code != 0
    assert "nothing was packed: it does not build" in text and earlier in text


def test_tree_without_git_is_told(tree: Path) -> None:
    git_folder, aside = tree / ".git", tree / "build/git"
    git_folder.rename(aside)
    try:
        code, text = submit(tree)
    finally:
        aside.rename(git_folder)
    assert code == 0, text
    assert "note: git knows no commit of the course for lab 2 here" in text
    assert "(as it was given)" not in text
