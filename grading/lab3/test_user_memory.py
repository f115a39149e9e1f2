"""Exercise 3: a program's memory, from the kernel."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from executor_stage import (
    DEVICE,
    EFAULT,
    EXECUTE,
    EXECUTOR,
    HANDLE,
    READ,
    RO,
    RW,
    RX,
    WRITE,
    Stage,
    errno_text,
)
from stag.addressmap import HART_PAGE, KERNEL_IMAGE, LINEAR_MAP
from stag.pagetable import PAGE
from stag.verdict import check
from traced import Guarded, check_locked, entry_address

FIRST, SECOND, READ_ONLY, HOLE = 0x10000, 0x11000, 0x12000, 0x13000
DEVICE_PAGE, OBJECT, CODE_PAGE = 0x14000, 0x15000, 0x16000
RTC = 0x101000
USER_END = 1 << 38  # Sv39
ALIAS = 1 << 39  # the same indices in the tables, but no address
GUARD = b"\xee" * 64


def text(size: int, seed: int = 1) -> bytes:
    return bytes((i * 7 + i // 256 + seed) & 0xFF for i in range(size))


@dataclass
class Copies:
    """A space with pages of all kinds, and a buffer of the kernel's."""

    stage: Stage
    space: int
    pages: dict[int, int]  # va: linear address
    buffer: int  # three pages, the kernel's

    def at(self, va: int, prot: int) -> int:
        with self.stage.locked(self.space):
            return self.stage.call("user_memory_at", self.space, va, prot) & (1 << 64) - 1

    def copy_in(self, va: int, size: int) -> int:
        """user_memory_read: the result."""
        result = self.stage.call("user_memory_read", self.space, self.buffer, va, size)
        self.stage.check_locks(self.space)
        return result

    def copy_out(self, va: int, size: int) -> int:
        result = self.stage.call("user_memory_write", self.space, va, self.buffer, size)
        self.stage.check_locks(self.space)
        return result

    def ask(self, va: int, size: int, prot: int) -> int:
        result = self.stage.call("user_memory_check", self.space, va, size, prot)
        self.stage.check_locks(self.space)
        return result

    def check_refused(self, va: int, size: int, why: str, reading: bool = True) -> None:
        """Both copies are -EFAULT (only the one that writes without
        `reading`), and user_memory_check agrees."""
        before = {page: self.stage.read(page, PAGE) for page in self.pages.values()}
        tries = [("user_memory_write", self.copy_out, WRITE)]
        tries += [("user_memory_read", self.copy_in, READ)] if reading else []
        for name, copy, prot in tries:
            for function, result in (
                (name, copy(va, size)),
                ("user_memory_check", self.ask(va, size, prot)),
            ):
                check(
                    result == -EFAULT,
                    expected=f"{function} of {size} bytes at {va:#x} is -EFAULT: {why}",
                    found=errno_text(result),
                )
        for at, page in self.pages.items():
            inside = va <= at < va + size or at <= va < at + PAGE
            check(
                inside or self.stage.read(page, PAGE) == before[page],
                expected=f"the page at {at:#x} is left alone",
                found="it was written",
                where=f"user_memory_write of {size} bytes at {va:#x}",
            )


@pytest.fixture
def copies(ready) -> Copies:
    stage = Stage(ready(harts=1))
    space = stage.space()
    # Neighbours in the space are none in memory.
    second, _, first, only, code = (stage.page(text(PAGE, seed)) for seed in range(5))
    stage.map(space, FIRST, first, RW)
    stage.map(space, SECOND, second, RW)
    stage.map(space, READ_ONLY, only, RO)
    stage.map(space, CODE_PAGE, code, RX)
    stage.must("map_page", space, DEVICE_PAGE, RTC, RW | DEVICE)
    executor = stage.executor(space)
    stage.map(space, OBJECT, executor, HANDLE | EXECUTOR)
    buffer = min(stage.page() for _ in range(4))
    pages = {FIRST: first, SECOND: second, READ_ONLY: only, OBJECT: executor}
    return Copies(stage, space, pages, buffer)


