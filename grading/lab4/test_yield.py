"""Exercise 2: yield."""

from __future__ import annotations

import pytest
from scheduler_bench import EXECUTING, LOOP, QUEUED, Bench, make_bench
from stag.verdict import check

A0, A7 = 10, 17


@pytest.fixture
def bench(scene) -> Bench:
    return make_bench(scene())


def do_yield(bench: Bench, hart: int, name: str, wanted: str, why: str) -> None:
    found = bench.scene.call(hart, "scheduler_yield", bench.executors[name])
    check(
        found == bench.executors[wanted],
        expected=f"scheduler_yield({name}) returns {wanted}, {why}",
        found=f"it returns {bench.name(found)}",
        where="kernel/scheduler.h",
    )


def test_yield_alone(bench: Bench) -> None:
    bench.enqueue(0, "A")
    bench.expect_next(1, "A")
    do_yield(bench, 1, "A", "A", "as nobody waits")
    bench.check_state("A", EXECUTING, "as it runs on")
    bench.check_references("A", 2, "as it runs on")


def test_yield_to_the_only_other(bench: Bench) -> None:
    bench.enqueue(0, "A", "B")
    bench.expect_next(1, "A")
    do_yield(bench, 1, "A", "B", "which waits")
    do_yield(bench, 1, "B", "A", "which waits")


def test_yield_takes_turns(bench: Bench) -> None:
    """Behind all others that wait."""
    bench.enqueue(0, "A", "B", "C")
    bench.expect_next(1, "A")
    runs = "A"
    for number, wanted in enumerate("BCABCA"):
        do_yield(bench, 1, runs, wanted, f"as turn number {number + 2} of A, B, C, A, …")
        bench.check_state(runs, QUEUED, f"when it has yielded to {wanted}")
        bench.check_state(wanted, EXECUTING, f"when {runs} has yielded to it")
        bench.check_references(runs, 2, f"when it has yielded to {wanted}")
        runs = wanted


def test_yield_keeps_registers(bench: Bench) -> None:
    """The whole way: from user mode, by an ecall, to another program."""
    scene, hart = bench.scene, 1
    registers = scene.world.harts[hart].x
    starts = {name: bench.start(name, 0) for name in "AB"}
    wanted: dict[str, list[int]] = {}
    for name in "AB":
        bench.run_to_user(hart, starts[name], f"{name}, at its start")
        for number in range(1, 32):
            registers[number] = number << 16 | starts[name]
        wanted[name] = [0, *registers[1:]]
    for name in "AB":
        bench.run_to_user(hart, starts[name] + LOOP, f"{name}, behind its yield")
        differ = [
            f"x{number} is {registers[number]:#x}, was {value:#x}"
            for number, value in enumerate(wanted[name])
            if number not in (A0, A7) and registers[number] != value
        ]
        check(
            not differ,
            expected=f"{name} finds its registers as they were before its yield",
            found="; ".join(differ[:4]),
            where=scene.where(hart),
            hint="trap_entry saves to hart.executor, and restores s0 to s11 only if hart.switched"
            " is 1 (kernel/hart.h)",
        )
        if name == "A":
            scene.world.harts[hart].pc = starts["A"]  # it yields once more
