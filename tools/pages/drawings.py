"""Drawings from the running kernel, its debug information and its headers."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stag.errors import InfrastructureError
from stag.grade_machine import graded
from stag.machine import MachineConfig
from stag.pagetable import MODES, PageTable, Range, V, rights_text
from stag.symbols import Member, Struct, Symbols

from .svg import CHARACTER, Canvas, style

PAGE = 4096


@dataclass
class Machine:
    """What the drawings show of a machine: its tables at the first instruction
    of the first program."""

    kernel: list[Range]
    user: list[Range]
    walk: list[tuple[int, int, int, int]]  # level, index, address and value of the entry
    va: int
    satp: int


def look(kernel: Path, defines: dict[str, int]) -> Machine:
    """Boot one hart and look; nothing of it depends on the clock."""
    with graded(MachineConfig(kernel, harts=1, threads="single")) as system:
        hart = system.run_to_user()
        user = system.user_table(hart)
        va = defines["USER_IMAGE"]
        return Machine(
            system.kernel_table(hart).ranges(), user.ranges(), _walk(user, va), va, user.satp
        )


def _walk(table: PageTable, va: int) -> list[tuple[int, int, int, int]]:
    steps = []
    at = table.root
    for level in reversed(range(table.levels)):
        index = va >> 12 + 9 * level & 511
        value = int.from_bytes(table.memory.read(at + index * 8, 8), "little")
        steps.append((level, index, at + index * 8, value))
        at = (value >> 10 & (1 << 44) - 1) * PAGE
    return steps


# Address space

# Names of what a walk finds, by where it begins.
_DEVICES = "devices the kernel drives"
_NAMES = (
    ("", "never mapped", "free"),
    ("USER_INFO_PAGE", "info page", "user"),
    ("USER_IMAGE", "program", "user"),
    ("USER_STACK_LOW", "stack of the program", "user"),
    ("USER_DEVICES", "device pages", "user"),
    ("USER_HEAP", "heap and mappings", "user"),
    ("USER_HANDLES", "handles", "table"),
    ("KERNEL_IMAGE", "kernel image", "kernel"),
    ("HART_PAGE", "hart page", "kernel"),
    ("HART_STACK", "kernel stack of the hart", "kernel"),
    ("LINEAR_MAP", "linear map: all of RAM", "kernel"),
)


def address_space(machine: Machine, defines: dict[str, int]) -> str:
    """Both tables of a hart, side by side: what is mapped where."""
    rows = []
    starts = sorted((defines.get(name, 0), text, kind) for name, text, kind in _NAMES)
    ends = [start for start, _, _ in starts[1:]] + [1 << 64]
    for (start, text, kind), end in zip(starts, ends, strict=True):
        cells = [
            sorted({r.rights for r in ranges if start <= r.va < end})
            for ranges in (machine.user, machine.kernel)
        ]
        rows.append((start, text, kind, cells))
    height, left, column = 40, 168, 200
    canvas = Canvas("The address space, as two tables of one hart", left + 2 * column + 12, 0)
    canvas.write(left + column / 2, 20, "a program's table", anchor="middle", bold=True)
    canvas.write(left + column * 1.5, 20, "the hart's kernel table", anchor="middle", bold=True)
    y = 32.0
    half = False
    for start, text, kind, cells in reversed(rows):
        if start < 1 << 63 and not half:
            half = True
            text_between = "… no addresses here …"
            canvas.write(left + column, y + 15, text_between, anchor="middle", quiet=True)
            y += 24
        canvas.write(left - 8, y + height - 4, f"{start:#x}", mono=True, anchor="end", size=11)
        for column_index, rights in enumerate(cells):
            x = left + column_index * column
            # What a kernel table has in the lower half is at its physical address.
            device = column_index == 1 and start < 1 << 63
            colour = "kernel" if device else kind
            canvas.box(x, y, column - 6, height, colour if rights else "free")
            if rights:
                canvas.write(x + 6, y + 16, _DEVICES if device else text)
                canvas.write(x + 6, y + 32, "  ".join(rights), mono=True, size=11)
            else:
                canvas.write(x + 6, y + 16, "not mapped", quiet=True)
        y += height + 4
    canvas.height = round(y + 6)
    return canvas.text


# Page table walk


def page_walk(machine: Machine) -> str:
    """How the processor gets from an address to a physical page."""
    levels = MODES[machine.satp >> 60]
    width = 560
    canvas = Canvas("A page table walk", width, 150 + levels * 96)
    canvas.write(8, 20, "The address, as the processor splits it:", bold=True)
    parts = [(f"index {level}: {i}", 9) for level, i, _, _ in machine.walk] + [("offset", 12)]
    x, unit = 8.0, (width - 16) / (9 * levels + 12)
    centres = []
    for text, bits in parts:
        canvas.box(x, 30, bits * unit, 28, "user")
        canvas.write(x + bits * unit / 2, 49, text, anchor="middle")
        centres.append(x + bits * unit / 2)
        x += bits * unit
    told = f"{machine.va:#x}: the first instruction of the first program"
    canvas.write(8, 76, told, mono=True, size=11)
    y = 96.0
    canvas.write(8, y + 12, f"satp names the root table: {machine.satp:#x}", mono=True, size=11)
    for level, index, at, value in machine.walk:
        y += 24
        canvas.box(8, y, width - 16, 56, "table")
        table = at // PAGE * PAGE
        kind = "the root" if level == levels - 1 else f"a table of level {level}"
        canvas.write(16, y + 18, f"{kind}, at {table:#x}", bold=True)
        canvas.write(16, y + 36, f"entry {index}, at {at:#x}: {value:#018x}", mono=True, size=12)
        page = (value >> 10 & (1 << 44) - 1) * PAGE
        if rights_text(value)[:3] == "---" and value & V:
            told = f"V, no right: the next table is at {page:#x}"
        else:
            told = f"a leaf with rights {rights_text(value)}: the page is at {page:#x}"
        canvas.write(16, y + 51, told, size=12)
        canvas.line((width / 2, y + 56), (width / 2, y + 80), arrow=True)
        y += 56
    y += 24
    canvas.box(8, y, width - 16, 30, "user")
    last = machine.walk[-1][3]
    page = (last >> 10 & (1 << 44) - 1) * PAGE
    offset = machine.va % PAGE
    told = f"physical address {page:#x} + {offset:#x} = {page + offset:#x}"
    canvas.write(16, y + 20, told, mono=True)
    canvas.height = round(y + 38)
    return canvas.text


# State word


def state_word(defines: dict[str, int]) -> str:
    """The bits of an executor's state word, from the masks of abi.h."""
    texts = {
        "STATE_EXECUTING": "a hart runs it",
        "STATE_QUEUED": "it is in the run queue",
        "STATE_PARKED": "it sleeps until an event or its deadline",
        "STATE_STOPPED": "never started, stopped, or faulted",
        "STATE_TERMINATED": "it has ended, or is about to",
        "STATE_REASON": "why the last park ended: 1 event, 2 deadline",
        "STATE_SEQUENCE": "counts its parks",
    }
    fields = []
    for name, text in texts.items():
        mask = defines[name]
        low, high = (mask & -mask).bit_length() - 1, mask.bit_length() - 1
        fields.append((high, low, name, text))
    fields.append((63, defines["STATE_EVENTS_SHIFT"], "events", "pending: sent, and not yet taken"))
    fields.sort(reverse=True)
    height = 30
    canvas = Canvas("The state word of an executor", 560, 0)
    y, above = 8, 64
    for high, low, name, text in fields:
        if high + 1 < above:
            canvas.box(64, y, 170, 20, "free")
            canvas.write(149, y + 14, "0", anchor="middle", quiet=True)
            canvas.write(56, y + 14, _bits(above - 1, high + 1), anchor="end", mono=True, size=11)
            y += 20
        kind = "kernel" if high == low else "table" if name.startswith("STATE") else "user"
        canvas.box(64, y, 170, height, kind)
        shown = name.removeprefix("STATE_").lower() if high != low else name.removeprefix("STATE_")
        canvas.write(149, y + 20, shown, anchor="middle", bold=high == low)
        canvas.write(56, y + 20, _bits(high, low), anchor="end", mono=True, size=11)
        canvas.write(246, y + 20, text)
        above = low
        y += height
    canvas.height = y + 8
    return canvas.text


