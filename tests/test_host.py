"""The kernel's concurrent parts on the host, with threads as harts; and those of
the user library.

tests/host compiles the kernel's own sources against a model of the machine and
lets programs that act at random loose on them. ThreadSanitizer looks for what
is not ordered, AddressSanitizer for what is used after it was freed, and the
model for lost wake-ups, stale translations, wrong counts and lost registers.

How long a run takes decides nothing: it has a number of steps to make.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "tests" / "host"
WATCHDOG = 900  # seconds; a run takes a few of them
PROFILES = 4
KERNEL, LIBRARY = "kernel", "user/lib"

Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """build(sanitizer, part=…, sources=…): the stress program of the kernel, or of
    the user library, built anew."""

    def make(sanitizer: str, part: str = KERNEL, sources: Path | None = None) -> Path:
        out = tmp_path / sanitizer.replace(",", "-")
        variable, program = ("KERNEL", "stress") if part == KERNEL else ("LIBRARY", "library")
        command = ["make", "-s", "-C", str(HERE), f"SANITIZE={sanitizer}", str(out / program)]
        command += [f"{variable}={sources or ROOT / part}"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        done = subprocess.run(
            [*command, f"OUT={out}"], env=environment, text=True, capture_output=True, check=False
        )
        if done.returncode != 0 and "-fsanitize" in done.stderr and "cannot find" in done.stderr:
            pytest.skip(f"this compiler has no {sanitizer} sanitizer")
        assert done.returncode == 0, done.stdout + done.stderr
        return out / program

    return make


def run(program: Path, **options: int) -> subprocess.CompletedProcess[str]:
    """One run; options are those of tests/host/main.c, or library/main.c. Address
    randomization is off: with much of it ThreadSanitizer can't place its shadow
    memory."""
    command = [str(program), "-w", str(WATCHDOG)]
    for letter, value in options.items():
        command += [f"-{letter}", str(value)]
    if shutil.which("setarch"):
        command = ["setarch", "-R", *command]
    environment = os.environ | {
        "TSAN_OPTIONS": "halt_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    done = subprocess.run(
        command, env=environment, text=True, capture_output=True, timeout=WATCHDOG + 60, check=False
    )
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer can't run here: sysctl vm.mmap_rnd_bits=28 helps")
    return done


def check(program: Path, **options: int) -> None:
    done = run(program, **options)
    again = " ".join(f"-{letter} {value}" for letter, value in options.items())
    assert done.returncode == 0 and done.stdout.endswith("passed\n"), (
        f"{program.name} {again} ended with {done.returncode}\n{done.stdout}\n{done.stderr[:8000]}"
    )


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_stress(build: Build, sanitizer: str) -> None:
    """Each profile of programs once."""
    check(build(sanitizer), s=1, r=PROFILES, n=20_000)


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_library(build: Build, sanitizer: str) -> None:
    """Mutex, condition variable, semaphore and slots of the user library."""
    program = build(sanitizer, LIBRARY)
    for seed, threads in enumerate((2, 4, 6), start=1):
        check(program, s=seed, n=5000, c=threads)


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined", "none"])
def test_long_stress(build: Build, sanitizer: str) -> None:
    """Many seeds, numbers of harts, sizes of RAM, both modes of the MMU, and
    very few address space numbers, so that they are used again at once."""
    program = build(sanitizer)
    for seed in range(1, 11):
        check(program, s=seed, r=8, n=60_000)
    for seed, harts in enumerate((1, 2, 3, 8, 16), start=20):
        check(program, s=seed, r=4, n=60_000, c=harts)
    for seed, pages in enumerate((300, 500, 3000, 20_000), start=30):
        check(program, s=seed, r=4, n=60_000, m=pages)
    for seed, bits in enumerate((1, 2, 3), start=40):
        check(program, s=seed, r=4, n=60_000, a=bits, l=4)


@dataclass(frozen=True)
class Mutation:
    """A bug to be put into a copy of the kernel or the user library, and the build
    that finds it."""

    name: str
    file: str  # in kernel/, unless it says where
    old: str
    new: str
    sanitizer: str = "none"
    steps: int = 20_000

    @property
    def part(self) -> str:
        return LIBRARY if self.file.startswith(LIBRARY) else KERNEL

    def source(self, sources: Path) -> Path:
        """The file, in a copy of the part."""
        return sources / self.file.removeprefix(f"{LIBRARY}/")


def weaker(
    name: str, file: str, code: str, order: str, instead: str = "RELAXED", steps: int = 20_000
) -> Mutation:
    """The bug that a step is ordered less than it must be."""
    name, old = f"{name} with order {instead.lower()}", f"{code}__ATOMIC_{order})"
    return Mutation(name, file, old, f"{code}__ATOMIC_{instead})", "thread", steps)


def compared(name: str, file: str, code: str, gap: str = " ") -> Mutation:
    """The same for a compare-and-swap."""
    old = f"{code}false, CAS_ORDER,{gap}CAS_ORDER)"
    new = old.replace("CAS_ORDER", "__ATOMIC_RELAXED")
    return Mutation(f"{name} with order relaxed", file, old, new, "thread")


# Each that hands over something that is not atomic. Missing releases and fences
# are the graders' to find as well, but acquires are for here: in their model a
# hart's loads come in order.
ORDERS = [
    weaker("a lock taken", "lock.h", "&lock->held, 1, ", "ACQUIRE"),
    weaker("a lock given up", "lock.h", "&lock->held, 0, ", "RELEASE"),
    weaker("the MCS lock found free", "mcs_lock.c", "(lock, self->self, ", "ACQ_REL", "RELEASE"),
    weaker("the MCS lock got", "mcs_lock.c", "&self->mcs_lock_held, ", "ACQUIRE"),
    weaker("the MCS lock handed over", "mcs_lock.c", "&next->mcs_lock_held, 0, ", "RELEASE"),
    weaker("a chain appended later", "page_alloc.c", "_tail, last, ", "ACQ_REL", "RELEASE"),
    weaker("a chain appended earlier", "page_alloc.c", "_tail, last, ", "ACQ_REL", "ACQUIRE"),
    weaker("pages appended", "page_alloc.c", "(before, (uint64_t)first, ", "RELEASE", steps=60_000),
    weaker(
        "pages followed",
        "page_alloc.c",
        "uint64_t next = __atomic_load_n(head, ",
        "ACQUIRE",
        steps=60_000,
    ),
    weaker("pages popped", "page_alloc.c", "(shared_head, NULL, ", "ACQUIRE"),
    weaker("the head put back", "page_alloc.c", "(shared_head, head, ", "RELEASE"),
    weaker("a state looked at", "state.h", "(&executor->state, ", "ACQUIRE", steps=60_000),
    weaker("the end asked for", "executor.c", "STATE_TERMINATED, ", "ACQUIRE"),
    weaker("the last reference dropped", "reference.h", "(references, 1, ", "ACQ_REL", "RELEASE"),
    weaker("a reference dropped", "reference.h", "(references, 1, ", "ACQ_REL", "ACQUIRE"),
    weaker("an entry stored", "riscv/page_table.h", "(entry, pte, ", "RELEASE"),
    weaker("a space left", "shootdown.c", "~(uint64_t)USES, ", "RELEASE"),
    weaker("a hart waited for", "shootdown.c", "&space->seen[i].word, ", "ACQUIRE"),
    compared("a state changed", "state.h", "seen, next, "),
    weaker("a grant waited for", "user/lib/sync.c", "(&self->waiting, ", "ACQUIRE"),
    weaker("a grant", "user/lib/sync.c", "(&thread->waiting, 0, ", "RELEASE"),
    weaker("a list of waiters taken", "user/lib/sync.c", "MUTEX_HELD, ", "ACQUIRE"),
    Mutation(
        "a mutex tried with order relaxed",
        "user/lib/sync.c",
        "&word, MUTEX_HELD, false, __ATOMIC_ACQUIRE,\n" + 39 * " " + "__ATOMIC_ACQUIRE",
        "&word, MUTEX_HELD, false, __ATOMIC_RELAXED,\n" + 39 * " " + "__ATOMIC_RELAXED",
        "thread",
    ),
    compared("a mutex given back", "user/lib/sync.c", "&word, 0, "),
    compared("a mutex waited for", "user/lib/sync.c", "&word, in_line, ", "\n" + 40 * " "),
    weaker("a unit waited for", "user/lib/semaphore.c", "(&self->waiting, ", "ACQUIRE"),
    weaker("a unit handed over", "user/lib/semaphore.c", "(&thread->waiting, 0, ", "RELEASE"),
    weaker("a slot taken", "user/lib/slots.c", "(word, bit, ", "ACQUIRE"),
    weaker("a slot given back", "user/lib/slots.c", "(number % 64)), ", "RELEASE"),
    weaker("a spin lock taken", "user/lib/spin.h", "(word, 1, ", "ACQUIRE"),
    weaker("a spin lock given up", "user/lib/spin.h", "(word, 0, ", "RELEASE"),
]

MUTATIONS = [
    Mutation(
        "the MCS lock's last holder waits for nobody",
        "mcs_lock.c",
        "        while ((next = __atomic_load_n(&this_hart()->mcs_lock_next, __ATOMIC_ACQUIRE)) =="
        " NULL)\n"
        "            machine_relax();\n",
        "        return;\n",
    ),
    Mutation(
        "no waiting for an append in progress",
        "page_alloc.c",
        "while ((next = __atomic_load_n(head, __ATOMIC_ACQUIRE)) == 0) machine_relax();",
        "",
        steps=100_000,
    ),
    Mutation(
        "two harts may pop",
        "page_alloc.c",
        "while ((head = __atomic_exchange_n(shared_head, NULL, __ATOMIC_ACQUIRE)) == NULL)",
        "while ((head = __atomic_load_n(shared_head, __ATOMIC_ACQUIRE)) == NULL)",
    ),
    Mutation(
        "an executor taken out of the heap without its lock",
        "deadline.c",
        "    lock_acquire(&deadline_lock, LOCK_DEADLINES);\n"
        "    bool inside = executor->heap_rank != 0;\n    if (inside) heap_remove(executor);\n"
        "    executor->deadline = DEADLINE_NONE;\n"
        "    lock_release(&deadline_lock, LOCK_DEADLINES);\n",
        "    bool inside = executor->heap_rank != 0;\n    if (inside) heap_remove(executor);\n"
        "    executor->deadline = DEADLINE_NONE;\n",
        "thread",
    ),
    Mutation(
        "an idle hart does not look again",
        "scheduler.c",
        "        bool work = !queue_empty();\n"
        "        if (!work && !this_hart()->reap_due) machine_wait();\n",
        "        if (!this_hart()->reap_due) machine_wait();\n"
        "        bool work = !queue_empty();\n",
        steps=400_000,
    ),
    Mutation(
        "whoever ends a park queues, whether or not it executes",
        "park.c",
        "            next = (next & ~STATE_PARKED) | STATE_REASON_EVENT;\n"
        "            if (state_needs_queue(next))",
        "            next = (next & ~STATE_PARKED) | STATE_REASON_EVENT;\n"
        "            if (!(next & (STATE_NOT_RUNNABLE | STATE_QUEUED)))",
    ),
    Mutation("unmap without a shootdown", "unmap.c", "    shootdown(space);\n", ""),
    Mutation(
        "a shootdown that waits for nobody",
        "shootdown.c",
        "            waiting |= 1ul << i;\n",
        "",
    ),
    Mutation(
        "back to user mode without a second look at the generation",
        "shootdown.c",
        "    } while (UNLIKELY(generation != now));\n",
        "    } while (0);\n",
    ),
    Mutation(
        "no flush on the first entry of a space",
        "shootdown.c",
        "    if (UNLIKELY(before != 2 * now)) {\n",
        "    if (UNLIKELY(before != 2 * now && before != 0)) {\n",
    ),
    Mutation(
        "a hart that waits for a space's lock uses the space",
        "lock.h",
        "    if (rank == LOCK_SPACE && this_hart()->published != NULL) shootdown_withdraw();\n",
        "",
    ),
    Mutation(
        "handles remembered over a flush",
        "shootdown.c",
        "        handle_forget_all();\n",
        "",
    ),
    Mutation(
        "nobody is told that a hart has switched",
        "scheduler.c",
        "    this_hart()->switched = 1;\n",
        "",
    ),
    Mutation(
        "share forgets a reference",
        "map.c",
        "page_get(pte_page(pte)); break;",
        "break;",
    ),
    Mutation(
        "a unit handed over and counted, too",
        "user/lib/semaphore.c",
        "    semaphore->first = thread->wait_next;\n",
        "    semaphore->first = thread->wait_next;\n    semaphore->count++;\n",
    ),
    Mutation(
        "a slot taken that is another's",
        "user/lib/slots.c",
        "if ((__atomic_fetch_or(word, bit, __ATOMIC_ACQUIRE) & bit) == 0) return number;",
        "__atomic_fetch_or(word, bit, __ATOMIC_ACQUIRE);\n        return number;",
    ),
    Mutation(
        "the timer is not set for a deadline",
        "deadline.c",
        "    timer_no_later(deadline);\n",
        "",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("mutation", ORDERS + MUTATIONS, ids=lambda m: m.name.replace(" ", "-"))
def test_finds_bugs(build: Build, tmp_path: Path, mutation: Mutation) -> None:
    """A stress run that nothing could fail would show nothing."""
    sources = tmp_path / "sources"
    shutil.copytree(ROOT / mutation.part, sources)
    source = mutation.source(sources)
    text = source.read_text()
    assert text.count(mutation.old) == 1, f"{mutation.file} has changed: adapt this mutation"
    source.write_text(text.replace(mutation.old, mutation.new))
    program = build(mutation.sanitizer, mutation.part, sources)
    rounds = {"r": PROFILES} if mutation.part == KERNEL else {}
    for seed in range(1, 21):
        # A hang is a way to fail, too.
        if run(program, s=seed, n=mutation.steps, w=120, **rounds).returncode != 0:
            return
    pytest.fail(f"nobody noticed: {mutation.name}")
