"""A project to cut courses from, and students who work in them.

The project is a copy of this tree with a commit of its own, so that tests can
change it; each test's course and clones are in its own folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT
from stag.labs import Lab, load_labs

LABS = load_labs(ROOT)
PARTS = ("grading", "handouts", "include", "kernel", "labs", "tools", "user")
PEOPLE = ("-c", "user.name=Student", "-c", "user.email=student@localhost")
DATE = "2026-01-02T03:04:05Z"


def run(command: list[str], cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """As someone would type it, not from below a make or a pytest."""
    left_out = ("GIT_", "MAKE", "MFLAGS", "PYTEST", "PYTHONPATH", "STAG_", "RUN")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    return subprocess.run(
        command, cwd=cwd, env=kept | settings, capture_output=True, text=True, check=False
    )


def git(tree: Path, *arguments: str, **settings: str) -> str:
    done = run(["git", *PEOPLE, *arguments], tree, **settings)
    assert done.returncode == 0, f"git {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def commit(tree: Path, message: str = "Work") -> None:
    dates = {"GIT_AUTHOR_DATE": DATE, "GIT_COMMITTER_DATE": DATE}
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "--allow-empty", "-m", message, **dates)


@dataclass
class Project:
    """A copy of the reference."""

    root: Path

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text()
        assert old in text, f"{name} has changed: mend the test"
        (self.root / name).write_text(text.replace(old, new, 1))

    def branches(self, out: Path, *options: str, **settings: str) -> tuple[int, str]:
        command = [sys.executable, str(self.root / "tools/branches"), str(out), *options]
        done = run(command, self.root, **settings)
        return done.returncode, done.stdout + done.stderr

    def cut(self, out: Path, *options: str, **settings: str) -> Path:
        code, text = self.branches(out, *options, **settings)
        assert code == 0, text
        return out


def copy_project(to: Path) -> Project:
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, to / part, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy2(path, to)
    git(to, "init", "-q")
    commit(to)
    return Project(to)


def hashes(repository: Path) -> dict[str, str]:
    """By branch: its commit."""
    lines = git(repository, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads")
    return dict(line.split() for line in lines.splitlines())


def base_of(course: Path) -> Path:
    return course.with_name(f"{course.name}-base")


def clone(repository: Path, branch: str, to: Path) -> Path:
    git(repository, "clone", "-q", "-b", branch, str(repository), str(to))
    return to


def write_reference(tree: Path, lab: Lab) -> None:
    """A student has done a lab: as the reference, and with a file of their own."""
    for name in lab.owned:
        shutil.copy2(ROOT / name, tree / name)
    (tree / lab.extra).write_text(f"/* What lab {lab.number} needed besides. */\n")


def use_times_of_reference(tree: Path) -> None:
    """Files that are the reference's have its times, so that what this build
    has made is of use in the clone's."""
    for name in git(tree, "ls-files").splitlines():
        there, here = ROOT / name, tree / name
        if there.is_file() and there.read_bytes() == here.read_bytes():
            shutil.copystat(there, here)
