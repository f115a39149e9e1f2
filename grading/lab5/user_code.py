"""Programs for a scene: a few instructions put together by hand, and the user
library, which they call.

    code = Code(TEXT)
    code.call(library["mutex_lock"], MUTEX)
    code.increment(COUNTER)
    code.end()
"""

from __future__ import annotations

import functools
from pathlib import Path

from park_bench import CODE, DATA, HANDLES, PAGE, PTE_R, PTE_W, PTE_X, Bench
from stag.errors import InfrastructureError, StagError
from stag.symbols import Symbols
from stag.system import symbols_of

AMOADD_W = 0x00B5262F  # amoadd.w a2, a1, (a0)
JUMP_HERE = 0x0000006F  # j .

RA, T0, T1, T2, T3, A0, A1 = 1, 5, 6, 7, 28, 10, 11
TP, SP = 4, 2

TEXT = 0x5000000  # programs of these tests; a page each
STACK_TOP = 0x2040000  # of thread 0 (include/stag/abi.h) …
STACKS, STACK_STRIDE = 0x1000000000, 0x100000  # … and of the others (user/lib/layout.h)

FUNCTIONS = ("mutex_lock", "mutex_try_lock", "mutex_unlock", "condition_wait",
             "condition_signal", "condition_broadcast", "thread_main")  # fmt: skip


def put_code(bench: Bench, words: list[int], va: int = CODE) -> int:
    """Map a page with these instructions: its address for the program."""
    page = bench.map(va, PTE_R | PTE_X)
    for i, word in enumerate(words):
        bench.memory.set_u32(page + 4 * i, word)
    return va


class Code:
    """Instructions one after the other. Each changes temporary registers only."""

    def __init__(self, va: int) -> None:
        self.va = va
        self.words: list[int] = []

    @property
    def here(self) -> int:
        return self.va + 4 * len(self.words)

    def _i(self, opcode: int, funct: int, rd: int, rs1: int, immediate: int) -> None:
        self.words.append((immediate & 0xFFF) << 20 | rs1 << 15 | funct << 12 | rd << 7 | opcode)

    def load_immediate(self, rd: int, value: int) -> None:
        """A number below 2^31: lui, addi."""
        self.words.append((value + 0x800 & 0xFFFFF000) | rd << 7 | 0x37)
        self._i(0x13, 0, rd, rd, value)

    def load(self, rd: int, base: int, offset: int = 0) -> None:
        self._i(0x03, 2, rd, base, offset)

    def store(self, rs2: int, base: int, offset: int = 0) -> None:
        """sw"""
        high, low = offset >> 5 & 0x7F, offset & 0x1F
        self.words.append(high << 25 | rs2 << 20 | base << 15 | 2 << 12 | low << 7 | 0x23)

    def jump(self, to: int) -> None:
        distance = to - self.here
        self.words.append(
            (distance >> 20 & 1) << 31 | (distance >> 1 & 0x3FF) << 21
            | (distance >> 11 & 1) << 20 | (distance >> 12 & 0xFF) << 12 | 0x6F
        )  # fmt: skip

    def call(self, function: int, *arguments: int) -> None:
        for i, argument in enumerate(arguments):
            self.load_immediate(A0 + i, argument)
        self.load_immediate(T1, function)
        self._i(0x67, 0, RA, T1, 0)

    def keep_result(self, address: int) -> None:
        self.load_immediate(T1, address)
        self.store(A0, T1)

    def put(self, address: int, value: int) -> None:
        self.load_immediate(T1, address)
        self.load_immediate(T0, value)
        self.store(T0, T1)

    def increment(self, address: int) -> None:
        """Not atomic."""
        self.load_immediate(T1, address)
        self.load(T0, T1)
        self._i(0x13, 0, T0, T0, 1)
        self.store(T0, T1)

    def append(self, log: int, value: int) -> None:
        """To a list in memory: a length, then as many words. Not atomic."""
        self.load_immediate(T1, log)
        self.load(T0, T1)
        self._i(0x13, 1, T2, T0, 2)  # slli
        self.words.append(T1 << 20 | T2 << 15 | T2 << 7 | 0x33)  # add t2, t2, t1
        self.load_immediate(T3, value)
        self.store(T3, T2, 4)
        self._i(0x13, 0, T0, T0, 1)
        self.store(T0, T1)

    def while_zero(self, address: int, function: int, *arguments: int) -> None:
        """while (word == 0) function(arguments);"""
        body = Code(self.here + 16)
        body.call(function, *arguments)
        start = self.here
        self.load_immediate(T1, address)
        self.load(T0, T1)
        over = 4 * (len(body.words) + 2)  # bnez t0, behind it
        self.words.append(
            (over >> 5 & 0x3F) << 25 | T0 << 15 | 1 << 12 | (over >> 1 & 0xF) << 8 | 0x63
        )
        self.words += body.words
        self.jump(start)

    def repeat_until(self, function: int, *arguments: int) -> None:
        """while (!function(arguments)) ;"""
        start = self.here
        self.call(function, *arguments)
        back = start - self.here  # beqz a0, start
        self.words.append(
            (back >> 12 & 1) << 31 | (back >> 5 & 0x3F) << 25 | A0 << 15
            | (back >> 1 & 0xF) << 8 | (back >> 11 & 1) << 7 | 0x63
        )  # fmt: skip

    def end(self) -> int:
        """The thread stays here."""
        self.words.append(JUMP_HERE)
        return self.here - 4


