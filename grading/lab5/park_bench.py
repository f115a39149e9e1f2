"""A process and its executors in a scene, for the graders of lab 5.

    bench = Bench(scene())
    a = bench.running(1, "A")               # hart 1 runs executor A
    bench.arguments(a, EVENT, DEADLINE_NONE)
    bench.sleep(1, "call_park", a)          # it parks, hart 1 runs another
    bench.scene.call(2, "executor_unpark", a, EVENT)
    assert bench.queued() == [a]            # taken off the run queue by hart 0

Calls are made as the kernel makes them: the arguments are in the registers of
the executor's page, the handler gets the page and returns who runs next. Hart 0
is left to the test itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stag.model import Event
from stag.scene import Scene
from stag.verdict import check, fail

PAGE = 4096
CODE, DATA, HANDLES = 0x1000000, 0x4000000, 0x2000000000
READ_ONLY, UNMAPPED = DATA + PAGE, DATA + 0x100000
DEADLINE_NONE = (1 << 64) - 1

# kernel/riscv/page_table.h
PTE_R, PTE_W, PTE_X, PTE_U, PTE_EXECUTOR = 2, 4, 8, 16, 0x200

# include/stag/abi.h
EXECUTING, QUEUED, PARKED, STOPPED, TERMINATED = 1, 2, 4, 8, 16
REASON, REASON_TIMEOUT = 3 << 8, 2 << 8
SEQUENCE_ONE, SEQUENCE = 1 << 12, 0xFFFFF << 12
FLAGS = {EXECUTING: "executing", QUEUED: "queued", PARKED: "parked", STOPPED: "stopped",
         TERMINATED: "terminated"}  # fmt: skip
EVENT_WAKE = 1
ESRCH, EBADF, EAGAIN, EFAULT, EBUSY, EINVAL, ETIMEDOUT = 3, 9, 11, 14, 16, 22, 110
ERRORS = {ESRCH: "ESRCH", EBADF: "EBADF", EAGAIN: "EAGAIN", EFAULT: "EFAULT", EBUSY: "EBUSY",
          EINVAL: "EINVAL", ETIMEDOUT: "ETIMEDOUT"}  # fmt: skip
A0 = 10

SPARE = 0  # the hart of the test itself

# By rank, kernel/lock.h.
LOCKS = ("a space", "a second space", "an executor", "the console", "the deadlines",
         "the scheduler")  # fmt: skip


def result_text(value: int) -> str:
    """A call's result, for people."""
    error = -value if value < 0 else (1 << 64) - value
    return f"-{ERRORS[error]}" if error in ERRORS else f"{value:#x}"


