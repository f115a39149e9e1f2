"""Each tree that is derived for a lab holds what it should, builds, boots, and
says what is to write first."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from course import copy_build
from stag import sources
from stag.branches import FIRST, IMAGE, write_starter
from stag.grade_machine import bring_up, graded
from stag.labs import LabError, load_lab, load_labs
from stag.machine import MachineConfig
from stag.starter import files_of, write_hollow_after

slow = pytest.mark.slow
LABS = load_labs(ROOT)
NUMBERS = [lab.number for lab in LABS]
TODO = re.compile(
    r"stag: lab (\d), exercise (\d): (\w+) is yours to write: "
    r"read handouts/([\w-]+)\.md#exercise-(\d)"
)

# Where the boot of a lab's starter stops. In lab 1 that is not exercise 1: a
# table is walked and mapped, but only by the grader, before paging is on.
FIRST_EXERCISE = {1: 3}


def build(tree: Path) -> Path:
    """The kernel of a derived tree. What the reference's build has made and is
    as new as its source need not be made again."""
    copy_build(tree)
    keep = ("PATH", "HOME", "CROSS", "CI", "TMPDIR")
    made = subprocess.run(
        ["make", "-s", "kernel"],
        cwd=tree,
        env={name: os.environ[name] for name in keep if os.environ.get(name)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, f"the tree does not build:\n{made.stdout}{made.stderr}"
    assert "warning" not in made.stderr, made.stderr
    return tree / "build/kernel.elf"


# Trees


def test_a_hollow_file(tmp_path: Path) -> None:
    """All of it on one file: the body goes, what only it used goes, comment,
    prototype and what others use stay."""
    write_starter(ROOT, 3, tmp_path / "tree")
    text = (tmp_path / "tree/kernel/map.c").read_text()
    assert (
        "struct executor *call_share(struct executor *self) {\n"
        '    lab_todo(3, 5, "call_share");\n'
        "}\n"
    ) in text
    assert "share(from_space, from_va, to_space, to_va, pages, prot)" in text
    assert "static int lock_with_tables(" in text  # map_page, which is given, uses it
    for gone in ("share_range", "share_get", "fill_range", "struct replaced", "REPLACED"):
        assert gone not in text
    # Earlier labs are the reference, later ones neutral.
    assert (tmp_path / "tree/kernel/page_alloc.c").read_text() == (
        ROOT / "kernel/page_alloc.c"
    ).read_text()
    assert "lab_todo" not in (tmp_path / "tree/kernel/shootdown.c").read_text()


@pytest.mark.parametrize("comment", [" /* why */", " // why"])
def test_comment_behind_the_brace_of_a_function(comment: str) -> None:
    text = f"int one(void) {{{comment}\n    if (x) {{\n    }}\n}}\n\nint two;\n"
    items = sources.parse(text, assembly=False)
    found = sources.find(items, "one")
    assert found is not None and found.body == (1, 3) and sources.join(items) == text


@pytest.mark.parametrize("number", NUMBERS)
def test_nothing_of_a_solution_is_left(number: int, tmp_path: Path) -> None:
    """No private helper whose only use was in what students write."""
    write_starter(ROOT, number, tmp_path / "tree")
    for file in LABS[number - 1].owned:
        text = (tmp_path / "tree" / file).read_text()
        items = sources.parse(text, file.endswith(".S"))
        for item in items:
            assert not item.private or any(
                item.names[0] in other.words() for other in items if other is not item
            ), f"{file}: nothing uses {item.names[0]}"


@pytest.mark.parametrize("number", NUMBERS)
def test_starter_with_the_owned_files_is_the_reference(number: int, tmp_path: Path) -> None:
    """Files of the reference on the starter give what graders call the
    reference with the later labs hollow, but for the first program."""
    write_starter(ROOT, number, tmp_path / "starter")
    write_hollow_after(ROOT, number, tmp_path / "whole")
    for file in LABS[number - 1].owned:
        shutil.copy2(ROOT / file, tmp_path / "starter" / file)
    built = ("kernel/", "include/", "user/")
    starter, whole = (
        {file: path.read_bytes() for file, path in files_of(tree).items() if file.startswith(built)}
        for tree in (tmp_path / "starter", tmp_path / "whole")
    )
    differ = {f for f in starter.keys() | whole.keys() if starter.get(f) != whole.get(f)}
    assert differ <= {IMAGE, FIRST, "kernel/first_program.c"}


def test_starter_knows_its_exercises_and_points(tmp_path: Path) -> None:
    """A student's tree has no labs/: the same data comes from elsewhere."""
    write_starter(ROOT, 2, tmp_path / "tree")
    assert not (tmp_path / "tree/labs").exists()
    assert not (tmp_path / "tree/solutions").exists()
    found, wanted = load_lab(tmp_path / "tree", 2), LABS[1]
    assert (found.name, found.title, found.owned) == (wanted.name, wanted.title, wanted.owned)
    assert found.tests == wanted.tests
    with pytest.raises(LabError, match="this tree is for lab 2"):
        load_lab(tmp_path / "tree", 3)


