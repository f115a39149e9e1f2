"""Draws a schedule: a column for each hart, one line for each thing that another
hart could notice, from top to bottom in the order in which it happened.

           hart 0                        | hart 1
      1  page_alloc.c:142  head is 0x…   |
      2                                  | page_alloc.c:142  head is 0x…

Nothing is cut: what does not fit into its column goes on in the next line.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .isa import AMO_NAMES, Kind, decode
from .model import MASK, Event
from .names import bits, location
from .report_state import CAUSES

if TYPE_CHECKING:
    from .scene import Scene

WIDTH = 76  # of a terminal with 80 columns, in which reports are indented
WIDTH_SETTING = "STAG_COLUMNS"  # how many there are, where they are more
HEAD = 5  # columns for the number of the step
GAP = " | "
CELL_MIN = 30  # with less there is a line for each step, and no columns
LINES_MAX = 100  # of a report …
LINES_FIRST, LINES_LAST = 30, 50  # … and of one whose middle is left out
RUN_MIN = 5  # steps of one line that are told as a run, if they concern nobody else
PERIOD_MAX = 4  # steps that are repeated, as in a loop that waits


@dataclass(frozen=True)
class Row:
    """A step, or what is said of several."""

    number: int  # of the step, from 1
    hart: int
    line: str  # of the source
    text: str

    @property
    def key(self) -> tuple[int, str, str]:
        return self.hart, self.line, self.text


def width() -> int:
    """How many columns a report has."""
    return max(WIDTH, int(os.environ.get(WIDTH_SETTING) or WIDTH))


def place(scene: Scene, word: int, mask: int = MASK) -> str:
    """The name of a word of memory, or of those bytes of it."""
    return scene.namer.place(*location(word, mask))


def _held_atomic(scene: Scene, event: Event) -> str:
    """Which operation is held back, if it takes place when it arrives."""
    code = scene.instruction(event.pc)
    decoded = decode(event.pc, code) if code is not None else None
    if decoded is None or decoded.kind is not Kind.ATOMIC:
        return ""
    name = AMO_NAMES[decoded.funct]
    return "" if name in ("sc", "amoswap") else name


def phrase(scene: Scene, event: Event) -> str:
    """What happened, in a few words."""
    where = place(scene, event.word, event.mask)
    before, now = event.before, event.value
    if event.what == "arrives":  # which tells of whole words
        assert before is not None
        before, now = bits(before, event.mask), bits(now, event.mask)
    value = scene.namer.value(now)
    was = scene.namer.value(before) if before is not None else "?"
    match event.what:
        case "load":
            return f"{where} is {value}"
        case "store":
            return f"{where} = {value} (was {was})"
        case "held":
            if operation := _held_atomic(scene, event):
                return f"{where}: {operation} {value} (held back)"
            return f"{where} = {value} (held back)"
        case "arrives":
            return f"… {where} = {value} arrives in memory (was {was})"
        case "atomic":
            return f"{where} was {was}, now {value}"
        case "lr":
            return f"{where} is {value}, reserved"
        case "sc":
            return f"{where} = {value}, conditionally (was {was})"
        case "sc fails":
            return f"{where}: sc fails"
        case "ipi":
            return f"interrupts hart {event.value}"
        case "trap":
            return f"traps: {CAUSES.get(event.value, f'cause {event.value:#x}')}"
        case _:
            return event.what


def _repeated(rows: list[Row], i: int) -> tuple[int, int]:
    """Steps of one hart that come again and again from here on: how many
    steps, and how often."""
    for period in range(1, PERIOD_MAX + 1):
        first = [row.key for row in rows[i : i + period]]
        if len({hart for hart, _, _ in first}) != 1:
            break
        times = 1
        while [r.key for r in rows[i + times * period : i + (times + 1) * period]] == first:
            times += 1
        if times > (1 if period == 1 else 2):
            return period, times
    return 1, 1


def _merged(rows: list[Row]) -> list[Row]:
    result: list[Row] = []
    i = 0
    while i < len(rows):
        period, times = _repeated(rows, i)
        row = rows[i]
        if period > 1:
            result += rows[i : i + period]
            after = rows[i + period]
            text = f"(the same {times - 1} times more)"
            result.append(Row(after.number, row.hart, "", text))
        elif times > 1:
            result.append(Row(row.number, row.hart, row.line, f"{row.text} ({times} times)"))
        else:
            result.append(row)
        i += period * times
    return result


def rows_of(scene: Scene, events: Sequence[Event]) -> list[Row]:
    """The lines of a timeline. Left out is that a hart reads again what nobody
    writes in this schedule, and most of a loop over words that no other hart
    touches in it."""
    written = {event.word for event in events if event.what not in ("load", "ipi", "trap")}
    touched: dict[int, set[int]] = {}
    for event in events:
        touched.setdefault(event.word, set()).add(event.hart)
    seen: set[tuple[int, int, int, int]] = set()
    rows: list[Row] = []
    run: list[Row] = []  # steps of one line, each about a word of this hart alone
    kind: tuple[int, str, str] | None = None

    def end_run() -> None:
        if len(run) >= RUN_MIN:
            text = f"(the same for {len(run) - 2} words more)"
            run[1:-1] = [Row(run[1].number, run[0].hart, "", text)]
        rows.extend(run)
        run.clear()

    for number, event in enumerate(events, 1):
        if event.what == "load" and event.word not in written:
            read = (event.hart, event.word, event.mask, event.value)
            if read in seen:
                continue
            seen.add(read)
        line = "" if event.what == "arrives" else scene.line(event.pc)
        now = (event.hart, event.what, line) if len(touched[event.word]) == 1 else None
        if now is None or now != kind:
            end_run()
        run.append(Row(number, event.hart, line, phrase(scene, event)))
        kind = now
    end_run()
    return _merged(rows)


def _wrapped(text: str, width: int, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=others,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _cell(row: Row, width: int) -> list[str]:
    joined = f"{row.line}  {row.text}" if row.line else row.text
    if len(joined) <= width:
        return [joined]
    if not row.line:
        return _wrapped(row.text, width, "", "  ")
    return [row.line, *_wrapped(row.text, width, "  ", "    ")]


def _without_middle(rows: Sequence[Row], drawn: list[list[str]], width: int) -> list[list[str]]:
    """What is drawn of each row, but for those in the middle if it is too long."""
    if sum(map(len, drawn)) <= LINES_MAX:
        return drawn
    begin, end = 0, len(drawn)
    while sum(map(len, drawn[: begin + 1])) <= LINES_FIRST:
        begin += 1
    while sum(map(len, drawn[end - 1 :])) <= LINES_LAST:
        end -= 1
    note = (
        f"… {sum(map(len, drawn[begin:end]))} lines are left out here, steps"
        f" {rows[begin].number} to {rows[end].number - 1}: make replay shows them"
    )
    return [*drawn[:begin], _wrapped(note, width, " " * HEAD, " " * HEAD), *drawn[end:]]


def layout(rows: Sequence[Row], harts: Sequence[int], width: int, whole: bool = True) -> str:
    """The timeline, as wide as that; if it is long, and not wanted whole, without
    its middle."""
    most = (width - HEAD - len(GAP) * (len(harts) - 1)) // len(harts)
    columns = len(harts) == 1 or most >= CELL_MIN
    longest = max((len(f"{row.line}  {row.text}") for row in rows), default=0)
    cell = min(most, max(longest, 24)) if columns else width - HEAD - len("hart 0  ")
    lines = []
    if columns:
        heads = GAP.join(f"hart {hart}".ljust(cell) for hart in harts).rstrip()
        lines += [" " * HEAD + heads, "-" * (HEAD + (cell + len(GAP)) * len(harts) - len(GAP))]

    def draw(row: Row) -> list[str]:
        lines = []
        for i, text in enumerate(_cell(row, cell)):
            head = f"{row.number:3}  " if i == 0 else " " * HEAD
            if columns:
                cells = [text if hart == row.hart else "" for hart in harts]
                line = GAP.join(piece.ljust(cell) for piece in cells)
            else:
                line = (f"hart {row.hart}  " if i == 0 else "        ") + text
            lines.append((head + line).rstrip())
        return lines

    drawn = [draw(row) for row in rows]
    for block in drawn if whole else _without_middle(rows, drawn, width):
        lines += block
    return "\n".join(lines)


def draw(scene: Scene, events: Sequence[Event], harts: Sequence[int]) -> str:
    """The timeline of a report."""
    return layout(rows_of(scene, events), harts, width(), whole=False)


def pack(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows for a file."""
    return [asdict(row) for row in rows]


def unpack(data: Sequence[dict[str, Any]]) -> list[Row]:
    return [Row(**row) for row in data]
