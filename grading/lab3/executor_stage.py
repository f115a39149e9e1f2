"""Executors and spaces of the grader's own, made by the kernel's functions on
one hart that has booted and stands where the labs are graded from.

No user program is needed: a page of a few instruction words is the program.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from stag.addressmap import HART_STACK
from stag.pagetable import PAGE, A, D, PageTable, R, U, V, W, X
from stag.remote import PC
from stag.symbols import Struct
from stag.system import System
from stag.verdict import check

MASK = (1 << 64) - 1
NAMES = (
    "zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7"
    " s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6"
).split()
A0 = 10
TYPE = 0x300
MEMORY, DEVICE, EXECUTOR, SPACE = 0x000, 0x100, 0x200, 0x300
HANDLE = R | W  # of a handle's entry: no U
RW, RX, RO = U | R | W, U | R | X, U | R
READ, WRITE, EXECUTE = 1, 2, 4
EPERM, ESRCH, EBADF, ENOMEM, EACCES, EFAULT = 1, 3, 9, 12, 13, 14
EEXIST, EINVAL = 17, 22
EXECUTING, QUEUED, STOPPED, TERMINATED = 1, 2, 8, 16
EVENT_CHILD = 1 << 33  # as a pending event in the state word
SCRATCH = HART_STACK + 0x40  # the far end of the kernel stack
CODE = 0x1000000
RELEASED = ("reap_space", "reap_executor")
ECALL, EBREAK, ILLEGAL, LOOP = 0x73, 0x100073, 0, 0x6F


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def errno_text(value: int) -> str:
    """A call's result; the numbers of errors are those of Linux (abi.h)."""
    if -value in errno.errorcode:
        return f"-{errno.errorcode[-value]}"
    return f"{value:#x}" if value > 9 else str(value)


def pattern(seed: int) -> list[int]:
    """Values for pc (at 0, left 0) and x1 … x31, all different."""
    dice = random.Random(seed)
    return [0, *(dice.getrandbits(64) | 1 << 62 for _ in range(31))]


TYPE_NAMES = {MEMORY: "memory", DEVICE: "device", EXECUTOR: "executor", SPACE: "space"}


def bits_text(pte: int) -> str:
    """The bits of an entry as letters, and its type."""
    bits = zip("VRWXUAD", (V, R, W, X, U, A, D), strict=True)
    letters = " ".join(letter for letter, bit in bits if pte & bit)
    return f"{letters or 'no bit'}, type {TYPE_NAMES[pte & TYPE]}"


def entry_text(pte: int) -> str:
    return f"{pte:#x} ({bits_text(pte)})" if pte else "0, nothing"


def call_text(function: str, arguments: tuple[int, ...]) -> str:
    return f"{function}({', '.join(f'{value:#x}' for value in arguments)})"


@dataclass
class Outcome:
    """Of a system call's handler."""

    result: int
    pages_asked: int
    released: list[tuple[str, int]]  # by reap_space and reap_executor


