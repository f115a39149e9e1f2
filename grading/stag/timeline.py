"""Draws a schedule: a column for each hart, one line for each thing that another
hart could notice, from top to bottom in the order in which it happened.

                 hart 0                        |  hart 1
    page_alloc.c:142   head was 0x…, now 0     |
                                               |  page_alloc.c:142  head was 0, now 0
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import StagError
from .model import PAGE, Event

if TYPE_CHECKING:
    from .scene import Scene

WIDTH = 100
LINES_MAX = 60


def place(scene: Scene, word: int) -> str:
    """The name of a word of memory: object and field, symbol, or address."""
    pa = word * 8
    for at in sorted(scene.names, reverse=True):
        if at <= pa < at + PAGE:
            struct = scene.structs.get(at)
            if struct:
                for member in scene.symbols.struct(struct).members.values():
                    if member.offset <= pa - at < member.offset + max(member.size, 8):
                        return f"{scene.names[at]}.{member.name}"
            return f"{scene.names[at]}+{pa - at:#x}" if pa > at else scene.names[at]
    return f"[{pa:#x}]"


def value_text(scene: Scene, value: int) -> str:
    """A number; the name of the object if it is the address of one."""
    for va_base in (0xFFFFFFE000000000, 0xFFFFFFC000000000):
        if value >= va_base:
            try:
                pa = scene.memory().translate(value)
            except StagError:
                break
            if pa in scene.names:
                return scene.names[pa]
            break
    return str(value) if value < 10 else f"{value:#x}"


def phrase(scene: Scene, event: Event) -> str:
    """What happened, in a few words."""
    where = place(scene, event.word)
    value = value_text(scene, event.value)
    before = value_text(scene, event.before) if event.before is not None else "?"
    match event.what:
        case "load":
            return f"{where} is {value}"
        case "store":
            return f"{where} = {value}  (was {before})"
        case "held":
            return f"{where} = {value}  (held back)"
        case "arrives":
            return f"… {where} = {value} arrives in memory"
        case "atomic":
            return f"{where} was {before}, now {value}"
        case "lr":
            return f"{where} is {value}, reserved"
        case "sc":
            return f"{where} = {value}, conditionally"
        case "sc fails":
            return f"{where}: sc fails"
        case "ipi":
            return f"interrupts hart {event.value}"
        case "trap":
            interrupt = event.value >> 63
            return f"traps: {'interrupt' if interrupt else 'cause'} {event.value & 0xFFFF}"
        case _:
            return event.what


def _line(scene: Scene, event: Event) -> str:
    if event.what == "arrives":
        return ""
    found = scene.symbols.line(event.pc)
    return f"{found}" if found else f"{event.pc:#x}"


def draw(scene: Scene, events: Sequence[Event], harts: Sequence[int]) -> str:
    """The whole timeline, as wide as a terminal."""
    width = max(24, (WIDTH - 5) // len(harts) - 3)
    left = 5 + (width + 3) * len(harts)
    rows = ["     " + " | ".join(f"hart {hart}".ljust(width) for hart in harts)]
    rows.append("-" * left)
    shown = list(events)
    skipped = max(0, len(shown) - LINES_MAX)
    if skipped:
        rows.append(f"     (the first {skipped} steps are not shown)")
    for number, event in enumerate(shown):
        if number < skipped:
            continue
        cells = [""] * len(harts)
        column = list(harts).index(event.hart)
        texts = [t for t in (_line(scene, event), phrase(scene, event)) if t]
        joined = "  ".join(texts)
        pieces = [joined] if len(joined) <= width else texts
        for i, text in enumerate(pieces):
            cells = [""] * len(harts)
            cells[column] = ("  " if i else "") + text
            cells[column] = cells[column][:width]
            head = f"{number + 1:3}  " if i == 0 else "     "
            rows.append((head + " | ".join(cell.ljust(width) for cell in cells)).rstrip(" "))
    return "\n".join(rows)

