"""Exercises 3 and 4: several harts at a time, in every order."""

from __future__ import annotations

import pytest
from allocator_bench import CACHE_SIZE, Bench
from stag.explore import Thread
from stag.model import Call
from stag.scene import Scene
from stag.verdict import check

ALLOC = Call("page_alloc")
MANY = 160
STEPS = ("sc",)  # orders of steps alone
BUFFERS = ("sc", "pso")  # and of what reaches memory late


def results(scene: Scene, *harts: int) -> dict[str, int]:
    """What page_alloc returned as the first call of each hart."""
    return {f"hart {hart}": scene.world.harts[hart].results[0] for hart in harts}


# Exercise 3


def test_pages_reach_other_harts(full: Bench) -> None:
    """A hart that only frees hands pages on."""
    pages = full.next_pages(MANY)
    for page in pages:
        full.free(page, 1)
    found = full.collect([2])
    check(
        MANY - CACHE_SIZE <= len(found) <= MANY,
        expected=f"{MANY} pages were freed on hart 1, which may keep {CACHE_SIZE}: hart 2 can"
        f" allocate at least {MANY - CACHE_SIZE}",
        found=f"{len(found)}",
        hint="a full cache gives half of its pages to the queue",
    )
    rest = full.collect([1])
    check(
        len(found) + len(rest) == MANY and len(set(found + rest)) == MANY,
        expected=f"and hart 1 gets the rest, {MANY - len(found)}",
        found=f"{len(rest)}",
    )


def test_two_harts_allocate(full: Bench) -> None:
    full.share(4)
    free = full.reachable(0, 1, 2, 3)
    full.scene.explore(
        [Thread(0, ALLOC), Thread(1, ALLOC)],
        lambda scene: full.conserved(free, results(scene, 0, 1)),
        models=BUFFERS,
        hint="one hart at a time may take pages off the queue",
    )


def test_alloc_while_another_frees(full: Bench) -> None:
    full.share(1)
    page = full.free_to_the_brink(1)
    free = full.reachable(0, 1, 2, 3) + 1
    check(full.reachable(0) > 0, "hart 0 can allocate what hart 3 freed", "page_alloc returns 0")

    def oracle(scene: Scene) -> str | None:
        if scene.world.harts[0].results[0] == 0:
            return (
                "page_alloc on hart 0 returned 0, but there was a page all the time:"
                " it had been freed before, and hart 1 only frees"
            )
        return full.conserved(free, results(scene, 0))

    full.scene.explore(
        [Thread(0, ALLOC), Thread(1, Call("page_free", (page,)))],
        oracle,
        models=STEPS,
        hint="between the swap of the tail and the store behind it the queue is in two pieces",
    )


def test_two_harts_free(full: Bench) -> None:
    full.share(1)
    pages = [full.free_to_the_brink(hart) for hart in (0, 1)]
    free = full.reachable(0, 1, 2, 3) + 2
    full.scene.explore(
        [Thread(hart, Call("page_free", (pages[hart],))) for hart in (0, 1)],
        lambda scene: full.conserved(free, {}),
        models=STEPS,
        hint="swaps of the tail are in one order: what a swap returned is the caller's alone",
    )


def test_counts_of_many_harts(full: Bench) -> None:
    """page_get and page_put take no lock."""
    (page,) = full.next_pages(1)
    for _ in range(4):
        full.scene.call(0, "page_get", page)
    put = Call("page_put", (page, full.structure()))
    get = Call("page_get", (page,))
    cases = (
        ([Thread(0, get), Thread(1, get)], 7),
        ([Thread(0, get), Thread(1, put)], 5),
        ([Thread(0, put), Thread(1, put)], 3),
    )
    for threads, count in cases:
        names = " and ".join(f"{t.calls[0].function} on hart {t.hart}" for t in threads)
        full.scene.explore(
            threads,
            lambda _, count=count, names=names: full.check_count(
                page, count, f"a page with count 5 after {names}"
            ),
            models=BUFFERS,
            hint="one atomic step changes a count",
        )


def test_last_put_of_two(full: Bench) -> None:
    """Two owners drop the page: one of them frees it, and only one."""
    (page,) = full.next_pages(1)
    full.scene.call(0, "page_get", page)
    chains = [full.structure(), full.structure()]

    def oracle(scene: Scene) -> str | None:
        lengths = [len(full.chained(chain)) for chain in chains]
        if sum(lengths) != 1:
            return f"a page with count 2 after page_put on two harts is in {sum(lengths)} chains"
        return None

    full.scene.explore(
        [Thread(hart, Call("page_put", (page, chains[hart]))) for hart in (0, 1)],
        oracle,
        models=BUFFERS,
        hint="who frees the page is told by what the atomic step found",
    )


# Exercise 4


def freeing(full: Bench, hart: int, count: int) -> Thread:
    """A hart that frees a chain of its own."""
    return Thread(hart, Call("page_free_chain", (full.chain(full.next_pages(count), hart),)))


def test_two_chains_at_a_time(full: Bench) -> None:
    full.share(1)
    free = full.reachable(0, 1, 2, 3) + 5
    full.scene.explore(
        [freeing(full, 0, 2), freeing(full, 1, 3)],
        lambda scene: full.conserved(free, {}),
        models=STEPS,
        hint="swaps of the tail are in one order: what a swap returned is the caller's alone",
    )


