"""What the model's harts hold back: store buffers (model.py)."""

from __future__ import annotations

from .isa import AMO_NAMES, SC, Decoded
from .model_hart import BARRIER, BARRIER_HELD, STORES, Hart, Held, applied
from .model_state import State


def own_word(world: State, hart: Hart, k: int) -> int:
    """What a hart itself sees in a word."""
    value = world.word(k)
    for held in hart.buffer:
        if held[0] == k:
            value = applied(value, held)
    return value


def arrive(world: State, hart: Hart, count: int) -> None:
    """The entry number count - 1 of a store buffer arrives, and before it
    what must: all older ones, or, where stores may pass, those of the same
    word and those before a barrier."""
    buffer = hart.buffer
    word = buffer[count - 1][0]
    last = max((i for i in range(count) if buffer[i][0] == BARRIER), default=-1)
    kept = []
    for i, entry in enumerate(buffer):
        if i < count and (not world.passing or i <= last or entry[0] == word):
            if entry[0] != BARRIER:
                arrive_alone(world, hart, entry[0])
                before = world.word(entry[0])
                after = applied(before, entry)
                if world.trace is not None:
                    world.note(hart, "arrives", entry[0], after, before, entry[1])
                world.set_word(entry[0], after)
        else:
            kept.append(entry)
    hart.buffer = tuple(kept)


def arrive_alone(world: State, hart: Hart, k: int) -> None:
    """What another hart has written to a word by sc is there before this
    hart writes it."""
    for other in world.harts:
        if other is not hart and other.buffer:
            at = [i for i, entry in enumerate(other.buffer) if entry[0] == k and entry[4]]
            if at:
                arrive(world, other, at[-1] + 1)


def arrive_all(world: State, hart: Hart) -> None:
    if hart.buffer:
        arrive(world, hart, len(hart.buffer))
        for k in dict.fromkeys(entry[0] for entry in hart.buffer):
            if k != BARRIER:
                arrive(world, hart, 1 + max(i for i, e in enumerate(hart.buffer) if e[0] == k))
        hart.buffer = ()


def arrive_for_atomic(world: State, hart: Hart, k: int, release: bool) -> None:
    """What must be in memory before an atomic takes place there."""
    if release or not world.passing:
        arrive_all(world, hart)
        return
    for wanted in (BARRIER, k):
        at = [i for i, entry in enumerate(hart.buffer) if entry[0] == wanted]
        if at:
            arrive(world, hart, at[-1] + 1)


def hold(world: State, hart: Hart, decoded: Decoded, k: int, mask: int, bits: int) -> None:
    """Keep what an atomic writes in the store buffer."""
    succeeds = True
    if decoded.funct == SC:
        succeeds = hart.reservation == k
        hart.reservation = None
        if decoded.rd:
            hart.x[decoded.rd] = 0 if succeeds else 1
    if world.trace is not None:
        value = bits >> (mask & -mask).bit_length() - 1
        world.note(hart, "held" if succeeds else "sc fails", k, value, None, mask)
    if not succeeds:
        return
    operation = STORES if AMO_NAMES[decoded.funct] in ("sc", "amoswap") else decoded.funct
    held: Held = (k, mask, bits, operation, decoded.funct == SC)
    before = (BARRIER_HELD,) if decoded.rl and hart.buffer else ()
    # Whether sc succeeded decides about what comes next: that stays behind.
    behind = (BARRIER_HELD,) if decoded.funct == SC else ()
    hart.buffer = (*hart.buffer, *before, held, *behind)
