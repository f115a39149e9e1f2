"""A workbench for the scheduler: a scene with executors by name, that are made
by the kernel's own functions.

`ready` ones are as scheduler_enqueue wants them: QUEUED is set, and the queue's
reference is taken. `start` makes one that a hart can run in user mode, in a
small program that the grader has put there.

Harts 1 to 3 run what the scheduler gives them; hart 0 has not yet asked for
interrupts, and only queues.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from stag.errors import GuestPanic
from stag.model import DONE, MASK, SOFTWARE, STEPS_MAX, STVEC, TIMER, WAITS, KernelFault
from stag.scene import Scene
from stag.verdict import check, fail

EXECUTING, QUEUED, PARKED, STOPPED, TERMINATED = 1, 2, 4, 8, 16
FLAGS = {EXECUTING: "EXECUTING", QUEUED: "QUEUED", PARKED: "PARKED", STOPPED: "STOPPED",
         TERMINATED: "TERMINATED"}  # fmt: skip
ALL_FLAGS = sum(FLAGS)

LINEAR_MAP = 0xFFFFFFE000000000
PROGRAM = 0x1000000  # user address of the grader's program
R_X_USER = 0x1A  # bits of a page table entry: R, X, U
SLOT = 0x40  # bytes of the program for each executor
YIELD = (0x00100893, 0x00000073, 0x0000006F)  # li a7, CALL_YIELD; ecall; j .
LOOP = 8  # offset of the endless loop in it

SENTINEL = "Z"


def flags_text(state: int) -> str:
    """The flags of a state word, for people."""
    names = [name for bit, name in FLAGS.items() if state & bit]
    return " and ".join(names) or "no flag"


@dataclass
class Bench:
    scene: Scene
    space: int = 0
    out: int = 0  # where functions leave a result
    code: int = 0
    executors: dict[str, int] = field(default_factory=dict)

    # Making

    def create(self, name: str) -> int:
        """An executor that is stopped; one reference, the grader's."""
        error = self.scene.call_signed(0, "executor_create", self.space, self.out)
        check(error == 0, "executor_create returns 0", f"it returns {error}")
        executor = self.scene.memory().u64(self.out)
        self.executors[name] = executor
        return self.scene.add_object(executor, name, "executor")

    def ready(self, *names: str) -> list[int]:
        """Executors to be queued: QUEUED is set, and the queue has its
        reference."""
        for name in names:
            if name not in self.executors:
                self.create(name)
            executor = self.executors[name]
            references = self.scene.field(executor, "executor", "references")
            self.scene.set_field(executor, "executor", "references", references + 1)
            self.set_state(name, QUEUED)
        return [self.executors[name] for name in names]

    def enqueue(self, hart: int, *names: str) -> None:
        for executor in self.ready(*names):
            self.scene.call(hart, "scheduler_enqueue", executor)

    def start(self, name: str, offset: int = LOOP) -> int:
        """Start an executor in a slot of the grader's program: its pc."""
        if not self.code:
            self._load_program()
        executor = self.create(name)
        pc = PROGRAM + SLOT * (len(self.executors) - 1) + offset
        error = self.scene.call_signed(0, "executor_start", executor, pc, 0x2000000, 0)
        check(error == 0, f"executor_start of {name} returns 0", f"it returns {error}")
        return pc

    def _load_program(self) -> None:
        scene = self.scene
        self.code = scene.call(0, "page_alloc")
        for at in range(0, 4096, SLOT):
            for i, word in enumerate(YIELD):
                scene.memory().set_u32(self.code + at + 4 * i, word)
        pa = scene.memory().translate(self.code)
        error = scene.call_signed(0, "map_page", self.space, PROGRAM, pa, R_X_USER)
        check(error == 0, "map_page returns 0", f"it returns {error}")

    # Looking

    def name(self, executor: int | None) -> str:
        """Who that is, for people."""
        if executor is None:
            return "nobody: the hart sleeps"
        names = {address: name for name, address in self.executors.items()}
        return names.get(executor, "0" if executor == 0 else f"{executor:#x}, which is no executor")

    def state(self, name: str) -> int:
        """The five flags of its state word."""
        return self.scene.field(self.executors[name], "executor", "state") & ALL_FLAGS

    def set_state(self, name: str, flags: int) -> None:
        state = self.scene.field(self.executors[name], "executor", "state")
        state = state & ~ALL_FLAGS | flags
        self.scene.set_field(self.executors[name], "executor", "state", state)

    def references(self, name: str) -> int:
        return self.scene.field(self.executors[name], "executor", "references")

    def running(self, hart: int) -> int:
        """Who the hart page says runs there."""
        return self.scene.field(self.scene.hart_page(hart), "hart", "executor")

    def has_ended(self, name: str) -> bool:
        """It has left the list of its space: executor_end does that."""
        return self.executors[name] not in self.scene.executors_of(self.space)

    def check_state(self, name: str, wanted: int, why: str, hint: str = "") -> None:
        found = self.state(name)
        check(
            found == wanted,
            expected=f"{why}, {name} has {flags_text(wanted)} set in its state word",
            found=flags_text(found),
            where="the state word (include/stag/abi.h, kernel/state.h)",
            hint=hint,
        )

    def check_references(self, name: str, wanted: int, why: str) -> None:
        found = self.references(name)
        check(
            found == wanted,
            expected=f"{why}, {name} has {wanted} references, the grader's"
            + (" and that of the queue or of the hart" if wanted == 2 else ""),
            found=f"it has {found}",
            where="executor.references (kernel/state.h, references)",
        )

    # Doing

    def next(self, hart: int) -> int | None:
        """scheduler_next on a hart: whom it gives, None if the hart sleeps. The
        hart's registers are as before."""
        state = self.scene.world.harts[hart]
        saved, steps, until = state.save(), state.steps, self.scene.world.until
        state.steps = ()
        self.scene.enter(hart, "scheduler_next")
        slept = self.scene.run(hart) == WAITS
        found = None if slept else state.results[-1]
        accepts, timer = state.accepts, state.timer
        state.restore(saved)
        state.steps, state.accepts, state.timer = steps, accepts, timer
        self.scene.world.until = until
        return found

    def expect_next(self, hart: int, wanted: str, why: str = "", hint: str = "") -> None:
        found = self.next(hart)
        check(
            found == self.executors[wanted],
            expected=f"scheduler_next on hart {hart} returns {wanted}"
            + (f", {why}" if why else ""),
            found=f"it gives {self.name(found)}",
            where="kernel/scheduler.h",
            hint=hint,
        )

    def sleep(self, *harts: int) -> None:
        """Put harts to sleep in scheduler_next; they stay there."""
        for hart in harts:
            self.scene.world.harts[hart].steps = ()
            self.scene.enter(hart, "scheduler_next")
            self.expect_sleep(hart)

    def expect_sleep(self, hart: int, why: str = "with nothing to run") -> None:
        """Let a hart go on: it must come to wfi."""
        state = self.scene.world.harts[hart]
        if self.run_for(hart, 5000) == "on and on":
            fail(
                expected=f"hart {hart}, {why}, sleeps in wfi",
                found="it runs on and on",
                where=self.scene.where(hart),
                hint="machine_wait() sleeps until an interrupt is pending; one that stays pending"
                " until interrupt_serve() ends the sleep at once",
            )
        check(
            state.status == WAITS,
            expected=f"hart {hart}, {why}, sleeps in wfi",
            found=f"scheduler_next returns {self.name(state.x[10])}",
        )
        state.budget = STEPS_MAX

    def run_for(self, hart: int, instructions: int) -> str:
        """Let a hart go on for so many instructions at most: how it stopped, or
        `on and on`."""
        state = self.scene.world.harts[hart]
        self.scene.world.until = {}
        state.budget = instructions
        try:
            return self.scene.world.run(state)
        except KernelFault as fault:
            if state.budget < 0:
                return "on and on"
            raise GuestPanic(f"hart {hart}: {fault}\n  at {self.scene.where(hart)}") from None

    def interrupted(self, hart: int) -> bool:
        """Has another hart interrupted this one?"""
        return bool(self.scene.world.harts[hart].accepts >> SOFTWARE & 1)

    def comes_to(self, hart: int, place: str, function: str, *arguments: int) -> bool:
        """Call a function on a hart that may not return: does it come to the start
        of `place`? If so the hart stands there."""
        state = self.scene.world.harts[hart]
        state.steps = ()
        self.scene.enter(hart, function, *arguments)
        self.scene.run(hart, place)
        return state.pc == self.scene.symbols[place]

    def check_reference_until_end(
        self, hart: int, name: str, function: str, *arguments: int
    ) -> None:
        """Where this call ends an executor, executor_end finds the reference of
        the queue, or of the hart, not yet given back. All is as before then."""
        start = self.scene.world.save()
        ends = self.comes_to(hart, "executor_end", function, *arguments)
        found = self.references(name)
        self.scene.world.restore(start)
        check(
            not ends or found >= 2,
            expected=f"{function} calls executor_end while it still has the reference that it is"
            f" to give back: {name} has 2 references, the grader's and that one",
            found=f"when executor_end is called it has {found}",
            where="executor_end (kernel/executor.h): the caller holds a reference",
            hint="without one it may be freed while it is ended: executor_put comes last",
        )

    def count_interrupts(self, act: Callable[[], object]) -> list[int]:
        """The harts that were interrupted by others meanwhile, one by one."""
        world = self.scene.world
        world.trace = []
        try:
            act()
            return [event.value for event in world.trace if event.what == "ipi"]
        finally:
            world.trace = None

    def drain(self, hart: int = 3) -> list[str]:
        """Take all that is queued off the queue: names, in that order. A
        stranger, or one that is there twice, fails."""
        taken = []
        self.ready(SENTINEL)
        self.scene.call(hart, "scheduler_enqueue", self.executors[SENTINEL])
        while True:
            found = self.next(hart)
            if found == self.executors[SENTINEL]:
                return taken
            name = self.name(found)
            if name not in self.executors or name in taken:
                fail(
                    expected="the queue holds each executor once",
                    found=f"scheduler_next gives {name}, after {', '.join(taken) or 'nobody'}",
                    where="the run queue, at the end",
                )
            taken.append(name)

    def complain_lost(self, dispatched: list[int], *names: str) -> str | None:
        """Each of these was dispatched, or is still queued, and once only."""
        found = [self.name(executor) for executor in dispatched] + self.drain()
        for name in names:
            count = found.count(name)
            if count != 1:
                what = f"was dispatched {count} times" if count else "is in no queue and on no hart"
                given = ", ".join(found) or "nobody"
                return f"{name} {what}; the harts and the queue gave: {given}"
        return None

    def results(self, *harts: int) -> list[int]:
        """What the last calls of these harts returned, of those that did."""
        world = self.scene.world
        return [world.harts[h].results[-1] for h in harts if world.harts[h].status == DONE]

    # User mode

    def run_to_user(self, hart: int, pc: int, who: str) -> None:
        """Let a hart go on until it is in the program at `pc`."""
        ended = self.scene.run(hart, pc) if self.scene.where(hart) != f"user {pc:#x}" else DONE
        check(
            ended == DONE and self.scene.in_user_mode(hart),
            expected=f"hart {hart} comes to user mode in {who}, at {pc:#x}",
            found=f"it sleeps at {self.scene.where(hart)}",
        )

    def tick(self, hart: int) -> None:
        """A quantum later, in user mode: this hart's timer goes off, and the hart
        is at its trap vector. No other timer does."""
        world, state = self.scene.world, self.scene.world.harts[hart]
        for other in world.harts:
            if other is not state and other.timer != MASK:
                other.timer += self.quantum
        world.advance(self.quantum)
        check(
            bool(state.accepts >> TIMER & 1),
            expected=f"the timer of hart {hart} goes off within a quantum, as it runs a program",
            found="it does not",
            where=self.scene.where(hart),
            hint="timer_need_tick (kernel/timer.h)",
        )
        self.scene.run(hart, state.csr[STVEC] & -4)

    @property
    def quantum(self) -> int:
        return self.scene.memory().u64(self.scene.symbols["timer_quantum"])


def make_bench(scene: Scene) -> Bench:
    """An empty space in a scene whose harts have just been given their tick."""
    bench = Bench(scene)
    tick = scene.world.time + bench.quantum
    for hart in (1, 2, 3):
        scene.world.harts[hart].timer = tick
        scene.set_field(scene.hart_page(hart), "hart", "timer_at", tick)
    bench.out = scene.call(0, "page_alloc")
    error = scene.call_signed(0, "space_create", bench.out)
    check(error == 0, "space_create returns 0", f"it returns {error}")
    bench.space = scene.memory().u64(bench.out)
    scene.add_object(bench.space, "space", "space")
    bench.create(SENTINEL)
    return bench