@dataclass
class Stage:
    """One hart in the kernel, and what was made on it."""

    system: System
    hart: int = 0
    layouts: dict[str, Struct] = field(default_factory=dict)

    # Memory

    @property
    def offset(self) -> int:
        return self.system.variable("linear_offset")

    def read(self, address: int, size: int) -> bytes:
        return self.system.memory.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        self.system.memory.write(address, data)

    def word(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")

    def set_word(self, address: int, value: int) -> None:
        self.write(address, (value & MASK).to_bytes(8, "little"))

    def layout(self, struct: str) -> Struct:
        return self.layouts.setdefault(struct, self.system.symbols.struct(struct))

    def get(self, struct: str, address: int, member: str) -> int:
        item = self.layout(struct)[member]
        return int.from_bytes(self.read(address + item.offset, item.size), "little")

    def set(self, struct: str, address: int, member: str, value: int) -> None:
        item = self.layout(struct)[member]
        self.write(address + item.offset, (value & MASK).to_bytes(item.size, "little"))

    @property
    def hart_page(self) -> int:
        return self.system.hart_page(0)

    def scratch(self) -> int:
        """The word at SCRATCH, which functions return pointers in."""
        data = self.system.remote.read_virtual(self.hart, SCRATCH, 8)
        return int.from_bytes(data, "little")

    # Calling

    def call(self, function: str, *arguments: int) -> int:
        return signed(self.system.harts.call(self.hart, function, *arguments))

    def must(self, function: str, *arguments: int) -> None:
        """A given function, which can't fail here."""
        result = self.call(function, *arguments)
        check(result == 0, expected=f"{function} succeeds", found=errno_text(result))

    def run(self, *places: int | str) -> int:
        """Let the hart run to one of the places."""
        return self.system.harts.run(*places, harts=[self.hart]).address

    # Making

    def page(self, data: bytes = b"") -> int:
        """A page with this in it: its linear address."""
        page = self.call("page_alloc") & MASK
        self.write(page, data + bytes(PAGE - len(data)))
        return page

    def space(self) -> int:
        self.must("space_create", SCRATCH)
        return self.scratch()

    def executor(self, space: int) -> int:
        self.must("executor_create", space, SCRATCH)
        return self.scratch()

    def hold(self, executor: int) -> None:
        """One more reference, for a handle that is made next."""
        before = self.references("executor", executor)
        self.set("executor", executor, "references", before + 1)

    def map(self, space: int, va: int, page: int, bits: int) -> None:
        """A page, or an object that is given away, into a space."""
        self.must("map_page", space, va, page - self.offset, bits)

    def program(self, *words: int, at: int = CODE) -> tuple[int, int]:
        """A space with these instructions at an address, and an executor."""
        space = self.space()
        code = b"".join(word.to_bytes(4, "little") for word in words)
        self.map(space, at, self.page(code), RX)
        return space, self.executor(space)

    # Looking

    def table(self, space: int) -> PageTable:
        return PageTable(self.system.physical, self.get("space", space, "satp"))

    def pte(self, space: int, va: int) -> int:
        leaf = self.table(space).lookup(va)
        return leaf.value if leaf else 0

    def user_leaves(self, space: int) -> dict[int, int]:
        """va: entry, of the user half."""
        return {leaf.va: leaf.value for leaf in self.table(space).leaves() if leaf.va < 1 << 47}

    def executors(self, space: int) -> list[int]:
        """The space's list of those that have not ended."""
        found = []
        at = self.get("space", space, "executors")
        while at and len(found) < 100:
            found.append(at)
            at = self.get("executor", at, "space_next")
        return found

    def state(self, executor: int) -> int:
        return self.get("executor", executor, "state")

    def references(self, struct: str, address: int) -> int:
        return self.get(struct, address, "references")

    def free_pages(self) -> int:
        state = self.system.allocation()
        state.check()
        return state.free

    def count(self, page: int) -> int | None:
        """Of an allocated page."""
        return self.system.allocation().counts().get(page)

    def check_table_counts(self, space: int) -> None:
        """A table's count is its number of valid entries (page_alloc.h)."""
        counts = self.system.allocation().counts()
        table = self.table(space)
        tables = {e.pa for e in table.entries() if not e.is_leaf and e.va < 1 << 47}
        for page, valid in table.tables().items():
            found = counts.get(page + self.offset)
            check(
                page not in tables or found == valid,
                expected=f"the count of the table at {page:#x} is {valid}, its valid entries",
                found=f"{found}",
                where="kept by page_count_add; a table is freed when its count falls to zero",
            )

    def check_locks(self, *spaces: int) -> None:
        """No lock is held."""
        for space in spaces:
            held = self.get("space", space, "lock")
            check(held == 0, "the space's lock is released", f"its word is {held}")
        ranks = self.get("hart", self.hart_page, "ranks_held")
        check(ranks == 0, "the hart holds no lock afterwards", f"ranks_held is {ranks:#b}")

    @contextmanager
    def locked(self, space: int) -> Iterator[None]:
        """The lock of a space, for functions whose caller holds it."""
        self.set("space", space, "lock", 1)
        self.set("hart", self.hart_page, "ranks_held", 1)
        yield
        self.set("space", space, "lock", 0)
        self.set("hart", self.hart_page, "ranks_held", 0)

    # System calls, by their handlers

    def set_arguments(self, caller: int, *arguments: int) -> None:
        """Of a system call that this executor is about to make."""
        at = caller + self.layout("executor")["x"].offset
        for number, value in enumerate(arguments):
            self.set_word(at + 8 * (A0 - 1 + number), value)

    def handler(
        self,
        function: str,
        caller: int,
        *arguments: int,
        fail_at: int = 0,
        resumes: int = 0,
        look: Mapping[str, Callable[[int], None]] | None = None,
    ) -> Outcome:
        """Call the handler of a system call as from this executor. The
        fail_at-th page_alloc (from 1) finds no page. Objects that lose their last
        reference are noted, and left. It returns the caller, or `resumes`.
        `look`: functions at whose start the grader looks, told their argument."""
        look = look or {}
        self.set_arguments(caller, *arguments)
        harts, remote = self.system.harts, self.system.remote
        saved = harts.begin_call(self.hart, function, caller)
        back = remote.register(self.hart, "ra")
        places = {harts.address(name): name for name in ("page_alloc", *RELEASED, *look)}
        outcome = Outcome(0, 0, [])
        with remote.breakpoints(back, *places):
            while (reached := self.run(back, *places)) != back:
                if places[reached] in look:
                    look[places[reached]](remote.register(self.hart, "a0"))
                    remote.pass_breakpoint(self.hart)
                    continue
                if places[reached] != "page_alloc":
                    outcome.released.append((places[reached], remote.register(self.hart, "a0")))
                    harts.return_now(self.hart, 0)
                    continue
                outcome.pages_asked += 1
                if outcome.pages_asked == fail_at:
                    harts.return_now(self.hart, 0)
        resumed = remote.register(self.hart, "a0")
        remote.restore_registers(self.hart, saved)
        check(
            resumed == (resumes or caller),
            expected=f"{function} returns "
            + (f"who runs now, {resumes:#x}" if resumes else "the executor that made the call"),
            found=f"{resumed:#x}" + (", which made the call" if resumed == caller else ""),
        )
        at = caller + self.layout("executor")["x"].offset
        outcome.result = signed(self.word(at + 8 * (A0 - 1)))
        return outcome

    def check_handler(
        self, function: str, caller: int, wanted: int, *arguments: int, why: str = ""
    ) -> None:
        """The call has this result."""
        found = self.handler(function, caller, *arguments).result
        check(
            found == wanted,
            expected=f"{call_text(function, arguments)} returns {errno_text(wanted)}"
            + (f": {why}" if why else ""),
            found=errno_text(found),
        )

    def pages_of(self, released: list[tuple[str, int]]) -> int:
        """How many pages are freed when these objects are."""
        count = 0
        for what, address in released:
            count += 1
            if what == "reap_space":
                table = self.table(address)
                low = {e.pa for e in table.entries() if not e.is_leaf and e.va < 1 << 47}
                count += 1 + len(low)
        return count

    # User mode

    def enter(self, executor: int, registers: list[int], pc: int = CODE) -> None:
        """Start an executor and let the hart dispatch it; its registers are
        changed at the last moment. The hart stands at trap_exit."""
        self.must("executor_start", executor, pc, 0, 0)
        harts = self.system.harts
        harts.return_now(self.hart, 0)  # from first_program_start
        self.run("trap_exit")
        self.set_registers(executor, registers, pc)

    def set_registers(self, executor: int, registers: list[int], pc: int = CODE) -> None:
        self.set("executor", executor, "pc", pc)
        data = b"".join(value.to_bytes(8, "little") for value in registers[1:])
        self.write(executor + self.layout("executor")["x"].offset, data)

    def saved(self, executor: int) -> list[int]:
        """pc, then x1 … x31, in the executor's page."""
        at = executor + self.layout("executor")["x"].offset
        data = self.read(at, 31 * 8)
        values = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
        return [self.get("executor", executor, "pc"), *values]

    def live(self) -> list[int]:
        """pc, then x1 … x31, in the hart."""
        registers = self.system.remote.general_registers(self.hart)
        return [registers[PC], *registers[1:32]]


def differences(wanted: list[int], found: list[int]) -> str:
    names = ["pc", *NAMES[1:]]
    pairs = zip(names, wanted, found, strict=True)
    return "; ".join(f"{name} is {b:#x}, not {a:#x}" for name, a, b in pairs if a != b)
