"""Bugs of the kernel end in a panic that says what happened, where, on which
hart, and how it got there. The bugs are made through the debugger."""

from __future__ import annotations

import itertools
import re

import pytest
from conftest import BootSystem
from stag.addressmap import HART_STACK
from stag.errors import StagError
from stag.pagetable import PAGE
from stag.remote import PC
from stag.system import System

HARTS = 3
ALLOCATOR = "page_alloc.c"
SP, FP, A0 = 2, 8, 10


@pytest.fixture
def idle(boot_system: BootSystem) -> System:
    """At the prompt, on several harts, all of them in the kernel."""
    system = boot_system(harts=HARTS)
    system.run_to_prompt()
    return system


def check(text: str, system: System, hart: int, message: str, *places: str) -> None:
    """One block: message, hart, and a backtrace through these places: functions,
    or source files (which function of a file panics is its own affair)."""
    assert text.count("kernel panic") == 1, f"not one panic:\n{text}"
    assert re.search(message, text), f"no {message!r} in:\n{text}"
    index = hart_index(system, hart)
    assert re.search(rf"hart:? +{index}\b", text), f"hart {index} is not named:\n{text}"
    trace = re.findall(r"(\w+)\+0x[0-9a-f]+", text.partition("backtrace")[2])
    assert trace, f"no backtrace with functions' names:\n{text}"
    lines = [system.symbols.line(system.symbols[name]) for name in trace]
    passed = {*trace, *(line.file for line in lines if line)}
    for place in places:
        assert place in passed, f"{place} is not in the backtrace:\n{text}"


def hart_index(system: System, hart: int) -> int:
    """The kernel's number of a hart."""
    layout = system.symbols.struct("hart")
    memory = system.kernel_memory(hart)
    return memory.u64(system.remote.register(hart, "tp") + layout["index"].offset)


@pytest.mark.parametrize("hart", range(HARTS))
def test_double_free(idle: System, hart: int) -> None:
    page = idle.harts.call(hart, "page_alloc")
    assert page != 0
    idle.harts.call(hart, "page_free", page)
    idle.harts.begin_call(hart, "page_free", page)
    text = idle.harts.let_panic()
    check(text, idle, hart, "double free", ALLOCATOR)
    assert f"{page:x}" in text, f"the page {page:#x} is not named:\n{text}"


def test_double_free_through_the_queue(idle: System) -> None:
    """The page has long left the cache of the hart that freed it."""
    pages = [idle.harts.call(0, "page_alloc") for _ in range(100)]
    for page in pages:
        idle.harts.call(0, "page_free", page)
    queued = set(pages) & set(idle.allocation().queue)
    assert queued, "the cache of a hart holds a hundred pages"
    idle.harts.begin_call(1, "page_free", queued.pop())
    check(idle.harts.let_panic(), idle, 1, "double free", ALLOCATOR)


@pytest.mark.parametrize(
    "address",
    [0, 0x1000, 0x80000000, 0xFFFFFFC000000000, 0xFFFFFFE000000001, 0xFFFFFFFFFFFFF000],
    ids=hex,
)
def test_wild_free(idle: System, address: int) -> None:
    idle.harts.begin_call(1, "page_free", address)
    text = idle.harts.let_panic()
    check(text, idle, 1, f"(?i){address:x}.*(no page|never allocated)", ALLOCATOR)


def test_wild_free_beside_a_full_cache(idle: System) -> None:
    """What stands above the topmost page there is no page."""
    pages = [idle.harts.call(1, "page_alloc") for _ in range(64)]
    index = idle.symbols.struct("hart")["index"].offset + idle.remote.register(1, "tp")
    cache = idle.kernel_memory(1).u64(index)
    while len(idle.allocation().caches[cache]) < 32:
        idle.harts.call(1, "page_free", pages.pop())
    idle.harts.begin_call(1, "page_free", 0)
    check(idle.harts.let_panic(), idle, 1, "no page of RAM", ALLOCATOR)


def test_free_inside_a_page(idle: System) -> None:
    page = idle.harts.call(1, "page_alloc")
    idle.harts.begin_call(1, "page_free", page + 8)
    check(idle.harts.let_panic(), idle, 1, f"(?i){page + 8:x}", ALLOCATOR)


def test_free_above_the_mark(idle: System) -> None:
    bank = max(idle.allocation().banks, key=lambda bank: bank.unused)
    page = bank.base + bank.size - PAGE
    idle.harts.begin_call(2, "page_free", page)
    check(idle.harts.let_panic(), idle, 2, f"{page:x}.*never allocated", ALLOCATOR)


