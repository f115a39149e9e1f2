"""The instructions of rv64ia, zicsr and zifencei, as Python runs them.

A `Decoded` says what kind of instruction a word is. One that only changes
registers and the pc is a statement of Python, so that a run of them can be
compiled into one function (model_code.py); what touches memory or the hart's
privileged state comes in fields, for the model to carry out (model_execute.py).

Written from the manual's tables (unprivileged manual, chapters "RV64I", "A"
and "RV32/64G Instruction Set Listings"), not from anything that the kernel or
QEMU does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import cache

MASK = (1 << 64) - 1
SIGN = 1 << 63
WORD = (1 << 32) - 1


class Kind(Enum):
    PLAIN = auto()  # `text`, then the next instruction
    JUMP = auto()  # `text` sets h.pc
    LOAD = auto()
    STORE = auto()
    ATOMIC = auto()
    FENCE = auto()
    FENCE_I = auto()
    CSR = auto()
    ECALL = auto()
    EBREAK = auto()
    SRET = auto()
    WFI = auto()
    SFENCE = auto()
    ILLEGAL = auto()


@dataclass(frozen=True, slots=True)
class Decoded:
    """One instruction. In `text` the registers are x[0] … x[31], `h` is the
    hart."""

    kind: Kind
    text: str = ""
    rd: int = 0
    rs1: int = 0
    rs2: int = 0
    imm: int = 0
    size: int = 0  # bytes of a memory access
    signed: bool = False
    funct: int = 0  # of an atomic, or a CSR instruction
    aq: bool = False
    rl: bool = False
    pred: int = 0  # of a fence: bits i, o, r, w from the top
    succ: int = 0


ILLEGAL = Decoded(Kind.ILLEGAL)
NOP = Decoded(Kind.PLAIN, "pass")

LR, SC = 0x02, 0x03
AMO_NAMES = {
    0x00: "amoadd",
    0x01: "amoswap",
    LR: "lr",
    SC: "sc",
    0x04: "amoxor",
    0x08: "amoor",
    0x0C: "amoand",
    0x10: "amomin",
    0x14: "amomax",
    0x18: "amominu",
    0x1C: "amomaxu",
}
FENCE_READ, FENCE_WRITE = 2, 1


def signed(value: int, bits: int) -> int:
    """The number that a field of so many bits stands for."""
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def sign_extend(value: int, bits: int) -> int:
    """To 64 bits, as a register holds it."""
    return signed(value, bits) & MASK


def amo_result(funct: int, old: int, operand: int, bits: int) -> int:
    """What an atomic leaves in memory; both numbers have `bits` bits."""
    mask = (1 << bits) - 1
    match AMO_NAMES[funct]:
        case "amoadd":
            return old + operand & mask
        case "amoswap":
            return operand
        case "amoxor":
            return old ^ operand
        case "amoor":
            return old | operand
        case "amoand":
            return old & operand
        case "amomin":
            return min(old, operand, key=lambda v: signed(v, bits))
        case "amomax":
            return max(old, operand, key=lambda v: signed(v, bits))
        case "amominu":
            return min(old, operand)
        case _:
            return max(old, operand)


def _word(text: str) -> str:
    """The low 32 bits of a sum, sign-extended."""
    return f"((({text}) & {WORD} ^ {1 << 31}) - {1 << 31}) & {MASK}"


def _signed_text(register: int) -> str:
    return f"((x[{register}] ^ {SIGN}) - {SIGN})"


def _signed_word(register: int) -> str:
    return f"((x[{register}] & {WORD} ^ {1 << 31}) - {1 << 31})"


def _plain(rd: int, expression: str) -> Decoded:
    return Decoded(Kind.PLAIN, f"x[{rd}] = {expression}") if rd else NOP


def _immediate(word: int) -> int:
    return signed(word >> 20, 12)


def _op_imm(word: int, rd: int, a: int) -> Decoded:
    imm, shift = _immediate(word), word >> 20 & 63
    kind, high = word >> 12 & 7, word >> 26
    match kind:
        case 0:
            return _plain(rd, f"x[{a}] + {imm} & {MASK}" if imm else f"x[{a}]")
        case 1 if high == 0:
            return _plain(rd, f"x[{a}] << {shift} & {MASK}")
        case 2:
            return _plain(rd, f"1 if x[{a}] ^ {SIGN} < {(imm & MASK) ^ SIGN} else 0")
        case 3:
            return _plain(rd, f"1 if x[{a}] < {imm & MASK} else 0")
        case 4:
            return _plain(rd, f"x[{a}] ^ {imm & MASK}")
        case 5 if high == 0:
            return _plain(rd, f"x[{a}] >> {shift}")
        case 5 if high == 0x10:
            return _plain(rd, f"({_signed_text(a)} >> {shift}) & {MASK}")
        case 6:
            return _plain(rd, f"x[{a}] | {imm & MASK}")
        case 7:
            return _plain(rd, f"x[{a}] & {imm & MASK}")
    return ILLEGAL


def _op(word: int, rd: int, a: int, b: int) -> Decoded:
    match word >> 25, word >> 12 & 7:
        case 0, 0:
            return _plain(rd, f"x[{a}] + x[{b}] & {MASK}")
        case 0x20, 0:
            return _plain(rd, f"x[{a}] - x[{b}] & {MASK}")
        case 0, 1:
            return _plain(rd, f"x[{a}] << (x[{b}] & 63) & {MASK}")
        case 0, 2:
            return _plain(rd, f"1 if (x[{a}] ^ {SIGN}) < (x[{b}] ^ {SIGN}) else 0")
        case 0, 3:
            return _plain(rd, f"1 if x[{a}] < x[{b}] else 0")
        case 0, 4:
            return _plain(rd, f"x[{a}] ^ x[{b}]")
        case 0, 5:
            return _plain(rd, f"x[{a}] >> (x[{b}] & 63)")
        case 0x20, 5:
            return _plain(rd, f"({_signed_text(a)} >> (x[{b}] & 63)) & {MASK}")
        case 0, 6:
            return _plain(rd, f"x[{a}] | x[{b}]")
        case 0, 7:
            return _plain(rd, f"x[{a}] & x[{b}]")
    return ILLEGAL


def _op_imm_32(word: int, rd: int, a: int) -> Decoded:
    imm, shift = _immediate(word), word >> 20 & 31
    match word >> 25, word >> 12 & 7:
        case _, 0:
            return _plain(rd, _word(f"x[{a}] + {imm}"))
        case 0, 1:
            return _plain(rd, _word(f"x[{a}] << {shift}"))
        case 0, 5:
            return _plain(rd, _word(f"(x[{a}] & {WORD}) >> {shift}"))
        case 0x20, 5:
            return _plain(rd, f"({_signed_word(a)} >> {shift}) & {MASK}")
    return ILLEGAL


def _op_32(word: int, rd: int, a: int, b: int) -> Decoded:
    match word >> 25, word >> 12 & 7:
        case 0, 0:
            return _plain(rd, _word(f"x[{a}] + x[{b}]"))
        case 0x20, 0:
            return _plain(rd, _word(f"x[{a}] - x[{b}]"))
        case 0, 1:
            return _plain(rd, _word(f"x[{a}] << (x[{b}] & 31)"))
        case 0, 5:
            return _plain(rd, _word(f"(x[{a}] & {WORD}) >> (x[{b}] & 31)"))
        case 0x20, 5:
            return _plain(rd, f"({_signed_word(a)} >> (x[{b}] & 31)) & {MASK}")
    return ILLEGAL


def _branch(pc: int, word: int, a: int, b: int) -> Decoded:
    imm = (word >> 31 & 1) << 12 | (word >> 7 & 1) << 11 | (word >> 25 & 63) << 5
    imm = signed(imm | (word >> 8 & 15) << 1, 13)
    sa, sb = f"(x[{a}] ^ {SIGN})", f"(x[{b}] ^ {SIGN})"
    conditions = {
        0: f"x[{a}] == x[{b}]",
        1: f"x[{a}] != x[{b}]",
        4: f"{sa} < {sb}",
        5: f"{sa} >= {sb}",
        6: f"x[{a}] < x[{b}]",
        7: f"x[{a}] >= x[{b}]",
    }
    condition = conditions.get(word >> 12 & 7)
    if condition is None:
        return ILLEGAL
    return Decoded(
        Kind.JUMP, f"h.pc = {pc + imm & MASK} if {condition} else {pc + 4 & MASK}", imm=imm
    )


def _jal(pc: int, word: int, rd: int) -> Decoded:
    imm = (word >> 31 & 1) << 20 | (word >> 12 & 255) << 12 | (word >> 20 & 1) << 11
    imm = signed(imm | (word >> 21 & 1023) << 1, 21)
    link = f"x[{rd}] = {pc + 4 & MASK}; " if rd else ""
    return Decoded(Kind.JUMP, f"{link}h.pc = {pc + imm & MASK}", imm=imm)


def _jalr(pc: int, word: int, rd: int, a: int) -> Decoded:
    if word >> 12 & 7:
        return ILLEGAL
    target = f"x[{a}] + {_immediate(word)} & {MASK - 1}"
    if not rd:
        return Decoded(Kind.JUMP, f"h.pc = {target}")
    return Decoded(Kind.JUMP, f"h.pc = {target}; x[{rd}] = {pc + 4 & MASK}")


def _atomic(word: int, rd: int, a: int, b: int) -> Decoded:
    funct, size = word >> 27, 1 << (word >> 12 & 7)
    if funct not in AMO_NAMES or size not in (4, 8) or (funct == LR and b):
        return ILLEGAL
    aq, rl = bool(word >> 26 & 1), bool(word >> 25 & 1)
    return Decoded(Kind.ATOMIC, "", rd, a, b, size=size, funct=funct, aq=aq, rl=rl)


def _system(word: int, rd: int, a: int) -> Decoded:
    funct = word >> 12 & 7
    if funct in (1, 2, 3, 5, 6, 7):
        return Decoded(Kind.CSR, "", rd, a, imm=word >> 20, funct=funct)
    if funct == 0 and word >> 25 == 0x09 and rd == 0:
        return Decoded(Kind.SFENCE, "", 0, a, word >> 20 & 31)
    return {
        0x00000073: Decoded(Kind.ECALL),
        0x00100073: Decoded(Kind.EBREAK),
        0x10200073: Decoded(Kind.SRET),
        0x10500073: Decoded(Kind.WFI),
    }.get(word, ILLEGAL)


@cache
def decode(pc: int, word: int) -> Decoded:
    """The instruction `word`, which stands at `pc`."""
    rd, a, b = word >> 7 & 31, word >> 15 & 31, word >> 20 & 31
    funct = word >> 12 & 7
    match word & 0x7F:
        case 0x13:
            return _op_imm(word, rd, a)
        case 0x33:
            return _op(word, rd, a, b)
        case 0x1B:
            return _op_imm_32(word, rd, a)
        case 0x3B:
            return _op_32(word, rd, a, b)
        case 0x37:
            return _plain(rd, str(sign_extend(word & 0xFFFFF000, 32)))
        case 0x17:
            return _plain(rd, str(pc + sign_extend(word & 0xFFFFF000, 32) & MASK))
        case 0x6F:
            return _jal(pc, word, rd)
        case 0x67:
            return _jalr(pc, word, rd, a)
        case 0x63:
            return _branch(pc, word, a, b)
        case 0x03 if funct != 7:
            size = 1 << (funct & 3)
            return Decoded(Kind.LOAD, "", rd, a, imm=_immediate(word), size=size, signed=funct < 4)
        case 0x23 if funct < 4:
            imm = signed(word >> 25 << 5 | word >> 7 & 31, 12)
            return Decoded(Kind.STORE, "", 0, a, b, imm=imm, size=1 << funct)
        case 0x2F:
            return _atomic(word, rd, a, b)
        case 0x0F if funct == 0:
            if word >> 28 == 8:  # fence.tso: all but stores before loads
                return Decoded(Kind.FENCE, pred=FENCE_WRITE, succ=FENCE_WRITE)
            return Decoded(Kind.FENCE, pred=word >> 24 & 15, succ=word >> 20 & 15)
        case 0x0F if funct == 1:
            return Decoded(Kind.FENCE_I)
        case 0x73:
            return _system(word, rd, a)
    return ILLEGAL
