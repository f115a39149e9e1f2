"""A model of a few harts that run the kernel's own binary, for exploring.

QEMU shows one interleaving at a time, no store buffers, and forgives a fence
with the wrong operand. This model executes the same instructions (isa.py) from
the memory and registers of a machine that stands still in QEMU, and lets the
explorer (explore.py) decide who goes on. What it does that QEMU does not:

  - *Store buffers.* Under "tso" a hart's stores reach memory late, in order,
    but before its next fence for later loads, or atomic. Under "pso" stores to
    different words pass each other too, unless a fence or a release stands
    between; an atomic orders no more than its aq and rl say: one whose result
    nobody reads is held back like a store, and so is an sc without aq, but
    then nobody else writes the word before it has arrived. A hart always sees
    its own stores. "sc": everything at once.
  - *Stale translations.* A translation that a hart has used stays until an
    sfence.vma that covers its address and address space number.
  - *Reservations.* sc fails if the line was stored to since lr, even if the
    value is what it was.
  - *Only one thing at a time.* A hart stops before each access to a word that
    another hart touches too (a *shared* word) and before each step that others
    can notice, so that every order of those can be tried, and no other.

What a store buffer holds back is decided as late as can be: when another hart
is about to touch that word, it may or may not have arrived. No other moment
makes a difference to anybody.

Not modelled: loads that pass earlier loads, and instruction caches.

Memory is words of 8 bytes, known by `physical address / 8`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .errors import StagError
from .isa import (
    AMO_NAMES,
    FENCE_READ,
    FENCE_WRITE,
    LR,
    MASK,
    SC,
    Decoded,
    Kind,
    amo_result,
    decode,
    sign_extend,
    signed,
)

PAGE = 4096
WORDS = PAGE // 8
RETURN = 0xFFFFFFBFFFFFF000  # where a called function returns to: nothing is there
USER, SUPERVISOR = 0, 1

V, R, W, X, U, G, A, D = (1 << bit for bit in range(8))
LEVELS = {8: 3, 9: 4}

SATP, SSTATUS, SIE, STVEC, SSCRATCH = 0x180, 0x100, 0x104, 0x105, 0x140
SEPC, SCAUSE, STVAL, SIP, STIMECMP, TIME = 0x141, 0x142, 0x143, 0x144, 0x14D, 0xC01
COUNTERS = (0xC00, 0xC02)
SPP, SPIE, STATUS_SIE, SUM, MXR = 1 << 8, 1 << 5, 1 << 1, 1 << 18, 1 << 19
SOFTWARE, TIMER, EXTERNAL = 1, 5, 9
INTERRUPT = 1 << 63
FETCH, LOAD, STORE = 12, 13, 15  # page faults
ILLEGAL_CAUSE, BREAK_CAUSE, ECALL_USER = 2, 3, 8

SBI_TIME, SBI_IPI, SBI_BASE, SBI_PUT = 0x54494D45, 0x735049, 0x10, 0x01

BARRIER = -1  # in a store buffer: what is behind stays behind
STEPS_MAX = 50_000  # of one hart without ending: it never will

# Why a hart stopped running.
VISIBLE, SPINS, WAITS, DONE = "visible", "spins", "waits", "done"
BEGINS = "begins"  # it has not run yet

MODELS = ("sc", "tso", "pso")


class KernelFault(StagError):
    """The kernel did in the model what it must never do. `hart` did it."""

    def __init__(self, hart: int, message: str) -> None:
        super().__init__(message)
        self.hart = hart


class SharedWord(Exception):
    """A word is shared that was not known to be: explore anew."""


class Trap(Exception):
    def __init__(self, cause: int, value: int) -> None:
        self.cause, self.value = cause, value


@dataclass
class Event:
    """What a hart did that others can notice, for a timeline."""

    hart: int
    pc: int
    what: str  # "load", "store", "held", "arrives", an atomic's name, "ipi" …
    word: int = 0  # which one
    value: int = 0
    before: int | None = None
    mask: int = MASK


# What a store buffer holds: word, mask of the bits, their value, the operation
# (STORES, or that of an atomic), and whether the word is the hart's alone until
# it has arrived.
Held = tuple[int, int, int, int, bool]
STORES = -1
BARRIER_HELD: Held = (BARRIER, 0, 0, STORES, False)


def applied(word: int, held: Held) -> int:
    """A word after what was held back has arrived there."""
    _, mask, bits, operation, _ = held
    if operation != STORES:
        shift = (mask & -mask).bit_length() - 1
        size = 64 if mask == MASK else 32
        bits = amo_result(operation, (word & mask) >> shift, bits >> shift, size) << shift
    return word & ~mask | bits


# A jump back: registers, digest of memory, words read since the last one, and
# how often it was made with the same of both latter.
Loop = tuple[tuple[int, ...], int, tuple[int, ...], int]
ROUNDS_MAX = 12


class Hart:
    """Registers of one hart, what it has cached, what it holds back."""

    __slots__ = (
        "accepts", "budget", "buffer", "counts", "csr", "deferred", "granted", "id", "index", "looped",
        "mode", "pc", "point", "point_writes", "reads", "recent", "reservation", "results", "status", "step",
        "steps", "timer", "tlb", "waits_at", "writes", "x",
    )  # fmt: skip

    def __init__(self, index: int, hart_id: int) -> None:
        self.index, self.id = index, hart_id
        self.x = [0] * 32
        self.pc, self.mode = 0, SUPERVISOR
        self.csr: dict[int, int] = {}
        self.accepts = 0  # pending interrupts, as bits of sip
        self.timer = MASK
        self.buffer: tuple[Held, ...] = ()  # oldest first
        self.reservation: int | None = None
        self.tlb: dict[tuple[int, int], tuple[int, int]] = {}  # (asid, page): (pa, flags)
        self.reads: dict[int, int] = {}  # the kernel's pages: page -> pa
        self.writes: dict[int, int] = {}
        # How it runs.
        self.status = DONE
        self.point: int | None = None  # the word it is about to touch, if any
        self.point_writes = False
        self.granted = self.deferred = False
        self.looped: dict[int, Loop] = {}  # jumps back it has made
        self.counts = False  # it spins, but with something in its registers that changes
        self.waits_at = 0  # digest of memory when it began to spin …
        self.recent: tuple[int, ...] = ()  # … and the words read in the loop
        self.steps: tuple[Any, ...] = ()  # calls to make
        self.step = 0
        self.results: tuple[int, ...] = ()
        self.budget = STEPS_MAX

    _COPIED = ("pc", "mode", "accepts", "timer", "buffer", "reservation", "status", "point", "point_writes",
               "deferred", "waits_at", "recent", "counts", "step", "results", "budget")  # fmt: skip

    def save(self) -> tuple[Any, ...]:
        plain = tuple(getattr(self, name) for name in self._COPIED)
        return plain, tuple(self.x), dict(self.csr), dict(self.tlb), dict(self.looped)

    def restore(self, saved: tuple[Any, ...]) -> None:
        plain, x, csr, tlb, looped = saved
        if csr[SATP] != self.csr[SATP]:
            self.reads.clear()
            self.writes.clear()
        for name, value in zip(self._COPIED, plain, strict=True):
            setattr(self, name, value)
        self.x[:] = x  # compiled code holds on to the list
        self.csr, self.tlb, self.looped = dict(csr), dict(tlb), dict(looped)
        self.granted = False

    def key(self) -> tuple[Any, ...]:
        """Two states with equal keys go on alike."""
        return (
            self.pc, self.mode, tuple(self.x), self.buffer, self.status, self.accepts,
            self.reservation, self.step, self.results, self.timer,
            tuple(self.csr.values()), tuple(sorted(self.tlb)) if self.tlb else (),
        )  # fmt: skip

    @property
    def pending(self) -> int:
        return self.accepts & self.csr[SIE]


@dataclass(frozen=True)
class Call:
    """A step of a thread: a kernel function and its arguments. An argument may
    be a function of the results so far."""

    function: int | str
    arguments: tuple[int | Callable[[tuple[int, ...]], int], ...] = ()


class World:
    """Harts, memory, and what little of a machine the kernel needs."""

    def __init__(
        self,
        read_page: Callable[[int], list[int]],
        read_code: Callable[[int], int | None],
        *,
        ram: int,
        boundaries: Iterable[int] = (),
        endings: dict[int, str] | None = None,
        describe_ending: Callable[[World, Hart, str], str] | None = None,
    ) -> None:
        self._read_page, self._read_code = read_page, read_code
        self.ram = ram  # physical address where it begins; devices lie below
        self.boundaries = frozenset(boundaries)
        self.endings = endings or {}
        self._describe_ending = describe_ending
        self.harts: list[Hart] = []
        self.base: dict[int, list[int]] = {}
        self.memory: dict[int, int] = {}  # words that differ from base, or did
        self.digest = 0  # of memory, whatever way it came about
        self.time = 0
        self.console = bytearray()
        self.buffering = self.passing = False
        self.shared: set[int] = set()
        self.watching = False  # exploring: shared words are points, and found
        self.touched: dict[int, int] = {}
        self.until: dict[int, frozenset[int]] = {}  # hart: where its thread ends
        self.trace: list[Event] | None = None
        self.watch: Callable[[Event], None] | None = None
        self.executed = 0
        self._blocks: dict[int, tuple[Any, int, Decoded | None, int]] = {}
        self._user_blocks: dict[tuple[int, int], Any] = {}  # by pc and word

    def add_boundaries(self, addresses: Iterable[int]) -> None:
        """Places where a hart may have to stop that are no function's start."""
        new = set(addresses) - self.boundaries
        if new:
            self.boundaries |= new
            self._blocks.clear()

    def select_model(self, name: str) -> None:
        if name not in MODELS:
            raise StagError(f"there is no memory model {name!r}: there are {', '.join(MODELS)}")
        self.buffering, self.passing = name != "sc", name == "pso"

    # Memory

    def _base_page(self, page: int) -> list[int]:
        words = self.base.get(page)
        if words is None:
            words = self.base[page] = self._read_page(page)
        return words

    def word(self, k: int) -> int:
        value = self.memory.get(k)
        if value is None:
            return self._base_page(k // WORDS)[k % WORDS]
        return value

    def set_word(self, k: int, value: int) -> None:
        """A store arrives in memory."""
        old = self.word(k)
        for hart in self.harts:
            if hart.reservation == k:
                hart.reservation = None
        if old == value:
            return
        self.memory[k] = value
        self.digest ^= hash((k, old)) ^ hash((k, value))

    def read(self, pa: int, size: int) -> bytes:
        """Physical memory, for whoever decodes it (memory.py, Memory)."""
        first, last = pa >> 3, pa + size + 7 >> 3
        data = b"".join(self.word(k).to_bytes(8, "little") for k in range(first, last))
        return data[pa & 7 :][:size]

    def settle(self) -> None:
        """Make what memory holds now the state that exploring begins with."""
        for page in {k // WORDS for k in self.memory}:
            self.base[page] = list(self._base_page(page))
        for k, value in self.memory.items():
            self.base[k // WORDS][k % WORDS] = value
        self.memory, self.digest = {}, 0

    def save(self) -> tuple[Any, ...]:
        harts = tuple(hart.save() for hart in self.harts)
        return dict(self.memory), self.digest, self.time, harts

    def restore(self, saved: tuple[Any, ...]) -> None:
        memory, self.digest, self.time, harts = saved
        self.memory = dict(memory)
        for hart, state in zip(self.harts, harts, strict=True):
            hart.restore(state)

    # Translation

    def _walk(self, hart: Hart, va: int) -> tuple[int, int, bool]:
        """(physical page, flags, global) by the tables; flags 0: not mapped."""
        satp = hart.csr[SATP]
        levels = LEVELS.get(satp >> 60)
        if levels is None:
            raise StagError(f"hart {hart.index} runs with satp {satp:#x}: no Sv39, no Sv48")
        table, shift = (satp & (1 << 44) - 1) * PAGE, 12 + 9 * levels
        if va >> (shift - 1) not in (0, (1 << (65 - shift)) - 1):
            return 0, 0, False
        is_global = False
        while shift > 12:
            shift -= 9
            k = (table >> 3) + (va >> shift & 511)
            self._touch(hart, k, False)
            entry = self.word(k)
            is_global = is_global or bool(entry & G)
            if not entry & V or (entry & W and not entry & R):
                return 0, 0, False
            table = (entry >> 10 & (1 << 44) - 1) * PAGE
            if entry & (R | X):
                inside = (1 << shift) - PAGE
                return (0, 0, False) if table & inside else (
                    table | va & inside, entry & 0xFF, is_global
                )  # fmt: skip
        return 0, 0, False

    def _translation(self, hart: Hart, va: int) -> tuple[int, int]:
        """The same through what the hart has cached."""
        page = va >> 12
        asid = hart.csr[SATP] >> 44 & 0xFFFF
        found = hart.tlb.get((asid, page)) or hart.tlb.get((-1, page))
        if found is None:
            pa, flags, is_global = self._walk(hart, va)
            found = pa, flags
            if flags and hart.mode == USER:
                hart.tlb[-1 if is_global else asid, page] = found
        return found

    def _physical(self, hart: Hart, va: int, cause: int) -> int:
        pa, flags = self._translation(hart, va)
        needed = {FETCH: X | A, LOAD: R | A, STORE: W | A | D}[cause]
        if hart.csr[SSTATUS] & MXR and cause == LOAD and flags & X:
            flags |= R
        user_allowed = hart.mode == USER or (hart.csr[SSTATUS] & SUM and cause != FETCH)
        if flags & needed != needed or (flags & U and not user_allowed) or (
            not flags & U and hart.mode == USER
        ):  # fmt: skip
            raise Trap(cause, va)
        return pa | va & PAGE - 1

    def _address(self, hart: Hart, va: int, size: int, cause: int) -> int:
        """Physical address of an access."""
        if va % size:
            raise Trap(4 if cause == LOAD else 6, va)
        if hart.mode == SUPERVISOR:
            cache = hart.reads if cause == LOAD else hart.writes
            page = cache.get(va >> 12)
            if page is None:
                page = self._physical(hart, va & -PAGE, cause)
                cache[va >> 12] = page
            return page | va & PAGE - 1
        return self._physical(hart, va, cause)

    def _flush(self, hart: Hart, decoded: Decoded) -> None:
        """sfence.vma (privileged manual, section 11.2.1)."""
        hart.reads.clear()
        hart.writes.clear()
        va = hart.x[decoded.rs1] >> 12 if decoded.rs1 else None
        asid = hart.x[decoded.rs2] & 0xFFFF if decoded.rs2 else None
        hart.tlb = {
            key: entry
            for key, entry in hart.tlb.items()
            if (asid is not None and key[0] != asid) or (va is not None and key[1] != va)
        }

    # Store buffers

    def own_word(self, hart: Hart, k: int) -> int:
        """What a hart itself sees in a word."""
        value = self.word(k)
        for held in hart.buffer:
            if held[0] == k:
                value = applied(value, held)
        return value

    def arrive(self, hart: Hart, count: int) -> None:
        """The entry number count - 1 of a store buffer arrives, and before it
        what must: all older ones, or, where stores may pass, those of the same
        word and those before a barrier."""
        buffer = hart.buffer
        word = buffer[count - 1][0]
        last = max((i for i in range(count) if buffer[i][0] == BARRIER), default=-1)
        kept = []
        for i, entry in enumerate(buffer):
            if i < count and (not self.passing or i <= last or entry[0] == word):
                if entry[0] != BARRIER:
                    self._arrive_alone(hart, entry[0])
                    before = self.word(entry[0])
                    after = applied(before, entry)
                    if self.trace is not None:
                        self._note(hart, "arrives", entry[0], after, before, entry[1])
                    self.set_word(entry[0], after)
            else:
                kept.append(entry)
        hart.buffer = tuple(kept)

    def _arrive_alone(self, hart: Hart, k: int) -> None:
        """What another hart has written to a word by sc is there before this
        hart writes it."""
        for other in self.harts:
            if other is not hart and other.buffer:
                at = [i for i, entry in enumerate(other.buffer) if entry[0] == k and entry[4]]
                if at:
                    self.arrive(other, at[-1] + 1)

    def arrive_all(self, hart: Hart) -> None:
        if hart.buffer:
            self.arrive(hart, len(hart.buffer))
            for k in dict.fromkeys(entry[0] for entry in hart.buffer):
                if k != BARRIER:
                    self.arrive(hart, 1 + max(i for i, e in enumerate(hart.buffer) if e[0] == k))
            hart.buffer = ()

    def _arrive_for_atomic(self, hart: Hart, k: int, release: bool) -> None:
        """What must be in memory before an atomic takes place there."""
        if release or not self.passing:
            self.arrive_all(hart)
            return
        for wanted in (BARRIER, k):
            at = [i for i, entry in enumerate(hart.buffer) if entry[0] == wanted]
            if at:
                self.arrive(hart, at[-1] + 1)

    # What others notice

    def _note(
        self, hart: Hart, what: str, k: int = 0, value: int = 0,
        before: int | None = None, mask: int = MASK,
    ) -> None:  # fmt: skip
        assert self.trace is not None
        event = Event(hart.index, hart.pc, what, k, value, before, mask)
        self.trace.append(event)
        if self.watch is not None:
            self.watch(event)

    def _touch(self, hart: Hart, k: int, writes: bool) -> None:
        """Note who touches a word: a word that two do, and one writes, is
        shared."""
        if not self.watching:
            return
        before = self.touched.get(k, 0)
        now = before | 1 << hart.index + (16 if writes else 0)
        if now == before:
            return
        self.touched[k] = now
        writers = now >> 16
        harts = writers | now & 0xFFFF
        if writers and harts & harts - 1 and k not in self.shared:
            self.shared.add(k)
            raise SharedWord

    def _is_point(self, hart: Hart, k: int, writes: bool) -> bool:
        """Must the hart stop before it touches this word?"""
        if not self.watching or k not in self.shared:
            return False
        if hart.granted:
            hart.granted = False
            return False
        hart.point, hart.point_writes = k, writes
        return True

    def _is_event(self, hart: Hart) -> bool:
        """The same before a step that has to do with no word."""
        if not self.watching:
            return False
        if hart.granted:
            hart.granted = False
            return False
        hart.point = None
        return True

    def _spins(self, hart: Hart) -> bool:
        """After a jump back: has the hart been here before with the same
        registers, and nothing is other in memory than then? It waits for
        somebody else to change one of the words that it has read. So does one
        that has read nothing else for many rounds, while it counts them."""
        x, reads, rounds = tuple(hart.x), hart.recent, 0
        if before := hart.looped.get(hart.pc):
            if before[1] == self.digest and before[2] == reads and reads:
                rounds = before[3] + 1
        hart.counts = rounds == ROUNDS_MAX
        if before is None or before[:2] != (x, self.digest) and not hart.counts:
            hart.looped[hart.pc] = x, self.digest, reads, rounds
            hart.recent = ()
            return False
        unknown = set(hart.recent) - self.shared
        if unknown:
            self.shared |= unknown
            raise SharedWord
        hart.waits_at, hart.point = self.digest, None
        return True

    # Devices and the firmware

    def _device_load(self, pa: int) -> int:
        return 0x60 if pa == 0x10000005 else 0  # the UART can always send

    def _device_store(self, pa: int, value: int) -> None:
        if pa == 0x10000000:
            self.console.append(value & 0xFF)

    def _firmware(self, hart: Hart) -> None:
        """A call to the SBI. It fences before it lets others know."""
        self.arrive_all(hart)
        x = hart.x
        error = value = 0
        if x[17] == SBI_TIME:
            hart.timer = x[10]
            hart.accepts &= ~(1 << TIMER)
            self.advance(0)
        elif x[17] == SBI_IPI:
            for other in self.harts:
                if x[11] == MASK or (other.id >= x[11] and x[10] >> other.id - x[11] & 1):
                    other.accepts |= 1 << SOFTWARE
                    if self.trace is not None:
                        self._note(hart, "ipi", value=other.index)
        elif x[17] == SBI_PUT:
            self.console.append(x[10] & 0xFF)
        elif x[17] != SBI_BASE:
            error = -2 & MASK
        x[10], x[11] = error, value

    def advance(self, ticks: int) -> None:
        """Let time pass; timers that are due go off."""
        self.time += ticks
        for hart in self.harts:
            if self.time >= hart.timer:
                hart.accepts |= 1 << TIMER

    # CSRs, traps

    def _csr(self, hart: Hart, decoded: Decoded) -> None:
        number = decoded.imm
        operand = decoded.rs1 if decoded.funct >= 4 else hart.x[decoded.rs1]
        writes = decoded.funct & 3 == 1 or decoded.rs1 != 0
        privileged = number >> 8 & 3
        if hart.mode == USER and privileged:
            raise Trap(ILLEGAL_CAUSE, 0)
        if number == SIP:
            old = hart.accepts
        elif number == TIME:
            old = self.time
        elif number == STIMECMP:
            old = hart.timer
        elif number in COUNTERS:
            old = self.executed
        elif number in hart.csr:
            old = hart.csr[number]
        else:
            raise Trap(ILLEGAL_CAUSE, 0)
        new = (operand, old | operand, old & ~operand)[(decoded.funct & 3) - 1] & MASK
        if writes:
            if number == SIP:
                hart.accepts = old & ~(1 << SOFTWARE) | new & 1 << SOFTWARE
            elif number == STIMECMP:
                hart.timer = new
                hart.accepts &= ~(1 << TIMER)
                self.advance(0)
            elif number == SATP:
                hart.csr[SATP] = new
                hart.reads.clear()
                hart.writes.clear()
            else:
                hart.csr[number] = new
        if decoded.rd:
            hart.x[decoded.rd] = old

    def _trap(self, hart: Hart, cause: int, value: int) -> None:
        """To the kernel, as section "Supervisor Trap Handling" has it."""
        csr = hart.csr
        if hart.mode == SUPERVISOR:
            raise KernelFault(
                hart.index,
                f"the kernel trapped: cause {cause} at pc {hart.pc:#x}, address {value:#x}",
            )
        csr[SEPC], csr[SCAUSE], csr[STVAL] = hart.pc, cause, value
        status = csr[SSTATUS]
        csr[SSTATUS] = status & ~(SPP | STATUS_SIE) | (SPIE if status & STATUS_SIE else 0)
        hart.mode = SUPERVISOR
        hart.pc = csr[STVEC] & ~3
        if self.trace is not None:
            self._note(hart, "trap", value=cause)

    def _sret(self, hart: Hart) -> None:
        csr = hart.csr
        status = csr[SSTATUS]
        hart.mode = SUPERVISOR if status & SPP else USER
        csr[SSTATUS] = status & ~(SPP | STATUS_SIE) | SPIE | (STATUS_SIE if status & SPIE else 0)
        hart.pc = csr[SEPC]

    # Code

    def _block(self, pc: int, fetch: Callable[[int], int | None]) -> Any:
        """(compiled registers-only instructions, their number, the instruction
        behind them for the model to carry out, its pc)."""
        lines: list[str] = []
        start = pc
        tail = None
        while len(lines) < 64:
            if pc != start and pc in self.boundaries:
                lines.append(f"h.pc = {pc}")
                break
            word = fetch(pc)
            decoded = decode(pc, word) if word is not None else Decoded(Kind.ILLEGAL)
            if decoded.kind is Kind.JUMP:
                lines.append(decoded.text)
                break
            if decoded.kind is not Kind.PLAIN:
                tail = decoded
                break
            lines.append(decoded.text)
            pc += 4
        else:
            lines.append(f"h.pc = {pc}")
        if not lines:
            return None, 1, tail, pc
        scope: dict[str, Any] = {}
        exec("def block(h, x):\n " + "\n ".join(lines), scope)  # noqa: S102
        return scope["block"], len(lines) + (tail is not None), tail, pc

    def _block_at(self, hart: Hart) -> Any:
        pc = hart.pc
        if hart.mode == SUPERVISOR:
            block = self._blocks.get(pc)
            if block is None:
                if self._read_code(pc) is None:
                    raise KernelFault(hart.index, f"the kernel jumped to {pc:#x}: no code is there")
                block = self._blocks[pc] = self._block(pc, self._read_code)
            return block
        pa = self._physical(hart, pc, FETCH)
        word = self.word(pa >> 3) >> (pa & 4) * 8 & 0xFFFFFFFF
        block = self._user_blocks.get((pc, word))
        if block is None:
            block = self._user_blocks[pc, word] = self._user_block(pc, word)
        return block

    def _user_block(self, pc: int, word: int) -> Any:
        """The same for one instruction of a program, which may change."""
        decoded = decode(pc, word)
        if decoded.kind not in (Kind.PLAIN, Kind.JUMP):
            return None, 1, decoded, pc
        text = decoded.text + (f"; h.pc = {pc + 4}" if decoded.kind is Kind.PLAIN else "")
        scope: dict[str, Any] = {}
        exec(f"def block(h, x): {text}", scope)  # noqa: S102
        return scope["block"], 1, None, pc

    # Threads

    def prepare(self, hart: Hart, steps: tuple[Call, ...], resolve: Callable[[Any], int]) -> None:
        """Let a hart make these calls, one after the other."""
        hart.steps = tuple((resolve(call.function), call.arguments) for call in steps)
        hart.step, hart.results, hart.status, hart.budget = 0, (), BEGINS, STEPS_MAX
        hart.point, hart.granted = None, False
        hart.looped.clear()
        self._next_call(hart)

    def _next_call(self, hart: Hart) -> None:
        function, arguments = hart.steps[hart.step]
        for i, argument in enumerate(arguments):
            value = argument(hart.results) if callable(argument) else argument
            hart.x[10 + i] = value & MASK
        hart.x[1] = RETURN
        hart.pc = function

    def _at_special(self, hart: Hart) -> bool:
        """A pc that means something. True: the thread has ended."""
        if hart.pc == RETURN:
            hart.results = (*hart.results, hart.x[10])
            hart.step += 1
            if hart.step < len(hart.steps):
                hart.looped.clear()  # the same call again is no loop
                self._next_call(hart)
                return False
            hart.status, hart.point = DONE, None
            return True
        if hart.pc in self.endings:
            name = self.endings[hart.pc]
            text = self._describe_ending(self, hart, name) if self._describe_ending else name
            raise KernelFault(hart.index, text)
        return False

    def run(self, hart: Hart) -> str:
        """Let a hart go on until it has to stop: before something that others
        can notice (VISIBLE), because it SPINS or WAITS, or is DONE."""
        hart.status = self._run(hart)
        return hart.status

    def _run(self, hart: Hart) -> str:
        x = hart.x
        blocks = self._blocks
        endings = self.endings
        until = self.until.get(hart.index, frozenset())
        while True:
            pc = hart.pc
            if pc in until:
                hart.point = None
                return DONE
            if pc == RETURN or pc in endings:
                if self._at_special(hart):
                    return DONE
                continue
            try:
                if hart.mode == SUPERVISOR:
                    block = blocks.get(pc) or self._block_at(hart)
                else:
                    if hart.pending:
                        if self.watching and not hart.granted and not hart.deferred:
                            hart.point = None
                            return VISIBLE
                        if not hart.deferred:
                            hart.granted = False
                            self._interrupt(hart)
                            continue
                    block = self._block_at(hart)
                    hart.deferred = False
                compiled, count, tail, at = block
                hart.budget -= count
                self.executed += count
                if hart.budget < 0:
                    raise KernelFault(
                        hart.index, f"hart {hart.index} executed {STEPS_MAX} instructions"
                        " and came to no end",
                    )  # fmt: skip
                if compiled is not None:
                    compiled(hart, x)
                if tail is None:
                    if hart.pc <= pc and self.watching and self._spins(hart):
                        return SPINS
                    continue
                hart.pc = at
                stopped = self._carry_out(hart, tail)
                if stopped is not None:
                    return stopped
            except Trap as trap:
                self._trap(hart, trap.cause, trap.value)

    def _interrupt(self, hart: Hart) -> None:
        for number in (EXTERNAL, SOFTWARE, TIMER):
            if hart.pending >> number & 1:
                self._trap(hart, INTERRUPT | number, 0)
                return

    def _carry_out(self, hart: Hart, decoded: Decoded) -> str | None:
        """The instruction at the pc, which is not plain. Returns why the hart
        must stop before it, if so."""
        match decoded.kind:
            case Kind.LOAD:
                return self._load(hart, decoded)
            case Kind.STORE:
                return self._store(hart, decoded)
            case Kind.ATOMIC:
                return self._atomic(hart, decoded)
            case Kind.FENCE:
                if self.buffering and hart.buffer and decoded.pred & FENCE_WRITE:
                    if decoded.succ & FENCE_READ:
                        # Until here others may miss what is held back.
                        if self._is_event(hart):
                            return VISIBLE
                        self.arrive_all(hart)
                    elif decoded.succ & FENCE_WRITE and self.passing:
                        hart.buffer = (*hart.buffer, BARRIER_HELD)
            case Kind.FENCE_I:
                pass
            case Kind.CSR:
                if decoded.imm == SIP and self._is_event(hart):
                    return VISIBLE
                self._csr(hart, decoded)
            case Kind.SFENCE:
                self._flush(hart, decoded)
            case Kind.WFI:
                if not hart.pending:
                    hart.point = None
                    return WAITS
            case Kind.SRET:
                self._sret(hart)
                return None
            case Kind.ECALL:
                if hart.mode == USER:
                    raise Trap(ECALL_USER, 0)
                if hart.x[17] == SBI_IPI and self._is_event(hart):
                    return VISIBLE
                self._firmware(hart)
            case Kind.EBREAK:
                raise Trap(BREAK_CAUSE, hart.pc)
            case _:
                raise Trap(ILLEGAL_CAUSE, 0)
        hart.pc += 4
        return None

    def _load(self, hart: Hart, decoded: Decoded) -> str | None:
        va = hart.x[decoded.rs1] + decoded.imm & MASK
        pa = self._address(hart, va, decoded.size, LOAD)
        if pa < self.ram:
            if decoded.rd:
                hart.x[decoded.rd] = self._device_load(pa)
            hart.pc += 4
            return None
        k = pa >> 3
        if self.watching:
            self._touch(hart, k, False)
            if self._is_point(hart, k, False):
                return VISIBLE
            if k not in hart.recent:
                hart.recent = (*hart.recent[-7:], k)
        value = self.own_word(hart, k) if hart.buffer else self.word(k)
        shift, bits = (pa & 7) * 8, decoded.size * 8
        if bits < 64:
            value = value >> shift & (1 << bits) - 1
            if decoded.signed:
                value = sign_extend(value, bits)
        if self.trace is not None and k in self.shared:
            self._note(hart, "load", k, value, None, (1 << bits) - 1 << shift)
        if decoded.rd:
            hart.x[decoded.rd] = value
        hart.pc += 4
        return None

    def _store(self, hart: Hart, decoded: Decoded) -> str | None:
        va = hart.x[decoded.rs1] + decoded.imm & MASK
        pa = self._address(hart, va, decoded.size, STORE)
        value = hart.x[decoded.rs2]
        if pa < self.ram:
            self._device_store(pa, value)
            hart.pc += 4
            return None
        k = pa >> 3
        shift, bits = (pa & 7) * 8, decoded.size * 8
        mask = (1 << bits) - 1 << shift
        stored = value << shift & mask
        held = False
        if self.watching:
            self._touch(hart, k, True)
            if k in self.shared:
                # What goes to the buffer nobody notices: no point before it.
                held = self.buffering
                if not held and self._is_point(hart, k, True):
                    return VISIBLE
        if self.trace is not None and k in self.shared:
            self._note(hart, "held" if held else "store", k, stored >> shift,
                       self.own_word(hart, k) >> shift & mask >> shift, mask)  # fmt: skip
        if held:
            hart.buffer = (*hart.buffer, (k, mask, stored, STORES, False))
        else:
            self.set_word(k, self.word(k) & ~mask | stored if bits < 64 else stored)
        hart.pc += 4
        return None

    def _atomic(self, hart: Hart, decoded: Decoded) -> str | None:
        va = hart.x[decoded.rs1]
        bits = decoded.size * 8
        is_lr, is_sc = decoded.funct == LR, decoded.funct == SC
        pa = self._address(hart, va, decoded.size, LOAD if is_lr else STORE)
        k, shift = pa >> 3, (pa & 7) * 8
        # What an atomic without aq writes may arrive late, where nobody needs
        # to know at once what it read.
        holds = self.watching and self.passing and not decoded.aq and k in self.shared
        holds = holds and (is_sc or (decoded.rd == 0 and not is_lr))
        if self.watching:
            self._touch(hart, k, not is_lr)
            if not (holds and not is_sc) and self._is_point(hart, k, not is_lr):
                return VISIBLE
            if k not in hart.recent:
                hart.recent = (*hart.recent[-7:], k)
        mask = (1 << bits) - 1 << shift
        operand = hart.x[decoded.rs2] & (1 << bits) - 1
        if holds:
            self._hold(hart, decoded, k, mask, operand << shift)
            hart.pc += 4
            return None
        if decoded.aq or k in self.shared or not (self.passing and self.watching):
            self._arrive_for_atomic(hart, k, decoded.rl)
        # else nobody sees in which order this and what is held back arrive
        word = self.word(k)
        old = (word & mask) >> shift
        new = old
        result = sign_extend(old, bits)
        if is_lr:
            hart.reservation = k
        elif is_sc:
            result = 0 if hart.reservation == k else 1
            new = operand if result == 0 else old
            hart.reservation = None
        else:
            new = amo_result(decoded.funct, old, operand, bits)
        if self.trace is not None and k in self.shared:
            name = "lr" if is_lr else ("sc" if result == 0 else "sc fails") if is_sc else "atomic"
            self._note(hart, name, k, new, old, mask)
        if not is_lr and not (is_sc and result):
            self.set_word(k, word & ~mask | new << shift)
        if decoded.rd:
            hart.x[decoded.rd] = result
        hart.pc += 4
        return None

    def _hold(self, hart: Hart, decoded: Decoded, k: int, mask: int, bits: int) -> None:
        """Keep what an atomic writes in the store buffer."""
        succeeds = True
        if decoded.funct == SC:
            succeeds = hart.reservation == k
            hart.reservation = None
            if decoded.rd:
                hart.x[decoded.rd] = 0 if succeeds else 1
        if self.trace is not None:
            value = bits >> (mask & -mask).bit_length() - 1
            self._note(hart, "held" if succeeds else "sc fails", k, value, None, mask)
        if not succeeds:
            return
        operation = STORES if AMO_NAMES[decoded.funct] in ("sc", "amoswap") else decoded.funct
        held: Held = (k, mask, bits, operation, decoded.funct == SC)
        before = (BARRIER_HELD,) if decoded.rl and hart.buffer else ()
        # Whether sc succeeded decides about what comes next: that stays behind.
        behind = (BARRIER_HELD,) if decoded.funct == SC else ()
        hart.buffer = (*hart.buffer, *before, held, *behind)


def signed_result(value: int) -> int:
    """A function's result as a signed number, for errors."""
    return signed(value, 64)
