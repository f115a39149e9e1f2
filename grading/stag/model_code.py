"""The model's code, compiled: runs of instructions as functions of Python.

A block is what stands between a place that is jumped to and the next jump. Its
*steps* are the instructions that may need a look: accesses to memory, atomics,
fences, CSRs. A load or a store is compiled in all the same, and done on the
spot if the hart has made it before and nobody can notice (Hart.reach); anything
else leaves the block, for model_execute.py to carry out, and then the block
goes on behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from .isa import MASK, NOP, Decoded, Kind, decode

PLAIN_MAX = 64  # instructions without a step, and …
STEPS_MAX = 32  # … steps, in one block
NO_RESUME = (Kind.SRET, Kind.ECALL, Kind.EBREAK, Kind.ILLEGAL, Kind.WFI)

# (hart, registers, world, number of steps already done): the number of the step
# that must be looked at, from 1; or 0 if h.pc says where to go on.
Code = Callable[[Any, list[int], Any, int], int]


@dataclass(frozen=True, slots=True)
class Block:
    code: Code
    counts: tuple[int, ...]  # instructions up to that step; [0]: none
    steps: tuple[Decoded, ...]  # [0] is not used
    places: tuple[int, ...]  # where they are
    count: int  # of all instructions
    resumes: int  # behind so many steps the block can go on
    jumps_from: int  # what it jumps back to is not behind this; -1: it does not jump


def block_at(
    pc: int,
    fetch: Callable[[int], int | None],
    boundaries: frozenset[int],
    *,
    steps_max: int = STEPS_MAX,
    plain_max: int = PLAIN_MAX,
) -> Block:
    """The code from a place on; it ends before a boundary. With steps_max 0 it
    ends at the first step, which is left to be carried out."""
    words: list[int] = []
    at, plain, steps = pc, 0, 0
    while True:
        word = fetch(at) or 0
        kind = decode(at, word).kind
        words.append(word)
        at += 4
        if kind is Kind.PLAIN:
            plain += 1
        elif kind is Kind.JUMP or kind in NO_RESUME or not steps_max:
            break
        else:
            plain, steps = 0, steps + 1
        if at in boundaries or plain == plain_max or steps == steps_max:
            break
    return _block(pc, tuple(words), steps_max > 0)


@cache
def _block(pc: int, words: tuple[int, ...], resumes: bool) -> Block:
    """The same code is compiled once, however many worlds run it."""
    counts, steps, places = [0], [NOP], [0]
    lines: list[str] = []  # since the last step
    body: list[str] = []
    used: set[str] = set()
    last = pc  # … and where they begin
    jumps = ends = False
    for count, word in enumerate(words, 1):
        decoded = decode(pc, word)
        if decoded.kind is Kind.JUMP:
            lines += [decoded.text, "return 0"]
            jumps = ends = True
        elif decoded.kind is Kind.PLAIN:
            lines.append(decoded.text)
        else:
            number = len(steps)
            counts.append(count)
            steps.append(decoded)
            places.append(pc)
            if resumes and decoded.kind is Kind.LOAD:
                lines += _load(decoded, number)
                used.add(f"L{decoded.size} = h.reach.loads[{decoded.size}].get")
            elif resumes and decoded.kind is Kind.STORE:
                lines += _store(decoded, number)
                used.add(f"S{decoded.size} = h.reach.stores[{decoded.size}].get")
            elif resumes and decoded.kind in (Kind.FENCE, Kind.FENCE_I):
                lines.append(f"if h.buffer: return {number}")
            else:
                lines.append(f"return {number}")
                ends = not resumes or decoded.kind in NO_RESUME
            body += [f" if done < {number}:", *("  " + line for line in lines)]
            lines, last = [], pc + 4
        pc += 4
    if not ends:
        lines.append(f"h.pc = {pc}; return 0")
    body += [" " + line for line in lines]
    if used:
        body.insert(0, " M = w.memory; B = w.base; " + "; ".join(sorted(used)))
    scope: dict[str, Any] = {}
    exec("def block(h, x, w, done):\n" + "\n".join(body), scope)
    return Block(
        scope["block"], tuple(counts), tuple(steps), tuple(places), len(words),
        len(steps) - 1 if jumps or not ends else len(steps) - 2, last if jumps else -1,
    )  # fmt: skip


def _access(decoded: Decoded) -> str:
    offset = f" + {decoded.imm} & {MASK}" if decoded.imm else ""
    return f"a = x[{decoded.rs1}]{offset}"


WORD_NOW = ["v = M.get(k)", "if v is None: v = B[k >> 9][k & 511]"]  # WORDS == 512


def _load(decoded: Decoded, number: int) -> list[str]:
    lines = [
        _access(decoded),
        f"k = L{decoded.size}(a)",
        f"if k is None: return {number}",
        "if w.watching and k not in h.recent: h.recent = (*h.recent[-7:], k)",
    ]
    if not decoded.rd:
        return lines
    value = "v"
    bits = decoded.size * 8
    if bits < 64:
        value = f"v >> (a & 7) * 8 & {(1 << bits) - 1}"
        if decoded.signed:
            value = f"({value} ^ {1 << bits - 1}) - {1 << bits - 1} & {MASK}"
    return [*lines, *WORD_NOW, f"x[{decoded.rd}] = {value}"]


def _store(decoded: Decoded, number: int) -> list[str]:
    lines = [
        _access(decoded),
        f"k = S{decoded.size}(a)",
        f"if k is None or k in w.reserved: return {number}",
        *WORD_NOW,
    ]
    mask = (1 << decoded.size * 8) - 1
    if mask == MASK:
        lines.append(f"n = x[{decoded.rs2}]")
    else:
        lines.append("s = (a & 7) * 8")
        lines.append(f"n = v & ~({mask} << s) | (x[{decoded.rs2}] & {mask}) << s")
    lines.append("if n != v: M[k] = n; w.digest ^= hash((k, v)) ^ hash((k, n))")
    return lines
