"""What lab.toml says of the labs is true of the kernel, and mistakes in it are
told in one line."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from stag import sources
from stag.labs import LabError, check_points, load_lab, load_labs
from stag.starter import Form, check_tree, hollow_file

LABS = load_labs(ROOT)
KERNEL_FILES = [
    path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "kernel").rglob("*.[cS]"))
]


# The descriptions


def test_descriptions_agree_with_the_tree() -> None:
    check_tree(ROOT)


def test_kernel_files_are_owned_or_given() -> None:
    owned = [file for lab in LABS for file in lab.owned]
    assert len(set(owned)) == len(owned)
    assert {file for file in owned if file.startswith("kernel/")} <= set(KERNEL_FILES)
    # Contracts are given; so is what the boot needs before the first exercise.
    given = set(KERNEL_FILES) - set(owned)
    assert {"kernel/boot.c", "kernel/call.c", "kernel/riscv/entry.S", "kernel/lab.c"} <= given
    assert not any(file.endswith(".h") for file in owned)


def test_every_owned_file_has_something_to_write() -> None:
    for lab in LABS:
        hollow = {entry.file for _, entry in lab.hollow.values()}
        assert hollow == set(lab.owned), lab.source


def test_handouts_that_the_kernel_names() -> None:
    """lab_todo has the names of the labs' folders in a table of its own."""
    text = (ROOT / "kernel/lab.c").read_text()
    table = text.partition("handouts[]")[2].partition("};")[0]
    assert re.findall(r'"([^"]*)"', table) == [lab.name for lab in LABS]
    assert f'[5] = "{LABS[4].name}"' in (ROOT / "user/lib/lab.c").read_text()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A tree with what lab.toml speaks of, to be damaged."""
    for name in ("labs", "kernel", "user"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def edit(path: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text, f"{path} has changed: mend the test"
        (root / path).write_text(text.replace(old, new, 1))

    return change


def points_of_one_test(points: int) -> Callable[[Path], None]:
    """Lab 2 with one test and nothing else."""

    def change(root: Path) -> None:
        path = root / LAB_2
        head = path.read_text().partition("[[exercise")[0]
        path.write_text(
            head + '[[exercise]]\nnumber = 1\ntitle = "All"\nhours = 12\n'
            f'[[exercise.test]]\nname = "test_it"\npoints = {points}\ntitle = "It works"\n'
        )

    return change


LAB_2 = "labs/2-page-allocator/lab.toml"
LAB_3 = "labs/3-executors-and-traps/lab.toml"
LAB_4 = "labs/4-scheduler/lab.toml"
EXERCISE_5 = "[[exercise]]\nnumber = 5"
REMOVE = 'remove = [ { file = "kernel/scheduler.c", functions = ["queue_rush"] } ]'
ONE_TEST = '[[exercise.test]]\nname = "test_a"\npoints = 1\ntitle = "A"\n'
CHALLENGE = '[[challenge]]\nname = "test_c"\ntitle = "C"\n'
WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "unknown-function": (
        edit(LAB_3, 'function = "call_share"', 'function = "call_shares"'),
        f"{LAB_3}: kernel/map.c has no function call_shares",
    ),
    "function-that-was-renamed": (
        edit("kernel/fault.c", " *fault(", " *fault_taken("),
        f"{LAB_3}: kernel/fault.c has no function fault",
    ),
    "file-owned-twice": (
        edit(LAB_4, "owned = [", 'owned = ["kernel/page_alloc.c", '),
        f"{LAB_4}: kernel/page_alloc.c is owned by {LAB_2} already",
    ),
    "file-that-is-not-there": (
        edit(LAB_4, "owned = [", 'owned = ["kernel/schedule.c", '),
        f"{LAB_4}: owned file kernel/schedule.c does not exist",
    ),
    "hollow-in-a-given-file": (
        edit(LAB_2, 'file = "kernel/page_alloc.c"', 'file = "kernel/bank.c"'),
        f"{LAB_2}: kernel/bank.c is not among the owned files",
    ),
    "too-few-points": (
        points_of_one_test(99),
        f"{LAB_2}: its tests give 99 points: they must add up to 100",
    ),
    "negative-points": (points_of_one_test(-5), f"{LAB_2}: test_it: -5 points"),
    "hours-that-do-not-add-up": (
        edit(LAB_2, "hours = 12", "hours = 13"),
        f"{LAB_2}: the exercises take 12 hours, not 13",
    ),
    "unknown-key": (edit(LAB_2, "hours = 12", "hour = 12"), f"{LAB_2}: `hours` is missing"),
    "key-of-no-use": (
        edit(LAB_2, "hours = 12", "hours = 12\nhelp = true"),
        f"{LAB_2}: there is no key `help`",
    ),
    "wrong-type": (
        edit(LAB_2, "hours = 12", 'hours = "12"'),
        f"{LAB_2}: `hours` has the wrong type: '12'",
    ),
    "no-toml": (edit(LAB_2, "number = 2", "number is 2"), f"{LAB_2}: .*line 1"),
    "exercise-left-out": (
        edit(LAB_2, "[[exercise]]\nnumber = 1", "[[exercise]]\nnumber = 7"),
        f"{LAB_2}: exercises are numbered",
    ),
    "wrong-folder": (
        edit(LAB_2, "number = 2", "number = 3"),
        f"{LAB_2}: lab 3 can't be in a folder named 2-page-allocator",
    ),
    "prerequisite-that-is-not-there": (
        edit(LAB_4, EXERCISE_5, f'{ONE_TEST}needs = ["test_z"]\n{EXERCISE_5}'),
        f"{LAB_4}: test_a needs test_z",
    ),
    "test-twice": (
        edit(LAB_4, EXERCISE_5, f"{ONE_TEST}{ONE_TEST}{EXERCISE_5}"),
        f"{LAB_4}: test_a is there twice",
    ),
    "challenge-that-gives-points": (
        edit(LAB_4, "[neutral]", f"{CHALLENGE}points = 5\n[neutral]"),
        f"{LAB_4}: test_c: there is no key `points`",
    ),
    "challenge-that-needs-an-exercise": (
        edit(LAB_4, "[neutral]", f'{CHALLENGE}needs = ["test_two_enqueue"]\n[neutral]'),
        f"{LAB_4}: test_c needs test_two_enqueue",
    ),
    "nothing-to-remove": (
        edit(LAB_4, "[[exercise]]", f"[[exercise]]\n{REMOVE}"),
        f"{LAB_4}: kernel/scheduler.c has no queue_rush to remove",
    ),
    "extra-file-that-exists": (
        edit(LAB_4, "kernel/lab4.c", "kernel/timer.c"),
        f"{LAB_4}: kernel/timer.c is for students to add",
    ),
    "neutral-body-of-another-lab": (
        edit(LAB_4, "[neutral]", '[neutral]\npage_alloc = ""'),
        rf"{LAB_4}: \[neutral\] page_alloc",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_mistakes_in_a_description(what: str, copy: Path) -> None:
    change, wanted = WRONG[what]
    change(copy)
    with pytest.raises(LabError) as error:
        check_tree(copy)
    assert re.match(wanted, str(error.value))
    assert "\n" not in str(error.value)


def test_points_may_be_incomplete_while_graders_are_written(copy: Path) -> None:
    points_of_one_test(99)(copy)
    lab = load_lab(copy, 2)
    assert lab.points == 99
    with pytest.raises(LabError):
        check_points(lab)


# The sources


@pytest.mark.parametrize("file", [*KERNEL_FILES, "user/lib/sync.c"])
def test_sources_are_taken_apart_and_put_together(file: str) -> None:
    text = (ROOT / file).read_text()
    items = sources.parse(text, file.endswith(".S"))
    assert sources.join(items) == text
    assert any(item.kind in ("function", "other") for item in items)


def test_a_helper_that_is_removed(copy: Path) -> None:
    """One that what is given uses, so it would stay by itself."""
    edit(LAB_2, "[[exercise]]", f"[[exercise]]\n{REMOVE}")(copy)
    edit(LAB_2, "scheduler.c", "page_alloc.c")(copy)
    edit(LAB_2, "queue_rush", "page_list_drop")(copy)
    file = "kernel/page_alloc.c"
    text = (ROOT / file).read_text()
    before = hollow_file(text, file, LABS[1], Form.STARTER)
    after = hollow_file(text, file, load_lab(copy, 2), Form.STARTER)
    assert "void page_list_drop(" in before
    assert "void page_list_drop(" not in after
    assert "void *page_list_take(" in after