def test_chain_while_another_allocates(full: Bench) -> None:
    """Hart 1 writes to two pages, links them into a chain and frees that; hart 0
    allocates a page and writes to it."""
    full.share(1)
    lists, chain = [full.structure(), full.structure()], full.structure()
    memory = full.scene.memory()
    page, other, mark = full.next_pages(3)
    full.held -= {page, other}
    for at, word in ((page, other), (other, 0), (lists[1], page), (lists[0], mark)):
        memory.set_u64(at, word)
    free = full.reachable(0, 1, 2, 3) + 2

    def oracle(scene: Scene) -> str | None:
        word = scene.memory().u64
        got = word(lists[0])
        if got == mark:
            return full.conserved(free, {})
        if word(got) != mark:
            return (
                f"hart 0 got page {got:#x} and wrote {mark:#x} into it, but it holds"
                f" {word(got):#x}: hart 1, which had it before, wrote later than that"
            )
        return full.conserved(free, {"hart 0": got})

    full.scene.explore(
        [
            Thread(0, Call("page_list_fill", (lists[0], 1, 0))),
            Thread(
                1,
                Call("page_list_take", (lists[1],)),
                Call("page_list_take", (lists[1],)),
                Call("page_put", (other, chain)),
                Call("page_put", (page, chain)),
                Call("page_free_chain", (chain,)),
            ),
        ],
        oracle,
        models=BUFFERS,
        hint="who follows a link must see the whole chain, and what was done with its pages"
        " before: the store that makes it reachable is a release",
    )


def test_last_owner_has_the_page_alone(full: Bench) -> None:
    """Hart 0 writes to a page and drops its count. Hart 1 drops the other one;
    if that was the last, it frees the page, gets it again and writes to it."""
    lists, chains = ([full.structure(), full.structure()] for _ in range(2))
    memory = full.scene.memory()
    page, mark = full.next_pages(2)
    full.scene.call(0, "page_get", page)
    for at, word in ((lists[0], page), (page, 0), (lists[1], mark)):
        memory.set_u64(at, word)
    got_it = False

    def oracle(scene: Scene) -> str | None:
        nonlocal got_it
        word = scene.memory().u64
        if word(lists[1]) == mark:
            return None  # it got none: the page is in hart 0's chain
        got_it = True
        if word(page) != mark:
            return (
                f"hart 1 dropped the last count of page {page:#x}, got the page anew and wrote"
                f" {mark:#x} into it, but it holds {word(page):#x}: that is from hart 0, which"
                " had dropped its count before"
            )
        return None

    full.scene.explore(
        [
            Thread(
                0,
                Call("page_list_take", (lists[0],)),
                Call("page_put", (page, chains[0])),
            ),
            Thread(
                1,
                Call("page_put", (page, chains[1])),
                Call("page_free_chain", (chains[1],)),
                Call("page_list_fill", (lists[1], 1, 0)),
            ),
        ],
        oracle,
        models=BUFFERS,
        hint="who drops a count is done with the page: its step is a release",
    )
    check(got_it, "hart 1 frees the page when it drops the last count", "it never got it")


@pytest.mark.parametrize("back", [0, 2], ids=["first", "last"])
def test_page_returns_while_another_allocates(full: Bench, back: int) -> None:
    """The ABA problem: what a hart has seen at the head is there again, but
    the queue behind it is another. Hart 1 allocates three pages and frees the
    first or the last of them; if it got none, a spare one."""
    full.share(3)
    free = full.reachable(0, 1, 2, 3)
    chain = full.structure()
    (spare,) = full.next_pages(1)
    hands = set(full.held)
    put = Call("page_put", (lambda got: got[back] or spare, chain))

    def oracle(scene: Scene) -> str | None:
        got = list(scene.world.harts[1].results[:3])
        given = got.pop(back)
        full.held = hands if given else hands - {spare}
        mine = {f"hart 1 (call {n})": page for n, page in enumerate(got, 1)}
        return full.conserved(free + (given == 0), results(scene, 0) | mine)

    full.scene.explore(
        [
            Thread(0, ALLOC),
            Thread(1, ALLOC, ALLOC, ALLOC, put, Call("page_free_chain", (chain,))),
        ],
        oracle,
        models=STEPS,
        hint="a page may leave the queue and come back between a look at it and the step that"
        " relies on that look",
    )


# Exercise 6


def test_two_harts_take_from_a_bank(bench: Bench) -> None:
    """Both refill from above the mark: who comes second sees it moved."""
    for hart in (0, 1):
        while not bench.shared_words(hart, "page_alloc"):
            bench.take(hart)
    hands = set(bench.held)

    def oracle(scene: Scene) -> str | None:
        bench.held = set(hands)
        for hart, page in enumerate(results(scene, 0, 1).values()):
            bench.note_taken(page, hart)
        for hart in (0, 1):
            for _ in range(CACHE_SIZE // 2):
                bench.take(hart)
        return None

    bench.scene.explore(
        [Thread(0, ALLOC), Thread(1, ALLOC)],
        oracle,
        models=BUFFERS,
        hint="putting the head back is a release: the marks belong to who pops",
    )
