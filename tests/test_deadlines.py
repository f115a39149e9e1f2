"""The deadlines are a leftist heap, whatever goes in and comes out: so each of them
takes few steps. Pages stand for executors here."""

from __future__ import annotations

import random

from conftest import BootSystem
from stag.symbols import Struct
from stag.system import System

NODES = 24
SOON = 1 << 40  # ticks: none of them passes
HELD = 1 << 32  # references: nobody drops the last
NONE = (1 << 64) - 1
NOTHING = {"heap_rank": 0}  # where a node has no child


def make_node(system: System, layout: Struct) -> int:
    """A page that is enough of an executor for the heap."""
    page = system.harts.call(0, "page_alloc")
    system.harts.call(0, "page_zero", page)
    system.memory.set_u64(page + layout["references"].offset, HELD)
    return page


def read_heap(system: System, layout: Struct) -> dict[int, dict[str, int]]:
    """All nodes that the root leads to, by address, a parent before its children."""
    heap: dict[int, dict[str, int]] = {}
    ahead = [system.variable("heap")]
    while ahead:
        node = ahead.pop()
        if node:
            assert node not in heap, "a node is in the heap twice"
            heap[node] = layout.decode(system.memory.read(node, layout.size))
            ahead += [heap[node]["heap_left"], heap[node]["heap_right"]]
    return heap


def check_heap(heap: dict[int, dict[str, int]]) -> None:
    for address, node in heap.items():
        left, right = (heap.get(node[side], NOTHING) for side in ("heap_left", "heap_right"))
        assert left["heap_rank"] >= right["heap_rank"], "the heap leans to the right"
        assert node["heap_rank"] == right["heap_rank"] + 1, "a node's rank is wrong"
        for child in left, right:
            if child is not NOTHING:
                assert child["heap_parent"] == address, "a node knows another parent"
                assert child["deadline"] >= node["deadline"], "a later deadline is nearer"


def test_heap_leans_to_the_left(boot_system: BootSystem) -> None:
    system = boot_system(harts=1)
    system.run_to_prompt()
    layout = system.symbols.struct("executor")
    chance = random.Random(1)
    outside = [make_node(system, layout) for _ in range(NODES)]
    inside: dict[int, int] = {}
    for step in range(4 * NODES):
        # They become more at first, and fewer in the end.
        if not inside or (outside and chance.randrange(4 * NODES) > step):
            node = outside.pop()
            inside[node] = SOON + chance.randrange(NODES)
            system.harts.call(0, "deadline_insert", node, inside[node], 0)
        else:
            node = chance.choice(list(inside))
            del inside[node]
            outside.append(node)
            system.harts.call(0, "deadline_take_out", node)
        heap = read_heap(system, layout)
        assert {at: node["deadline"] for at, node in heap.items()} == inside
        check_heap(heap)
        assert system.harts.call(0, "deadline_nearest") == min(inside.values(), default=NONE)
