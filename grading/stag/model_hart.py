"""What the model of a few harts (model.py) is made of: a hart, what it holds
back, what others can notice of it, and the numbers of the privileged manual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import StagError
from .isa import MASK, amo_result

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

SBI_TIME, SBI_IPI, SBI_PUT = 0x54494D45, 0x735049, 0x01

BARRIER = -1  # in a store buffer: what is behind stays behind
STEPS_MAX = 50_000  # of one hart without ending: it never will

# Why a hart stopped running.
VISIBLE, SPINS, WAITS, DONE = "visible", "spins", "waits", "done"
BEGINS = "begins"  # it has not run yet


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


@dataclass(frozen=True)
class Call:
    """A step of a thread: a kernel function and its arguments. An argument may
    be a function of the results so far."""

    function: int | str
    arguments: tuple[int | Callable[[tuple[int, ...]], int], ...] = ()


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


class Reach:
    """Accesses of a hart that need no look, as they have been made before: by
    size, the virtual address and the word that is there (model_code.py)."""

    __slots__ = ("loads", "stores")

    def __init__(self) -> None:
        self.loads: dict[int, dict[int, int]] = {1: {}, 2: {}, 4: {}, 8: {}}
        self.stores: dict[int, dict[int, int]] = {1: {}, 2: {}, 4: {}, 8: {}}

    def clear(self) -> None:
        for size in (1, 2, 4, 8):
            self.loads[size].clear()
            self.stores[size].clear()


class Hart:
    """Registers of one hart, what it has cached, what it holds back."""

    __slots__ = (
        "accepts", "budget", "buffer", "counts", "csr", "deferred", "granted", "id", "index",
        "looped", "mode", "pc", "point", "point_writes", "reach", "reach_alone", "reach_watched",
        "reads", "recent", "reservation", "results", "status", "step", "steps", "timer", "tlb",
        "waits_at", "writes", "x",
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
        self.reach_alone, self.reach_watched = Reach(), Reach()  # … and its addresses
        self.reach = self.reach_alone  # the one that holds now
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

    def save(self) -> tuple[Any, ...]:
        return (
            self.pc, self.mode, self.accepts, self.timer, self.buffer, self.reservation,
            self.status, self.point, self.point_writes, self.deferred, self.waits_at, self.recent,
            self.counts, self.step, self.results, self.budget,
            self.x.copy(), self.csr.copy(), self.tlb.copy(), self.looped.copy(),
        )  # fmt: skip

    def restore(self, saved: tuple[Any, ...]) -> None:
        satp = self.csr[SATP]
        (
            self.pc, self.mode, self.accepts, self.timer, self.buffer, self.reservation,
            self.status, self.point, self.point_writes, self.deferred, self.waits_at, self.recent,
            self.counts, self.step, self.results, self.budget,
            self.x[:], csr, tlb, looped,
        ) = saved  # fmt: skip
        self.csr, self.tlb, self.looped = csr.copy(), tlb.copy(), looped.copy()
        if csr[SATP] != satp:
            self.forget_translations()
        self.granted = False

    def forget_translations(self) -> None:
        """Those of the kernel: the rest is in the tlb."""
        self.reads.clear()
        self.writes.clear()
        self.reach_alone.clear()
        self.reach_watched.clear()

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
