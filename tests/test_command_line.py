"""Mistakes on the command line get one line, and so does ctrl-C."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

MISTAKES = {
    "hepl": "There is no target 'hepl'",
    "SPEED=3": "There is no setting 'SPEED'",
    "HARTS=17": "HARTS=17: give a number of harts",
    "HARTS=it's": "HARTS=it's: give a number of harts",
    "MEM=1T": "MEM=1T: give a size",
    "MMU=sv57": "MMU=sv57: give sv39 or sv48",
    "LAB=7": "LAB=7: give a number from 1 to 6",
    "TEST=two words": "TEST=two words: give a word",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gets_one_line(mistake: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "help", mistake], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode != 0 and done.stdout == ""
    assert MISTAKES[mistake] in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("mark", [["-m", "not slow"], []], ids=["test", "test-slow"])
def test_word_of_no_test(mark: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "hepl", *mark]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(
        [*command, "tests/test_images.py"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert f"No {'quick ' * len(mark[1:])}test has 'hepl' in its name" in done.stdout, done.stdout


def test_interrupt_ends_with_a_word() -> None:
    program = "import stag.interrupt\nraise KeyboardInterrupt"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "grading", capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "\ninterrupted\n")


def first_import(program: Path) -> str:
    """The first module that is not one of Python itself."""
    for node in ast.parse(program.read_text()).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            if module.split(".")[0] not in sys.stdlib_module_names:
                return f"{module}.{node.names[0].name}"
    return "none"


@pytest.mark.parametrize("name", ["grading/*.py", "tools/branches", "tools/handouts", "tools/starter"])
def test_programs_are_ready_for_it_first(name: str) -> None:
    programs = [path for path in ROOT.glob(name) if path.name != "conftest.py"]
    assert programs and {first_import(path) for path in programs} == {"stag.interrupt"}