class Bench:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.memory = scene.memory()
        self._out = scene.call(SPARE, "page_alloc")
        self._made: list[int] = []
        self.must("space_create", self._out)
        self.space = scene.add_object(self.memory.u64(self._out), "space", "space")
        self.data = scene.add_object(self.map(DATA, PTE_R | PTE_W), "data")
        self.scratch = scene.call(SPARE, "page_alloc")

    # Making

    def must(self, function: str, *arguments: int) -> None:
        error = self.scene.call_signed(SPARE, function, *arguments)
        check(error == 0, f"{function} works", f"it returns {error}")

    def map(self, va: int, rights: int) -> int:
        """Map a page of zeros for the program: its address for the kernel."""
        page = self.scene.call(SPARE, "page_alloc")
        self.scene.call(SPARE, "page_zero", page)
        physical = self.memory.translate(page)
        self.must("map_page", self.space, va, physical, rights | PTE_U)
        return page

    def executor(self, name: str) -> int:
        """A new executor, and its handle."""
        self.must("executor_create", self.space, self._out)
        made = self.scene.add_object(self.memory.u64(self._out), name, "executor")
        self._made.append(made)
        # The handle holds a reference too.
        count = self.scene.field(made, "executor", "references")
        self.scene.set_field(made, "executor", "references", count + 1)
        physical = self.memory.translate(made)
        self.must("map_page", self.space, self.handle(made), physical,
                   PTE_EXECUTOR | PTE_R | PTE_W)  # fmt: skip
        return made

    def handle(self, executor: int) -> int:
        return HANDLES + self._made.index(executor) * PAGE

    def started(self, name: str, pc: int = CODE) -> int:
        """A new executor in the run queue."""
        made = self.executor(name)
        self.must("executor_start", made, pc, 0, 0)
        return made

    def running(self, hart: int, name: str) -> int:
        """A new executor that a hart runs, and has just brought into the kernel."""
        made = self.started(name)
        got = self.scene.call(hart, "scheduler_next")
        check(got == made, f"hart {hart} runs {name}", f"it runs {self.name(got)}")
        return made

    # Registers, state

    def name(self, executor: int) -> str:
        if executor == 0:
            return "nobody"
        return self.scene.names.get(self.memory.translate(executor), f"{executor:#x}")

    def register(self, executor: int, number: int = A0) -> int:
        return self.memory.u64(executor + 8 * number)

    def set_register(self, executor: int, number: int, value: int) -> None:
        self.memory.set_u64(executor + 8 * number, value & (1 << 64) - 1)

    def arguments(self, executor: int, *values: int) -> None:
        """The executor is about to make a call with these arguments."""
        for i, value in enumerate(values):
            self.set_register(executor, A0 + i, value)

    def state(self, executor: int) -> int:
        return self.scene.field(executor, "executor", "state")

    def events(self, executor: int) -> int:
        """Events that are pending."""
        return self.state(executor) >> 32

    def references(self, executor: int) -> int:
        return self.scene.field(executor, "executor", "references")

    def describe(self, executor: int) -> str:
        """The state word, for people."""
        state = self.state(executor)
        flags = [name for bit, name in FLAGS.items() if state & bit] or ["runnable"]
        ended = ("", ", its park ended by an event", ", its park ended by its deadline", ", rs 3")
        return (
            f"{self.name(executor)} is {' and '.join(flags)}{ended[state >> 8 & 3]},"
            f" events pending {state >> 32:#x}"
        )

    # Doing

    def check_locks_given_back(self, hart: int, function: str) -> None:
        held = self.scene.field(self.scene.hart_page(hart), "hart", "ranks_held")
        names = [name for rank, name in enumerate(LOCKS) if held >> rank & 1]
        check(
            not names,
            f"hart {hart} holds no lock after {function}",
            f"it still holds the lock of {' and '.join(names)}",
            where=function,
            hint="every way out of a function gives its locks back: look at each return",
        )

    def watched(
        self, hart: int, call: str, executor: int, watch: Callable[[Event], None], *at: int
    ) -> None:
        """Make a call, alone, and be told before each of its accesses to these
        words of memory, given by their physical addresses."""
        world = self.scene.world
        world.shared, world.trace, world.watch = {pa >> 3 for pa in at}, [], watch
        try:
            self.scene.call(hart, call, executor)
        finally:
            world.shared, world.trace, world.watch = set(), None, None

    def check_looked_under_lock(self, hart: int, call: str, executor: int, va: int) -> None:
        """Make a call on a word of the program, which the kernel must not look
        for, or look at, without the lock of the space."""
        entry = self.scene.table(self.scene.field(executor, "executor", "satp")).lookup(va)
        assert entry is not None
        seen: list[str] = []

        def watch(event: Event) -> None:
            if event.what == "load" or event.word != entry.at >> 3:
                what = "the table" if event.word == entry.at >> 3 else "the word"
                seen.append(what)
                check(
                    self.scene.field(self.space, "space", "lock") != 0,
                    f"{call} holds the lock of the space while it looks at {what}",
                    "nobody holds it: another hart might unmap the page just now",
                    where=self.scene.symbols.describe(event.pc),
                    hint="kernel/user_memory.h: the address is good as long as the lock is held",
                )

        self.watched(hart, call, executor, watch, entry.at, entry.pa + va % PAGE)
        check("the word" in seen, f"{call} looks at the program's word", "it does not", where=call)

    def sleep(self, hart: int, call: str, executor: int, hint: str = "") -> None:
        """Make a call in which the executor must go to sleep. The hart runs
        somebody else then, who was waiting for it."""
        other = self.started("another")
        got = self.scene.call(hart, call, executor)
        self.check_locks_given_back(hart, call)
        check(
            got == other and self.state(executor) & (EXECUTING | QUEUED) == 0,
            f"{call} puts {self.name(executor)} to sleep: hart {hart} goes on with who was queued",
            f"hart {hart} goes on with {self.name(got)}; {self.describe(executor)};"
            f" a0 is {result_text(self.register(executor))}",
            where=call,
            hint=hint,
        )

    def park(self, hart: int, executor: int, mask: int, deadline: int = DEADLINE_NONE) -> None:
        self.arguments(executor, mask, deadline)
        self.sleep(hart, "call_park", executor)

    def go_on(self, hart: int, call: str, executor: int) -> int:
        """Make a call from which the executor must come back at once: its
        result."""
        got = self.scene.call(hart, call, executor)
        self.check_locks_given_back(hart, call)
        check(
            got == executor,
            f"{call} returns to {self.name(executor)} at once",
            f"hart {hart} goes on with {self.name(got)}; {self.describe(executor)}",
            where=call,
        )
        return self.register(executor)

    def check_result(self, executor: int, wanted: int, after: str, number: int = A0) -> None:
        found = self.register(executor, number)
        check(
            found == wanted & (1 << 64) - 1,
            f"a{number - A0} is {result_text(wanted)} after {after}",
            f"it is {result_text(found)}; {self.describe(executor)}",
        )

    def check_at_rest(self, executor: int, flag: int, after: str) -> None:
        """It has that flag, no hart runs it, and it is not queued."""
        state = self.state(executor)
        check(
            state & (flag | EXECUTING | QUEUED) == flag,
            f"after {after} {self.name(executor)} is {FLAGS[flag]}, and no hart has it",
            self.describe(executor),
        )

    def queued(self) -> list[int]:
        """Take all out of the run queue, as hart 0 that runs them: who was in
        it."""
        last = self.started("the last one")
        found = []
        while (got := self.scene.call(SPARE, "scheduler_next")) != last:
            found.append(got)
            if len(found) > 8:
                break
        return found

    def wrongly_queued(self, *wanted: int) -> str | None:
        """A complaint if others than these are in the run queue, each once."""
        found = self.queued()
        if found == list(wanted):
            return None
        return f"the run queue must hold {self.all_names(wanted)}; it holds {self.all_names(found)}"

    def all_names(self, executors: Sequence[int]) -> str:
        return ", ".join(map(self.name, executors)) or "nobody"

    def wrongly_woken(self, executor: int, references: int) -> str | None:
        """A complaint if the executor is not in the run queue, or was put there
        twice: then it has more references than while it runs."""
        if wrong := self.wrongly_queued(executor):
            return wrong
        found = self.references(executor)
        if found != references:
            name = self.name(executor)
            return (
                f"{name} runs, and has {found} references, not {references}: each time that it"
                " is queued takes one, so it was not queued exactly once"
            )
        return None

    def check_queued(self, *wanted: int, after: str, hint: str = "") -> None:
        """These are in the run queue, each once, in this order; now hart 0 has
        run them."""
        found = self.queued()
        check(
            found == list(wanted),
            f"{self.all_names(wanted)} in the run queue after {after}",
            self.all_names(found),
            hint=hint,
        )

    def asleep(self, hart: int) -> bool:
        """Has this hart, in an exploration, found nothing to run?"""
        return not self.scene.world.harts[hart].results

    def no_more_than(self, executor: int, references: int) -> None:
        found = self.references(executor)
        if found != references:
            fail(
                f"{references} references to {self.name(executor)}",
                f"{found}",
                hint="one reference is held while EXECUTING or QUEUED is set (kernel/state.h);"
                " and a call gives back what it took for itself",
            )