def _bits(high: int, low: int) -> str:
    return str(high) if high == low else f"{high}:{low}"


# Layouts of pages


def _name(member: Member) -> str:
    """As it would be declared; bytes are told as one piece."""
    if member.count > 1 and member.stride == 1:
        return f"{member.name}, {member.size} bytes"
    return f"{member.name}[{member.count}]" if member.count > 1 else member.name


def layout(struct: Struct, comment: dict[str, str], kind: str) -> str:
    """The page of an object: a row for each field, gaps where lines end."""
    fields = [m for m in struct.members.values() if not re.match(r"line_\w+$", m.name)]
    height = 24
    box = max(len(_name(m)) for m in fields) * CHARACTER + 20
    told = max((len(comment.get(m.name, "")) for m in fields), default=0)
    width = round(76 + box + 16 + told * 0.54 * 13)
    canvas = Canvas(f"struct {struct.name}: one page", max(width, 360), 0)
    canvas.write(8, 18, f"struct {struct.name}", mono=True, bold=True)
    y, end = 28, 0
    for member in fields:
        if member.offset >= end + 8:
            canvas.box(68, y, box, 10, "free")
            y += 10
        canvas.write(60, y + 17, f"{member.offset:#05x}", mono=True, anchor="end", size=11)
        canvas.box(68, y, box, height, kind)
        text = _name(member)
        canvas.write(76, y + 17, text, mono=True)
        canvas.write(80 + box, y + 17, comment.get(member.name, ""), quiet=True, size=12)
        y += height
        end = member.offset + member.size
    if end < PAGE:
        canvas.box(68, y, box, 10, "free")
        y += 10
    canvas.write(60, y + 4, "0x1000", mono=True, anchor="end", size=11)
    canvas.height = y + 12
    return canvas.text


