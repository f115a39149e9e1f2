"""Exercise 5: the calls map and share, by their handlers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from executor_stage import (
    A0,
    DEVICE,
    EACCES,
    EBADF,
    EEXIST,
    EINVAL,
    ENOMEM,
    EPERM,
    ESRCH,
    EXECUTE,
    EXECUTOR,
    HANDLE,
    READ,
    RO,
    RW,
    RX,
    SPACE,
    TYPE,
    TYPE_NAMES,
    WRITE,
    Stage,
    bits_text,
    entry_text,
    errno_text,
    signed,
)
from stag.pagetable import PAGE, A, D, R, U, V, W, X
from stag.verdict import check

TO_OTHER, TO_EXECUTOR, NO_HANDLE = 0x2000000000, 0x2000001000, 0x2000005000
WRITABLE, READABLE, CODE_PAGE, DEVICE_PAGE, HOLE = 0x10000, 0x11000, 0x12000, 0x13000, 0x14000
AREA = 0x4000000  # nothing is mapped, no table is there
EDGE = AREA + 0x1FE000  # two pages below the end of a lowest table
USER_END = 1 << 38
REPLACE = 1
MANY = 4096
RTC = 0x101000
NEVER = (0, WRITE, EXECUTE, WRITE | EXECUTE, READ | WRITE | EXECUTE, 8, 8 | READ)


@dataclass
class Two:
    """A caller in its space, which holds the handle of another space."""

    stage: Stage
    space: int
    caller: int
    other: int
    pages: dict[int, int]

    def map(self, space: int, va: int, pages: int, prot: int, flags: int = 0) -> int:
        return self.stage.handler("call_map", self.caller, space, va, pages, prot, flags).result

    def share(self, to: int, from_va: int, to_va: int, pages: int, prot: int) -> int:
        arguments = (0, from_va, to, to_va, pages, prot)
        return self.stage.handler("call_share", self.caller, *arguments).result

    def picture(self) -> dict[str, object]:
        """Everything that a call that fails must leave as it was."""
        objects = {va: self.stage.count(page) for va, page in self.pages.items()}
        return {
            "the caller's mappings": self.stage.user_leaves(self.space),
            "the other space's mappings": self.stage.user_leaves(self.other),
            "the counts of the pages": objects,
            "the references to the spaces": [
                self.stage.references("space", space) for space in (self.space, self.other)
            ],
            "the number of free pages": self.stage.free_pages(),
        }

    def check_refused(self, function: str, wanted: int, why: str, *arguments: int) -> None:
        """The call has this result and changes nothing."""
        before = self.picture()
        self.stage.check_handler(function, self.caller, wanted, *arguments, why=why)
        self.check_unchanged(before, function, errno_text(wanted))

    def check_unchanged(self, before: dict[str, object], function: str, what: str) -> None:
        after = self.picture()
        changed = [name for name in before if before[name] != after[name]]
        check(
            not changed,
            expected=f"a {function} that fails with {what} changes nothing",
            found=f"changed: {', '.join(changed)}",
            where="arguments are checked before anything is changed",
        )
        self.stage.check_locks(self.space, self.other)


def make_two(stage: Stage) -> Two:
    space = stage.space()
    caller = stage.executor(space)
    other = stage.space()
    pages = {va: stage.page(bytes([va >> 12]) * 64) for va in (WRITABLE, READABLE, CODE_PAGE)}
    stage.map(space, WRITABLE, pages[WRITABLE], RW)
    stage.map(space, READABLE, pages[READABLE], RO)
    stage.map(space, CODE_PAGE, pages[CODE_PAGE], RX)
    stage.must("map_page", space, DEVICE_PAGE, RTC, RW | DEVICE)
    stage.map(space, TO_OTHER, other, HANDLE | SPACE)
    stage.map(space, TO_EXECUTOR, stage.executor(other), HANDLE | EXECUTOR)
    return Two(stage, space, caller, other, pages)


@pytest.fixture
def two(ready) -> Two:
    return make_two(Stage(ready(harts=1)))


def check_leaf(two: Two, space: int, va: int, page: int | None, bits: int, what: str) -> int:
    """The entry at va: its page."""
    wanted = bits | V | A | (D if bits & W else 0)
    pte = two.stage.pte(space, va)
    check(
        pte & 0x3FF == wanted,
        expected=f"{what}: the entry at {va:#x} has the bits {bits_text(wanted)}",
        found=entry_text(pte),
        where="kernel/riscv/page_table.h says what the bits are",
    )
    found = (pte >> 10) * PAGE + two.stage.offset
    check(
        page is None or found == page,
        expected=f"{what}: the page {page or 0:#x} at {va:#x}",
        found=f"the page {found:#x}",
    )
    return found


def check_handle(two: Two, va: int, kind: int, target: int) -> None:
    """A shared handle is the same handle."""
    pte = two.stage.pte(two.other, va)
    page = (pte >> 10) * PAGE + two.stage.offset
    check(
        pte & (V | R | X | U | TYPE) == V | R | kind and page == target,
        expected=f"at {va:#x} a leaf of the type {TYPE_NAMES[kind]}, with R, without X and U, that"
        f" leads to {target:#x}",
        found=f"the entry is {entry_text(pte)}, it leads to {page:#x}",
        where="a handle is shared whole, whatever rights were asked for",
    )


# map


def test_map_memory(two: Two) -> None:
    """Of every right, in the own space and another, across the end of a table."""
    done = []
    for number, (argument, space, prot, bits) in enumerate(
        (
            (0, two.space, READ | WRITE, RW),
            (0, two.space, READ, RO),
            (TO_OTHER, two.other, READ | EXECUTE, RX),
            (TO_OTHER, two.other, READ | WRITE, RW),
        )
    ):
        va = EDGE + (number << 30)
        result = two.map(argument, va, 5, prot)
        check(result == 0, f"map of 5 pages at {va:#x} with prot {prot} is 0", errno_text(result))
        for at in range(va, va + 5 * PAGE, PAGE):
            page = check_leaf(two, space, at, None, bits, f"map with prot {prot}")
            done.append(page)
            check(
                two.stage.read(page, PAGE) == bytes(PAGE),
                expected="mapped memory is zero",
                found=f"the page at {at:#x} holds something",
            )
            count = two.stage.count(page)
            check(count == 1, "the count of a page that is mapped once is 1", f"{count}")
        around = [two.stage.pte(space, at) for at in (va - PAGE, va + 5 * PAGE)]
        check(not any(around), "nothing beside the five pages", f"{[hex(pte) for pte in around]}")
    check(len(set(done)) == len(done), "a page of its own for each address", "the same page twice")
    two.stage.check_locks(two.space, two.other)
    two.stage.check_table_counts(two.space)
    two.stage.check_table_counts(two.other)


def test_map_memory_is_cleared(two: Two) -> None:
    """… also when the page was somebody's before."""
    used = [two.stage.call("page_alloc") & (1 << 64) - 1 for _ in range(8)]
    for page in used:
        two.stage.write(page, b"secret  " * (PAGE // 8))
        two.stage.call("page_free", page)
    result = two.map(0, AREA, 16, READ)
    check(result == 0, "map is 0", errno_text(result))
    pages = [(two.stage.pte(two.space, AREA + i * PAGE) >> 10) * PAGE for i in range(16)]
    full = [page for page in pages if two.stage.read(page + two.stage.offset, PAGE) != bytes(PAGE)]
    check(not full, "mapped memory is zero", f"{len(full)} of 16 pages hold what was there before")


def test_map_arguments(two: Two) -> None:
    good = (0, AREA, 1, READ, 0)
    for position, values, why in (
        (1, (0, AREA + 1, AREA + 8, USER_END, (1 << 64) - PAGE), "the address"),
        (2, (0, MANY + 1, 1 << 52, (1 << 64) - 1), "the number of pages"),
        (3, NEVER, "the rights: read alone, read and write, or read and execute"),
        (4, (2, 3, 1 << 32), "the flags"),
    ):
        for value in values:
            arguments = (*good[:position], value, *good[position + 1 :])
            two.check_refused("call_map", -EINVAL, why, *arguments)
    two.check_refused("call_map", -EINVAL, "it ends above", 0, USER_END - PAGE, 2, READ, 0)
    for handle in (TO_EXECUTOR, WRITABLE, NO_HANDLE):
        two.check_refused("call_map", -EBADF, "no space's handle", handle, AREA, 1, READ, 0)


def test_map_over_something(two: Two) -> None:
    """-EEXIST wherever in the range it is, and nothing is mapped around it."""
    result = two.map(0, AREA + 0x1FF000, 1, READ)
    check(result == 0, "map is 0", errno_text(result))
    for va, pages in ((AREA + 0x1FF000, 1), (EDGE, 5), (AREA + 0x1FC000, 4), (AREA + 0x1FF000, 3)):
        two.check_refused("call_map", -EEXIST, "a page is mapped", 0, va, pages, READ | WRITE, 0)
    for va, what in ((TO_OTHER, "a handle"), (DEVICE_PAGE, "a device")):
        two.check_refused("call_map", -EEXIST, f"{what} is there", 0, va, 1, READ, 0)


def test_map_replaces(two: Two) -> None:
    """With MAP_REPLACE what was mapped gives way: other pages, given back."""
    before = {va: two.stage.pte(two.space, va) for va in (WRITABLE, READABLE)}
    free = two.stage.free_pages()
    result = two.map(0, WRITABLE, 2, READ, REPLACE)
    check(result == 0, "map with MAP_REPLACE is 0", errno_text(result))
    for va, page in two.pages.items():
        if va in before:
            new = check_leaf(two, two.space, va, None, RO, "MAP_REPLACE")
            check(new != page, "a new page", f"the old one, {page:#x}")
            check(two.stage.read(new, PAGE) == bytes(PAGE), "mapped memory is zero", "it is not")
            count = two.stage.count(page)
            check(count is None, "the page that was replaced is free", f"its count is {count}")
    after = two.stage.free_pages()
    check(after == free, f"{free} pages are free, as before", f"{after}")
    check_replaces_many(two)
    two.stage.check_table_counts(two.space)
    two.stage.check_locks(two.space)


def check_replaces_many(two: Two) -> None:
    """As many entries as there can be, with holes between: twice, so that the second time
    each of them gives way, and takes no more memory than the first."""
    stage = two.stage
    for va in (EDGE, EDGE + 600 * PAGE):
        result = two.map(0, va, 3, READ)
        check(result == 0, "map is 0", errno_text(result))
    free = []
    for what in ("with holes", "all of which is mapped"):
        stage.set_arguments(two.caller, 0, EDGE, MANY, READ | WRITE, REPLACE)
        stage.call("call_map", two.caller)
        result = signed(stage.word(two.caller + stage.layout("executor")["x"].offset + 8 * (A0 - 1)))
        check(
            result == 0,
            expected=f"map with MAP_REPLACE of {MANY} pages, {what}, is 0",
            found=errno_text(result),
        )
        free.append(stage.free_pages())
    leaves = stage.user_leaves(two.space)
    pages = {leaves.get(EDGE + number * PAGE, 0) >> 10 for number in range(MANY)}
    check(
        len(pages) == MANY and 0 not in pages,
        expected=f"a page of its own for each of {MANY} addresses",
        found=f"{len(pages - {0})} pages",
    )
    check(
        free[0] == free[1],
        expected=f"each of the {MANY} pages that were replaced is given back: {free[0]} are free,"
        " as before",
        found=f"{free[1]}",
    )


def check_out_of_memory(two: Two, function: str, *arguments: int) -> None:
    for n in range(1, 40):
        before = two.picture()
        outcome = two.stage.handler(function, two.caller, *arguments, fail_at=n)
        if outcome.pages_asked < n:
            check(n > 1, f"{function} asks for pages", "it asks for none")
            return
        check(
            outcome.result == -ENOMEM,
            expected=f"{function} is -ENOMEM when page_alloc number {n} finds no page",
            found=errno_text(outcome.result),
        )
        two.check_unchanged(before, function, "-ENOMEM")


def test_map_out_of_memory(two: Two) -> None:
    check_out_of_memory(two, "call_map", TO_OTHER, EDGE, 4, READ | WRITE, 0)
    check_out_of_memory(two, "call_map", 0, WRITABLE, 5, READ | WRITE, REPLACE)


def test_map_in_a_space_that_has_ended(two: Two) -> None:
    two.stage.call("space_exit", two.other)
    before = two.stage.free_pages()
    result = two.map(TO_OTHER, AREA, 1, READ)
    check(result == -ESRCH, "map into a space that has ended is -ESRCH", errno_text(result))
    check(two.stage.free_pages() == before, "nothing is lost", "pages are lost")


# share


def test_share_memory(two: Two) -> None:
    """The same pages, counted, with the rights asked for."""
    for number, (va, prot, bits) in enumerate(
        (
            (WRITABLE, READ | WRITE, RW),
            (WRITABLE, READ, RO),
            (WRITABLE, READ | EXECUTE, RX),
            (READABLE, READ, RO),
            (READABLE, READ | EXECUTE, RX),
            (CODE_PAGE, READ, RO),
        )
    ):
        to = AREA + number * PAGE
        references = [two.stage.references("space", space) for space in (two.space, two.other)]
        count = two.stage.count(two.pages[va]) or 0
        entry = two.stage.pte(two.space, va)
        result = two.share(TO_OTHER, va, to, 1, prot)
        check(result == 0, f"share of {va:#x} with prot {prot} is 0", errno_text(result))
        check_leaf(two, two.other, to, two.pages[va], bits, f"share with prot {prot}")
        found = two.stage.count(two.pages[va])
        check(
            found == count + 1,
            expected=f"a page's count is its number of mappings, {count + 1}",
            found=f"{found}",
        )
        check(
            two.stage.pte(two.space, va) == entry,
            expected="the source's own mapping stays as it is",
            found=f"{two.stage.pte(two.space, va):#x}, was {entry:#x}",
        )
        after = [two.stage.references("space", space) for space in (two.space, two.other)]
        check(
            after == references,
            expected=f"share gives back its references to the two spaces: {references}",
            found=f"{after}",
        )
    two.stage.check_locks(two.space, two.other)


def test_share_several(two: Two) -> None:
    """In the same order, across the end of a table, within one space too."""
    for handle, space, to in ((TO_OTHER, two.other, EDGE), (0, two.space, EDGE + (1 << 30))):
        to += PAGE
        result = two.share(handle, WRITABLE, to, 3, READ)
        check(result == 0, "share of three pages is 0", errno_text(result))
        for number, page in enumerate(two.pages.values()):
            check_leaf(two, space, to + number * PAGE, page, RO, f"page {number} of three")
        two.stage.check_table_counts(space)


def test_share_grows_no_rights(two: Two) -> None:
    two.stage.must("map_page", two.space, HOLE, RTC, RO | DEVICE)
    for va, prot, why in (
        (READABLE, READ | WRITE, "the source may not be written"),
        (CODE_PAGE, READ | WRITE, "the source may not be written"),
        (DEVICE_PAGE, READ | EXECUTE, "devices hold no code"),
        (HOLE, READ | WRITE, "the source, a device, may not be written"),
    ):
        two.check_refused("call_share", -EACCES, why, 0, va, TO_OTHER, AREA, 1, prot)
    both = (0, WRITABLE, TO_OTHER, AREA, 2, READ | WRITE)
    two.check_refused("call_share", -EACCES, "one of two may not be written", *both)


def test_share_of_a_device(two: Two) -> None:
    for va, prot, bits in ((AREA, READ, RO), (AREA + PAGE, READ | WRITE, RW)):
        result = two.share(TO_OTHER, DEVICE_PAGE, va, 1, prot)
        check(result == 0, f"share of a device page with prot {prot} is 0", errno_text(result))
        check_leaf(two, two.other, va, RTC + two.stage.offset, bits | DEVICE, "a device stays one")


def test_share_of_a_handle(two: Two) -> None:
    """Whole: whatever rights are asked for, it is the same handle, never a
    window into the object."""
    executor = (two.stage.pte(two.space, TO_EXECUTOR) >> 10) * PAGE + two.stage.offset
    before = two.stage.references("executor", executor)
    for number, prot in enumerate((READ, READ | WRITE, READ | EXECUTE)):
        to = AREA + number * PAGE
        result = two.share(TO_OTHER, TO_EXECUTOR, to, 1, prot)
        check(result == 0, "share of a handle is 0", errno_text(result))
        check_handle(two, to, EXECUTOR, executor)
    after = two.stage.references("executor", executor)
    check(
        after == before + 3,
        expected=f"each handle holds a reference: {before + 3}",
        found=f"{after}",
    )


def test_share_of_a_space(two: Two) -> None:
    """Into a space never started only if it is younger; whether the space that it names, or
    the one that it comes from, was started does not matter."""
    stage = two.stage
    younger = stage.space()
    stage.map(two.space, AREA, younger, HANDLE | SPACE)
    older = two.space
    stage.set("space", older, "references", stage.references("space", older) + 1)
    stage.map(two.space, AREA + PAGE, older, HANDLE | SPACE)
    itself = (0, TO_OTHER, TO_OTHER, AREA, 1, READ)
    two.check_refused("call_share", -EPERM, "a space never started may not hold itself", *itself)
    why = "a space never started may not hold an older one"
    stage.set("space", older, "live", 1)
    two.check_refused("call_share", -EPERM, why, 0, AREA + PAGE, TO_OTHER, AREA, 1, READ)
    before = stage.references("space", younger)
    result = two.share(TO_OTHER, AREA, AREA, 1, READ)
    check(result == 0, "share of a younger space's handle is 0", errno_text(result))
    check_handle(two, AREA, SPACE, younger)
    after = stage.references("space", younger)
    check(after == before + 1, f"each handle holds a reference: {before + 1}", f"{after}")
    stage.set("space", two.other, "live", 1)
    result = two.share(TO_OTHER, AREA + PAGE, AREA + PAGE, 1, READ)
    check(
        result == 0,
        expected="share of an older space's handle into a space that was started is 0",
        found=errno_text(result),
    )
    check_handle(two, AREA + PAGE, SPACE, older)


def test_share_arguments(two: Two) -> None:
    good = (0, WRITABLE, TO_OTHER, AREA, 1, READ)
    for position, values, why in (
        (1, (0, WRITABLE + 1, USER_END, (1 << 64) - PAGE), "the source's address"),
        (3, (0, AREA + 1, USER_END, (1 << 64) - PAGE), "the target's address"),
        (4, (0, MANY + 1, (1 << 64) - 1), "the number of pages"),
        (5, NEVER, "the rights"),
    ):
        for value in values:
            arguments = (*good[:position], value, *good[position + 1 :])
            two.check_refused("call_share", -EINVAL, why, *arguments)
    for position in (0, 2):
        for handle in (TO_EXECUTOR, WRITABLE, NO_HANDLE):
            arguments = (*good[:position], handle, *good[position + 1 :])
            two.check_refused("call_share", -EBADF, "no space's handle", *arguments)
    result = two.map(TO_OTHER, HOLE, 1, READ)
    check(result == 0, "map is 0", errno_text(result))
    two.stage.call("space_exit", two.other)
    for arguments in (good, (TO_OTHER, HOLE, 0, AREA, 1, READ)):
        two.check_refused("call_share", -ESRCH, "one of both spaces has ended", *arguments)


def test_share_all_or_nothing(two: Two) -> None:
    """A hole in the source, or something in the target, behind pages that
    could be shared."""
    hole = (0, CODE_PAGE, TO_OTHER, AREA, 3, READ)
    two.check_refused("call_share", -EINVAL, "the source has a hole", *hole)
    far = (0, AREA, TO_OTHER, AREA, 2, READ)
    two.check_refused("call_share", -EINVAL, "nothing is mapped at the source", *far)
    result = two.map(TO_OTHER, AREA + PAGE, 1, READ)
    check(result == 0, "map is 0", errno_text(result))
    taken = (0, WRITABLE, TO_OTHER, AREA, 2, READ)
    two.check_refused("call_share", -EEXIST, "the target's second page is taken", *taken)


def test_share_out_of_memory(two: Two) -> None:
    check_out_of_memory(two, "call_share", 0, WRITABLE, TO_OTHER, EDGE + PAGE, 3, READ)
