"""Exercise 6: all banks of RAM, each page of them, once."""

from __future__ import annotations

from pathlib import Path

from allocator_bench import ALLOCATED, CACHE_SIZE, HARTS, PAGE, Bench, read_banks
from full_machine import FullMachine, drain, odd_pages
from stag.devicetree import of_qemu
from stag.explore import Thread
from stag.grade_machine import GradedSystem
from stag.model import Call
from stag.scene import Scene
from stag.verdict import check

MIB = 1 << 20
MASK = (1 << 64) - 1
PIECES = ((0x80000000, 40 * MIB), (0x8C000000, 24 * MIB + 5 * PAGE))
MEMORY = "256M"
DUMMY = 1  # a page that may stay out of reach
CYCLES = 5
ATOMIC = "pages_free is changed by an atomic addition, of what was freed or taken"


def test_every_page_is_handed_out_once(full_machine: FullMachine) -> None:
    drained = full_machine.drained
    check(
        not drained.endless,
        expected=f"page_alloc returns 0 when all {drained.pages} pages are allocated",
        found=f"it still returns pages after {drained.count} of them",
    )
    new = len(drained.after - drained.before)
    check(
        drained.count == new,
        expected="each page that page_alloc returns is another one",
        found=f"page_alloc returned {drained.count} pages, but {new} have become allocated",
        hint="think of the last page: the last of a bank, and the last of the queue",
    )
    missing = drained.pages - len(drained.after)
    check(
        missing <= DUMMY,
        expected=f"all {drained.pages} pages of the {len(drained.banks)} banks are handed out"
        f" before page_alloc returns 0 ({DUMMY} may stay out of reach)",
        found=f"{missing} were never handed out",
        where=unreached(full_machine),
        hint="a refill goes on to the next bank; the last page of a bank is a page, too",
    )


def unreached(full_machine: FullMachine) -> str:
    """How much of each bank is not handed out."""
    drained = full_machine.drained
    lines = []
    for bank in drained.banks:
        have = sum(1 for page in drained.after if page in bank)
        lines.append(f"bank {bank.base:#x}: {have} of {bank.pages} pages are allocated")
    return "\n          ".join(lines)