@pytest.mark.parametrize("wild", [False, True], ids=["twice", "wild"])
def test_free_names_its_caller(idle: System, wild: bool) -> None:
    page = PAGE if wild else idle.harts.call(1, "page_alloc")
    if not wild:
        idle.harts.call(1, "page_free", page)
    idle.harts.begin_call(1, "page_free", page)
    idle.remote.set_register(1, "ra", idle.symbols["scheduler_next"] + 8)
    text = idle.harts.let_panic()
    check(text, idle, 1, "caller scheduler_next", ALLOCATOR)


@pytest.mark.parametrize("hart", range(HARTS))
def test_stack_overflow(idle: System, hart: int) -> None:
    """The stack pointer at the very end of the stack: the next frame is on
    the guard page."""
    idle.harts.begin_call(hart, "page_list_fill", HART_STACK + 64, 1, 0)
    idle.remote.set_register(hart, "sp", HART_STACK)
    text = idle.harts.let_panic()
    check(text, idle, hart, "stack overflow", "page_list_fill")


def test_null_load(idle: System) -> None:
    """A load from 0: the first member of an executor that is not there."""
    idle.harts.begin_call(1, "page_copy", idle.harts.call(1, "page_alloc"), 0)
    check(idle.harts.let_panic(), idle, 1, "(?i)null", "page_copy")


def test_null_store(idle: System) -> None:
    idle.harts.begin_call(2, "blocks_zero", 0, PAGE)
    check(idle.harts.let_panic(), idle, 2, "(?i)null", "blocks_zero")


def test_null_jump(idle: System) -> None:
    saved = idle.harts.begin_call(1, "page_alloc")
    assert saved
    registers = idle.remote.general_registers(1)
    registers[PC] = 0
    idle.remote.set_general_registers(1, registers)
    check(idle.harts.let_panic(), idle, 1, "(?i)null")


@pytest.mark.parametrize("frame", [0, 8, 16])
def test_no_frame_pointer(idle: System, frame: int) -> None:
    """What stands below such a frame is no memory: the backtrace ends there, and
    does not trap in its turn."""
    idle.harts.begin_call(1, "page_alloc")
    registers = idle.remote.general_registers(1)
    registers[PC], registers[FP] = 0, frame
    idle.remote.set_general_registers(1, registers)
    text = idle.harts.let_panic()
    assert text.count("kernel panic") == 1, text
    assert re.search(r"backtrace:\n +0x0\n-+\n$", text), text


def test_store_to_the_kernels_code(idle: System) -> None:
    code = idle.symbols["blocks_zero"] & ~(PAGE - 1)
    idle.harts.begin_call(1, "blocks_zero", code, PAGE)
    check(idle.harts.let_panic(), idle, 1, "store page fault", "blocks_zero")


def test_backtrace_names_the_callers(idle: System) -> None:
    idle.harts.begin_call(1, "page_free", 0)
    text = idle.harts.let_panic().partition("backtrace")[2]
    frames = [line.strip() for line in text.splitlines() if "+0x" in line]
    assert frames, text
    for frame in frames[1:]:
        # A return address may lie behind the end of the function that called.
        assert not frame.endswith("+0x0"), f"no call returns to the start of a function: {frame}"
    for first, second in itertools.pairwise(frames):
        assert first != second, f"a frame is printed twice: {first}"


def test_all_harts_stop(idle: System) -> None:
    """After the block nothing runs any more, and nothing else is printed."""
    idle.harts.begin_call(1, "page_free", 0)
    idle.harts.let_panic()
    # A hart that takes no interrupts wakes up no more. None is so in the kernel else.
    for _ in range(100):
        if not any(idle.remote.register(hart, "sie") for hart in range(HARTS)):
            break
        idle.harts.let_panic()
    else:
        pytest.fail(f"a hart takes interrupts yet:\n{idle.harts.table()}")
    length = len(idle.machine.serial.data)
    idle.machine.serial.type("help\n")
    idle.harts.let_panic(0.3)
    assert len(idle.machine.serial.data) == length, "the machine still answers"
    assert idle.all_idle(), idle.harts.table()


RANKS = {"console": 3, "deadlines": 4, "scheduler": 5}  # of lock.h


