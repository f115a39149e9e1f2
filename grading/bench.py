"""Counts the instructions of the kernel's operations and shows them beside
those of other kernels: `make bench`.

What a program can see is counted by the program `bench`, which prints a line
`BENCH <name> <instructions>` for each operation, on a machine whose clock and
counters count instructions exactly. What only the kernel can see is counted
through the debugger, by stepping a function, or by a trace of the boot. So
every figure is exact, and does not depend on how fast this computer is.

Operations between two harts are those of the program `bench2`, stepped on both
harts in turn: the kernel's instructions of both (stag/interleave.py).

The table goes to the terminal, the figures to build/bench.json.
"""

from __future__ import annotations

from stag import interrupt  # noqa: I001 (first: see there)

import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from stag.command_line import Parser
from stag.errors import StagError
from stag.interleave import count_operations
from stag.machine import MachineConfig, run_to_exit
from stag.system import boot, symbols_of

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("STAG_BUILD", ROOT / "build"))
KERNEL = BUILD / "kernel.elf"
PROGRAM_ACROSS = BUILD / "user" / "bench2.elf"
RESULT = BUILD / "bench.json"

LINE = re.compile(r"^BENCH (\S+) (\d+)\s*$", re.MULTILINE)
BOOT_GROWTH = 1.10  # of the boot, from 128 MiB to 8 GiB


@dataclass(frozen=True)
class Row:
    """An operation: its name in BENCH lines, and the figures to compare with."""

    name: str
    title: str
    linux: str
    sel4: str
    xv6: str
    goal: int | None


ROWS = [
    Row("null_call", "null system call", "167", "116", "1128", 115),
    Row("yield_pair", "yield, there and back", "2230", "815", "16122", 400),
    Row("unpark_nobody", "unpark, nobody waits", "391", "442", "-", 150),
    Row("park_pending", "park, event pending", "600", "306", "-", 200),
    Row("block_wake", "block and wake, round trip", "4734", "2574", "95756", 700),
    Row("page_alloc", "page alloc, not zeroed", "371", "1042", "223", 15),
    Row("page_free", "page free, just allocated", "420", "872", "230", 15),
    Row("page_zero", "zero a page", "565", "-", "12299", 540),
    Row("map_touch", "map and touch, page of 256", "2006", "802", "24951", 650),
    Row("unmap", "unmap, a page of 256", "527", "689", "12610", 60),
    Row("executor_life", "executor, creation to reap", "27093", "9903", "472448", 2500),
    Row("boot", "boot to user mode, 128 MiB", "30.8M", "0.9M", "416M", 1_000_000),
    Row("boot_8g", "boot to user mode, 8 GiB", "200M", "-", "26500M", None),
]

# Operations of the program `bench2`, by the names that it gives them. But for
# the first, the other hart is in user mode in the same space.
ACROSS = {
    "wake_harts": "block and wake, round trip",
    "unmap_harts": "unmap, one page",
    "unmap_256_harts": "unmap, 256 pages",
    "replace_harts": "map over a page",
}


def run_program() -> dict[str, int]:
    """What the program `bench` counts."""
    code, text = run_to_exit(
        MachineConfig(KERNEL, harts=1, icount=True, arguments="run=bench"), patience=300
    )
    figures = {name: int(count) for name, count in LINE.findall(text.replace("\r\n", "\n"))}
    if code != 0 or not figures:
        last = text.strip().splitlines()[-1:] or ["nothing"]
        raise StagError(f"bench: the program bench failed (exit status {code}): {last[0]}")
    return figures


