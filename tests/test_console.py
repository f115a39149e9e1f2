"""What goes out is not mixed, and what is typed waits for who reads it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from conftest import BootSystem
from stag.machine import PATIENCE, slowness
from stag.system import Caller

CALL_YIELD, CALL_MAP, CALL_CONSOLE_READ = 1, 3, 19
EAGAIN = 11
READ_WRITE = 3
BUFFER = 0x1000000000  # a page, far from everything that the shell uses
AT_ONCE = 256  # CONSOLE_WRITE_MAX of abi.h
ROOM = 1024  # RING_SIZE of console.c


@pytest.fixture
def reader(boot_system: BootSystem) -> Iterator[Caller]:
    """The shell, on the only hart, before its first instruction, with a page to read
    keys into."""
    system = boot_system(harts=1)
    hart = system.run_to_user()
    with system.borrowed(hart) as caller:
        assert caller.call(CALL_MAP, 0, BUFFER, 1, READ_WRITE, 0) == 0
        yield caller


def text(length: int) -> str:
    """So many keys, no stretch of which looks like another."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return "".join(map("".join, itertools.product(letters, letters, "0123")))[:length]


def press(reader: Caller, keys: str) -> None:
    """The kernel has room for them, and takes them as the program runs."""
    system = reader.system
    deadline = time.monotonic() + PATIENCE * slowness()
    wanted = system.variable("ring_in") + len(keys)
    system.machine.serial.type(keys)
    while system.variable("ring_in") < wanted:
        assert time.monotonic() < deadline, "the kernel does not take all keys"
        reader.call(CALL_YIELD)


def read(reader: Caller, length: int) -> str:
    """What one console_read brings."""
    count = reader.call(CALL_CONSOLE_READ, BUFFER, length)
    if count == -EAGAIN:
        return ""
    page = reader.system.user_table(reader.hart).lookup(BUFFER)
    return reader.system.physical.read(page.pa, count).decode()


def test_long_read(reader: Caller) -> None:
    """However many are asked for, and are there, no more come at once than fit into
    the kernel's own buffer."""
    keys = text(600)
    press(reader, keys)
    pieces = [read(reader, 4096) for _ in range(4)]
    assert pieces == [keys[:AT_ONCE], keys[AT_ONCE : 2 * AT_ONCE], keys[2 * AT_ONCE :], ""]


def test_more_keys_than_there_is_room_for(reader: Caller) -> None:
    """The first stay, in their order."""
    keys = text(ROOM)
    press(reader, keys)
    reader.system.machine.serial.type("!")
    reader.system.harts.run("console_interrupt")
    reader.system.run_to_user()
    assert "".join(read(reader, AT_ONCE) for _ in range(ROOM // AT_ONCE + 1)) == keys


def test_two_writers(boot_system: BootSystem) -> None:
    """While one hart writes another waits, however long."""
    system = boot_system(harts=2)
    system.run_to_prompt()
    harts, serial = system.harts, system.machine.serial
    start = len(serial.data)
    lines = ["a" * 200 + "1", "b" * 200 + "2"]
    for hart, line in enumerate(lines):
        page = harts.call(hart, "page_alloc")
        system.memory.write(page, line.encode())
        harts.begin_call(hart, "console_write", page, len(line))
    backs = [system.remote.register(hart, "ra") for hart in range(2)]
    for _ in range(5):
        harts.run("uart_put", harts=[0])
    for _ in range(500):
        harts.step(1)
    for hart, back in enumerate(backs):
        harts.run(back, harts=[hart])
        serial.wait_for(lines[hart][-1], start=start)
    assert serial.data[start:].decode() == "".join(lines)
