"""Exercise 1: unmap on one hart."""

from __future__ import annotations

import pytest
from process_bench import (
    DATA,
    DEVICE,
    EBADF,
    EINVAL,
    EXECUTOR,
    HANDLES,
    OTHER,
    SPACE,
    SPINS,
    USER_END,
    Bench,
)
from stag.pagetable import PAGE, R, U, W
from stag.verdict import check

WHERE = "call_unmap, unmap_range (kernel/unmap.c)"
DROP = "unmap_drop (kernel/unmap.c)"
UART = 0x10000000


@pytest.fixture
def bench(scene) -> Bench:
    return Bench(scene())


def check_result(found: int, wanted: int, what: str) -> None:
    check(found == wanted, f"{what} returns {wanted}", str(found), "call_unmap (kernel/unmap.c)")


def check_gone(bench: Bench, space: int, va: int) -> None:
    page = bench.mapped(space, va)
    check(page is None, f"nothing is mapped at {va:#x} any more", f"page {page or 0:#x}", WHERE)


def check_there(bench: Bench, space: int, va: int, page: int) -> None:
    found = bench.mapped(space, va)
    text = f"page {found:#x}" if found else "nothing"
    check(found == page, f"page {page:#x} is still mapped at {va:#x}", text, WHERE)


def test_unmap_takes_the_range(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    pages = [bench.memory(space, DATA + i * PAGE) for i in range(6)]
    check_result(bench.unmap(executor, DATA + PAGE, 3), 0, "unmap of three pages")
    for i in (1, 2, 3):
        check_gone(bench, space, DATA + i * PAGE)
    for i in (0, 4, 5):
        check_there(bench, space, DATA + i * PAGE, pages[i])


def test_unmapped_page_is_free(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    bench.memory(space, OTHER)
    pages = [bench.memory(space, DATA + i * PAGE) for i in range(3)]
    bench.unmap(executor, DATA, 3)
    check_gone(bench, space, DATA)
    counts = bench.counts()
    for page in pages:
        check(
            page not in counts,
            f"page {page:#x} is free: its only mapping is gone",
            f"it is allocated, with count {counts.get(page)}",
            DROP,
        )


def test_shared_page_stays(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    other = bench.space("other space")
    page = bench.memory(space, DATA)
    bench.share(page, other, DATA)
    bench.unmap(executor, DATA, 1)
    check_gone(bench, space, DATA)
    check_there(bench, other, DATA, page)
    count = bench.counts().get(page)
    check(
        count == 1,
        "the page has count 1: its mapping in another space is left",
        f"count {count}" if count is not None else "the page is free",
        DROP,
        "a mapping that goes takes one count with it",
    )


def test_place_can_be_mapped_again(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    bench.memory(space, OTHER)
    for i in range(3):
        bench.memory(space, DATA + i * PAGE)
    bench.unmap(executor, DATA, 1)
    page = bench.page()
    error = bench.scene.call_signed(0, "map_page", space, DATA, bench.pa(page), R | W | U)
    check(
        error == 0,
        "map_page where something was unmapped returns 0",
        str(error),
        "unmap_range (kernel/unmap.c)",
        "an empty entry is 0, its address gone as well",
    )
    check_there(bench, space, DATA, page)


def test_executor_handle(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    target = bench.executor(bench.space("other space"), "target")
    bench.handle(space, HANDLES, target, EXECUTOR)
    check_result(bench.unmap(executor, HANDLES, 1), 0, "unmap of a handle")
    check_gone(bench, space, HANDLES)
    left = bench.references(target, "executor")
    check(
        left == 1,
        "the executor has 1 reference left: the handle's is given back",
        f"{left}",
        DROP,
        "executor_put, not page_put: its page is not counted by mappings",
    )


def test_space_handle(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    target = bench.space("target")
    bench.handle(space, HANDLES, target, SPACE)
    check_result(bench.unmap(executor, HANDLES, 1), 0, "unmap of a handle")
    check_gone(bench, space, HANDLES)
    left = bench.references(target, "space")
    check(
        left == 1,
        "the space has 1 reference left: the handle's is given back",
        f"{left}",
        DROP,
        "space_put, not page_put: its page is not counted by mappings",
    )


def test_device(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    bench.must("map_page", space, DATA, UART, DEVICE | R | W | U)
    check_result(bench.unmap(executor, DATA, 1), 0, "unmap of a device page")
    check(
        bench.table(space).lookup(DATA) is None,
        "the device page is not mapped any more",
        "it is",
        WHERE,
    )


def test_unmap_in_another_space(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    other = bench.space("other space")
    page = bench.memory(space, DATA)
    bench.memory(other, DATA)
    bench.handle(space, HANDLES, other, SPACE)
    before = bench.references(other, "space")
    check_result(bench.unmap(executor, DATA, 1, HANDLES), 0, "unmap in another space")
    check_gone(bench, other, DATA)
    check_there(bench, space, DATA, page)
    after = bench.references(other, "space")
    check(
        after == before,
        f"after the call the space has {before} references, as before",
        str(after),
        "call_unmap (kernel/unmap.c)",
        "call_space takes a reference for its caller",
    )


def test_unmap_arguments(bench: Bench) -> None:
    space, executor = bench.process(SPINS)
    page = bench.memory(space, DATA)
    bench.handle(space, HANDLES, executor, EXECUTOR)
    for what, arguments, wanted in (
        ("unmap at an address that is not aligned", (0, DATA + 8, 1), EINVAL),
        ("unmap of no pages", (0, DATA, 0), EINVAL),
        ("unmap at the end of the user half", (0, USER_END, 1), EINVAL),
        ("unmap in the kernel half", (0, -PAGE, 1), EINVAL),
        ("unmap beyond the end of the user half", (0, USER_END - PAGE, 2), EINVAL),
        ("unmap of so many pages that the size wraps", (0, DATA, (1 << 52) + 1), EINVAL),
        ("unmap with no handle at that address", (HANDLES + PAGE, DATA, 1), EBADF),
        ("unmap with the handle of an executor", (HANDLES, DATA, 1), EBADF),
    ):
        handle, va, pages = arguments
        check_result(bench.unmap(executor, va & (1 << 64) - 1, pages, handle), wanted, what)
        check_there(bench, space, DATA, page)
    bench.memory(space, USER_END - PAGE)
    check_result(bench.unmap(executor, USER_END - PAGE, 1), 0, "unmap of the last page")
    check_gone(bench, space, USER_END - PAGE)