def count_functions() -> dict[str, int]:
    """The kernel's fast paths, stepped on an idle hart: pages are of the largest
    bank, the hart's cache of pages is neither empty nor full. The page that is
    freed is the one that was allocated last, or, for comparison, another."""
    with boot(MachineConfig(KERNEL, harts=1)) as system:
        system.run_to_prompt()
        harts = system.harts
        largest = max(system.allocation().banks, key=lambda bank: bank.size)
        while not 6 <= len(system.allocation().caches[0]) <= 24:
            harts.call(0, "page_alloc")
        other, kept = (harts.call(0, "page_alloc") for _ in range(2))
        if not all(0 <= page - largest.base < largest.size for page in (other, kept)):
            raise StagError("bench: page_alloc gave no page of the largest bank")
        _, zero = harts.count_call(0, "page_zero", kept)
        _, free = harts.count_call(0, "page_free", kept)
        page, alloc = harts.count_call(0, "page_alloc")
        if page != kept:
            raise StagError("bench: page_alloc did not give the page that was just freed")
        _, slow = harts.count_call(0, "page_free", other)
        return {
            **{"page_alloc": alloc, "page_free": free, "page_zero": zero},
            "page_free_another": slow,
        }


def count_boot(memory: str) -> int:
    """Instructions that the kernel executes before the first of user mode, the
    firmware's not among them: the lines of a trace."""
    segments = symbols_of(KERNEL).segments
    size = max(segment.virtual + segment.size for segment in segments) - segments[0].virtual
    ranges = tuple((start, size) for start in (segments[0].virtual, segments[0].physical))
    with tempfile.TemporaryDirectory(prefix="stag-") as directory:
        trace = Path(directory) / "trace"
        config = MachineConfig(
            KERNEL,
            harts=1,
            memory=memory,
            threads="single",
            trace=trace,
            trace_ranges=ranges,
        )
        with boot(config) as system:
            system.run_to_user()
        with trace.open() as lines:
            return sum(line.startswith("Trace") for line in lines)


def count_across() -> dict[str, int]:
    """Operations between two harts: the instructions of both, those of the
    kernel alone."""
    figures = count_operations(MachineConfig(KERNEL), symbols_of(PROGRAM_ACROSS))
    if missing := ACROSS.keys() - figures.keys():
        raise StagError(f"bench: bench2 did not come to {', '.join(sorted(missing))}")
    return figures


def measure() -> dict[str, int]:
    figures = count_functions()
    figures["boot"] = count_boot("128M")
    figures["boot_8g"] = count_boot("8G")
    return figures | run_program() | count_across()


def goal_of(row: Row, figures: dict[str, int]) -> int | None:
    return int(figures["boot"] * BOOT_GROWTH) if row.name == "boot_8g" else row.goal


def table_of(figures: dict[str, int]) -> Table:
    table = Table(title="Instructions")
    table.add_column("operation")
    for column in ("Stag", "goal", "Linux 6.1", "seL4", "xv6"):
        table.add_column(column, justify="right")
    for row in ROWS:
        goal, count = goal_of(row, figures), figures.get(row.name)
        shown = "-" if count is None else f"{count:,}"
        if count is not None and goal is not None:
            shown = f"[{'green' if count <= goal else 'red'}]{shown}[/]"
        limit = "-" if goal is None else f"{goal:,}"
        table.add_row(row.title, shown, limit, row.linux, row.sel4, row.xv6)
    table.add_section()
    table.add_row("across two harts, both counted", style="italic")
    for name, title in ACROSS.items():
        table.add_row(title, f"{figures[name]:,}" if name in figures else "-")
    known = {row.name for row in ROWS} | ACROSS.keys()
    others = {name: count for name, count in figures.items() if name not in known}
    if others:
        table.add_section()
    for name, count in others.items():
        table.add_row(name.replace("_", " "), f"{count:,}", "", "", "", "")
    return table


def main() -> int:
    interrupt.clean_up_when_killed()
    Parser("bench.py", "Count the instructions of each operation.").parse_args()
    try:
        figures = measure()
    except StagError as error:
        print(error, file=sys.stderr)
        return 1
    Console().print(table_of(figures))
    try:
        RESULT.write_text(json.dumps(figures, indent=2) + "\n")
    except OSError as error:
        print(f"{RESULT}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
