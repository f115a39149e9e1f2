"""The real graders: the reference scores full points in each lab, alone and with
the later labs hollow, and what only looks like a kernel scores none."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import KERNEL, ROOT
from course import copy_build
from stag.branches import write_starter
from stag.labs import load_lab

LABS = (1, 2, 3, 4, 5, 6)
slow = pytest.mark.slow

pytestmark = pytest.mark.skipif(not (ROOT / "labs").is_dir(), reason="no labs here")


def grade(number: int, out: Path, *options: str) -> dict[str, object]:
    """The results of grading a lab."""
    copy_build(out / "tree")
    command = [sys.executable, "grading/grade.py", "--lab", str(number), "--out", str(out)]
    done = subprocess.run(
        [*command, "--jobs", "1", *options],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("STAG_")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return json.loads((out / "results.json").read_text())


def points(results: dict[str, object]) -> int:
    return sum(test["got"] for test in results["tests"])  # type: ignore[attr-defined]


def failures(results: dict[str, object]) -> str:
    return "\n".join(
        f"{test['name']}: {test['outcome']}: {test['message']}"
        for test in results["tests"]  # type: ignore[attr-defined]
        if test["outcome"] != "pass"
    )


@pytest.mark.parametrize("number", [pytest.param(n, marks=[] if n == 4 else slow) for n in LABS])
def test_reference(number: int, tmp_path: Path) -> None:
    results = grade(number, tmp_path)
    assert points(results) == 100, failures(results)


@slow
@pytest.mark.parametrize("number", LABS)
def test_reference_with_later_labs_hollow(number: int, tmp_path: Path) -> None:
    results = grade(number, tmp_path, "--hollow")
    assert points(results) == 100, failures(results)


UNUSED = '#pragma GCC diagnostic ignored "-Wunused"\n'
TO_WRITE = re.compile(r"lab_todo\([^;]*\);")


def check_no_points(spoil: Callable[[str, str, int], str], number: int, folder: Path) -> None:
    """The starter, whose files are spoilt so (name, text, lab): it builds, and no test
    passes."""
    tree = folder / "submission"
    write_starter(ROOT, number, tree)
    for name in load_lab(ROOT, number).owned:
        text = (tree / name).read_text()
        (tree / name).write_text(spoil(name, text, number))
    results = grade(number, folder / "out", "--tree", str(tree))
    assert not results["rejected"]
    assert points(results) == 0, [t["name"] for t in results["tests"] if t["got"]]  # type: ignore
    assert all(test["outcome"] in ("fail", "blocked") for test in results["tests"])  # type: ignore


def printing(name: str, text: str, number: int) -> str:
    """Let every function that is to be written print praise, and go no further."""
    praise = f'"lab {number}: all tests passed, 100 of 100 points\\n"'
    if name.startswith("user/"):
        head, put = "print.h", f"printf({praise});"
    else:
        head, put = "riscv/sbi.h", f"for (const char *p = {praise}; *p; p++) {{ sbi_put(*p); }}"
    loop = f"{put} for (;;) {{ }}"
    # As it stands: in a template \\n would be the end of a line.
    changed = TO_WRITE.sub(lambda _: loop, text)
    given = not name.endswith(".c") or changed == text
    return text if given else f'{UNUSED}#include "{head}"\n{changed}'


@pytest.mark.parametrize("number", [pytest.param(n, marks=[] if n == 2 else slow) for n in LABS])
def test_kernel_that_only_prints(number: int, tmp_path: Path) -> None:
    check_no_points(printing, number, tmp_path)


def idle(name: str, text: str, _: int) -> str:
    """Let every function that is to be written do nothing, and return 0."""
    if not name.endswith(".c"):
        return text
    of_nothing = re.compile(r"(?ms)(^[^\n]*\bvoid \w+\((?:(?!^}).)*?)lab_todo\([^;]*\);")
    return UNUSED + TO_WRITE.sub("return 0;", of_nothing.sub(r"\1return;", text))


@pytest.mark.parametrize("number", [pytest.param(n, marks=[] if n == 3 else slow) for n in LABS])
def test_kernel_that_does_nothing(number: int, tmp_path: Path) -> None:
    """No points for what a function that was not written does not do, either."""
    check_no_points(idle, number, tmp_path)


def test_library_is_the_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lab 5 runs a program that was built with this kernel, not one of a build before."""
    monkeypatch.syspath_prepend(ROOT / "grading/lab5")
    find_library = importlib.import_module("user_code").find_library
    (tmp_path / "user").mkdir()
    for name, time in (("a.elf", 1), ("lib.a", 2), ("b.elf", 2)):
        path = shutil.copy(find_library(KERNEL).path, tmp_path / "user" / name)
        os.utime(path, (time, time))
    assert find_library(tmp_path / "kernel.elf").path.name == "b.elf"


def submission(folder: Path, number: int) -> Path:
    """The reference's owned files of a lab, to be spoilt."""
    for name in load_lab(ROOT, number).owned:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, path)
    return folder


@slow
def test_allocator_without_locks(tmp_path: Path) -> None:
    """Atomic steps made plain ones: no test of two harts at a time may pass."""
    folder = submission(tmp_path / "submission", 2)
    path = folder / "kernel/page_alloc.c"
    plain = """
#define __atomic_exchange_n(at, value, order) \\
    ({ __typeof__(*(at)) old_ = *(volatile __typeof__(*(at)) *)(at); \\
       *(volatile __typeof__(*(at)) *)(at) = (value); old_; })
#define __atomic_load_n(at, order) (*(volatile __typeof__(*(at)) *)(at))
#define __atomic_store_n(at, value, order) ((void)(*(volatile __typeof__(*(at)) *)(at) = (value)))
#define __atomic_fetch_add(at, value, order) \\
    ({ __typeof__(*(at)) old_ = *(volatile __typeof__(*(at)) *)(at); \\
       *(volatile __typeof__(*(at)) *)(at) = old_ + (value); old_; })
#define __atomic_fetch_sub(at, value, order) \\
    ({ __typeof__(*(at)) old_ = *(volatile __typeof__(*(at)) *)(at); \\
       *(volatile __typeof__(*(at)) *)(at) = old_ - (value); old_; })
"""
    text = path.read_text()
    at = text.index("static uint64_t dummy_entry;")
    path.write_text(text[:at] + plain + text[at:])
    results = grade(2, tmp_path / "out", "--tree", str(folder))
    got = {test["name"]: test["got"] for test in results["tests"]}  # type: ignore[attr-defined]
    source = (ROOT / "grading/lab2/test_two_harts.py").read_text()
    explored = set(re.findall(r"^def (test_\w+)", source, re.MULTILINE))
    explored.discard("test_pages_reach_other_harts")  # one after the other
    assert len(explored) > 6
    assert not any(got[name] for name in explored), got
    assert points(results) > 0


@slow
def test_kernel_without_any_sfence(tmp_path: Path) -> None:
    """Every shootdown point is lost, and nothing but what needs it."""
    folder = submission(tmp_path / "submission", 6)
    path = folder / "kernel/shootdown.c"
    path.write_text(path.read_text().replace("        sfence_vma_asid(space->asid);\n", ""))
    results = grade(6, tmp_path / "out", "--tree", str(folder))
    got = {test["name"]: test["got"] for test in results["tests"]}  # type: ignore[attr-defined]
    for exercise in load_lab(ROOT, 6).exercises:
        mine = [got[test.name] for test in exercise.tests]
        if exercise.title in ("Shootdown", "Generations"):
            assert not any(mine), exercise.title
        elif exercise.number <= 3:
            assert all(mine), exercise.title
