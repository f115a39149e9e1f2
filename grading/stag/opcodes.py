"""Which instructions an image holds, decoded from the manual's opcode tables.

Stag's images are made of RV64I, A, Zicsr and Zifencei alone, so that they run
on any RISC-V machine with an MMU. No compressed, multiply, floating point or
vector instruction may be in them. (RISC-V unprivileged manual, chapter
"RV32/64G Instruction Set Listings"; privileged manual, chapter "RISC-V
Privileged Instruction Set Listings" and the CSR tables.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .symbols import Symbols

ECALL, EBREAK, SRET, WFI = 0x00000073, 0x00100073, 0x10200073, 0x10500073
COUNTERS = {0xC00: "cycle", 0xC01: "time", 0xC02: "instret"}

PADDING = 0  # defined to be illegal for ever: what lies between functions

_AMO_FUNCTIONS = {0x00, 0x01, 0x02, 0x03, 0x04, 0x08, 0x0C, 0x10, 0x14, 0x18, 0x1C}
_LOAD_RESERVED = 0x02


@dataclass(frozen=True)
class Offence:
    """An instruction that must not be there."""

    address: int
    word: int
    reason: str


def forbidden(word: int, *, privileged: bool) -> str | None:
    """Why this instruction may not be in an image; None if it may."""
    if word & 3 != 3:
        return "compressed (C), or no instruction at all"
    opcode = word & 0x7F
    rd, rs1, rs2 = word >> 7 & 31, word >> 15 & 31, word >> 20 & 31
    funct3, funct7, funct6 = word >> 12 & 7, word >> 25, word >> 26
    match opcode:
        case 0x03:  # LOAD
            return None if funct3 != 7 else "no load of RV64I"
        case 0x0F:  # MISC-MEM: fence, fence.i
            return None if funct3 <= 1 else "no fence of RV64I or Zifencei"
        case 0x13:  # OP-IMM
            legal = {1: (0,), 5: (0, 0x10)}.get(funct3)
            return None if legal is None or funct6 in legal else "no shift of RV64I"
        case 0x17 | 0x37 | 0x6F:  # AUIPC, LUI, JAL
            return None
        case 0x1B:  # OP-IMM-32
            legal = {0: None, 1: (0,), 5: (0, 0x20)}.get(funct3, ())
            return None if legal is None or funct7 in legal else "no OP-IMM-32 of RV64I"
        case 0x23:  # STORE
            return None if funct3 <= 3 else "no store of RV64I"
        case 0x2F:  # AMO
            function = word >> 27
            if funct3 not in (2, 3) or function not in _AMO_FUNCTIONS:
                return "no atomic of the A extension"
            return "lr with a second operand" if function == _LOAD_RESERVED and rs2 else None
        case 0x33:  # OP
            if funct7 == 1:
                return "multiply or divide (M)"
            legal = funct7 == 0 or (funct7 == 0x20 and funct3 in (0, 5))
            return None if legal else "no OP of RV64I"
        case 0x3B:  # OP-32
            if funct7 == 1:
                return "multiply or divide (M)"
            legal = (funct7 == 0 and funct3 in (0, 1, 5)) or (funct7 == 0x20 and funct3 in (0, 5))
            return None if legal else "no OP-32 of RV64I"
        case 0x63:  # BRANCH
            return None if funct3 not in (2, 3) else "no branch of RV64I"
        case 0x67:  # JALR
            return None if funct3 == 0 else "no jalr of RV64I"
        case 0x73:  # SYSTEM
            return _forbidden_system(word, rd, rs1, funct3, funct7, privileged)
        case 0x07 | 0x27:
            return "load or store of floating point or vectors (F, D, V)"
        case 0x43 | 0x47 | 0x4B | 0x4F | 0x53:
            return "floating point (F, D)"
        case 0x57:
            return "vectors (V)"
    return f"opcode {opcode:#04x} is not of RV64I, A, Zicsr or Zifencei"


def _forbidden_system(
    word: int, rd: int, rs1: int, funct3: int, funct7: int, privileged: bool
) -> str | None:
    if funct3 == 0:
        if word in (ECALL, EBREAK):
            return None
        supervisor = word in (SRET, WFI) or (funct7 == 0x09 and rd == 0)
        if not supervisor:
            return "no SYSTEM instruction for supervisor mode"
        return None if privileged else "privileged instruction in a program"
    if funct3 == 4:
        return "hypervisor load or store"
    csr = word >> 20
    reads_only = funct3 in (2, 3, 6, 7) and rs1 == 0
    if csr in COUNTERS:
        return None if reads_only else f"write of the counter {COUNTERS[csr]}"
    if csr >> 8 & 3 == 1 and csr >> 8 != 0x2:
        return None if privileged else f"privileged CSR {csr:#x} in a program"
    return f"CSR {csr:#x} is no counter and not the supervisor's"


def scan(symbols: Symbols, *, privileged: bool) -> list[Offence]:
    """Every forbidden instruction in the executable sections of an ELF file."""
    offences = []
    for section in symbols.sections:
        if not section.executable:
            continue
        if section.address % 4 or len(section.data) % 4:
            offences.append(Offence(section.address, 0, f"{section.name} is not made of words"))
    for address, word in instructions(symbols):
        if reason := forbidden(word, privileged=privileged):
            offences.append(Offence(address, word, reason))
    return offences


def instructions(symbols: Symbols) -> Iterator[tuple[int, int]]:
    """Address and word of all in the executable sections that is no padding."""
    for section in (section for section in symbols.sections if section.executable):
        for offset in range(0, len(section.data) - 3, 4):
            word = int.from_bytes(section.data[offset : offset + 4], "little")
            if word != PADDING:
                yield section.address + offset, word


def count_instructions(symbols: Symbols) -> int:
    """How many words the executable sections hold."""
    return sum(len(section.data) // 4 for section in symbols.sections if section.executable)
