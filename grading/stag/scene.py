"""A scene of a few harts in the model, set by calling the kernel's own
functions; then explored.

    scene = Scene(snapshot)
    page = scene.call(0, "page_alloc")
    scene.explore(
        [Thread(0, Call("page_free", (page,))), Thread(1, Call("page_alloc"))],
        lambda scene: None if … else "what is wrong",
    )
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from . import alloc, case
from .errors import GuestPanic, StagError
from .explore import SCHEDULES_MAX, Exploration, Explorer, Finding, Thread, depth
from .isa import MASK
from .model import (
    DONE,
    MODELS,
    RETURN,
    SUPERVISOR,
    USER,
    Call,
    KernelFault,
    World,
    signed_result,
)
from .pagetable import PageTable
from .snapshot import KernelMemory, Snapshot
from .symbols import Symbols
from .timeline import draw

STACK_ALIGN = 16


class ScheduleFailure(StagError):
    """An order of events in which the kernel goes wrong, told as a timeline."""


class Scene:
    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.symbols: Symbols = snapshot.system.symbols
        self.world: World = snapshot.world()
        self.names: dict[int, str] = {}  # address of an object: its name, for people
        self.structs: dict[int, str] = {}  # … and which struct is there
        self.explorations: list[Exploration] = []
        for hart in self.world.harts:
            hart.x[2] -= hart.x[2] % STACK_ALIGN
            hart.x[8] = 0
        self.add_object(self.symbols["global_page"], "global", "global")
        for hart in self.world.harts:
            page = self.memory().u64(self.symbols["harts"] + hart.index * 8)
            self.add_object(page, f"hart {hart.index}", "hart")

    # Looking

    def memory(self, hart: int = 0) -> KernelMemory:
        return KernelMemory(self.world, self.world.harts[hart])

    def resolve(self, place: int | str) -> int:
        return self.symbols[place] if isinstance(place, str) else place

    def add_object(self, address: int, name: str, struct: str = "") -> int:
        """Name an object, so that timelines speak of it and its fields."""
        pa = self.memory().translate(address)
        self.names[pa] = name
        if struct:
            self.structs[pa] = struct
        return address

    def hart_page(self, hart: int) -> int:
        """Linear address of a hart's page."""
        return self.memory().u64(self.symbols["harts"] + hart * 8)

    def offset(self, struct: str, field: str) -> int:
        return self.symbols.struct(struct)[field].offset

    def field(self, address: int, struct: str, name: str) -> int:
        """A field of an object of the kernel."""
        member = self.symbols.struct(struct)[name]
        memory = self.memory()
        at = address + member.offset
        return memory.u32(at) if member.size == 4 else memory.u64(at)

    def set_field(self, address: int, struct: str, name: str, value: int) -> None:
        member = self.symbols.struct(struct)[name]
        at = address + member.offset
        if member.size == 4:
            self.memory().set_u32(at, value)
        else:
            self.memory().set_u64(at, value)

    def table(self, satp: int) -> PageTable:
        """Page tables as the test side decodes them."""
        return PageTable(self.world, satp)

    def allocation(self) -> alloc.Allocation:
        return alloc.read_allocation(self.symbols, self.memory())  # type: ignore[arg-type]

    # Doing

    def call(self, hart: int, function: int | str, *arguments: int) -> int:
        """Call a kernel function on a hart, alone, to its end: the result."""
        state = self.world.harts[hart]
        # An oracle may call in the midst of exploring: what the thread was about is put back.
        saved, steps, until = state.save(), state.steps, self.world.until
        self.world.until = {}
        self.world.prepare(state, (Call(function, arguments),), self.resolve)
        try:
            ended = self.world.run(state)
        except KernelFault as fault:
            raise GuestPanic(
                f"{self._called(function)} on hart {hart}: {fault}\n"
                f"  at {self.symbols.describe(state.pc)}"
            ) from None
        if ended != DONE:
            raise StagError(
                f"{self._called(function)} on hart {hart} sleeps at"
                f" {self.symbols.describe(state.pc)} instead of returning"
            )
        result = state.results[-1]
        kept = state.accepts, state.timer, state.tlb
        state.restore(saved)
        state.steps, self.world.until = steps, until
        state.accepts, state.timer, state.tlb = kept
        return result

    def call_signed(self, hart: int, function: int | str, *arguments: int) -> int:
        """The same for functions that return an error."""
        return signed_result(self.call(hart, function, *arguments))

    def count_call(self, hart: int, function: int | str, *arguments: int) -> tuple[int, int]:
        """Result and number of instructions executed."""
        before = self.world.executed
        result = self.call(hart, function, *arguments)
        return result, self.world.executed - before

    def run(self, hart: int, *until: int | str) -> str:
        """Let one hart go on from where it is, alone, until one of these
        places, or until it sleeps."""
        state = self.world.harts[hart]
        places = [self.resolve(place) for place in until]
        self.world.add_boundaries(places)
        self.world.until = {hart: frozenset(places)}
        state.budget = 1_000_000
        try:
            return self.world.run(state)
        except KernelFault as fault:
            raise GuestPanic(f"hart {hart}: {fault}\n  at {self.symbols.describe(state.pc)}") from None
        finally:
            self.world.until = {}

    def enter(self, hart: int, function: int | str, *arguments: int) -> None:
        """Put a hart at the start of a function that may never return; then
        run it."""
        state = self.world.harts[hart]
        state.pc, state.mode = self.resolve(function), SUPERVISOR
        state.x[1] = RETURN
        for i, argument in enumerate(arguments):
            state.x[10 + i] = argument & MASK

    def _called(self, function: int | str) -> str:
        return function if isinstance(function, str) else self.symbols.describe(function)

    def in_user_mode(self, hart: int) -> bool:
        return self.world.harts[hart].mode == USER

    def where(self, hart: int) -> str:
        state = self.world.harts[hart]
        if state.mode == USER:
            return f"user {state.pc:#x}"
        if state.pc == RETURN:
            return "has returned"
        return self.symbols.describe(state.pc)

    # Exploring

    def explore(
        self,
        threads: Sequence[Thread],
        oracle: Callable[[Scene], str | None] | None = None,
        *,
        models: Sequence[str] = MODELS,
        switches: int | None = None,
        limit: int = SCHEDULES_MAX,
        hint: str = "",
    ) -> list[Exploration]:
        """Try every order of what the threads do. Raises ScheduleFailure with
        a timeline if one is wrong; the scene is as before."""
        reports = []
        for model in models:
            explorer = Explorer(
                self.world,
                threads,
                self.resolve,
                (lambda _: oracle(self)) if oracle else None,
                model,
            )
            found = explorer.run(depth() if switches is None else switches, limit)
            if isinstance(found, Finding):
                try:
                    raise ScheduleFailure(self._explain(explorer, found, threads, hint))
                finally:
                    self.world.restore(explorer.start)
            self.explorations.append(found)
            reports.append(found)
        self.world.select_model("sc")
        return reports

    def _explain(
        self, explorer: Explorer, finding: Finding, threads: Sequence[Thread], hint: str
    ) -> str:
        events, ending = explorer.replay(finding.options)
        columns = [thread.hart for thread in threads]
        picture = draw(self, events, columns)
        places = "\n".join(f"  hart {hart}: {self.where(hart)}" for hart in columns)
        stored = self._store(explorer, finding)
        lines = [
            f"{ending or finding.complaint}",
            f"found in schedule {finding.schedules} of the {finding.model} memory model,"
            f" with {finding.switches} switches between harts:",
            "",
            picture,
            "",
            "Where the harts are in the end:",
            places,
        ]
        if hint:
            lines += ["", f"Hint: {hint}"]
        if stored is not None:
            lines += ["", f"To look at it in the debugger: make replay CASE={stored}"]
        return "\n".join(lines)

    def _store(self, explorer: Explorer, finding: Finding) -> str | None:
        """Keep the schedule for the debugger, where the person wants that."""
        folder = os.environ.get("STAG_CASES")
        if not folder:
            return None
        test = os.environ.get("PYTEST_CURRENT_TEST", "case").split("::")[-1].split(" ")[0]
        name = re.sub(r"[^\w.-]+", "-", test).strip("-")
        path = Path(folder) / f"{name}.case"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(case.dump(self, explorer, finding, test))
        return os.path.relpath(path)

