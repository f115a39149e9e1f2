"""A workbench for page tables: a hart with paging on, and the kernel's image
and all RAM in reach, before any line of lab 1 has run.

The first table is the grader's own, and the page allocator is stood in for:
each call of it stops the hart and is answered here. So what the student's
functions are given, take and give back is known exactly, and pages come as the
contract allows them to: full of rubbish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from stag import addressmap
from stag.addressmap import KERNEL_IMAGE, LINEAR_MAP
from stag.devicetree import Devicetree
from stag.harts import A0, ARGUMENTS, RA, SP
from stag.memory import PhysicalMemory
from stag.pagetable import PAGE, A, D, PageTable, R, V, W, X
from stag.remote import PC
from stag.system import System
from stag.verdict import fail

MIB, GIB = 1 << 20, 1 << 30
MASK = (1 << 64) - 1
BOOT_TREE_MAP = 0xFFFFFFC080000000
STACK_SIZE = 0x2000
ENOMEM = 12
RUBBISH = bytes.fromhex("a7a5a3a1b7b5b3b1")  # as an entry: valid, and a leaf
GP, TP, A1 = 3, 4, 11
LOW, HIGH = 64 * MIB, 32 * MIB  # where pages come from, above the start of RAM
TABLES_MAX = 128  # what one call may take: with leaves of 4 KiB it is far more …
CALLS_MAX = 4000  # … and in how many calls of the allocator
STEPS_MAX = 20000
TABLE_MODES = {3: 8, 4: 9}  # levels: satp's mode

Answer = Callable[[list[int]], int]  # from a function's arguments to its result


def entry(pa: int, bits: int) -> int:
    return pa // PAGE << 10 | bits


def walk_text(table: PageTable, va: int) -> str:
    """The walk of an address, level by level, for reports."""
    lines = [f"page walk of {va:#x}:"]
    at = table.root
    for level in reversed(range(table.levels)):
        index = va >> 12 + 9 * level & 511
        value = int.from_bytes(table.memory.read(at + 8 * index, 8), "little")
        lines.append(f"  level {level}: table {at:#x}, entry {index}: {value:#x}")
        if not value & V or value & (R | W | X):
            break
        at = (value >> 10 & (1 << 44) - 1) * PAGE
    return "\n".join(lines)


@dataclass
class PageSource:
    """Answers every call of the page allocator."""

    bench: Bench
    next_page: int  # physical
    end: int
    out: dict[int, int] = field(default_factory=dict)  # linear address: count
    handed_out: int = 0
    taken: int = 0  # off a list, or directly
    left: int = 1 << 40  # pages until there are none

    def page(self, clear: bool = False) -> int:
        """A page for the grader: its linear address."""
        assert self.next_page < self.end, "the grader has run out of pages"
        page = self.next_page
        self.next_page += PAGE
        self.bench.physical.write(page, bytes(PAGE) if clear else RUBBISH * (PAGE // 8))
        linear = page + self.bench.linear_offset
        self.out[linear] = 1
        return linear

    def _take(self, clear: bool = False) -> int:
        if self.left == 0:
            return 0
        self.left -= 1
        self.handed_out += 1
        return self.page(clear)

    def _give_back(self, page: int, caller: str) -> None:
        if page not in self.out:
            fail(
                expected=f"{caller} gets a page that page_alloc returned, once",
                found=f"{caller}({page:#x})",
                where=self.bench.where(),
            )
        del self.out[page]

    # The functions of page_alloc.h

    def page_alloc(self) -> int:
        self.taken += 1
        return self._take()

    def page_free(self, page: int) -> int:
        self._give_back(page, "page_free")
        return 0

    def page_list_fill(self, pages: int, count: int, clear: int) -> int:
        if count > self.left:
            return -ENOMEM
        for _ in range(count):
            page = self._take(bool(clear & 1))
            self.bench.set_word(page, self.bench.word(pages))
            self.bench.set_word(pages, page)
        return 0

    def page_list_take(self, pages: int) -> int:
        page = self.bench.word(pages)
        if page not in self.out:
            fail(
                expected="page_list_take gets a list that is not empty",
                found=f"a list whose first page is {page:#x}",
                where=self.bench.where(),
            )
        self.bench.set_word(pages, self.bench.word(page))
        self.bench.set_word(page, 0)
        self.taken += 1
        return page

    def page_list_drop(self, pages: int) -> int:
        for page in self.listed(pages):
            self._give_back(page, "page_list_drop")
        self.bench.set_word(pages, 0)
        return 0

    def page_count_add(self, page: int, change: int) -> int:
        if page not in self.out:
            fail(
                expected="page_count_add gets the linear address of an allocated page",
                found=f"page_count_add({page:#x}, …)",
                where=self.bench.where(),
            )
        change -= (change >> 63 & 1) << 64
        self.out[page] += change
        return self.out[page]

    def page_get(self, page: int) -> int:
        self.page_count_add(page, 1)
        return 0

    def listed(self, pages: int) -> list[int]:
        """The pages on a struct page_list."""
        result = []
        page = self.bench.word(pages)
        while page in self.out and page not in result:
            result.append(page)
            page = self.bench.word(page)
        return result

    @property
    def answers(self) -> dict[str, Answer]:
        return {
            "page_alloc": lambda a: self.page_alloc(),
            "page_free": lambda a: self.page_free(a[0]),
            "page_get": lambda a: self.page_get(a[0]),
            "page_count_add": lambda a: self.page_count_add(a[0], a[1]),
            "page_list_fill": lambda a: self.page_list_fill(a[0], a[1], a[2]),
            "page_list_take": lambda a: self.page_list_take(a[0]),
            "page_list_drop": lambda a: self.page_list_drop(a[0]),
        }


@dataclass
class Bench:
    """The hart, the grader's first table, and calls on it."""

    system: System
    hart: int
    tree: Devicetree
    linear_offset: int
    pages: PageSource = field(init=False)

    @property
    def physical(self) -> PhysicalMemory:
        return self.system.physical

    def word(self, address: int) -> int:
        """Memory as the hart sees it."""
        return int.from_bytes(self.system.remote.read_virtual(self.hart, address, 8), "little")

    def set_word(self, address: int, value: int) -> None:
        self.system.remote.write_virtual(self.hart, address, (value & MASK).to_bytes(8, "little"))

    def variable(self, name: str, size: int = 8) -> int:
        data = self.system.remote.read_virtual(self.hart, self.system.symbols[name], size)
        return int.from_bytes(data, "little")

    def where(self) -> str:
        return f"hart {self.hart}: {self.system.harts.where(self.hart)}"

    def table(self, root: int, levels: int) -> PageTable:
        """The tree of tables behind a root at this linear address."""
        root -= self.linear_offset
        return PageTable(self.physical, TABLE_MODES[levels] << 60 | root // PAGE)

    # Running

    def run(self, *places: int | str, skipped: tuple[str, ...] = ()) -> int:
        """Let the hart run to one of the places, the allocator's calls answered
        on the way; where it has come. Functions that are skipped return 0."""
        harts, remote = self.system.harts, self.system.remote
        answers = {harts.address(name): answer for name, answer in self.pages.answers.items()}
        answers |= {harts.address(name): lambda a: 0 for name in skipped}
        targets = {harts.address(place) for place in places}
        trap = harts.address("boot_trap")
        calls, tables = 0, self.pages.taken
        with remote.breakpoints(*answers, *targets, trap):
            while True:
                at = harts.run(*answers, *targets, trap, harts=[self.hart]).address
                if at in targets:
                    return at
                if at == trap:
                    self._fail_by_trap()
                calls += 1
                if calls > CALLS_MAX or self.pages.taken - tables > TABLES_MAX:
                    self._fail_by_small_leaves(calls, self.pages.taken - tables)
                arguments = remote.general_registers(self.hart)[A0 : A0 + ARGUMENTS]
                harts.return_now(self.hart, answers[at](arguments) & MASK)

    def _fail_by_small_leaves(self, calls: int, tables: int) -> None:
        fail(
            expected="leaves of 2 MiB and 1 GiB where the alignment of both addresses allows them",
            found=f"{tables} pages taken for tables, {calls} calls of page_alloc.h, and no end",
            where="called from "
            + self.system.symbols.describe(self.system.remote.register(self.hart, "ra")),
            hint="with leaves of 4 KiB each 2 MiB takes a table; does your loop come to an end?",
        )

    def _fail_by_trap(self) -> None:
        cause, pc, address, satp = (
            self.system.remote.register(self.hart, name)
            for name in ("scause", "sepc", "stval", "satp")
        )
        fail(
            expected="no trap in the kernel",
            found=f"scause {cause}, stval {address:#x} at {self.system.symbols.describe(pc)}",
            where=walk_text(PageTable(self.physical, satp), address),
        )

    def call(self, function: str, *arguments: int, ends: tuple[str, ...] = ()) -> int | str:
        """Call a function of the kernel: its result; or where it has come, if
        that is one of `ends`, which don't return."""
        harts, remote = self.system.harts, self.system.remote
        saved = harts.begin_call(self.hart, function, *arguments)
        back = remote.register(self.hart, "ra")
        at = self.run(back, *ends)
        for name in ends:
            if at == harts.address(name):
                return name
        result = remote.register(self.hart, "a0")
        remote.restore_registers(self.hart, saved)
        return result

    def steps(self, function: str, *arguments: int) -> Iterator[int]:
        """Call a function, one instruction at a time, which it gives before it
        is executed."""
        harts, symbols = self.system.harts, self.system.symbols
        answers = {harts.address(name): answer for name, answer in self.pages.answers.items()}
        harts.begin_call(self.hart, function, *arguments)
        back, pc = self.system.remote.register(self.hart, "ra"), symbols[function]
        for _ in range(STEPS_MAX):
            if pc == back:
                return
            if pc in answers:
                given = self.system.remote.general_registers(self.hart)[A0 : A0 + ARGUMENTS]
                harts.return_now(self.hart, answers[pc](given) & MASK)
                pc = self.system.remote.pc(self.hart)
            else:
                yield symbols.instruction(pc) or 0
                pc = harts.step(self.hart, pc)
        fail(
            expected=f"{function} returns",
            found=f"it has not after {STEPS_MAX} instructions",
            where=self.where(),
        )

    def run_to_kernel_table(self) -> None:
        """Run the given part of the boot to the call of kernel_table_init. The
        grader's first table has the linear map already."""
        remote = self.system.remote
        registers = remote.general_registers(self.hart)
        registers[PC] = self.system.symbols["boot_main"]
        remote.set_general_registers(self.hart, registers)
        self.run("kernel_table_init", skipped=("boot_table_add_linear", "page_alloc_init"))

    def run_kernel_table_init(self) -> PageTable:
        """… and through it: the table that it has installed."""
        self.run_to_kernel_table()
        self.run(self.system.remote.register(self.hart, "ra"))
        return PageTable(self.physical, self.system.remote.register(self.hart, "satp"))

    # Tables made by the grader

    def new_table(self) -> int:
        return self.pages.page(clear=True)

    def put(self, root: int, levels: int, va: int, value: int, level: int = 0) -> int:
        """Make an entry, and the tables on the way: its linear address."""
        table = root
        for at in range(levels - 1, level, -1):
            slot = table + (va >> 12 + 9 * at & 511) * 8
            pointer = self.word(slot)
            if not pointer & V:
                pointer = entry(self.new_table() - self.linear_offset, V)
                self.set_word(slot, pointer)
                self.pages.out[table] += 1
            table = (pointer >> 10) * PAGE + self.linear_offset
        slot = table + (va >> 12 + 9 * level & 511) * 8
        self.set_word(slot, value)
        return slot

    def contents(self, root: int, levels: int) -> dict[int, bytes]:
        """All table pages, by physical address."""
        return {page: self.physical.read(page, PAGE) for page in self.table(root, levels).tables()}


def _first_table(bench: Bench, load_address: int, tree_address: int) -> int:
    """Image, RAM and devicetree, everything that the kernel may expect of a
    first table but the identity map; satp."""
    system = bench.system
    root = bench.new_table()

    def gib(va: int, pa: int, bits: int) -> None:
        bench.physical.write(
            root - bench.linear_offset + (va >> 30 & 511) * 8,
            entry(pa // GIB * GIB, bits).to_bytes(8, "little"),
        )

    image = bench.new_table() - bench.linear_offset
    size = max(segment.virtual + segment.size for segment in system.symbols.segments) - KERNEL_IMAGE
    leaves = [
        entry(load_address + at, V | R | W | X | A | D).to_bytes(8, "little")
        for at in range(0, size, 2 * MIB)
    ]
    bench.physical.write(image, b"".join(leaves))
    slot = root - bench.linear_offset + (KERNEL_IMAGE >> 30 & 511) * 8
    bench.physical.write(slot, entry(image, V).to_bytes(8, "little"))
    for start, length in bench.tree.memory:
        for pa in range(start // GIB * GIB, start + length, GIB):
            gib(pa + bench.linear_offset, pa, V | R | W | A | D)
    gib(BOOT_TREE_MAP, tree_address, V | R | A)
    gib(BOOT_TREE_MAP + GIB, tree_address + GIB, V | R | A)
    return TABLE_MODES[3] << 60 | (root - bench.linear_offset) // PAGE


def make_bench(system: System, tree: Devicetree | None = None) -> Bench:
    """Run the firmware and prepare the hart that it chose. With a devicetree
    the kernel is told another machine than there is."""
    hart = system.run_to_entry()
    remote, symbols = system.remote, system.symbols
    if tree is not None:
        system.replace_devicetree(hart, tree.flatten())
    tree = system.read_devicetree(hart)
    load_address = remote.pc(hart)
    linear_offset = LINEAR_MAP - addressmap.linear_base(tree)
    bench = Bench(system, hart, tree, linear_offset)
    start = tree.memory[0][0]
    pool = start + (HIGH if load_address >= start + LOW else LOW)
    bench.pages = PageSource(bench, pool, pool + 16 * MIB)

    registers = remote.general_registers(hart)
    satp = _first_table(bench, load_address, registers[A1])
    for name, value in (
        ("linear_offset", linear_offset),
        ("image_offset", KERNEL_IMAGE - load_address),
    ):
        system.physical.set_u64(load_address + symbols[name] - KERNEL_IMAGE, value)
    registers[RA] = 0
    registers[GP] = symbols["global_page"]
    registers[TP] = symbols["boot_hart"]
    registers[SP] = symbols["boot_stack"] + STACK_SIZE
    registers[PC] = symbols["boot_main"]
    remote.set_register(hart, "sie", 0)
    remote.set_register(hart, "stvec", symbols["boot_trap"])
    remote.set_register(hart, "satp", satp)
    remote.set_general_registers(hart, registers)
    return bench
