"""Exercise 1: into user mode."""

from __future__ import annotations

import pytest
from executor_stage import CODE, LOOP, Stage, differences, pattern
from stag.harts import USER
from stag.opcodes import SRET
from stag.verdict import check, fail

STEPS = 400
SFENCE_ALL_MASK, SFENCE_ALL = 0xFE0FFFFF, 0x12000073  # sfence.vma zero, any


@pytest.fixture
def stage(ready) -> Stage:
    return Stage(ready(harts=1))


def entered(stage: Stage, seed: int = 1) -> tuple[int, list[int]]:
    """An executor about to be resumed, and what its registers should become."""
    _, executor = stage.program(LOOP)
    registers = pattern(seed)
    stage.enter(executor, registers)
    stage.system.remote.set_register(stage.hart, "sie", 0)
    return executor, [CODE, *registers[1:]]


def check_registers(stage: Stage, wanted: list[int], when: str) -> None:
    wrong = differences(wanted, stage.live())
    check(
        not wrong,
        expected=f"all 31 registers and pc are the executor's {when}",
        found=wrong,
        where="the first instruction in user mode",
    )


def check_user_mode(stage: Stage, executor: int) -> None:
    remote = stage.system.remote
    mode, satp = (remote.register(stage.hart, name) for name in ("priv", "satp"))
    wanted = stage.get("executor", executor, "satp")
    check(mode == USER, expected="the hart is in user mode", found=stage.system.harts.where(0))
    check(
        satp == wanted,
        expected=f"satp is the executor's, {wanted:#x}",
        found=f"satp is {satp:#x}",
        where="the first instruction in user mode",
    )


def check_way_back(stage: Stage) -> None:
    wanted = stage.get("hart", stage.hart_page, "kernel_satp")
    found = stage.system.remote.register(stage.hart, "sscratch")
    check(
        found == wanted,
        expected=f"in user mode sscratch holds this hart's kernel satp, {wanted:#x}",
        found=f"sscratch is {found:#x}",
        where="the first instruction in user mode",
    )


def test_exit_restores_registers(stage: Stage) -> None:
    _, wanted = entered(stage)
    stage.system.run_to_user([stage.hart])
    check_registers(stage, wanted, "after trap_exit")


def test_exit_enters_user_mode(stage: Stage) -> None:
    executor, _ = entered(stage)
    stage.system.run_to_user([stage.hart])
    check_user_mode(stage, executor)


def test_exit_leaves_the_way_back(stage: Stage) -> None:
    entered(stage)
    stage.system.run_to_user([stage.hart])
    check_way_back(stage)


def test_exit_without_address_space_numbers(stage: Stage) -> None:
    """trap_exit_flushing: the same, and a flush once satp is the user's."""
    executor, wanted = entered(stage, 2)
    harts, remote = stage.system.harts, stage.system.remote
    remote.set_register(stage.hart, "pc", stage.system.symbols["trap_exit_flushing"])
    user_satp = stage.get("executor", executor, "satp")
    flushed = False
    for _ in range(STEPS):
        word = harts.instruction(stage.hart)
        if word is not None and word & SFENCE_ALL_MASK == SFENCE_ALL:
            flushed = remote.register(stage.hart, "satp") == user_satp
        harts.step(stage.hart)
        if word == SRET:
            break
    else:
        fail("trap_exit_flushing comes to an sret", f"after {STEPS} steps: {harts.where(0)}")
    check_registers(stage, wanted, "after trap_exit_flushing")
    check_user_mode(stage, executor)
    check_way_back(stage)
    check(
        flushed,
        expected="sfence.vma after the user's satp is written: without address space numbers"
        " all translations must go",
        found="none between the write of satp and sret",
        where="trap_exit_flushing",
    )
