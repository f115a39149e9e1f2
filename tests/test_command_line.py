"""Mistakes on the command line get one line, and so does ctrl-C."""

from __future__ import annotations

import ast
import os
import shutil
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
    "TEST=-x": "TEST=-x: give a word",
    "TEST=not": "TEST=not: give another word",
}


# Where a tool is named: make's command line, or the environment.
PLACES = ("command line", "environment")


def make(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """make with these settings in the environment, and none of other tools."""
    left_out = ("MAKE", "MFLAGS", "CROSS", "GDB", "QEMU", "PYTHON")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(left_out)} | settings
    command = ["make", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def python_in(folder: Path, options: str = "") -> Path:
    """A command that is our Python, with these options."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" {options} "$@"\n')
    python.chmod(0o755)
    return python


def make_with_python(python: str, goal: str, place: str) -> subprocess.CompletedProcess[str]:
    """What make would run for the goal with the Python named there."""
    if place == "environment":
        return make("-n", goal, PYTHON=python)
    return make("-n", goal, f"PYTHON={python}")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gets_one_line(mistake: str) -> None:
    done = make("help", mistake)
    assert done.returncode != 0 and done.stdout == ""
    assert MISTAKES[mistake] in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("goal", ["test", "bench", "grade", "replay", "handouts"])
def test_named_python_without_modules(goal: str, place: str, tmp_path: Path) -> None:
    bare = python_in(tmp_path, "-I -S")
    done = make_with_python(str(bare), goal, place)
    assert done.returncode != 0 and done.stdout == ""
    wanted = f"PYTHON={bare} lacks pytest, pytest-xdist, pyelftools, rich: install them"
    assert wanted in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("place", PLACES)
def test_named_python_is_taken(place: str, tmp_path: Path) -> None:
    named = python_in(tmp_path)
    done = make_with_python(str(named), "bench", place)
    assert f"{named} grading/bench.py" in done.stdout, done.stdout + done.stderr
    done = make_with_python("false", "bench", place)
    assert "PYTHON=false is no Python 3" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("tool", ["CROSS", "GDB", "QEMU", "PYTHON"])
def test_no_other_tool_than_the_named(tool: str) -> None:
    """Where that one is not there, it is missing."""
    done = make("-n", "kernel", f"{tool}=hepl-")
    assert f"asked for by '{tool}=hepl-'" in done.stderr and done.stderr.count("\n") == 1
    row = {"CROSS": "RISC-V gcc", "GDB": "gdb for", "QEMU": "qemu-", "PYTHON": "python3"}[tool]
    done = make("doctor", f"{tool}=hepl-")
    (found,) = (line for line in done.stdout.splitlines() if line.startswith(f"  {row}"))
    assert done.returncode != 0 and found.endswith(" missing"), done.stdout
    # No package brings that one.
    assert f"asked for by '{tool}=hepl-'" in done.stdout.splitlines()[-1], done.stdout


@pytest.mark.parametrize("tool", ["CROSS", "GDB", "QEMU", "PYTHON"])
def test_tool_with_a_blank_in_its_path(tool: str, tmp_path: Path) -> None:
    """It would be taken apart at the blank."""
    named = tmp_path / "my tools/true"
    named.parent.mkdir()
    for name in ("true", "truegcc"):
        (named.parent / name).symlink_to(shutil.which("true") or "true")
    done = make("-n", "kernel", f"{tool}={named}")
    wanted = f"Make would split '{tool}={named}' at the blank: give a link"
    assert wanted in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_tool_set_to_nothing_is_looked_for() -> None:
    done = make("-n", "qemu", "QEMU=", "CROSS=")
    assert "qemu-system-riscv64 -machine virt" in done.stdout, done.stdout + done.stderr


def test_machine_that_does_not_start_is_not_said_to_wait() -> None:
    done = make("-s", "qemu-gdb", "QEMU=false")
    assert done.returncode != 0 and done.stdout.count("\n") == 1
    assert "type: make gdb. To leave, here: ctrl-A" in done.stdout and "waits" not in done.stdout


@pytest.mark.parametrize(
    ("says", "knows"),
    [
        ("The target architecture is set to \"riscv:rv64\".", True),
        ("The target architecture is assumed to be riscv:rv64", True),  # before gdb 13
        ("Undefined item: \"riscv:rv64\".", False),
    ],
)
def test_plain_gdb(says: str, knows: bool, tmp_path: Path) -> None:
    """Fedora's gdb knows RISC-V, Debian's does not."""
    for name in ("sed", "grep"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    (tmp_path / "gdb").write_text(f"#!/bin/sh\necho '{says}'\n")
    (tmp_path / "gdb").chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", ". tools/tools.sh; find_gdb"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == ("gdb\n" if knows else "") and done.stderr == "", done


@pytest.mark.parametrize("mark", [["-m", "not slow"], []], ids=["test", "test-slow"])
def test_word_of_no_test(mark: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "hepl", *mark]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(
        [*command, "tests/test_images.py"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert f"No {'quick ' * len(mark[1:])}test has 'hepl' in its name" in done.stdout, done.stdout


@pytest.mark.parametrize(
    "program",
    [
        *("grading/bench.py", "grading/grade.py", "grading/solutions.py", "grading/steady.py"),
        *("grading/grade_class.py", "grading/submit.py"),
        *("tools/branches", "tools/handouts", "tools/starter"),
    ],
)
def test_mistake_to_a_program_gets_one_line(program: str) -> None:
    command = [sys.executable, program, "--nonsense"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (1, 2) and done.stdout == ""
    assert "--help" in done.stderr and done.stderr.count("\n") == 1, done.stderr


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