@pytest.mark.parametrize(
    "held", [["console"], ["deadlines"], ["console", "scheduler"]], ids="-".join
)
def test_locks_out_of_order(idle: System, held: list[str]) -> None:
    """The console's lock is taken by a hart that holds it, or one that comes behind
    it. The panic names what was held."""
    field = idle.symbols.struct("hart")["ranks_held"].offset
    ranks = sum(1 << RANKS[name] for name in held)
    idle.kernel_memory(1).set_u64(idle.remote.register(1, "tp") + field, ranks)
    idle.harts.begin_call(1, "console_write", 0, 0)
    text = idle.harts.let_panic()
    check(text, idle, 1, r"lock\.h:\d+: assertion failed: .*ranks_held", "console_write")
    (locks,) = re.findall(r"^locks: *(.*)$", text, re.MULTILINE)
    assert locks == " ".join([*held, "held"]), text


def test_no_lock_is_held(idle: System) -> None:
    idle.harts.begin_call(1, "page_free", 0)
    text = idle.harts.let_panic()
    assert re.search(r"^locks: *none held$", text, re.MULTILINE), text


@pytest.mark.parametrize("harts", [1, 4])
def test_powers_off_under_test(boot_system: BootSystem, harts: int) -> None:
    """With commands to run nobody watches: the exit status tells."""
    system = boot_system(harts=harts, arguments="run=loop")
    hart = system.run_to_user()
    assert system.harts.in_user_mode(hart)
    reached = system.harts.run("page_alloc")
    system.harts.disarm_panics()
    system.remote.set_register(reached.hart, "pc", system.symbols["page_free"])
    system.remote.set_register(reached.hart, "a0", 0)
    stop = system.machine.run()
    assert stop.exit_code == 1, f"QEMU's exit status is {stop.exit_code}"
    assert "kernel panic" in system.machine.serial.text


def test_an_unexpected_panic_is_reported(idle: System) -> None:
    """The library's own promise: a panic ends the wait at once, with the text."""
    with pytest.raises(StagError, match=r"double free|no page"):
        idle.harts.call(0, "page_free", 0)


def test_panic_in_a_panic(boot_system: BootSystem) -> None:
    """The block ends where it went wrong, and the exit status tells all the same."""
    system = boot_system(harts=2, arguments="run=loop")
    system.run_to_user()
    hart = system.harts.run("page_alloc").hart
    page = system.remote.register(hart, "tp")
    executor = page + system.symbols.struct("hart")["executor"].offset
    system.kernel_memory(hart).write(executor, (8).to_bytes(8, "little"))
    system.harts.disarm_panics()
    system.remote.set_register(hart, "pc", system.symbols["page_free"])
    system.remote.set_register(hart, "a0", 0)
    assert system.machine.run().exit_code == 1
    text = system.machine.serial.text.partition("---- kernel panic")[2]
    assert "hart: " in text and "executor" not in text and text.rstrip().endswith("---"), text


def test_panic_while_a_program_prints(idle: System) -> None:
    """Another hart is in the midst of 256 characters: they end with the one that it was
    about to send."""
    memory = idle.kernel_memory(2)
    text = idle.harts.call(2, "page_alloc")
    memory.write(text, b"~" * 256)
    idle.harts.begin_call(2, "console_write", text, 256)
    for _ in range(20):
        idle.harts.run_hart(2, "uart_put")
    idle.harts.begin_call(1, "page_free", 0)
    idle.harts.disarm_panics()
    idle.harts.run_hart(1, "print_hart")
    said = idle.harts.let_panic()
    assert said.replace("~", "", 1).rstrip().endswith("---") and said.count("~") <= 1, said


@pytest.mark.parametrize("place", ["hart_start", "hart_enter"])
def test_trap_before_a_hart_has_its_table(boot_system: BootSystem, place: str) -> None:
    """Another hart's, while the boot hart is beyond that. At hart_start translation is
    off, at hart_enter the first table is in use."""
    system = boot_system(harts=2)
    boot = system.run_to_entry()
    offset = system.load_address - system.symbols["_start"] if place == "hart_start" else 0
    while (hart := system.harts.run(system.symbols[place] + offset).hart) == boot:
        pass
    system.remote.set_register(hart, "pc", 8)
    system.harts.run_hart(hart, system.symbols["boot_trapped"] + offset)
    room = system.remote.register(hart, "sp") - offset - system.symbols["boot_hart"]
    assert 0 < room <= PAGE, "the stack may be in use"
    text = system.harts.let_panic(harts=[hart])
    assert re.search(r"stag: trap at boot: cause (1|12) at pc 0x8, address 0x8\s", text), text


def test_names_begin_with_the_first_function(idle: System) -> None:
    """Backtraces of the boot end there."""
    assert idle.memory.u64(idle.symbols["symbol_table"]) == idle.symbols["text_start"]
