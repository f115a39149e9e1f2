"""Every image is made of RV64I, A, Zicsr and Zifencei alone, and has no acquire
that is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import KERNEL, USER
from stag.isa import LR, SC, Kind, decode
from stag.opcodes import count_instructions, instructions, scan
from stag.symbols import Symbols

FENCE_IO = 0x0FF0000F  # fence iorw, iorw
# Functions and labels that execute something illegal on purpose.
DELIBERATE = {"crash_illegal", "code_illegal", "code_float"}


def programs() -> list[Path]:
    return sorted(USER.glob("*.elf"))


def check(image: Path, *, privileged: bool) -> None:
    symbols = Symbols(image)
    assert count_instructions(symbols) > 20, f"{image.name} holds no code"
    offences = []
    for offence in scan(symbols, privileged=privileged):
        place = symbols.describe(offence.address)
        if place.partition("+")[0].partition(" ")[0] not in DELIBERATE:
            offences.append(f"{place}: {offence.word:#010x}: {offence.reason}")
    assert not offences, f"{image.name}:\n" + "\n".join(offences[:20])


def test_kernel_holds_only_base_and_atomic_instructions() -> None:
    check(KERNEL, privileged=True)


def test_there_are_programs() -> None:
    names = [path.stem for path in programs()]
    assert "shell" in names, f"there is no shell among {names}"


@pytest.mark.parametrize("image", programs(), ids=lambda path: path.stem)
def test_program_holds_only_base_and_atomic_instructions(image: Path) -> None:
    check(image, privileged=False)


@pytest.mark.parametrize("image", [KERNEL, *programs()], ids=lambda path: path.stem)
def test_no_segment_is_writable_and_executable(image: Path) -> None:
    for segment in Symbols(image).segments:
        assert not (segment.writable and segment.executable), f"{segment.virtual:#x} is both"


def test_the_console_is_handed_on_with_its_device() -> None:
    """A release need not order a store to the UART before the next hart's."""
    symbols = Symbols(KERNEL)
    console_write = symbols.symbol("console_write")
    range_of = range(console_write.address, console_write.address + console_write.size, 4)
    words = [symbols.instruction(address) for address in range_of]
    assert words.count(FENCE_IO) == 2, "one after the lock is had, one before it is let go"


@pytest.mark.parametrize("image", [KERNEL, *programs()], ids=lambda path: path.stem)
def test_who_acquires_does_so_by_its_lr(image: Path) -> None:
    """The aq of an sc without rl orders nothing: where gcc before 13 puts it there, for a
    compare-and-swap that acquires, the lr must have it too (unprivileged manual,
    Load-Reserved/Store-Conditional)."""
    symbols = Symbols(image)
    acquires = False
    for address, word in instructions(symbols):
        found = decode(address, word)
        if found.kind is Kind.ATOMIC and found.funct == LR:
            acquires = found.aq
        elif found.kind is Kind.ATOMIC and found.funct == SC:
            assert acquires or not found.aq or found.rl, symbols.describe(address)
