"""Calls that must panic: with what is no page, or not in the state for it."""

from __future__ import annotations

from collections.abc import Callable

from allocator_bench import PAGE, Bank, Bench
from stag.errors import GuestPanic
from stag.verdict import check, fail

NO_PANIC = ("the kernel trapped", "came to no end", "no code is there")
# A given function, as the caller that a panic is to name.
CALLER = "first_program_start"
CALLER_OFFSET = 0x40

Prepare = Callable[[Bench], int]


def largest(bench: Bench) -> int:
    return max(range(len(bench.banks)), key=lambda i: bench.banks[i].size)


def above_the_mark(bench: Bench) -> int:
    """Never handed out: its entry may hold anything, that of an allocated page
    as well."""
    return last_page(bench, bench.banks[largest(bench)])


def above_another_mark(bench: Bench) -> int:
    """… in a bank that is not the largest."""
    return last_page(bench, min(bench.banks, key=lambda bank: bank.size))


def last_page(bench: Bench, bank: Bank) -> int:
    page = bank.base + bank.size - PAGE
    bench.scene.memory().set_u64(bench.entry_address(page), 3)
    return page


WILD: dict[str, tuple[str, Prepare]] = {
    "null": ("0", lambda bench: 0),
    "user": ("an address of a program", lambda bench: 0x1000000),
    "image": ("the kernel's code", lambda bench: bench.scene.symbols["page_free"] & -PAGE),
    "middle": ("an address inside of a page", lambda bench: bench.take() + 64),
    "table": (
        "the page allocation table",
        lambda bench: bench.banks[largest(bench)].entries,
    ),
    "behind": (
        "the address behind the last bank",
        lambda bench: bench.banks[-1].base + bench.banks[-1].size,
    ),
    "physical": (
        "a physical address",
        lambda bench: bench.scene.memory().translate(bench.take()),
    ),
}


def panic_of(bench: Bench, function: str, what: str, *arguments: int) -> str:
    """The text of the panic in which this call has to end."""
    scene = bench.scene
    back = scene.symbols[CALLER] + CALLER_OFFSET
    scene.enter(0, function, *arguments)
    scene.world.harts[0].x[1] = back
    try:
        scene.run(0, back)
    except GuestPanic as panic:
        text = str(panic)
        check(
            not any(no_panic in text for no_panic in NO_PANIC),
            expected=f"{function} of {what} ({arguments[0]:#x}) panics",
            found=text,
        )
        return text
    fail(
        expected=f"{function} of {what} ({arguments[0]:#x}) panics",
        found="it returned",
        where=f"{function} (kernel/page_alloc.c)",
    )
