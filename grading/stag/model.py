"""A model of a few harts that run the kernel's own binary, for exploring.

QEMU shows one interleaving at a time, no store buffers, and forgives a fence
with the wrong operand. This model executes the same instructions (isa.py) from
the memory and registers of a machine that stands still in QEMU, and lets the
explorer (explore.py) decide who goes on. What it does that QEMU does not:

  - *Store buffers.* Under "tso" a hart's stores reach memory late, in order,
    but before its next fence for later loads, or atomic. Under "pso" stores to
    different words pass each other too, unless a fence or a release stands
    between; an atomic orders no more than its aq and rl say (on an sc, aq alone
    says nothing): one whose result nobody reads is held back like a store, and
    so is an sc, but then nobody else writes the word before it has arrived. A
    hart always sees its own stores. "sc": everything at once.
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

From the bottom up: model_hart.py (a hart, and the numbers of the manual),
model_state.py (memory, and which words are shared), model_translate.py (page
tables and what is cached of them), model_buffers.py (store buffers),
model_execute.py (the instructions), model_code.py (blocks of instructions,
compiled), and here the world: threads that run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .errors import StagError
from .isa import MASK, signed
from .model_buffers import arrive, arrive_all
from .model_code import Block, block_at
from .model_execute import carry_out, trap
from .model_hart import (
    BEGINS,
    DONE,
    EXTERNAL,
    FETCH,
    INTERRUPT,
    PAGE,
    RETURN,
    SATP,
    SOFTWARE,
    SPINS,
    SSTATUS,
    STEPS_MAX,
    STVEC,
    SUPERVISOR,
    TIMER,
    USER,
    VISIBLE,
    WAITS,
    Call,
    Event,
    Hart,
    KernelFault,
    SharedWord,
    Trap,
)
from .model_state import State
from .model_translate import physical

__all__ = [
    "BEGINS", "DONE", "MASK", "MODELS", "PAGE", "RETURN", "SATP", "SOFTWARE", "SPINS", "SSTATUS",
    "STEPS_MAX", "STVEC", "SUPERVISOR", "TIMER", "USER", "VISIBLE", "WAITS", "Call", "Event",
    "Hart", "KernelFault", "SharedWord", "World", "signed_result",
]  # fmt: skip

MODELS = ("sc", "tso", "pso")
ROUNDS_MAX = 12
NOWHERE: frozenset[int] = frozenset()


class World(State):
    """The model: a state, and threads of the kernel that change it."""

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
        super().__init__(read_page, ram)
        self._read_code = read_code
        self.boundaries = frozenset(boundaries)
        self.endings = endings or {}
        self._describe_ending = describe_ending
        self.until: dict[int, frozenset[int]] = {}  # hart: where its thread ends
        self._blocks: dict[int, Block] = {}  # of the kernel, by their beginning
        self._stopped: dict[int, tuple[Block, int]] = {}  # and by steps where a hart stopped
        self._user_blocks: dict[tuple[int, int, bool], tuple[Block, range, list[int]]] = {}

    def add_boundaries(self, addresses: Iterable[int]) -> None:
        """Places where a hart may have to stop that are no function's start."""
        new = set(addresses) - self.boundaries
        if new:
            self.boundaries |= new
            self.forget_code()

    def replace_code(self, read_code: Callable[[int], int | None]) -> None:
        """For tests that bring code of their own."""
        self._read_code = read_code
        self.forget_code()

    def forget_code(self) -> None:
        self._blocks, self._stopped, self._user_blocks = {}, {}, {}

    def select_model(self, name: str) -> None:
        if name not in MODELS:
            raise StagError(f"there is no memory model {name!r}: there are {', '.join(MODELS)}")
        self.buffering, self.passing = name != "sc", name == "pso"

    def arrive(self, hart: Hart, count: int) -> None:
        """See model_buffers.py."""
        arrive(self, hart, count)

    def arrive_all(self, hart: Hart) -> None:
        arrive_all(self, hart)

    # Code

    def _block(self, hart: Hart) -> Block:
        """The kernel's code at the pc."""
        pc = hart.pc
        if self._read_code(pc) is None:
            raise KernelFault(hart.index, f"the kernel jumped to {pc:#x}: no code is there")
        block = self._blocks[pc] = block_at(pc, self._read_code, self.boundaries)
        return block

    def _user_block(self, hart: Hart, single: bool) -> Block:
        """A program's code at the pc, to its first step. It may change: it is
        looked at each time."""
        pc = hart.pc
        pa = physical(self, hart, pc, FETCH)
        found = self._user_blocks.get((pc, pa, single))
        if found:
            block, words, page = found
            if self.base.get(pa // PAGE) is page and self.memory.keys().isdisjoint(words):
                return block
        plain_max = 1 if single else (PAGE - pa % PAGE) // 4

        def fetch(at: int) -> int:
            at += pa - pc
            return self.word(at >> 3) >> (at & 4) * 8 & 0xFFFFFFFF

        block = block_at(pc, fetch, self.boundaries, steps_max=0, plain_max=plain_max)
        words = range(pa >> 3, (pa + 4 * block.count + 7) >> 3)
        self._user_blocks[pc, pa, single] = block, words, self._base_page(pa // PAGE)
        return block

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
        self.choose_reach(hart)
        hart.status = self._run(hart)
        return hart.status

    def _run(self, hart: Hart) -> str:
        blocks, endings = self._blocks, self.endings
        until = self.until.get(hart.index, NOWHERE)
        stopped = self._stopped.get(hart.pc)  # where it goes on, in the midst of a block
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
                if hart.mode == USER:
                    why = self._run_user(hart)
                elif stopped and hart.budget >= stopped[0].count:
                    why = self._run_block(hart, *stopped)
                else:
                    block = blocks.get(pc) or self._block(hart)
                    if hart.budget < block.count:
                        why = self._run_last(hart)
                    else:
                        why = self._run_block(hart, block, 0)
            except Trap as caught:
                trap(self, hart, caught.cause, caught.value)
                why = None
            if why is not None:
                return why
            stopped = None

    def _run_block(self, hart: Hart, block: Block, step: int) -> str | None:
        """A block of the kernel from its beginning, or from that step, which
        must be looked at. Why the hart stopped, if it did."""
        counts, x, code = block.counts, hart.x, block.code
        done, count = step, 1
        while True:
            if not step:
                step = code(hart, x, self, done)
                count = (counts[step] if step else block.count) - counts[done]
            hart.budget -= count
            self.executed += count
            if not step:
                if hart.pc <= block.jumps_from and self.watching and self._spins(hart):
                    return SPINS
                return None
            hart.pc = block.places[step]
            why = carry_out(self, hart, block.steps[step])
            if why is not None:
                self._stopped[hart.pc] = block, step
                return why
            if step > block.resumes:
                return None
            done, step = step, 0

    def _run_last(self, hart: Hart) -> str | None:
        """The same where few instructions are left of the hart's budget: to the
        next step only."""
        block = block_at(hart.pc, self._read_code, self.boundaries, steps_max=0)
        return self._run_short(hart, block, block.jumps_from)

    def _run_user(self, hart: Hart) -> str | None:
        """Some of a program: it can be interrupted before each instruction."""
        if hart.pending:
            if self.watching and not hart.granted and not hart.deferred:
                hart.point = None
                return VISIBLE
            if not hart.deferred:
                hart.granted = False
                self._interrupt(hart)
                return None
        block = self._user_block(hart, bool(hart.pending))
        if hart.budget < block.count:
            block = self._user_block(hart, True)
        hart.deferred = False
        return self._run_short(hart, block, hart.pc + 4 * block.count - 4)

    def _run_short(self, hart: Hart, block: Block, jumps_from: int) -> str | None:
        """A block that ends at its first step."""
        hart.budget -= block.count
        self.executed += block.count
        if hart.budget < 0:
            raise KernelFault(
                hart.index,
                f"hart {hart.index} executed {STEPS_MAX} instructions and came to no end",
            )
        step = block.code(hart, hart.x, self, 0)
        if step:
            hart.pc = block.places[step]
            return carry_out(self, hart, block.steps[step])
        if hart.pc <= jumps_from and self.watching and self._spins(hart):
            return SPINS
        return None

    def _interrupt(self, hart: Hart) -> None:
        for number in (EXTERNAL, SOFTWARE, TIMER):
            if hart.pending >> number & 1:
                trap(self, hart, INTERRUPT | number, 0)
                return

    def _spins(self, hart: Hart) -> bool:
        """After a jump back: has the hart been here before with the same
        registers, and nothing is other in memory than then? It waits for
        somebody else to change one of the words that it has read. So does one
        that has read nothing else for many rounds, while it counts them."""
        x, reads, rounds = tuple(hart.x), hart.recent, 0
        before = hart.looped.get(hart.pc)
        if before and reads and before[1:3] == (self.digest, reads):
            rounds = before[3] + 1
        hart.counts = rounds == ROUNDS_MAX
        if before is None or (before[:2] != (x, self.digest) and not hart.counts):
            hart.looped[hart.pc] = x, self.digest, reads, rounds
            hart.recent = ()
            return False
        unknown = set(hart.recent) - self.shared
        if unknown:
            self.share(unknown)
        hart.waits_at, hart.point = self.digest, None
        return True


def signed_result(value: int) -> int:
    """A function's result as a signed number, for errors."""
    return signed(value, 64)
