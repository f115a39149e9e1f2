"""The state of a machine for a person who looks for a mistake: where every hart
is, and what the console said last."""

from __future__ import annotations

import re

from .errors import StagError
from .harts import MACHINE
from .system import HART_PAGE, System
from .verdict import plain

CONSOLE_LINES = 12
CONSOLE_WIDTH = 160
FIRMWARE_END = b"\nBoot HART MEDELEG"  # the last line that OpenSBI prints
TABLE_HEADER = "harts:"

CAUSES = {
    0: "misaligned fetch",
    1: "fetch fault",
    2: "illegal instruction",
    3: "breakpoint",
    4: "misaligned load",
    5: "load fault",
    6: "misaligned store",
    7: "store fault",
    8: "call from user mode",
    9: "call from kernel mode",
    12: "fetch page fault",
    13: "load page fault",
    15: "store page fault",
    (1 << 63) + 1: "software interrupt",
    (1 << 63) + 5: "timer interrupt",
    (1 << 63) + 9: "external interrupt",
}
_LOCKS = ("space", "second space", "executor", "console", "deadlines", "scheduler")  # lock.h
KERNEL_TRAP = "trap in the kernel"  # as kernel/panic.c has it
FAULTS = frozenset(range(16)) - {8, 9}
_SOURCES = {1: "software", 5: "timer", 9: "external"}


def _hart_lines(system: System, hart: int) -> list[str]:
    remote, harts = system.remote, system.harts
    if harts.mode(hart) == MACHINE:
        return [f"  hart {hart}: in the firmware"]
    waits = ", waits for an interrupt" if harts.is_waiting(hart) else ""
    lines = [f"  hart {hart}: {harts.where(hart)}{waits}"]
    if trap := _last_trap(system, hart):
        lines.append(f"    {trap}")
    enabled = remote.register(hart, "sie")
    names = [name for bit, name in _SOURCES.items() if enabled >> bit & 1]
    lines.append(f"    {_held(system, hart)}interrupts enabled: {', '.join(names) or 'none'}")
    return lines


def _held(system: System, hart: int) -> str:
    """The hart's executor and locks, once it has its page."""
    layout = system.symbols.struct("hart")
    try:
        memory = system.kernel_memory(hart)
        executor = memory.u64(HART_PAGE + layout["executor"].offset)
        ranks = memory.u64(HART_PAGE + layout["ranks_held"].offset)
    except StagError:
        return ""
    locks = [name for rank, name in enumerate(_LOCKS) if ranks >> rank & 1]
    who = f"{executor:#x}" if executor else "none"
    return f"executor: {who}; locks: {', '.join(locks) or 'none'}; "


def _last_trap(system: System, hart: int) -> str:
    """The last one that the hart has taken, "" if there was none."""
    cause, epc, address = (system.remote.register(hart, n) for n in ("scause", "sepc", "stval"))
    if not cause and not address:  # there was none, though sepc may have been written
        return ""
    return (
        f"last trap: {CAUSES.get(cause, f'cause {cause:#x}')}, sepc"
        f" {system.symbols.describe(epc)}, stval {address:#x}"
    )


def kernel_traps(system: System, text: str) -> str:
    """What to add to a panic's text: where the kernel trapped, if it did."""
    if KERNEL_TRAP not in text or "last trap:" in text or system.machine.ended:
        return ""
    lines = []
    for hart in range(system.harts.hart_count):
        trap = _last_trap(system, hart)
        if trap and system.remote.register(hart, "scause") in FAULTS:
            lines.append(f"  hart {hart}: {trap}")
    return "\n" + "\n".join(lines) if lines else ""


def hart_table(system: System) -> str:
    """Every hart's mode, function and source line, and its last trap."""
    if system.machine.ended:
        return "the machine has ended"
    if system.remote.running and system.machine.interrupt().exited:
        return "the machine has ended"
    lines = [TABLE_HEADER]
    for hart in range(system.harts.hart_count):
        lines += _hart_lines(system, hart)
    return "\n".join(lines)


def console_tail(system: System) -> str:
    """The last lines of the console, safe to show; each is marked, so that it
    can't be taken for words of the grader."""
    said = system.machine.serial.data
    said = said[said.find(FIRMWARE_END) + 1 :][-20_000:]
    lines = plain(said.decode(errors="replace")).splitlines()
    if said.startswith(FIRMWARE_END[1:]):
        lines = lines[1:]
    if not lines:
        return ""
    shown = [
        line if len(line) <= CONSOLE_WIDTH else line[:CONSOLE_WIDTH] + " …"
        for line in lines[-CONSOLE_LINES:]
    ]
    return "\n".join(["the console said last:", *(f"  | {line}" for line in shown)])


def without_state(text: str) -> str:
    """An error of the library without the console's last words and the harts,
    which the report has too."""
    return re.split(r"[,;]?\s*\b(?:the console|it) said last:\n|\n  hart 0: ", text)[0]


def machine_report(system: System) -> str:
    """All of it; whatever can't be read is left out."""
    parts = []
    try:
        parts.append(hart_table(system))
    except StagError as error:
        parts.append(f"{TABLE_HEADER} {error}")
    parts.append(console_tail(system))
    return "\n".join(part for part in parts if part)