def layouts(symbols: Symbols, comments: dict[str, dict[str, str]]) -> dict[str, str]:
    kinds = {"executor": "user", "space": "table", "hart": "kernel", "global": "kernel"}
    return {
        f"layout-{name}": layout(symbols.struct(name), comments[name], kind)
        for name, kind in kinds.items()
    }


# Graphviz


def graph(source: Path) -> str:
    """A drawing from a .dot file, in our colours."""
    options = ["-Gbgcolor=transparent", "-Gpad=0.15", "-Nshape=box", "-Nmargin=0.12,0.07"]
    options += [f"-{kind}fontname=DejaVu Sans" for kind in "GNE"]
    options += [f"-{kind}fontsize=13" for kind in "GN"] + ["-Efontsize=12"]
    try:
        done = subprocess.run(
            ["dot", "-Tsvg", *options, source], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise InfrastructureError(
            f"dot does not start ({error.strerror}): `make handouts` installs it"
        ) from None
    if done.returncode != 0 or done.stderr:
        raise InfrastructureError(f"{source}: {done.stderr.strip()}")
    return _own_colours(done.stdout)


def _own_colours(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r'width="(\d+)pt" height="(\d+)pt"', r'width="\1" height="\2"', svg)
    svg = svg.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    svg = re.sub(r'(viewBox="0(?:\.00)? 0(?:\.00)? ([\d.]+) ([\d.]+)")', r'\1 role="img"', svg)
    inner = svg.index(">", svg.index("<svg")) + 1
    size = re.search(r'viewBox="\S+ \S+ ([\d.]+) ([\d.]+)"', svg)
    assert size is not None
    background = f'<rect class="background" width="{size[1]}" height="{size[2]}"/>'
    return svg[:inner] + "\n" + style() + background + svg[inner:]
