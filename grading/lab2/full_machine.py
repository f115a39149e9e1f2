"""Machines in QEMU whose RAM is all handed out: the first thing that most tests
of the allocator need."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from allocator_bench import ALLOCATED, PAGE, WORD, Bank, largest_first, read_banks
from stag.errors import StagError
from stag.grade_machine import GradedSystem, bring_up, graded
from stag.machine import MachineConfig
from stag.snapshot import Snapshot
from stag.verdict import fail

WARM_UP = 100  # pages freed and allocated again, so that the queue has been in use


def odd_pages(system: GradedSystem) -> set[int]:
    """All pages that the table says are allocated, on a machine in QEMU."""
    pages = set()
    for bank in read_banks(system.symbols, system.memory):
        count = min(bank.marked, bank.size) // PAGE
        data = system.memory.read(bank.entries, count * WORD) if count else b""
        pages |= {bank.base + i * PAGE for i in range(count) if data[i * WORD] & ALLOCATED}
    return pages


# A loop for the machine in QEMU: allocate until page_alloc returns 0, and link
# the pages by their first words.
#     a0: address of the list's head   a1: pages at most   a2: page_alloc
DRAIN = (
    0xFD010113,  #       addi sp, sp, -48
    0x00113023,  #       sd   ra, 0(sp)
    0x00813423,  #       sd   s0, 8(sp)
    0x00913823,  #       sd   s1, 16(sp)
    0x01213C23,  #       sd   s2, 24(sp)
    0x03313023,  #       sd   s3, 32(sp)
    0x00050413,  #       mv   s0, a0
    0x00058493,  #       mv   s1, a1
    0x00060913,  #       mv   s2, a2
    0x00000993,  #       li   s3, 0
    0x02998063,  # loop: beq  s3, s1, done
    0x000900E7,  #       jalr s2
    0x00050C63,  #       beqz a0, done
    0x00043283,  #       ld   t0, 0(s0)
    0x00553023,  #       sd   t0, 0(a0)
    0x00A43023,  #       sd   a0, 0(s0)
    0x00198993,  #       addi s3, s3, 1
    0xFE5FF06F,  #       j    loop
    0x00098513,  # done: mv   a0, s3
    0x00013083,  #       ld   ra, 0(sp)
    0x00813403,  #       ld   s0, 8(sp)
    0x01013483,  #       ld   s1, 16(sp)
    0x01813903,  #       ld   s2, 24(sp)
    0x02013983,  #       ld   s3, 32(sp)
    0x03010113,  #       addi sp, sp, 48
    0x00008067,  #       ret
)
DRAIN_PLACE = "first_program_start"  # a given function that no longer runs
DRAIN_OFFSET = 0x100
MORE_THAN_ALL = 100


@dataclass
class Drained:
    """What came of allocating every page on one hart of a machine."""

    before: set[int]  # allocated before
    after: set[int]
    count: int  # how often page_alloc returned a page
    banks: list[Bank]
    list_head: int  # address of a struct page_list with the pages

    @property
    def pages(self) -> int:
        return sum(bank.pages for bank in self.banks)

    @property
    def endless(self) -> bool:
        return self.count > self.pages

    @property
    def each_once(self) -> bool:
        return len(self.after - self.before) == self.count


def drain(system: GradedSystem, hart: int) -> Drained:
    """Allocate on this hart until there are no pages."""
    before = odd_pages(system)
    head = system.harts.call(hart, "page_alloc")
    if head == 0:
        fail("page_alloc returns a page: nearly all RAM is free", "it returned 0")
    system.memory.set_u64(head, 0)
    place = system.symbols[DRAIN_PLACE] + DRAIN_OFFSET
    code = b"".join(word.to_bytes(4, "little") for word in DRAIN)
    system.memory.write(place, code)
    total = sum(bank.pages for bank in read_banks(system.symbols, system.memory))
    count = 1 + system.harts.call(
        hart, place, head, total + MORE_THAN_ALL, system.symbols["page_alloc"]
    )
    banks = read_banks(system.symbols, system.memory)
    return Drained(before, odd_pages(system), count, banks, head)


@dataclass
class FullMachine:
    """A machine in QEMU whose RAM is all handed out."""

    system: GradedSystem
    drained: Drained
    snapshot: Snapshot
    held: set[int]


def make_full(kernel: Path, machines: contextlib.ExitStack) -> FullMachine:
    """With pages that have gone through the free queue once; if the kernel
    fails at that, without."""
    with contextlib.suppress(StagError), contextlib.ExitStack() as attempt:
        full = _drained(kernel, attempt)
        system, hart = full.system, full.system.boot_hart
        for page in largest_first(full.drained.banks, full.held)[:WARM_UP]:
            system.harts.call(hart, "page_free", page)
        again = drain(system, hart)
        full.held = _held(full.drained, again)
        full.snapshot = Snapshot.take(system)
        machines.enter_context(attempt.pop_all())
        return full
    return _drained(kernel, machines)


def _held(drained: Drained, last: Drained) -> set[int]:
    """The pages that the grader has, and does not need for itself."""
    return last.after - drained.before - {drained.list_head, last.list_head}


def _drained(kernel: Path, machines: contextlib.ExitStack) -> FullMachine:
    system = machines.enter_context(graded(MachineConfig(kernel, harts=4, memory="32M")))
    bring_up(system)
    assert system.boot_hart is not None
    drained = drain(system, system.boot_hart)
    return FullMachine(system, drained, Snapshot.take(system), _held(drained, drained))
