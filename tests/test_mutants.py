"""Tests that can't fail prove nothing. Here steps of the kernel's protocols are
taken out, one at a time, and the programs that try the kernel hard have to
notice. Only steps whose lack is sure to show in a run are here: for the others
there are the graders, which force what must go wrong (make grade-solutions)."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT
from course import copy_build
from stag.errors import StagError
from stag.machine import MachineConfig, run_to_exit

slow = pytest.mark.slow


@dataclass(frozen=True)
class Mutant:
    """In `file` of the kernel, `old` (there exactly once) becomes `new`; then
    `command` must fail, or hang."""

    file: str
    old: str
    new: str
    command: str
    patience: float = 300
    harts: int = 4


# The command, the patience and the harts for what executor_create must clear.
USED_PAGES = ("usertests create_on_used_pages", 30, 1)

MUTANTS = {
    "shootdown-does-not-wait": Mutant(
        "shootdown.c",
        "for (uint64_t i = 0; waiting >> i != 0; i++) {",
        "for (uint64_t i = 0; false; i++) {",
        "litmus; litmus",
    ),
    "unmap-without-shootdown": Mutant("unmap.c", "    shootdown(space);\n", "", "litmus; litmus"),
    "replace-without-shootdown": Mutant(
        "map.c",
        "if (noted != 0 || (bits & PTE_X))",
        "if (noted == 0 && (bits & PTE_X))",
        "litmus; litmus",
    ),
    "unmap-does-not-zero-entries": Mutant(
        "unmap.c", "/* step 2 has cleared all in the range */", "continue;", "usertests", 60
    ),
    "table-count-not-kept": Mutant(
        "unmap.c",
        "cursor->found |= cleared != 0;\n    return cleared",
        "cursor->found |= cleared != 0;\n    return false && cleared",
        "usertests",
        60,
    ),
    "registers-not-cleared": Mutant(
        "executor.c",
        "    blocks_zero(executor, offsetof(struct executor, references));\n",
        "    executor->heap_left = executor->heap_right = NULL;\n    executor->heap_rank = 0;\n"
        "    executor->started = 0;\n    executor->hart = NULL;\n",
        *USED_PAGES,
    ),
    "lock-not-cleared": Mutant("executor.c", "    executor->lock.held = 0;\n", "", *USED_PAGES),
    "supervisor-not-cleared": Mutant(
        "executor.c",
        "    executor->lock.held = 0;\n    executor->supervisor = NULL;\n",
        "    executor->lock.held = 0;\n",
        *USED_PAGES,
    ),
    "fault-not-cleared": Mutant("executor.c", "    executor->fault_address = 0;\n", "", *USED_PAGES),
    "neighbour-not-cleared": Mutant(
        "executor.c", "    executor->space_previous = NULL;\n", "", *USED_PAGES
    ),
    "dispatch-keeps-the-dead": Mutant(
        "scheduler.c",
        "return !scheduler_release(executor);",
        "return false;",
        "killer; usertests",
        60,
    ),
    "unpark-forgets-to-queue": Mutant(
        "park.c",
        "    executor_get(executor);\n    return true;\n}",
        "    return false;\n}",
        "usertests",
        30,
    ),
    "handle-dropped-without-reference": Mutant(
        "unmap.c", "executor_put(pte_page(leaf));", ";", "killer", 120
    ),
    "page-shared-without-count": Mutant(
        "map.c", "page_get(pte_page(pte)); break;", "break;", "usertests", 60
    ),
    "remembered-without-reference": Mutant(
        "handle.c",
        "    if (executor != NULL) {\n        executor_get(executor);\n",
        "    if (executor != NULL) {\n",
        "usertests",
        60,
    ),
    "remembered-though-it-failed": Mutant(
        "handle.c", "if (error == 0) handle_remember", "handle_remember", "usertests", 60, harts=1
    ),
    "handles-remembered-over-a-flush": Mutant(
        "shootdown.c", "        handle_forget_all();\n", "", "usertests", 60
    ),
    "handles-remembered-of-any-space": Mutant(
        "handle.h",
        "slot->va == va.raw && slot->space == this_hart()->published",
        "slot->va == va.raw",
        "usertests",
        60,
        harts=1,
    ),
    "lock-that-does-not-lock": Mutant(
        "lock.h",
        "while (__atomic_exchange_n(&lock->held, 1, __ATOMIC_ACQUIRE) != 0) {",
        "while (__atomic_exchange_n(&lock->held, 1, __ATOMIC_ACQUIRE) > 1) {",
        "stress; stress; killer; litmus",
        120,
    ),
    "events-that-do-not-stay": Mutant(
        "park.c",
        "        next = seen | (uint64_t)events << STATE_EVENTS_SHIFT;\n",
        "        next = seen & STATE_PARKED ? seen | (uint64_t)events << 32 : seen;\n",
        "usertests",
        60,
    ),
    "reference-dropped-twice": Mutant(
        "scheduler.c",
        "executor_end(self);\n    executor_put(self);\n",
        "executor_end(self);\n    executor_put(self);\n    executor_put(self);\n",
        "usertests",
        60,
    ),
    "floating-point-left-on": Mutant(
        "boot.c", "SSTATUS_VS | SSTATUS_FS |", "SSTATUS_VS |", "usertests faults", 30
    ),
    "registers-told-of-one-that-runs": Mutant(
        "executor.c",
        "    if (!(seen & STATE_HELD)) {\n        info->pc",
        "    {\n        info->pc",
        "usertests inspect_running",
        30,
    ),
    "quantum-too-long": Mutant(
        "timer.c", "TICKS_PER_SECOND = 100", "TICKS_PER_SECOND = 10", "usertests quantum", 30
    ),
}


def build(mutant: Mutant, folder: Path) -> Path:
    """The kernel with the mutation, built beside the pristine one."""
    for name in ("kernel", "include", "user", "tools"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy2(ROOT / "Makefile", folder)
    copy_build(folder)
    path = folder / "kernel" / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.file} has changed: mend the mutant"
    path.write_text(text.replace(mutant.old, mutant.new))
    keep = ("PATH", "HOME", "CROSS", "CI", "TMPDIR")
    made = subprocess.run(
        ["make", "-s", "kernel"],
        cwd=folder,
        env={name: os.environ[name] for name in keep if os.environ.get(name)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, f"the mutant does not build:\n{made.stderr}"
    return folder / "build" / "kernel.elf"


def check_caught(mutant: Mutant, folder: Path) -> None:
    config = MachineConfig(build(mutant, folder), mutant.harts, arguments=f"run={mutant.command}")
    try:
        code, text = run_to_exit(config, mutant.patience)
    except StagError:
        return  # it hangs
    assert code != 0, f"nothing was noticed:\n{text[-1500:]}"


def test_shootdown_that_does_not_wait_is_noticed(tmp_path: Path) -> None:
    check_caught(MUTANTS["shootdown-does-not-wait"], tmp_path)


@slow
@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_noticed(name: str, tmp_path: Path) -> None:
    check_caught(MUTANTS[name], tmp_path)