@functools.cache
def find_library(kernel: Path) -> Symbols:
    """The smallest program of this tree that has all of user/lib/sync.c in it. One
    that is older than the library was not built with it, nor for this kernel."""
    built = (kernel.parent / "user/lib.a").stat().st_mtime_ns
    programs = (kernel.parent / "user").glob("*.elf")
    for path in sorted(programs, key=lambda path: (path.stat().st_size, path.name)):
        if path.stat().st_mtime_ns < built:
            continue
        try:
            symbols = symbols_of(path)
        except StagError:
            continue
        if all(name in symbols for name in FUNCTIONS):
            return symbols
    raise InfrastructureError(
        f"no program beside {kernel} has mutex_lock and the others in it: make builds them"
    )


class Process:
    """The library in a scene, and threads of it, each with its own code."""

    def __init__(self, bench: Bench, kernel: Path) -> None:
        self.bench = bench
        self.library = find_library(kernel)
        bench.scene.add_program(self.library)
        self.threads: list[int] = []
        for segment in self.library.segments:
            rights = PTE_R | PTE_W * segment.writable | PTE_X * segment.executable
            for va in range(segment.virtual & -PAGE, segment.virtual + segment.size, PAGE):
                page = bench.map(va, rights)
                for offset in range(0, PAGE, 8):
                    at = va + offset - segment.virtual
                    word = segment.data[max(at, 0) : max(at + 8, 0)]
                    if any(word):
                        shift = max(-at, 0) * 8
                        value = int.from_bytes(word, "little") << shift
                        bench.memory.set_u64(page + offset, value)

    def __getitem__(self, function: str) -> int:
        return self.library[function]

    def code(self) -> Code:
        """Empty code for the next thread."""
        return Code(TEXT + len(self.threads) * PAGE)

    def thread(self, code: Code) -> int:
        """A thread that is to run the code: on hart `its number + 1` it stands
        at its first instruction."""
        bench, number = self.bench, len(self.threads)
        put_code(bench, code.words, code.va)
        size = self.library.struct("thread").size
        if number == 0:
            block = self.library["thread_main"]
            top = STACK_TOP
            bench.map(top - PAGE, PTE_R | PTE_W)
        else:
            top = STACKS + (number + 1) * STACK_STRIDE
            page = bench.map(top - PAGE, PTE_R | PTE_W)
            block = top - size
            at = page + PAGE - size + self.library.struct("thread")["number"].offset
            bench.memory.set_u32(at, number)
            top = block & -16
        executor = bench.executor(f"thread {number}")
        if bench.handle(executor) != HANDLES + number * PAGE:
            raise StagError("threads are made before other executors")
        bench.set_register(executor, TP, block)
        bench.must("executor_start", executor, code.va, top, 0)
        self.threads.append(executor)
        bench.scene.run(number + 1, code.va)
        return executor


MUTEX, CONDITION, COUNTER, FLAG, LOG = DATA, DATA + 0x40, DATA + 0x80, DATA + 0xC0, DATA + 0x100