def test_address_of_user_memory(copies: Copies) -> None:
    for va, page, prots in (
        (FIRST, copies.pages[FIRST], (READ, WRITE, READ | WRITE)),
        (SECOND + 0x123, copies.pages[SECOND] + 0x123, (READ, WRITE)),
        (READ_ONLY + 0xFFF, copies.pages[READ_ONLY] + 0xFFF, (READ,)),
    ):
        for prot in prots:
            found = copies.at(va, prot)
            check(
                found == page,
                expected=f"user_memory_at({va:#x}, prot {prot}) is {page:#x}, the byte's linear"
                " address",
                found=f"{found:#x}",
            )


def test_address_is_refused(copies: Copies) -> None:
    for va, prot, why in (
        (HOLE, READ, "nothing is mapped there"),
        (READ_ONLY, WRITE, "the page may only be read"),
        (FIRST, EXECUTE, "the page may not be executed"),
        (CODE_PAGE, WRITE, "the page may not be written"),
        (READ_ONLY, READ | WRITE, "each right is needed, and the page may not be written"),
        (FIRST, READ | EXECUTE, "each right is needed, and the page may not be executed"),
        (DEVICE_PAGE, READ, "a device is not memory"),
        (OBJECT, READ, "a handle is not memory"),
        (KERNEL_IMAGE, READ, "it is the kernel's"),
        (FIRST + ALIAS, READ, "there is no such user address"),
    ):
        found = copies.at(va, prot)
        check(
            found == 0,
            expected=f"user_memory_at({va:#x}, prot {prot}) is 0: {why}",
            found=f"{found:#x}",
        )


def check_bytes(wanted: bytes, found: bytes, what: str) -> None:
    wrong = [i for i, (a, b) in enumerate(zip(wanted, found, strict=True)) if a != b]
    check(
        not wrong,
        expected=what,
        found=f"{len(wrong)} bytes differ, the first at {wrong[0]:#x}" if wrong else "",
    )


RANGES = (
    (FIRST, 8),
    (FIRST + 0xFFB, 3),
    (FIRST + 0xFF0, 32),
    (FIRST + 1, 2 * PAGE - 1),
    (SECOND, 0),
)


