"""What the tests of exercise 3 share: what is left of a space and of its
executors when they have ended."""

from __future__ import annotations

from process_bench import EXECUTING, PLENTY, QUEUED, TERMINATED, Bench
from stag.verdict import check

EXIT = "space_exit (kernel/exit.c)"
TEAR_DOWN = "exit_tear_down (kernel/exit.c)"
LEAVE = "exit_leave (kernel/exit.c)"
REAP = "reap_all (kernel/reap.c)"


def state_text(state: int) -> str:
    names = ("EXECUTING", "QUEUED", "PARKED", "STOPPED", "TERMINATED")
    return " ".join(name for i, name in enumerate(names) if state >> i & 1) or "runnable"


def check_ended(bench: Bench, executor: int, what: str) -> None:
    state = bench.state(executor)
    check(
        bool(state & TERMINATED) and not state & (EXECUTING | QUEUED),
        f"{what} has ended: TERMINATED, and neither EXECUTING nor QUEUED",
        state_text(state),
        EXIT,
    )


def leaks(before: dict[int, int], after: dict[int, int]) -> str:
    """What is allocated now and was not before, or has another count."""
    more = [f"{page:#x}" for page in after if page not in before]
    both = [page for page in before if page in after]
    counts = [f"{page:#x} has count {after[page]}" for page in both if after[page] != before[page]]
    lost = [f"{page:#x} is free" for page in before if page not in after]
    parts = [f"{len(more)} pages more are allocated: {', '.join(more[:4])}"] if more else []
    return "; ".join(parts + counts[:3] + lost[:3])


def check_counts(bench: Bench, before: dict[int, int], where: str, hint: str = "") -> None:
    after = bench.counts()
    check(
        after == before,
        "all that the process held is given back: the allocated pages are those from before",
        leaks(before, after),
        where,
        hint,
    )


def whole(bench: Bench, space: int, executor: int, root: int) -> str | None:
    """Once all harts have come to rest: the space is torn down, once, and the
    executor has ended."""
    bench.goes_to(1, budget=PLENTY)
    for hart in range(2):
        bench.long_call(hart, "reap_all")
    state = bench.state(executor)
    if not state & TERMINATED or state & (EXECUTING | QUEUED):
        return f"the executor has not ended: {state_text(state)}"
    counts = bench.counts()
    if root in counts:
        return "the space is not torn down, though its last executor has left"
    for address, struct in ((executor, "executor"), (space, "space")):
        if address not in counts:
            return f"the page of the {struct} is freed, though there is a reference to it"
        references = bench.references(address, struct)
        if references != 1:
            return f"the {struct} has {references} references in the end: there is 1, the test's"
    return None
