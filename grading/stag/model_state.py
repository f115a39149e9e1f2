"""The state of the model (model.py): memory, harts, and which words are shared.

Memory is words of 8 bytes, known by `physical address / 8`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from .isa import MASK
from .model_hart import PAGE, SUPERVISOR, TIMER, WORDS, Event, Hart, Reach, SharedWord


class State:
    """Harts, memory, and what little of a machine the kernel needs."""

    def __init__(
        self,
        read_page: Callable[[int], list[int]],
        ram: int,
    ) -> None:
        self._read_page = read_page
        self.ram = ram  # physical address where it begins; devices lie below
        self.harts: list[Hart] = []
        self.base: dict[int, list[int]] = {}
        self.memory: dict[int, int] = {}  # words that differ from base, or did
        self.digest = 0  # of memory, whatever way it came about
        self.reserved: set[int] = set()  # words that harts may have reserved now
        self.time = 0
        self.console = bytearray()
        self.buffering = self.passing = False
        self.shared: set[int] = set()
        self.watching = False  # exploring: shared words are points, and found
        self.touched: dict[int, int] = {}
        self.trace: list[Event] | None = None
        self.watch: Callable[[Event], None] | None = None
        self.executed = 0  # instructions
        self._private_by: tuple[Any, Any] = (None, None)  # touched and shared, for Hart.reach

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
        return self.memory.copy(), self.digest, self.time, [hart.save() for hart in self.harts]

    def restore(self, saved: tuple[Any, ...]) -> None:
        memory, self.digest, self.time, harts = saved
        self.memory = memory.copy()
        for hart, state in zip(self.harts, harts, strict=True):
            hart.restore(state)

    def advance(self, ticks: int) -> None:
        """Let time pass; timers that are due go off."""
        self.time += ticks
        for hart in self.harts:
            if self.time >= hart.timer:
                hart.accepts |= 1 << TIMER

    # What a hart may do without a look

    def choose_reach(self, hart: Hart) -> None:
        """Before a hart runs. While it is watched it need not look at words that
        it is known to touch and that are not shared; alone, at none."""
        if self.watching:
            if self._private_by[0] is not self.touched or self._private_by[1] is not self.shared:
                self._forget_private()
            hart.reach = hart.reach_watched
        elif self.trace is None and not hart.buffer:
            hart.reach = hart.reach_alone
        else:
            hart.reach = Reach()
        self.reserved = {h.reservation for h in self.harts if h.reservation is not None}

    def learn(
        self, hart: Hart, known: dict[int, dict[int, int]], va: int, size: int, k: int
    ) -> None:
        """A hart has made this access, to a word of memory: need it look the
        next time? `known` are the loads or stores of Hart.reach."""
        if hart.mode != SUPERVISOR:
            return
        if self.watching:
            if k not in self.shared:
                known[size][va] = k
        elif hart.reach is hart.reach_alone:
            if size == 8:  # the whole page: it may be filled
                addresses = range(va & -PAGE, (va & -PAGE) + PAGE, 8)
                first = k - k % WORDS
                known[8].update(zip(addresses, range(first, first + WORDS), strict=True))
            else:
                known[size][va] = k

    def share(self, words: Iterable[int]) -> NoReturn:
        """These are shared, other than was thought."""
        self.shared.update(words)
        self._forget_private()
        raise SharedWord

    def _forget_private(self) -> None:
        self._private_by = self.touched, self.shared
        for hart in self.harts:
            hart.reach_watched.clear()

    # What others notice

    def note(
        self, hart: Hart, what: str, k: int = 0, value: int = 0,
        before: int | None = None, mask: int = MASK,
    ) -> None:  # fmt: skip
        assert self.trace is not None
        event = Event(hart.index, hart.pc, what, k, value, before, mask)
        self.trace.append(event)
        if self.watch is not None:
            self.watch(event)

    def touch(self, hart: Hart, k: int, writes: bool) -> None:
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
            self.share([k])

    def is_point(self, hart: Hart, k: int, writes: bool) -> bool:
        """Must the hart stop before it touches this word?"""
        if not self.watching or k not in self.shared:
            return False
        if hart.granted:
            hart.granted = False
            return False
        hart.point, hart.point_writes = k, writes
        return True

    def is_event(self, hart: Hart) -> bool:
        """The same before a step that has to do with no word."""
        if not self.watching:
            return False
        if hart.granted:
            hart.granted = False
            return False
        hart.point = None
        return True