def test_boot_leaves_the_mark_low(bench: Bench) -> None:
    marked = sum(min(bank.marked, bank.size) // PAGE for bank in bench.banks)
    allocated = sum(
        bench.entry(bank.base + offset) & ALLOCATED
        for bank in bench.banks
        for offset in range(0, min(bank.marked, 2 * MIB, bank.size), PAGE)
    )
    most = allocated + CACHE_SIZE * len(HARTS)
    check(
        marked <= most,
        expected=f"after boot {allocated} pages are allocated; the marks stand at most the harts'"
        f" caches above that, at {most} pages",
        found=f"{marked} pages lie below the marks",
        hint="bank.h: pages that were never handed out lie above the mark; only refills move it",
    )


def pages_free(bench: Bench) -> int:
    """global.h: pages in the free queue and above the marks."""
    scene = bench.scene
    offset = scene.offset("global", "pages_free")
    return scene.memory().u64(scene.symbols["global_page"] + offset)


def check_two_at_a_time(full: Bench) -> None:
    """pages_free is changed by one atomic step: by two harts that free chains,
    and by one that allocates while another frees."""
    base = pages_free(full)

    def freeing(hart: int, count: int) -> Thread:
        return Thread(
            hart, Call("page_free_chain", (full.chain(full.next_pages(count), hart),))
        )

    def kept(wanted: int) -> str | None:
        found = pages_free(full)
        return None if found == wanted else f"pages_free is not {wanted} but {found}"

    full.scene.explore(
        [freeing(0, 2), freeing(1, 3)], lambda _: kept(base + 5), models=("sc",), hint=ATOMIC
    )

    def oracle(scene: Scene) -> str | None:
        got = bool(scene.world.harts[0].results[0]) + len(full.collect(HARTS))
        return kept(base) if got == 3 else None  # lost pages are another test's

    full.share(1)
    full.scene.explore(
        [Thread(0, Call("page_alloc")), freeing(1, 2)], oracle, models=("sc",), hint=ATOMIC
    )
    full.held |= set(full.collect(HARTS))


def test_pages_free_is_kept(full: Bench) -> None:
    """On a machine without a free page; then pages come and go."""
    base = pages_free(full)
    check(base <= DUMMY, "with all pages handed out pages_free is 0", f"{base}")
    for turn in range(1, CYCLES + 1):
        pages = full.next_pages(40)
        full.scene.call(1, "page_free_chain", full.chain(pages, 1))
        most = base + len(pages)
        found = pages_free(full)
        check(
            most - CACHE_SIZE <= found <= most,
            expected=f"pages_free is {most} when a chain of {len(pages)} pages was freed, time"
            f" {turn} (less what the hart's cache took)",
            found=f"{found}",
            hint="global.h: pages_free counts the free queue and what is above the marks",
        )
        full.held |= set(full.collect(HARTS))
        found = pages_free(full)
        check(
            found == base,
            expected=f"pages_free is {base} again when all were allocated, time {turn}",
            found=f"{found}",
            hint="what a refill takes leaves pages_free",
        )
    check_two_at_a_time(full)


def check_counts(full: Bench) -> None:
    """page_get and its like do with a page of each bank what they do with one of
    the largest, whatever that is."""
    done = {}
    for bank in full.banks:
        page = next(page for page in sorted(full.held) if page in bank)
        chain, seen = full.structure(), []
        for name, argument in (
            ("page_get", 0),
            ("page_put", chain),
            ("page_count_add", 4),
            ("page_count_add", -4),
            ("page_retire", chain),
        ):
            full.scene.call(0, name, page, argument & MASK)
            seen.append(f"{name}: {full.entry(page):#x}")
        seen.append(f"pages in the chain: {full.scene.field(chain, 'page_chain', 'count')}")
        done[bank] = ", ".join(seen)
    wanted = done[max(full.banks, key=lambda bank: bank.size)]
    for bank, found in done.items():
        check(
            found == wanted,
            expected=f"of a page of each bank the entry becomes, after {wanted}",
            found=found,
            where=f"a page of the bank at {bank.base:#x}",
        )


def test_two_banks(boot, ready, full: Bench, tmp_path: Path) -> None:
    """A machine with a hole in its RAM."""
    check_counts(full)
    tree = of_qemu(harts=2, memory=MEMORY)
    tree.set_memory(*PIECES)
    system: GradedSystem = ready(
        harts=2, memory=MEMORY, devicetree=tree.write(tmp_path / "machine.dtb")
    )
    assert system.boot_hart is not None
    hart = system.boot_hart
    for turn in ("", " after all were freed"):
        drained = drain(system, hart)
        missing = drained.pages - len(drained.after)
        for start, size in PIECES:
            check_piece(system, drained.after, start, size, turn)
        check(
            drained.each_once and missing <= DUMMY,
            expected=f"every page of the {len(drained.banks)} banks is handed out once{turn}:"
            f" {drained.pages - len(drained.before)} pages",
            found=f"page_alloc returned {drained.count}, {missing} were not handed out",
        )
        system.harts.call(hart, "page_list_drop", drained.list_head)
        left = odd_pages(system) - drained.before - {drained.list_head}
        check(
            not left,
            expected="page_free takes back the pages of every bank",
            found=f"{len(left)} of {drained.count} pages are still marked allocated",
        )


def check_piece(
    system: GradedSystem, allocated: set[int], start: int, size: int, turn: str
) -> None:
    banks = read_banks(system.symbols, system.memory)
    inside = [b for b in banks if start <= system.memory.translate(b.base) < start + size]
    pages = sum(bank.pages for bank in inside)
    have = sum(1 for page in allocated if any(page in bank for bank in inside))
    check(
        have >= pages - DUMMY,
        expected=f"the {pages} pages of the RAM at {start:#x} are all handed out{turn}",
        found=f"{have} are",
    )