def test_read(copies: Copies) -> None:
    """Within a page and from one into the next, to the byte."""
    memory = copies.stage.read(copies.pages[FIRST], PAGE)
    memory += copies.stage.read(copies.pages[SECOND], PAGE)
    for va, size in RANGES:
        copies.stage.write(copies.buffer, GUARD * (2 * PAGE // 64) + GUARD)
        result = copies.copy_in(va, size)
        check(result == 0, f"user_memory_read({va:#x}, {size}) is 0", errno_text(result))
        wanted = memory[va - FIRST : va - FIRST + size] + GUARD[:1]
        found = copies.stage.read(copies.buffer, size + 1)
        check_bytes(wanted, found, f"{size} bytes from {va:#x} in the buffer, and none behind them")


def test_write(copies: Copies) -> None:
    for va, size in RANGES:
        for page in (FIRST, SECOND):
            copies.stage.write(copies.pages[page], GUARD * (PAGE // 64))
        data = text(2 * PAGE, va & 0xFF)
        copies.stage.write(copies.buffer, data)
        result = copies.copy_out(va, size)
        check(result == 0, f"user_memory_write({va:#x}, {size}) is 0", errno_text(result))
        found = copies.stage.read(copies.pages[FIRST], PAGE)
        found += copies.stage.read(copies.pages[SECOND], PAGE)
        wanted = bytearray(GUARD * (2 * PAGE // 64))
        wanted[va - FIRST : va - FIRST + size] = data[:size]
        check_bytes(bytes(wanted), found, f"{size} bytes written at {va:#x}, and no others")


def test_check(copies: Copies) -> None:
    for va, size, prot, wanted in (
        (FIRST, 2 * PAGE, READ | WRITE, 0),
        (FIRST + 5, 3 * PAGE - 5, READ, 0),
        (FIRST, 3 * PAGE, WRITE, -EFAULT),
        (FIRST, 3 * PAGE + 1, READ, -EFAULT),
        (HOLE - 1, 2, READ, -EFAULT),
        (CODE_PAGE, PAGE, READ | EXECUTE, 0),
        (FIRST, 8, EXECUTE, -EFAULT),
        (READ_ONLY, 8, READ | WRITE, -EFAULT),
    ):
        found = copies.ask(va, size, prot)
        check(
            found == wanted,
            expected=f"user_memory_check({va:#x}, {size} bytes, prot {prot}) is"
            f" {errno_text(wanted)}",
            found=errno_text(found),
        )
    check_nothing_asked(copies)


def check_nothing_asked(copies: Copies) -> None:
    """Size 0 is fine at any address: nothing is read or written there."""
    for va in (HOLE, KERNEL_IMAGE, OBJECT):
        for function, found in (
            ("user_memory_check", copies.ask(va, 0, READ)),
            ("user_memory_read", copies.copy_in(va, 0)),
            ("user_memory_write", copies.copy_out(va, 0)),
        ):
            check(found == 0, f"{function} of 0 bytes at {va:#x} is 0", errno_text(found))


def test_kernel_addresses_are_refused(copies: Copies) -> None:
    data = copies.stage.system.symbols["global_page"]
    copies.check_refused(KERNEL_IMAGE, 8, "it is the kernel's text")
    copies.check_refused(data, 8, "it is the kernel's data")
    copies.check_refused(HART_PAGE, 8, "it is the hart page")
    copies.check_refused(LINEAR_MAP, 8, "it is the linear map")
    copies.check_refused(copies.pages[FIRST], 8, "it is a page's linear address")


def test_addresses_out_of_range_are_refused(copies: Copies) -> None:
    copies.check_refused(FIRST + ALIAS, 8, "there is no such user address")
    copies.check_refused(USER_END - 8, 16, "it ends above the user half")
    copies.check_refused((1 << 64) - 8, 16, "it wraps around")
    copies.check_refused(FIRST, (1 << 64) - FIRST + 8, "so many bytes wrap around")


def test_read_only_memory_is_not_written(copies: Copies) -> None:
    copies.check_refused(READ_ONLY, 8, "the page may only be read", reading=False)
    copies.check_refused(CODE_PAGE + 8, 8, "the page holds code", reading=False)
    copies.check_refused(READ_ONLY - 4, 8, "its second page may only be read", reading=False)
    before = copies.copy_in(READ_ONLY, 8)
    check(before == 0, "a page without W can be read", errno_text(before))


def test_holes_are_refused(copies: Copies) -> None:
    copies.check_refused(HOLE, 8, "nothing is mapped there")
    copies.check_refused(0, 8, "nothing is mapped at 0")
    copies.check_refused(0x123456000, 8, "no table is there")
    copies.check_refused(READ_ONLY + PAGE - 4, 8, "its second page is not mapped")


def test_handles_and_devices_are_no_memory(copies: Copies) -> None:
    copies.check_refused(OBJECT, 8, "it is a handle")
    copies.check_refused(DEVICE_PAGE, 8, "it is a device")
    copies.check_refused(DEVICE_PAGE + PAGE - 4, 8, "it begins on a device and ends on a handle")


def test_memory_is_used_under_the_lock(copies: Copies) -> None:
    """Both pages of a range: else they may be another's by the time of the copy."""
    stage, lock = copies.stage, (copies.space,)
    entries = [
        Guarded(f"the entry of {va:#x}", entry_address(stage, copies.space, va), lock)
        for va in (FIRST, SECOND)
    ]
    memory = [
        Guarded("the page at its end", copies.pages[FIRST] + PAGE - 8, lock),
        Guarded("the next page", copies.pages[SECOND], lock),
    ]
    va, size = SECOND - 8, 16
    for guarded, function, arguments in (
        (entries + memory, "user_memory_read", (copies.buffer, va, size)),
        (entries + memory, "user_memory_write", (va, copies.buffer, size)),
        (entries, "user_memory_check", (va, size, READ)),
    ):
        check_locked(stage, guarded, function, copies.space, *arguments)
