"""A space in which one hart unmaps, for the challenge of lab 6: what each hart
flushes is read at every sfence.vma that it comes to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from process_bench import CALL_UNMAP, CODE, DATA, EBREAK, ECALL, ENOUGH, S0, Bench
from stag.pagetable import PAGE
from stag.verdict import check

SHOOTDOWN = "shootdown (kernel/shootdown.c)"
PUBLISH = "shootdown_publish (kernel/shootdown.c)"
KEPT = DATA + 300 * PAGE  # a page that stays: so its table does, too
UNMAPS = CODE + PAGE  # a program of one call


@dataclass(frozen=True)
class Fence:
    """An sfence.vma that was executed; None: the operand is register zero."""

    pc: int
    va: int | None
    asid: int | None

    def __str__(self) -> str:
        return "all" if self.va is None else f"{self.va:#x}"


def listed(fences: list[Fence]) -> str:
    return ", ".join(map(str, fences)) or "nothing"


class FenceBench(Bench):
    """A space in which hart 1 runs READS and hart 2 unmaps."""

    def notes(
        self, hart: int, *places: int | str, budget: int = ENOUGH
    ) -> tuple[bool, list[Fence]]:
        """Let one hart go on, as goes_to does, and note what it flushes."""
        state, fences = self.world.harts[hart], []
        targets = [self.scene.resolve(place) for place in places]
        while self.goes_to(hart, *targets, *self.fences, budget=budget):
            word = self.scene.symbols.instruction(state.pc) if state.pc in self.fences else None
            if word is None:
                return True, fences
            rs1, rs2 = word >> 15 & 31, word >> 20 & 31
            fences.append(
                Fence(state.pc, state.x[rs1] if rs1 else None, state.x[rs2] if rs2 else None)
            )
            self.goes_to(hart, state.pc + 4)
        return False, fences

    def populate(self, space: int, places: Iterable[int]) -> list[int]:
        """Map pages at these places, and one that stays."""
        for va in (*places, KEPT):
            self.memory(space, va)
        return list(places)

    def has_read(self, hart: int, executor: int, places: Iterable[int]) -> None:
        """The hart runs READS, and has a translation of each of these places."""
        self.dispatch(hart, executor)
        for va in places:
            self.world.harts[hart].x[S0] = va
            for _ in range(2):
                self.step(hart)

    def unmapper(self, space: int, va: int, pages: int) -> None:
        """Hart 2 is about to call unmap, in user mode."""
        executor = self.executor(space, "unmapper")
        self.program(space, (ECALL, EBREAK), UNMAPS)
        self.set_registers(executor, a1=va, a2=pages, a7=CALL_UNMAP)
        self.dispatch(2, executor, pc=UNMAPS)

    def unmap_by_two(self) -> dict[int, list[Fence]]:
        """Hart 2 makes its call while hart 1 is in user mode. Both come back to
        user mode; what either flushed."""
        returned, shooter = self.notes(2, UNMAPS + 4, budget=10 * ENOUGH)
        check(not returned, "unmap waits for hart 1, in user mode", "it returned", SHOOTDOWN)
        entered, flushed = self.notes(1, "shootdown_withdraw")
        back, more = self.notes(1, CODE, CODE + 4)
        returned, rest = self.notes(2, UNMAPS + 4, budget=10 * ENOUGH)
        for comes, hart in ((entered and back, 1), (returned, 2)):
            check(comes, f"hart {hart} comes back to user mode", self.scene.where(hart), SHOOTDOWN)
        return {1: flushed + more, 2: shooter + rest}

    def check_gone(self, hart: int, places: Iterable[int], when: str, hint: str = "") -> None:
        cached = {page << 12 for _, page in self.world.harts[hart].tlb}
        stale = [f"{va:#x}" for va in places if va in cached]
        check(
            not stale,
            f"{when}, hart {hart} is back in user mode without a translation of what is unmapped",
            f"it still has that of {', '.join(stale)}",
            PUBLISH,
            hint,
        )

    def check_by_address(self, hart: int, fences: list[Fence], places: Iterable[int]) -> None:
        """Of each place, and never of everything."""
        everything = [fence for fence in fences if fence.va is None]
        check(
            not everything,
            f"hart {hart} flushes by address: rs1 of no sfence.vma is register zero",
            f"{len(everything)} of {len(fences)} flush everything",
            "".join(self.scene.symbols.describe(fence.pc) for fence in everything[:1]),
            "the shooter has to tell each hart, itself too, what it took away",
        )
        flushed = {fence.va // PAGE for fence in fences if fence.va is not None}
        missing = [f"{va:#x}" for va in places if va // PAGE not in flushed]
        check(
            not missing,
            f"hart {hart} flushes each page that was unmapped",
            f"not {', '.join(missing)}; what it flushes: {listed(fences)}",
            PUBLISH,
        )

    def check_everything(self, hart: int, fences: list[Fence], why: str) -> None:
        check(
            any(fence.va is None for fence in fences),
            f"hart {hart} executes an sfence.vma without an address: {why}",
            f"what it flushes: {listed(fences)}",
            PUBLISH,
            "by address, what a hart has cached of pointers to tables stays; and so do the pages"
            " that it does not name",
        )
