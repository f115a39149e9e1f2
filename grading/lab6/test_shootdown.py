"""Exercise 4: shootdown. Hart 1 is in user mode in a space, and hart 0 unmaps
there: as only one of them runs at a time, each step of the protocol can be
looked at."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from process_bench import (
    CALL_PARK,
    CODE,
    DATA,
    DEADLINE_NONE,
    ECALL,
    EVENT_WAKE,
    PLENTY,
    READS,
    SPINS,
    Bench,
    unmap_waits,
)
from stag.pagetable import PAGE
from stag.verdict import check, fail

SHOOTDOWN = "shootdown (kernel/shootdown.c)"
UNMAP = "unmap_range (kernel/unmap.c)"


@pytest.fixture
def bench(scene) -> Bench:
    return Bench(scene())


def check_waits(bench: Bench, executor: int, pages: int = 1) -> None:
    """Hart 0 unmaps at DATA, and waits for harts in user mode."""
    check(
        unmap_waits(bench, executor, pages),
        "unmap waits as long as a hart is in user mode in the space and has not flushed",
        "it returned",
        SHOOTDOWN,
        "interrupt that hart, then wait until its word says that it has answered",
    )


def test_stale_translation_goes(bench: Bench) -> None:
    space, executor = bench.process(READS)
    bench.memory(space, DATA)
    bench.reads(1, executor)
    unmap_waits(bench, bench.executor(space, "unmapper"))
    bench.check_faults(
        1,
        "when hart 0 has unmapped a page that hart 1 reads",
        "a translation stays in a hart's TLB until that hart executes an sfence.vma for it",
    )


def test_unmap_waits_for_the_flush(bench: Bench) -> None:
    space, executor = bench.process(READS)
    bench.memory(space, DATA)
    bench.reads(1, executor)
    check_waits(bench, bench.executor(space, "unmapper"))
    bench.check_faults(1, "after the interrupt")
    check(bench.goes_to(0), "then unmap returns", "it waits on", SHOOTDOWN)


def test_all_harts_in_the_space(bench: Bench) -> None:
    space, executor = bench.process(READS)
    second, third = bench.executor(space, "second"), bench.executor(space, "third")
    for other in (second, third):
        bench.set_registers(other, s0=DATA)
    bench.memory(space, DATA)
    for hart, running in ((1, executor), (2, second), (3, third)):
        bench.reads(hart, running)
    check_waits(bench, bench.executor(space, "unmapper"))
    for hart in (1, 2, 3):
        check(
            bench.pending(hart),
            f"hart {hart}, in user mode in the space, is interrupted",
            "it is not",
            SHOOTDOWN,
        )
    for hart in (1, 2, 3):
        check(
            not bench.goes_to(0),
            f"unmap waits for hart {hart} too, which has not flushed yet",
            "it returned",
            SHOOTDOWN,
        )
        bench.check_faults(hart, "after the interrupt")
    check(bench.goes_to(0), "then unmap returns", "it waits on", SHOOTDOWN)


def at_last_wait(bench: Bench, executor: int, pages: int, look: Callable[[], int]) -> int:
    """What `look` sees when hart 0, which unmaps, waits for hart 1: the last
    time, if it does so more than once."""
    check_waits(bench, executor, pages)
    for _ in range(4):
        seen = look()
        pc = bench.world.harts[1].pc
        back = bench.goes_to(1, "shootdown_publish") and bench.goes_to(1, pc)
        check(back, "hart 1 answers, and goes back", bench.scene.where(1), SHOOTDOWN)
        if bench.goes_to(0):
            return seen
    fail("unmap returns when hart 1 has answered", "it waits on", SHOOTDOWN)


def test_entries_are_cleared_first(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    places = [DATA + i * PAGE for i in range(3)]
    for va in (*places, DATA + 8 * PAGE):
        bench.memory(space, va)
    bench.dispatch(1, executor)
    unmapper = bench.executor(space, "unmapper")

    def count_valid() -> int:
        return sum(bench.mapped(space, va) is not None for va in places)

    valid = at_last_wait(bench, unmapper, 3, count_valid)
    check(
        valid == 0,
        "when harts are interrupted the entries of all 3 pages are cleared",
        f"{valid} are still valid: a hart that flushes now loads them again",
        UNMAP,
        "first the tables, then the shootdown",
    )


def test_empty_tables_are_unlinked_first(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    tables = len(bench.tables(space))
    bench.memory(space, DATA)
    bench.dispatch(1, executor)
    unmapper = bench.executor(space, "unmapper")
    found = at_last_wait(bench, unmapper, 1, lambda: len(bench.tables(space)))
    check(
        found == tables,
        f"when harts are interrupted {tables} tables are linked: the empty one is not",
        f"{found} are: a hart that flushes now comes upon a table that is about to be freed",
        UNMAP,
    )


def test_pages_are_kept_until_then(bench: Bench) -> None:
    space, executor = bench.process(READS)
    pages = [bench.memory(space, DATA + i * PAGE) for i in range(2)]
    bench.reads(1, executor)
    bench.share(pages[1], bench.space("other space"), DATA)
    check_waits(bench, bench.executor(space, "unmapper"), 2)
    counts = bench.counts()
    for page, count in zip(pages, (1, 2), strict=True):
        found = counts.get(page)
        check(
            found == count,
            f"as long as a hart has not flushed, the page that it may use keeps count {count}",
            "it is free" if found is None else f"count {found}",
            UNMAP,
            "no reference is dropped before the shootdown: another space could free the page",
        )


def test_tables_are_kept_until_then(bench: Bench) -> None:
    space, executor = bench.process(READS)
    before = bench.tables(space)
    bench.memory(space, DATA)
    made = [page for page in bench.tables(space) if page not in before]
    bench.reads(1, executor)
    check_waits(bench, bench.executor(space, "unmapper"))
    counts = bench.counts()
    free = [page for page in made if page not in counts]
    check(
        not free,
        "as long as a hart has not flushed, a table that it may be walking is not freed",
        "its page is free",
        UNMAP,
    )


def test_other_harts_are_left_alone(bench: Bench) -> None:
    """Hart 2 has been in the space, and is in another one now; hart 3 was never
    in it. Hart 1 is, but at first nothing is taken away."""
    space, executor = bench.process(READS)
    bench.memory(space, DATA)
    bench.reads(1, executor)
    visitor = bench.executor(space, "visitor")
    bench.set_registers(visitor, a0=EVENT_WAKE, a1=DEADLINE_NONE, a7=CALL_PARK)
    bench.program(space, (ECALL,), CODE + PAGE)
    bench.dispatch(2, visitor, pc=CODE + PAGE)
    _, elsewhere = bench.process(SPINS, "second space")
    bench.start(elsewhere)
    if not bench.goes_to(2, CODE):
        fail("hart 2 goes on to the next in the queue", bench.scene.where(2))
    _, stranger = bench.process(SPINS, "third space")
    bench.dispatch(3, stranger)
    unmapper = bench.executor(space, "unmapper")
    bench.prepare_call(unmapper, 0, DATA + PAGE, 600)
    bench.scene.enter(0, "call_unmap", unmapper)
    check(
        bench.goes_to(0, budget=PLENTY) and not bench.pending(1),
        "unmap where nothing is mapped interrupts no hart, and waits for none",
        "hart 1, in user mode in the space, is interrupted",
        UNMAP,
        "note in the first walk whether anything was cleared",
    )
    check_waits(bench, unmapper)
    check(bench.pending(1), "hart 1 is interrupted", "it is not", SHOOTDOWN)
    for hart, what in ((2, "has been in the space"), (3, "was never in the space")):
        check(
            not bench.pending(hart),
            f"hart {hart}, which {what} and is in user mode in another one, is not interrupted",
            "it is",
            SHOOTDOWN,
            "the words of the space tell which harts are in user mode in it",
        )
