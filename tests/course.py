"""A course to try `make grade` in: a copy of this tree in which lab 2 has three
tests of its own, so that nothing depends on what the labs' graders check.

Fixtures for it are in course_fixtures.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import BUILD, ROOT
from stag.labs import load_lab

PARTS = ("Makefile", "pyproject.toml", "grading", "include", "kernel", "labs", "tools", "user")
SOURCE = "kernel/page_alloc.c"
PATIENCE = 120.0  # seconds, after which a grader that does not end fails its test

LAB_TESTS: dict[str, tuple[str, int, list[str]]] = {
    "test_distinct": ("two harts get different pages", 40, []),
    "test_sound": ("the allocation table is sound after the boot", 30, []),
    "test_again": ("a page that was freed can be had again", 30, ["test_distinct"]),
}

LAB_CODE = """
import os

from stag.errors import InfrastructureError


def test_distinct(ready):
    system = ready(harts=2)
    boot, other = system.boot_hart, 1 - system.boot_hart
    first, second = (system.harts.call(hart, "page_alloc") for hart in (boot, other))
    assert first != second


def test_sound(ready):
    if "TEST_NO_TOOLS" in os.environ:
        raise InfrastructureError("something is not installed")
    ready(harts=4).allocation().check()


def test_again(ready):
    system = ready(harts=2)
    hart = 1 - system.boot_hart  # the other one would go on to call page_get, too
    page = system.harts.call(hart, "page_alloc")
    system.harts.call(hart, "page_get", page)
    assert system.harts.call(hart, "page_count_add", page, -1) == 1
    system.harts.call(hart, "page_free", page)
    assert system.harts.call(hart, "page_alloc") == page
    system.allocation().check()
"""

Submit = Callable[..., str]


@dataclass
class Graded:
    """What the grader said."""

    status: int
    shown: str
    progress: str
    data: dict[str, Any]
    files: dict[str, bytes]  # the results

    @property
    def outcomes(self) -> dict[str, str]:
        return {test["name"]: test["outcome"] for test in self.data["tests"]}

    def message(self, test: str) -> str:
        return next(t["message"] for t in self.data["tests"] if t["name"] == test)


@dataclass
class Course:
    """A tree with the grader in it, and where it puts what it makes."""

    root: Path
    out: Path

    def command(self, *options: str) -> list[str]:
        grader = str(self.root / "grading/grade.py")
        return [sys.executable, grader, "--lab=2", f"--out={self.out}", *options]

    def environment(self, **settings: str) -> dict[str, str]:
        # As someone would type it, not from below a make or a pytest.
        left_out = ("MAKE", "MFLAGS", "PYTEST", "PYTHONPATH", "STAG_", "RUN")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
        return {**kept, **settings}

    def grade(self, *options: str, **settings: str) -> Graded:
        done = subprocess.run(
            self.command(*options),
            env=self.environment(**settings),
            capture_output=True,
            timeout=PATIENCE,
        )
        files = {path.name: path.read_bytes() for path in self.out.glob("*.*")}
        data = json.loads(files.get("results.json", b"{}"))
        shown, progress = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in progress, progress
        return Graded(done.returncode, shown, progress, data, files)


def copy_parts(source: Path, to: Path, *parts: str) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for part in parts:
        if (source / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source / part, to / part, ignore=ignored)
        else:
            shutil.copy2(source / part, to)


def copy_build(to: Path) -> None:
    """What is built here, its times kept: then little has to be built in the tree
    `to`. And nothing of build/ that another test may be writing."""
    copy_parts(BUILD, to / "build", "flags", "sources", "kernel", "user")


def lab_toml() -> str:
    """Lab 2's, with the tests of this file instead of its own."""
    lab = load_lab(ROOT, 2)
    text = re.sub(r"(?m)^\[\[exercise\.test\]\]\n(?:.+\n)*", "", (ROOT / lab.source).read_text())
    tests = "".join(
        f"[[exercise.test]]\nname = {json.dumps(name)}\npoints = {points}\n"
        f"title = {json.dumps(title)}\nneeds = {json.dumps(needs)}\n\n"
        for name, (title, points, needs) in LAB_TESTS.items()
    )
    before, second, after = text.partition("[[exercise]]\nnumber = 2\n")
    return f"{before}{tests}{second}{after}"


def includes(*names: str) -> tuple[str, str]:
    """An edit: more headers."""
    there = '#include "panic.h"\n'
    return there, there + "".join(f'#include "{name}"\n' for name in names)


def in_page_alloc(code: str) -> tuple[str, str]:
    """An edit: run that in every call of page_alloc."""
    there = "    struct cached_page *top = hart->cache_top;\n    void *page = top->page;\n"
    return there, f"{code}\n{there}"


def in_page_get(code: str) -> tuple[str, str]:
    """An edit: run that in every call of page_get; the boot makes none."""
    there = "LEAF void page_get(void *page) {\n"
    return there, f"{there}{code}\n"
