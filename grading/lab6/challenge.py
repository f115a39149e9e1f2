"""The challenge: flush less. What harts flush is read at each sfence.vma that
they come to, and what they still have cached of it, in the model's TLBs."""

from __future__ import annotations

import pytest
from fence_bench import KEPT, PUBLISH, Fence, FenceBench
from process_bench import (
    CALL_RESUME,
    CODE,
    DATA,
    ECALL,
    LOAD_FAULT,
    MAP_REPLACE,
    PROT_RW,
    READS,
    S0,
    explore,
)
from stag.explore import Thread
from stag.model import Call
from stag.pagetable import PAGE
from stag.scene import Scene
from stag.verdict import check, fail

FEW, FENCES_MAX, EARLIER = 8, 64, 8
SCAUSE, STVAL = 0x142, 0x143
LONELY = 0x5000000  # alone in its table
CALLS = CODE + 8  # a call, behind READS


@pytest.fixture
def bench(scene) -> FenceBench:
    return FenceBench(scene())


def unmap_few(bench: FenceBench, places: list[int], pages: int) -> None:
    space, reader = bench.process(READS)
    bench.populate(space, places)
    bench.has_read(1, reader, places)
    bench.unmapper(space, DATA, pages)
    for hart, fences in bench.unmap_by_two().items():
        bench.check_by_address(hart, fences, places)
    bench.check_gone(1, places, "after the call", "the number of the space is an operand, too")


def test_one_page_by_address(bench: FenceBench) -> None:
    unmap_few(bench, [DATA], 1)


def test_few_pages_by_address(bench: FenceBench) -> None:
    """With holes; and then many pages."""
    unmap_few(bench, [DATA + i * PAGE for i in (0, 1, 4, FEW - 1)], FEW)
    bench = FenceBench(Scene(bench.scene.snapshot))
    space, reader = bench.process(READS)
    places = bench.populate(space, [DATA + i * PAGE for i in (0, 7, 90, 200)])
    bench.has_read(1, reader, places)
    bench.unmapper(space, DATA, 256)
    for hart, fences in bench.unmap_by_two().items():
        check(
            len(fences) <= FENCES_MAX,
            f"for a range of 256 pages hart {hart} executes at most {FENCES_MAX} sfence.vma",
            f"{len(fences)}",
            PUBLISH,
            "each takes its time: of many pages everything is flushed sooner",
        )
    bench.check_gone(1, places, "after 256 pages were unmapped")


def in_the_kernel(bench: FenceBench, hart: int, places: list[int]) -> tuple[int, int]:
    """The hart has translations of these places, and is in a call; then it
    reads the first. The space, where pages have been unmapped before, and an
    executor of it that no hart runs."""
    space, executor = bench.process((*READS, ECALL, *READS), a7=CALL_RESUME)
    other = bench.executor(space, "other")
    bench.populate(space, places)
    for _ in range(EARLIER):
        bench.memory(space, KEPT + PAGE)
        bench.unmap(other, KEPT + PAGE, 1)
    bench.has_read(hart, executor, places)
    bench.world.harts[hart].x[S0] = places[0]
    calls(bench, hart)
    return space, other


def calls(bench: FenceBench, hart: int) -> None:
    """The program makes its call, which takes the lock of its space: it is on
    its way back."""
    bench.world.harts[hart].pc = CALLS
    if not bench.goes_to(hart, "call_dispatch") or not bench.leaves_start(hart):
        fail("a call of resume comes to its end", bench.scene.where(hart))


def returns(bench: FenceBench, hart: int) -> list[Fence]:
    """Back to user mode; what it flushed."""
    back, fences = bench.notes(hart, CALLS + 4)
    check(back, f"hart {hart} returns to user mode", bench.scene.where(hart), PUBLISH)
    return fences


def test_missed_shootdowns(bench: FenceBench) -> None:
    """A hart in the kernel flushes what it has missed, before it returns. Then
    a page is mapped over, which says nothing of addresses."""
    snapshot = bench.scene.snapshot
    for missed in (2, 3, 9):
        bench = FenceBench(Scene(snapshot))
        places = [DATA + i * PAGE for i in range(missed)]
        space, other = in_the_kernel(bench, 1, places)
        for va in places:
            bench.unmap(other, va, 1)
        returns(bench, 1)
        bench.check_gone(
            1,
            places,
            f"after it has missed {missed} shootdowns in the kernel",
            "it flushes all that they took away together, or everything",
        )
        bench.world.harts[1].x[S0] = KEPT
        bench.step(1)
        calls(bench, 1)
        bench.prepare_call(other, 0, KEPT, 1, PROT_RW, MAP_REPLACE)
        bench.long_call(0, "call_map", other)
        returns(bench, 1)
        bench.check_gone(
            1,
            [KEPT],
            f"after {missed} pages were unmapped, and then another was mapped over",
            "map and share call shootdown as before: it says nothing of addresses",
        )
        calls(bench, 1)
        bench.memory(space, DATA)
        bench.unmap(other, DATA, 1)
        newcomer = bench.executor(space, "newcomer")
        bench.start(newcomer)
        _, fences = bench.notes(3, CODE)
        bench.check_everything(3, fences, "it comes into this space for the first time")


def test_everything_goes_with_a_table(bench: FenceBench) -> None:
    space, reader = bench.process(READS)
    bench.populate(space, [])
    bench.memory(space, LONELY)
    bench.has_read(1, reader, [LONELY])
    bench.unmapper(space, LONELY, 1)
    for hart, fences in bench.unmap_by_two().items():
        bench.check_everything(hart, fences, "with the page its table went")
    bench = FenceBench(Scene(bench.scene.snapshot))
    space, other = in_the_kernel(bench, 1, [DATA])
    bench.memory(space, LONELY)
    bench.unmap(other, LONELY, 1)
    bench.unmap(other, DATA, 1)
    fences = returns(bench, 1)
    bench.check_everything(1, fences, "of two unmaps that it missed the first freed a table")


def test_return_and_next_shootdown(bench: FenceBench) -> None:
    """A hart that has missed none, one, or two, returns, while the next is on
    its way."""
    snapshot = bench.scene.snapshot
    for missed in range(3):
        explore_return(FenceBench(Scene(snapshot)), missed)


def explore_return(bench: FenceBench, missed: int) -> None:
    places = [DATA + i * PAGE for i in range(missed + 1)]
    _, other = in_the_kernel(bench, 0, places)
    for va in places[:missed]:
        bench.unmap(other, va, 1, hart=1)
    if not bench.goes_to(0, "shootdown_publish"):
        fail("after the call the hart comes to shootdown_publish", bench.scene.where(0))
    bench.prepare_call(other, 0, places[-1], 1)

    def oracle(_: Scene) -> str | None:
        csr = bench.world.harts[0].csr
        if (csr[SCAUSE], csr[STVAL]) == (LOAD_FAULT, DATA):
            return None
        return f"hart 0 traps with cause {csr[SCAUSE]} at {csr[STVAL]:#x}, not for the load"

    explore(
        bench.scene,
        [Thread(0, until=["fault"]), Thread(1, Call("call_unmap", (other,)))],
        oracle,
        models=["tso", "pso"],
        hint="a hart that waits for ever in user mode still reads the page. What a hart reads of"
        " a shootdown must not be of the next one already",
    )
