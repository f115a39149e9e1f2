"""A workbench for spaces and processes: what lies around the functions of lab 6
is made by the kernel's own functions, in the model (stag/model.py).

A program is one page of a few instructions. A hart enters it as every hart
does: off the run queue, by way of shootdown_publish and the trap's exit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from stag.alloc import Allocation
from stag.errors import GuestPanic, StagError
from stag.explore import Thread
from stag.model import DONE, RETURN, KernelFault
from stag.pagetable import PAGE, PageTable, R, U, V, W, X
from stag.scene import Scene
from stag.verdict import check, fail

CODE, FLAG, DATA, OTHER = 0x1000000, 0x2000000, 0x4000000, 0x5000000
HANDLES = 0x2000000000
TABLE_SPAN, GIB = 512 * PAGE, 512 * 512 * PAGE
USER_END = 1 << 38  # Sv39
MAP_PAGES_MAX = 4096

DEVICE, EXECUTOR, SPACE = 0x100, 0x200, 0x300  # types of an entry
ALL_RIGHTS = R | W | X | U
MAP_REPLACE = 1
PROT_RW, PROT_RX = 3, 5

EXECUTING, QUEUED, PARKED, STOPPED, TERMINATED = (1 << bit for bit in range(5))
EVENT_WAKE = 1
DEADLINE_NONE = (1 << 64) - 1
EINVAL, EBADF, ESRCH = -22, -9, -3
A0, A7 = 10, 17
CALL_MAP, CALL_UNMAP = 3, 4
CALL_RESUME, CALL_PARK, CALL_UNPARK = 9, 14, 17
SSIP = 1 << 1
BREAKPOINT, LOAD_FAULT = 3, 13
T0, T1, T2, S0, S1 = 5, 6, 7, 8, 9
ENOUGH = 20_000  # instructions: many times what any call here takes
PLENTY = 10_000_000  # … and where long ranges are unmapped

ECALL, EBREAK = 0x73, 0x100073
SFENCE_MASK, SFENCE = 0xFE007FFF, 0x12000073


def ld(rd: int, rs: int, offset: int = 0) -> int:
    return (offset & 0xFFF) << 20 | rs << 15 | 3 << 12 | rd << 7 | 0x03


def sd(rs2: int, rs1: int, offset: int = 0) -> int:
    return (offset >> 5 & 0x7F) << 25 | rs2 << 20 | rs1 << 15 | 3 << 12 | (offset & 31) << 7 | 0x23


def addi(rd: int, rs: int, immediate: int) -> int:
    return (immediate & 0xFFF) << 20 | rs << 15 | rd << 7 | 0x13


def _branch(funct: int, rs1: int, rs2: int, by: int) -> int:
    bits = (by >> 12 & 1) << 31 | (by >> 5 & 63) << 25 | (by >> 1 & 15) << 8 | (by >> 11 & 1) << 7
    return bits | rs2 << 20 | rs1 << 15 | funct << 12 | 0x63


def beq(rs1: int, rs2: int, by: int) -> int:
    return _branch(0, rs1, rs2, by)


def bne(rs1: int, rs2: int, by: int) -> int:
    return _branch(1, rs1, rs2, by)


def jump(by: int) -> int:
    """To `by` bytes from here."""
    return beq(0, 0, by)


# Programs. s0 = DATA, s1 = FLAG; what else they need is in a0 … a7.
READS = (ld(T0, S0), jump(-4))
SPINS = (jump(0),)
CALLS = (ECALL, jump(0))


class Bench:
    """A scene with processes in it. Addresses of objects are linear."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.world = scene.world
        self.out = scene.call(0, "page_alloc")
        self.codes: dict[tuple[int, ...], int] = {}

    # Objects

    def must(self, function: str, *arguments: int) -> None:
        error = self.scene.call_signed(0, function, *arguments)
        if error != 0:
            raise StagError(f"{function} returns {error}: the scene can't be set")

    def page(self) -> int:
        """A page of zeros, of nobody yet."""
        page = self.scene.call(0, "page_alloc")
        self.scene.call(0, "page_zero", page)
        return page

    def space(self, name: str = "space") -> int:
        """A new space. The reference is ours."""
        self.must("space_create", self.out)
        space = self.scene.memory().u64(self.out)
        return self.scene.add_object(space, name, "space")

    def executor(self, space: int, name: str = "executor") -> int:
        """A new executor, stopped. The reference is ours."""
        self.must("executor_create", space, self.out)
        executor = self.scene.memory().u64(self.out)
        return self.scene.add_object(executor, name, "executor")

    def map(self, space: int, va: int, page: int, bits: int = ALL_RIGHTS) -> int:
        """Map a page, which from here on is the mapping's."""
        self.must("map_page", space, va, self.pa(page), bits)
        return page

    def memory(self, space: int, va: int, *words: int) -> int:
        """Map a new page with these words of 8 bytes."""
        page = self.map(space, va, self.page())
        for i, word in enumerate(words):
            self.scene.memory().set_u64(page + 8 * i, word)
        return page

    def share(self, page: int, space: int, va: int) -> None:
        """Map a page that is mapped already."""
        self.scene.call(0, "page_get", page)
        self.map(space, va, page)

    def handle(self, space: int, va: int, target: int, kind: int) -> None:
        """A handle to an executor or a space, with a reference of its own."""
        struct = "executor" if kind == EXECUTOR else "space"
        references = self.field(target, struct, "references")
        self.scene.set_field(target, struct, "references", references + 1)
        self.map(space, va, target, kind | R | W)

    def program(self, space: int, words: Sequence[int], va: int = CODE) -> int:
        page = self.map(space, va, self.page(), R | X | U)
        for i, word in enumerate(words):
            self.scene.memory().set_u32(page + 4 * i, word)
        return page

    def process(
        self, words: Sequence[int], name: str = "space", **registers: int
    ) -> tuple[int, int]:
        """A space that runs this program, and its executor, not started."""
        space = self.space(name)
        self.program(space, words)
        executor = self.executor(space, f"{name}'s executor")
        self.set_registers(executor, s0=DATA, s1=FLAG, **registers)
        return space, executor

    # Looking

    def pa(self, address: int) -> int:
        return self.scene.memory().translate(address)

    def field(self, address: int, struct: str, name: str) -> int:
        return self.scene.field(address, struct, name)

    def state(self, executor: int) -> int:
        return self.field(executor, "executor", "state")

    def references(self, address: int, struct: str) -> int:
        return self.field(address, struct, "references")

    def table(self, space: int) -> PageTable:
        return self.scene.table(self.field(space, "space", "satp"))

    def mapped(self, space: int, va: int) -> int | None:
        """The page mapped there."""
        found = self.table(space).lookup(va)
        if found is None:
            return None
        return found.pa + self.linear_offset

    @property
    def linear_offset(self) -> int:
        return self.out - self.pa(self.out)

    def allocation(self) -> Allocation:
        state = self.scene.allocation()
        check(
            not state.defects,
            "a sound page allocation table",
            "\n".join(state.defects[:4]),
            hint="each page is given back once",
        )
        return state

    def counts(self) -> dict[int, int]:
        """The count of each allocated page."""
        return self.allocation().counts()

    def tables(self, space: int) -> list[int]:
        """All page tables of a space, its root first."""
        return [page + self.linear_offset for page in self.table(space).tables()]

    def pending(self, hart: int) -> bool:
        """Has somebody interrupted this hart?"""
        return bool(self.world.harts[hart].accepts & SSIP)

    # Running

    def set_registers(self, executor: int, **registers: int) -> None:
        numbers = {"s0": S0, "s1": S1, "t1": T1} | {f"a{i}": A0 + i for i in range(8)}
        at = executor + self.scene.offset("executor", "x")
        for name, value in registers.items():
            self.scene.memory().set_u64(at + 8 * (numbers[name] - 1), value)

    def register(self, executor: int, number: int) -> int:
        at = executor + self.scene.offset("executor", "x")
        return self.scene.memory().u64(at + 8 * (number - 1))

    def result(self, executor: int) -> int:
        value = self.register(executor, A0)
        return value - (1 << 64) if value >> 63 else value

    def prepare_call(self, executor: int, *arguments: int) -> None:
        """The registers of an executor that makes a call."""
        self.set_registers(executor, **{f"a{i}": value for i, value in enumerate(arguments)})
        self.scene.set_field(executor, "executor", "pc", CODE + 4)

    def unmap(self, executor: int, va: int, pages: int, space: int = 0, hart: int = 0) -> int:
        """The executor calls unmap, as often as the kernel says `again`."""
        self.prepare_call(executor, space, va, pages)
        for _ in range(200):
            self.long_call(hart, "call_unmap", executor)
            if self.field(executor, "executor", "pc") != CODE:
                return self.result(executor)
            self.scene.set_field(executor, "executor", "pc", CODE + 4)
        fail(
            "a call to unmap comes to its end",
            f"after 200 slices {self.register(executor, A0 + 2)} pages are still to be done",
            "call_unmap (kernel/unmap.c)",
        )

    def long_call(self, hart: int, function: str, *arguments: int) -> int:
        """A call that may take many instructions."""
        state = self.world.harts[hart]
        saved = state.save()
        self.scene.enter(hart, function, *arguments)
        if not self.goes_to(hart, budget=PLENTY):
            fail(f"{function} comes to its end", f"hart {hart} is at {self.scene.where(hart)}")
        result = state.results[-1]
        accepts, timer = state.accepts, state.timer
        state.restore(saved)
        state.accepts, state.timer = accepts, timer
        return result

    def goes_through(self, hart: int, function: str) -> bool:
        """Does a call that may take long come to its end?"""
        self.scene.enter(hart, function)
        return self.goes_to(hart, budget=PLENTY)

    @cached_property
    def fences(self) -> list[int]:
        """Where the kernel executes an sfence.vma."""
        return self.places_of(SFENCE, SFENCE_MASK)

    def places_of(self, instruction: int, mask: int = (1 << 32) - 1) -> list[int]:
        """Where in the kernel's functions it stands."""
        symbols = self.scene.symbols
        return [
            pc
            for function in symbols.by_name.values()
            if function.is_function
            for pc in range(function.address, function.address + function.size, 4)
            if (symbols.instruction(pc) or 0) & mask == instruction
        ]

    def goes_to(self, hart: int, *places: int | str, budget: int = ENOUGH) -> bool:
        """Let one hart go on, all others frozen, to one of these places, or to
        the end of its call. False if it does not get there."""
        state = self.world.harts[hart]
        targets = [self.scene.resolve(place) for place in places]
        self.world.add_boundaries(targets)
        self.world.until = {hart: frozenset(targets)}
        state.budget = budget
        try:
            return self.world.run(state) == DONE
        except KernelFault as fault:
            if state.budget < 0:
                return False
            where = self.scene.symbols.describe(state.pc)
            raise GuestPanic(f"hart {hart}: {fault}\n  at {where}") from None
        finally:
            self.world.until = {}

    def counts_entries(self, hart: int, function: str) -> int:
        """How often the hart comes to that function before its call ends."""
        for count in range(1000):
            if not self.goes_to(hart, function, budget=PLENTY) or self.returned(hart):
                return count
            self.leaves_start(hart)
        return 1000

    def leaves_start(self, hart: int) -> bool:
        """Let a hart at the start of a function go on until that has returned."""
        return self.goes_to(hart, self.world.harts[hart].x[1], budget=PLENTY)

    def goes_until(self, hart: int, holds: Callable[[], bool]) -> bool:
        """Let a hart in the kernel go on, instruction by instruction, until
        something holds. False if its call ends before."""
        boundaries = self.world.boundaries
        functions = [s for s in self.scene.symbols.by_name.values() if s.is_function]
        everywhere = {pc for f in functions for pc in range(f.address, f.address + f.size, 4)}
        try:
            while not holds() and not self.returned(hart):
                if not self.goes_to(hart, *everywhere - {self.world.harts[hart].pc}):
                    break
            return holds()
        finally:
            self.world.boundaries = boundaries
            self.world.forget_code()

    def returned(self, hart: int) -> bool:
        return self.world.harts[hart].pc == RETURN

    def start(self, executor: int, pc: int = CODE, sp: int = 0) -> None:
        """Put an executor in the run queue."""
        a0 = self.register(executor, A0)
        self.must("executor_start", executor, pc, sp, a0)

    def dispatch(self, hart: int, executor: int, steps: int = 0, pc: int = CODE) -> None:
        """Start the executor, and let the hart take it off the run queue and
        execute so many instructions of its program."""
        self.start(executor, pc)
        state = self.world.harts[hart]
        if hart == 0:
            state.pc = state.x[1]  # past first_program_start
        if not self.goes_to(hart, pc):
            fail(
                "a hart that takes an executor off the run queue enters its program",
                f"hart {hart} is at {self.scene.where(hart)}",
                hint="shootdown_publish is on this way",
            )
        for _ in range(steps):
            self.step(hart)

    def step(self, hart: int) -> None:
        """One instruction in user mode."""
        state = self.world.harts[hart]
        reached = {pc for pc in range(CODE, CODE + 64, 4)} - {state.pc}
        if not self.goes_to(hart, *reached):
            fail("the program goes on", f"hart {hart} is at {self.scene.where(hart)}")

    def reads(self, hart: int, executor: int) -> None:
        """The hart runs READS in the executor, and has read DATA."""
        self.dispatch(hart, executor, steps=2)

    # Judging

    def check_faults(self, hart: int, what: str, hint: str = "") -> None:
        """From user mode on, this hart finds DATA gone."""
        state, flushes = self.world.harts[hart], 0
        reached = self.goes_to(hart, "fault", *self.fences)
        while reached and state.pc in self.fences:
            flushes += 1
            self.goes_to(hart, state.pc + 4)
            reached = self.goes_to(hart, "fault", *self.fences)
        stale = any(page == DATA >> 12 for _, page in state.tlb)
        since = "though it has executed an sfence.vma" if flushes else "and executes no sfence.vma"
        check(
            reached and state.csr[0x142] == LOAD_FAULT and state.csr[0x143] == DATA,
            f"{what}: a load from {DATA:#x} faults",
            f"hart {hart} still reads the page"
            + (f": it uses a translation from before, {since}" if stale else ""),
            f"hart {hart}: {self.scene.where(hart)}",
            hint,
        )

    def check_tables(self, space: int) -> None:
        """Tables below the root are allocated, and their counts are right."""
        counts = self.counts()
        memory = self.scene.memory()
        for page in self.tables(space)[1:]:
            valid = sum(memory.u64(page + 8 * i) & V for i in range(512))
            check(
                counts.get(page) == valid,
                f"the count of a page table is the number of its valid entries, {valid}",
                f"it is {counts[page]}" if page in counts else "the page is free, but linked",
                f"page table {page:#x}",
                "count what was cleared, not the length of the range",
            )


def explore(
    scene: Scene,
    threads: Sequence[Thread],
    oracle: Callable[[Scene], str | None],
    hint: str,
    models: Sequence[str] = ("pso",),
) -> None:
    """Every order, and every delay of stores."""
    scene.explore(threads, oracle, models=models, hint=hint)


def stuck(bench: Bench, hart: int) -> bool:
    """Does a call that the hart has entered wait for another hart, which is
    frozen?"""
    return not bench.goes_to(hart)


def unmap_waits(bench: Bench, executor: int, pages: int = 1) -> bool:
    """Hart 0 unmaps at DATA, for this executor. Does it wait for others?"""
    bench.prepare_call(executor, 0, DATA, pages)
    bench.scene.enter(0, "call_unmap", executor)
    return stuck(bench, 0)
