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
import textwrap
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from . import alloc, case
from .errors import GuestPanic, NotJudged, StagError
from .explore import SCHEDULES_MAX, Exploration, Explorer, Finding, Thread, depth
from .isa import MASK
from .model import (
    DONE,
    MODELS,
    RETURN,
    SATP,
    STEPS_MAX,
    SUPERVISOR,
    USER,
    Call,
    Hart,
    KernelFault,
    World,
    signed_result,
)
from .names import Names, readable
from .pagetable import PageTable
from .snapshot import KernelMemory, Snapshot
from .symbols import Symbols
from .timeline import draw, width

STACK_ALIGN = 16
STEPS_RUN = 1_000_000  # of a hart that goes on alone
SIMPLEST = MODELS[0]


class ScheduleFailure(StagError):
    """An order of events in which the kernel goes wrong, told as a timeline."""


class Scene:
    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.symbols: Symbols = snapshot.system.symbols
        self.world: World = snapshot.world()
        self.names: dict[int, str] = {}  # address of an object: its name, for people
        self.structs: dict[int, str] = {}  # … and which struct is there
        self.programs: list[Symbols] = []  # whose code may run in user mode
        self.explorations: list[Exploration] = []
        self._lookers = [self._looker(hart) for hart in self.world.harts]
        for hart in self.world.harts:
            hart.x[2] -= hart.x[2] % STACK_ALIGN
            hart.x[8] = 0
        self.add_object(self.symbols["global_page"], "global", "global")
        for hart in self.world.harts:
            page = self.memory().u64(self.symbols["harts"] + hart.index * 8)
            self.add_object(page, f"hart {hart.index}", "hart")

    # Looking

    def _looker(self, hart: Hart) -> Hart:
        """One that has this hart's kernel table for ever, whatever the hart does."""
        looker = Hart(hart.index, hart.id)
        looker.csr = {SATP: self.snapshot.harts[hart.index].csr[SATP]}
        return looker

    def memory(self, hart: int = 0) -> KernelMemory:
        """Memory as the kernel sees it on this hart, also while a program runs."""
        return KernelMemory(self.world, self._lookers[hart])

    @cached_property
    def namer(self) -> Names:
        """Names for what is in memory."""
        return Names(self)

    def add_program(self, program: Symbols) -> None:
        """Name a program whose code runs in user mode, so that its source lines
        are shown."""
        self.programs.append(program)

    def _symbols_at(self, pc: int) -> Symbols:
        """Those that know this place: the kernel's, unless it is a program's."""
        return next((p for p in self.programs if p.is_code(pc)), self.symbols)

    def line(self, pc: int) -> str:
        """The source line of an instruction, or its address."""
        return str(self._symbols_at(pc).line(pc) or f"{pc:#x}")

    def instruction(self, pc: int) -> int | None:
        return self._symbols_at(pc).instruction(pc)

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

    def executors_of(self, space: int) -> list[int]:
        """The list of a space, out of which executor_end takes an executor."""
        found: list[int] = []
        at = self.field(space, "space", "executors")
        while at and at not in found:
            found.append(at)
            at = self.field(at, "executor", "space_next")
        return found

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
                f"{self._called(function)} on hart {hart}: {readable(self.symbols, str(fault))}\n"
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
        state.budget = STEPS_RUN
        try:
            return self.world.run(state)
        except KernelFault as fault:
            # The model names the budget that a call has.
            text = str(fault).replace(f"executed {STEPS_MAX} ", f"executed {STEPS_RUN} ")
            raise GuestPanic(
                f"hart {hart}: {readable(self.symbols, text)}\n  at {self.where(hart)}"
            ) from None
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
            return f"user {self._symbols_at(state.pc).describe(state.pc)}"
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
        a timeline if one is wrong; the scene is as before. What goes wrong in a
        weaker memory is shown in the simplest in which it does."""
        bound = depth() if switches is None else switches

        def search(model: str) -> tuple[Explorer, Exploration | Finding]:
            judge = (lambda _: oracle(self)) if oracle else None
            explorer = Explorer(self.world, threads, self.resolve, judge, model)
            return explorer, explorer.run(bound, limit)

        reports = []
        for model in models:
            explorer, found = search(model)
            if isinstance(found, Finding):
                if SIMPLEST not in models:
                    shared, touched = self.world.shared, self.world.touched
                    simple, simpler = search(SIMPLEST)
                    if isinstance(simpler, Finding):
                        explorer, found = simple, simpler
                    else:
                        self.world.select_model(model)
                        self.world.shared, self.world.touched = shared, touched
                try:
                    raise ScheduleFailure(self._explain(explorer, found, threads, hint))
                finally:
                    self.world.restore(explorer.start)
            if not found.exhausted:
                raise NotJudged(
                    f"the code does so much to memory that not all orders could be tried: {found}"
                )
            self.explorations.append(found)
            reports.append(found)
        self.world.select_model("sc")
        return reports

    def _explain(
        self, explorer: Explorer, finding: Finding, threads: Sequence[Thread], hint: str
    ) -> str:
        events, ending = explorer.replay(finding.options)
        finding.complaint = readable(self.symbols, ending or finding.complaint)
        columns = [thread.hart for thread in threads]
        picture = draw(self, events, columns)
        places = "\n".join(f"  hart {hart}: {self.where(hart)}" for hart in columns)
        stored = self._store(explorer, finding)
        switches = f"{finding.switches} switch{'es' if finding.switches != 1 else ''}"
        how = (
            f"found in schedule {finding.schedules} of the {finding.model} memory model,"
            f" with {switches} between harts:"
        )
        lines = [
            finding.complaint,
            textwrap.fill(how, width()),
            "",
            picture,
            "",
            "Where the harts are in the end:",
            places,
        ]
        if hint:
            lines += ["", textwrap.fill(f"Hint: {hint}", width(), subsequent_indent=" " * 6)]
        if stored is not None:
            lines += ["", "To look at it in the debugger:", f"make replay CASE={stored}"]
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