def test_a_tree_is_brought_up_to_date(tmp_path: Path) -> None:
    """Only what differs is written, and what should not be there goes."""
    tree = tmp_path / "tree"
    write_hollow_after(ROOT, 4, tree)
    before = (tree / "kernel/park.c").stat().st_mtime_ns
    (tree / "kernel/bank.c").write_text("broken\n")
    (tree / "kernel/more.c").write_text("int more;\n")
    write_hollow_after(ROOT, 4, tree)
    assert (tree / "kernel/park.c").stat().st_mtime_ns == before
    assert (tree / "kernel/bank.c").read_bytes() == (ROOT / "kernel/bank.c").read_bytes()
    assert not (tree / "kernel/more.c").exists()


# The command


def run_starter(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [str(ROOT / "tools/starter"), *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], "give a lab and a folder"),
        (["2"], "give a lab and a folder"),
        (["two", "{out}"], "invalid int value"),
        (["0", "{out}"], "there is no lab 0"),
        (["7", "{out}"], "there is no lab 7"),
        (["2", "{full}"], "is not empty"),
        (["--hollow-after", "2", "{full}"], "is not empty"),
        (["2", "{full}/file"], "is not a folder"),
        (["2", "{root}"], "holds this tree"),
        (["2", "{root}/lab2"], "is inside of this tree"),
        (["--backwards"], "unrecognized arguments|give a lab"),
    ],
)
def test_wrong_arguments(arguments: list[str], wanted: str, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").write_text("precious\n")
    places = {"out": tmp_path / "out", "full": full, "root": ROOT}
    code, text = run_starter(*(argument.format(**places) for argument in arguments))
    assert code == 1
    assert re.match(rf"starter: .*({wanted})", text)
    assert text.count("\n") == 1
    assert (full / "file").read_text() == "precious\n"
    assert not (tmp_path / "out").exists()


def test_starter_from_a_tree_without_labs(tmp_path: Path) -> None:
    for part in ("tools", "grading"):
        shutil.copytree(ROOT / part, tmp_path / "tree" / part)
    done = subprocess.run(
        [str(tmp_path / "tree/tools/starter"), "2", str(tmp_path / "again")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("starter: there is no labs/ here")


# Builds and boots. `make test` takes two of them.


def todo_line(text: str) -> tuple[int, int, str]:
    """The one line that a hollow function prints: lab, exercise, function."""
    lines = [line for line in text.splitlines() if "is yours to write" in line]
    assert len(lines) == 1, f"not one line, but:\n{text}"
    found = TODO.search(lines[0])
    assert found is not None, lines[0]
    lab = LABS[int(found[1]) - 1]
    assert found[4] == lab.name
    assert found[5] == found[2]
    exercise, _ = lab.hollow[found[3]]
    assert exercise.number == int(found[2])
    return lab.number, exercise.number, found[3]


@pytest.mark.parametrize("number", [1, *(pytest.param(n, marks=slow) for n in (2, 3, 4, 5))])
def test_later_labs_hollow(number: int, tmp_path: Path) -> None:
    """The kernel boots as far as graders want it, and then as far as it can:
    to the first thing that only a later lab writes, or to the shell's prompt."""
    write_hollow_after(ROOT, number, tmp_path / "tree")
    kernel = build(tmp_path / "tree")
    for mmu in ("sv39", "sv48"):
        config = MachineConfig(kernel, 4, mmu=mmu)  # type: ignore[arg-type]
        with graded(config) as system:
            bring_up(system)
            assert system.boot_hart is not None
            if number < 3:
                assert todo_line(system.harts.let_panic()) == (3, 1, "trap_exit")
            else:
                system.wait_for("stag$ ")


def test_nothing_is_hollow_after_the_last_lab(tmp_path: Path) -> None:
    write_hollow_after(ROOT, 6, tmp_path / "tree")
    for lab in LABS:
        for file in lab.owned:
            assert (tmp_path / "tree" / file).read_bytes() == (ROOT / file).read_bytes()
