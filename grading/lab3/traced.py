"""What a function does to a few words, in order: it runs in the model
(stag/model.py) on a copy of the stage, so that no access is missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from executor_stage import Stage
from stag.model import Event
from stag.scene import Scene
from stag.snapshot import Snapshot
from stag.verdict import check, fail

LOCK_BITS = 0xFFFFFFFF


@dataclass(frozen=True)
class Guarded:
    """A word that may be touched only while the locks of these spaces are held."""

    what: str
    address: int  # linear
    spaces: tuple[int, ...]


class Traced:
    """One call, and all that it did to these words, by their linear addresses."""

    def __init__(self, stage: Stage, *words: int) -> None:
        self.stage = stage
        self.scene = Scene(Snapshot.take(stage.system))
        self.world = self.scene.world
        self.world.shared = {self.key(word) for word in words}

    def key(self, address: int) -> int:
        """By which events know a word."""
        return (address - self.stage.offset) >> 3

    def call(self, function: str, *arguments: int) -> tuple[int, list[Event]]:
        """The function's result, and what it did."""
        self.world.trace = []
        result = self.scene.call(0, function, *arguments)
        return result, self.world.trace

    def where(self, event: Event) -> str:
        return self.stage.system.symbols.describe(event.pc)


def entry_address(stage: Stage, space: int, va: int) -> int:
    """Linear address of the entry that maps va."""
    leaf = stage.table(space).lookup(va)
    assert leaf is not None, f"nothing is mapped at {va:#x}"
    return leaf.at + stage.offset


def check_locked(
    stage: Stage, guarded: Sequence[Guarded], function: str, *arguments: int, said: str = ""
) -> None:
    """The function touches each of these words, and with the locks held."""
    lock = stage.layout("space")["lock"].offset
    locks = {space: space + lock for words in guarded for space in words.spaces}
    traced = Traced(stage, *locks.values(), *(words.address for words in guarded))
    _, events = traced.call(function, *arguments)
    spaces = {(traced.key(at), LOCK_BITS << at % 8 * 8): space for space, at in locks.items()}
    words = {traced.key(word.address): word for word in guarded}
    held: set[int] = set()
    touched: set[int] = set()
    for event in events:
        if (event.word, event.mask) in spaces:
            if event.what in ("atomic", "sc", "store"):
                space = spaces[event.word, event.mask]
                (held.add if event.value else held.discard)(space)
        elif event.word in words:
            word = words[event.word]
            touched.add(event.word)
            missing = [f"{space:#x}" for space in word.spaces if space not in held]
            check(
                not missing,
                expected=f"{said or function} touches {word.what} only while it holds the lock of"
                f" the space {' and of the space '.join(f'{space:#x}' for space in word.spaces)}",
                found=f"a {event.what} without the lock of {' and '.join(missing)}",
                where=traced.where(event),
            )
    for key, word in words.items():
        if key not in touched:
            fail(f"{said or function} looks at {word.what}", "it never does")
