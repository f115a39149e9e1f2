"""The explorer's model executes what the machine executes, shows the outcomes
that a memory model allows and no others, and finds what it is there to find."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from conftest import KERNEL
from stag.errors import GuestPanic, NotJudged, StagError
from stag.explore import Thread
from stag.grade_machine import GradedSystem, bring_up, graded
from stag.isa import AMO_NAMES, LR, MASK, SC
from stag.machine import MachineConfig
from stag.model import MODELS, PAGE, SATP, SSTATUS, USER, Call, World
from stag.pagetable import A, D, R, U, V, W, X
from stag.scene import Scene, ScheduleFailure
from stag.snapshot import Snapshot

# Where the tests' own code is: no kernel's.
CODE = 0xFFFFFFC030000000

ZERO, RA, A0, A1, A2, A3, A4 = 0, 1, 10, 11, 12, 13, 14
FENCE, FENCE_RW_W, FENCE_R_RW, PAUSE = 0x0330000F, 0x0310000F, 0x0230000F, 0x0100000F
RET, WFI, ECALL = 0x00008067, 0x10500073, 0x00000073


def load(rd: int, rs1: int, imm: int = 0) -> int:
    return (imm & 0xFFF) << 20 | rs1 << 15 | 3 << 12 | rd << 7 | 0x03


def store(rs2: int, rs1: int, imm: int = 0) -> int:
    return (imm >> 5 & 0x7F) << 25 | rs2 << 20 | rs1 << 15 | 3 << 12 | (imm & 31) << 7 | 0x23


def addi(rd: int, rs1: int, imm: int) -> int:
    return (imm & 0xFFF) << 20 | rs1 << 15 | rd << 7 | 0x13


def branch_if_zero(rs1: int, offset: int) -> int:
    low, high = offset & 0x1F, offset >> 5 & 0x7F
    return (high & 0x3F | (offset >> 12 & 1) << 6) << 25 | rs1 << 15 | (
        low & 0x1E | offset >> 11 & 1
    ) << 7 | 0x63  # fmt: skip


def amo(name: int, rd: int, rs2: int, rs1: int, *, aq: bool = False, rl: bool = False) -> int:
    return name << 27 | aq << 26 | rl << 25 | rs2 << 20 | rs1 << 15 | 3 << 12 | rd << 7 | 0x2F


AMOADD, AMOSWAP = 0, 1
assert (AMO_NAMES[AMOADD], AMO_NAMES[AMOSWAP]) == ("amoadd", "amoswap")


@pytest.fixture(scope="module")
def system() -> Iterator[GradedSystem]:
    with graded(MachineConfig(KERNEL, harts=4)) as system:
        bring_up(system)
        yield system


@pytest.fixture(scope="module")
def snapshot(system: GradedSystem) -> Snapshot:
    return Snapshot.take(system)


@pytest.fixture
def scene(snapshot: Snapshot) -> Scene:
    return Scene(snapshot)


def place_code(scene: Scene, *functions: list[int]) -> list[int]:
    """Give the model code of our own. Where each function begins."""
    words: dict[int, int] = {}
    starts = []
    at = CODE
    for function in functions:
        starts.append(at)
        for word in function:
            words[at] = word
            at += 4
    kernel = scene.world._read_code
    scene.world.replace_code(lambda pc: words[pc] if pc in words else kernel(pc))
    scene.world.add_boundaries(starts)
    return starts


def two_words(scene: Scene) -> tuple[int, int]:
    page = scene.call(0, "page_alloc")
    scene.call(0, "page_zero", page)
    scene.add_object(page, "x")
    return page, page + 64


# Instructions


def random_instruction(dice: random.Random) -> int:
    """One of the register instructions of rv64i, any operands."""
    registers = [0, *range(5, 8), *range(10, 32)]
    rd, rs1, rs2 = (dice.choice(registers) for _ in range(3))
    kind = dice.randrange(5)
    funct = dice.randrange(8)
    shift = funct in (1, 5)
    alternative = dice.choice((0, 0x20)) if funct == 5 else 0
    head = rs1 << 15 | funct << 12 | rd << 7
    if kind == 0:
        upper = (
            alternative << 25 | dice.randrange(64) << 20 if shift else dice.randrange(4096) << 20
        )
        return upper | head | 0x13
    if kind == 1:
        high = dice.choice((0, 0x20)) if funct in (0, 5) else 0
        return high << 25 | rs2 << 20 | head | 0x33
    if kind == 2:
        funct = dice.choice((0, 1, 5))
        head = rs1 << 15 | funct << 12 | rd << 7
        upper = alternative << 25 if funct == 5 else 0
        low = dice.randrange(32) << 20 if funct else dice.randrange(4096) << 20
        return upper | low | head | 0x1B
    if kind == 3:
        funct = dice.choice((0, 1, 5))
        high = dice.choice((0, 0x20)) if funct in (0, 5) else 0
        return high << 25 | rs2 << 20 | rs1 << 15 | funct << 12 | rd << 7 | 0x3B
    return dice.randrange(1 << 20) << 12 | rd << 7 | dice.choice((0x37, 0x17))


def random_value(dice: random.Random) -> int:
    return dice.choice(
        (dice.getrandbits(64), dice.getrandbits(32), dice.randrange(70), MASK, 1 << 63, 1 << 31)
    )


def test_instructions_are_those_of_the_machine(system: GradedSystem, snapshot: Snapshot) -> None:
    """Random register instructions, in QEMU and in the model."""
    dice = random.Random(1)
    at = system.symbols["stop"]  # code that we write over; nobody runs it
    physical = system.memory.translate(at)
    count = 60
    saved = system.physical.read(physical, 4 * count)
    hart = snapshot.harts[1].id
    registers = system.remote.save_registers(hart)
    try:
        for _ in range(20):
            code = [random_instruction(dice) for _ in range(count)]
            system.physical.write(physical, b"".join(w.to_bytes(4, "little") for w in code))
            values = [0, *(random_value(dice) for _ in range(31)), at]
            # sp, gp and tp are never operands: the kernel's own.
            values[2:5] = system.remote.general_registers(hart)[2:5]
            system.remote.set_general_registers(hart, values)
            for _ in range(count):
                system.harts.step(hart)
            found = system.remote.general_registers(hart)

            model = Scene(snapshot).world
            words = {at + 4 * i: word for i, word in enumerate(code)}
            model.replace_code(words.get)
            model.endings = {}
            state = model.harts[1]
            state.x[:] = values[:32]
            state.pc = at
            model.until = {1: frozenset([at + 4 * count])}
            model.add_boundaries([at + 4 * count])
            state.budget = 10_000
            model.run(state)
            for number in range(32):
                assert state.x[number] == found[number], f"x{number} after {[hex(w) for w in code]}"
    finally:
        system.physical.write(physical, saved)
        system.remote.restore_registers(hart, registers)


@pytest.mark.parametrize("size", [4, 8])
def test_atomics(scene: Scene, size: int) -> None:
    """Each atomic, with values at the edges, against what the manual says."""
    page, _ = two_words(scene)
    bits = size * 8
    cases = [(0, 1), ((1 << bits) - 1, 1), (1 << bits - 1, 5), (7, (1 << bits) - 3)]
    width = 2 if size == 4 else 3

    def as_signed(value: int) -> int:
        return value - (1 << bits) if value >> bits - 1 else value

    wanted = {
        "amoadd": lambda a, b: (a + b) % (1 << bits),
        "amoswap": lambda _, b: b,
        "amoxor": lambda a, b: a ^ b,
        "amoor": lambda a, b: a | b,
        "amoand": lambda a, b: a & b,
        "amomin": lambda a, b: a if as_signed(a) < as_signed(b) else b,
        "amomax": lambda a, b: a if as_signed(a) > as_signed(b) else b,
        "amominu": min,
        "amomaxu": max,
    }
    numbers = {name: number for number, name in AMO_NAMES.items() if name in wanted}
    code = place_code(
        scene,
        *([amo(n, A0, A1, A0) & ~0x7000 | width << 12, RET] for n in numbers.values()),
    )
    for name, start in zip(numbers, code, strict=True):
        for old, operand in cases:
            scene.memory().set_u64(page, 0xAAAAAAAA55555555)
            if size == 8:
                scene.memory().set_u64(page, old)
            else:
                scene.memory().set_u32(page, old)
            result = scene.call(0, start, page, operand)
            assert result == as_signed(old) & MASK, name
            data = scene.memory().read(page, 8)
            new = int.from_bytes(data[:size], "little")
            assert new == wanted[name](old, operand), f"{name} of {old:#x} and {operand:#x}"
            assert size == 8 or data[4:] == b"\xaa" * 4


def test_kernel_functions_do_the_same_in_both(snapshot: Snapshot) -> None:
    """The kernel's own functions, one after the other, on the machine and in
    the model: the same results, and in the end the same memory."""
    with graded(MachineConfig(KERNEL, harts=2)) as system:
        bring_up(system)
        taken = Snapshot.take(system)
        model = Scene(taken)
        hart = taken.harts[0].id
        # What the model reads later must be memory as it was: read all first.
        changed: set[int] = set()

        def both(function: str, *arguments: int) -> int:
            in_model = model.call(0, function, *arguments)
            changed.update(model.world.memory)
            for k in changed:
                model.world.word(k)
            return in_model

        script: list[tuple[str, tuple[int, ...]]] = []
        out = both("page_alloc")
        script.append(("page_alloc", ()))
        both("space_create", out)
        script.append(("space_create", (out,)))
        space = model.memory().u64(out)
        both("executor_create", space, out)
        script.append(("executor_create", (space, out)))
        executor = model.memory().u64(out)
        page = both("page_alloc")
        script.append(("page_alloc", ()))
        pa = model.memory().translate(page)
        mapped = (space, 0x5000000, pa, R | W | U)
        both("map_page", *mapped)
        script.append(("map_page", mapped))
        both("executor_unpark", executor, 4)
        script.append(("executor_unpark", (executor, 4)))
        model.world.settle()
        for function, arguments in script:
            system.harts.call(hart, function, *arguments)
        stack = taken.harts[0].registers[2]
        stack_pages = {model.memory().translate(stack - at) // PAGE for at in (0, PAGE)}
        for page_number, words in model.world.base.items():
            if page_number in stack_pages:
                continue
            data = system.physical.read(page_number * PAGE, PAGE)
            for i, word in enumerate(words):
                found = int.from_bytes(data[i * 8 : i * 8 + 8], "little")
                assert word == found, f"at physical {page_number * PAGE + i * 8:#x}"


# Memory models


def outcomes(scene: Scene, first: list[int], second: list[int], model: str) -> set[tuple[int, ...]]:
    """All pairs of results of two functions that share two words."""
    x, y = two_words(scene)
    starts = place_code(scene, first, second)
    seen: set[tuple[int, ...]] = set()

    def note(_: Scene) -> None:
        seen.add(tuple(scene.world.harts[hart].results[0] for hart in (0, 1)))

    scene.explore(
        [Thread(0, Call(starts[0], (x, y))), Thread(1, Call(starts[1], (y, x)))],
        note,
        models=[model],
    )
    return seen


def dekker(*fence: int) -> list[int]:
    return [addi(A2, ZERO, 1), store(A2, A0), *fence, load(A0, A1), RET]


def sender(*fence: int) -> list[int]:
    """Data in a1, flag in a0: as the other's arguments are swapped."""
    return [addi(A2, ZERO, 1), store(A2, A1), *fence, store(A2, A0), addi(A0, ZERO, 0), RET]


# Loads the flag (a1), then the data (a0): 2·flag + data
RECEIVER = [load(A2, A1), FENCE_R_RW, load(A3, A0), addi(A0, A3, 0), 0x00C60633, 0x00C50533, RET]


@pytest.mark.parametrize("model", MODELS)
def test_dekker_without_its_fence(scene: Scene, model: str) -> None:
    allowed = {(0, 1), (1, 0), (1, 1)}
    found = outcomes(scene, dekker(), dekker(), model)
    assert found == (allowed if model == "sc" else allowed | {(0, 0)})


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fence", [FENCE, 0x0FF0000F], ids=["rw,rw", "iorw,iorw"])
def test_dekker_with_its_fence(scene: Scene, model: str, fence: int) -> None:
    assert (0, 0) not in outcomes(scene, dekker(fence), dekker(fence), model)


@pytest.mark.parametrize("fence", [FENCE_RW_W, FENCE_R_RW, PAUSE, 0x8330000F])
def test_fences_too_weak_for_dekker(scene: Scene, fence: int) -> None:
    """A release, an acquire, the pause hint, fence.tso: no store before a load."""
    assert (0, 0) in outcomes(scene, dekker(fence), dekker(fence), "tso")


@pytest.mark.parametrize("model", MODELS)
def test_message_without_its_release(scene: Scene, model: str) -> None:
    """The flag without the data shows where stores pass each other, only."""
    found = {second for _, second in outcomes(scene, sender(), RECEIVER, model)}
    assert found == ({0, 1, 3, 2} if model == "pso" else {0, 1, 3})


@pytest.mark.parametrize("model", MODELS)
def test_message_with_its_release(scene: Scene, model: str) -> None:
    found = {second for _, second in outcomes(scene, sender(FENCE_RW_W), RECEIVER, model)}
    assert found == {0, 1, 3}


def test_atomics_order_what_they_say(scene: Scene) -> None:
    """An atomic without aq and rl, its result unused, in place of a store: a
    later load passes it; with aq it does not."""
    plain = [addi(A2, ZERO, 1), amo(AMOSWAP, ZERO, A2, A0), load(A0, A1), RET]
    acquires = [addi(A2, ZERO, 1), amo(AMOSWAP, ZERO, A2, A0, aq=True), load(A0, A1), RET]
    assert (0, 0) in outcomes(scene, plain, plain, "pso")
    assert (0, 0) not in outcomes(scene, acquires, acquires, "pso")


@pytest.mark.parametrize("rl", [False, True])
def test_aq_of_an_sc_needs_an_rl(scene: Scene, rl: bool) -> None:
    """What gcc 12 makes of a compare-and-swap: a later load may pass it."""
    stores = [amo(LR, A3, ZERO, A0, aq=True), amo(SC, ZERO, A2, A0, aq=True, rl=rl)]
    code = [addi(A2, ZERO, 1), *stores, load(A0, A1), RET]
    assert ((0, 0) in outcomes(scene, code, code, "pso")) == (not rl)


def test_nothing_is_lost_by_adding(scene: Scene) -> None:
    """Atomics are atomic, held back or not."""
    x, _ = two_words(scene)
    (start,) = place_code(scene, [addi(A1, ZERO, 1), amo(AMOADD, ZERO, A1, A0), RET])
    scene.explore(
        [Thread(hart, Call(start, (x,)), Call(start, (x,))) for hart in range(3)],
        lambda s: None if s.memory().u64(x) == 6 else "an addition is lost",
    )


def test_adding_by_load_and_store_is_not_atomic(scene: Scene) -> None:
    x, _ = two_words(scene)
    (start,) = place_code(scene, [load(A1, A0), addi(A1, A1, 1), store(A1, A0), RET])
    with pytest.raises(ScheduleFailure, match="an addition is lost") as failure:
        scene.explore(
            [Thread(0, Call(start, (x,))), Thread(1, Call(start, (x,)))],
            lambda s: None if s.memory().u64(x) == 2 else "an addition is lost",
            models=["sc"],
        )
    assert "with 1 switch between" in str(failure.value)
    assert "x is 0" in str(failure.value)


def test_sc_fails_after_a_foreign_store_of_the_same_value(scene: Scene) -> None:
    """QEMU compares values here, and does not notice."""
    x, _ = two_words(scene)
    reserve = [amo(LR, A1, ZERO, A0), amo(SC, A0, A1, A0), RET]
    starts = place_code(scene, reserve, [store(ZERO, A0), RET])
    results = set()
    scene.explore(
        [Thread(0, Call(starts[0], (x,))), Thread(1, Call(starts[1], (x,)))],
        lambda s: results.add(s.world.harts[0].results[0]),
        models=["sc"],
    )
    assert results == {0, 1}


def test_too_many_orders_are_no_verdict(scene: Scene) -> None:
    """What was not tried may hold the mistake."""
    x, y = two_words(scene)
    both = place_code(scene, *[[store(A0, A0), load(A2, A1), store(A0, A1), RET]] * 2)
    threads = [Thread(0, Call(both[0], (x, y))), Thread(1, Call(both[1], (y, x)))]
    scene.explore(threads, None)
    with pytest.raises(NotJudged, match="not all orders could be tried"):
        scene.explore(threads, None, limit=3)


# Waiting


def test_waiting_for_a_word_is_no_endless_loop(scene: Scene) -> None:
    x, _ = two_words(scene)
    spin = [load(A1, A0), PAUSE, branch_if_zero(A1, -8 & 0x1FFF), RET]
    starts = place_code(scene, spin, [addi(A1, ZERO, 1), store(A1, A0), RET])
    reports = scene.explore(
        [Thread(0, Call(starts[0], (x,))), Thread(1, Call(starts[1], (x,)))], None
    )
    assert all(report.exhausted for report in reports)


def test_waiting_may_count(scene: Scene) -> None:
    """A hart that counts how long it waits, in a register, waits all the same;
    one that gives up in the end is no deadlock."""
    x, _ = two_words(scene)
    spin = [addi(A2, A2, 1), load(A1, A0), branch_if_zero(A1, -8 & 0x1FFF), RET]
    # addi a2, a2, -1; ld a1, (a0); bnez a1, +8; bnez a2, -12; ret
    gives_up = [addi(A2, A2, -1), load(A1, A0), 0x00059463, 0xFE061AE3, RET]
    starts = place_code(scene, spin, gives_up, [addi(A1, ZERO, 1), store(A1, A0), RET])
    for waiter in starts[:2]:
        reports = scene.explore(
            [Thread(0, Call(waiter, (x, 0, 500))), Thread(1, Call(starts[2], (x,)))], None
        )
        assert all(report.exhausted for report in reports)
    scene.explore([Thread(0, Call(starts[1], (x, 0, 500)))], None)
    with pytest.raises(ScheduleFailure, match="came to no end"):
        scene.explore([Thread(0, Call(starts[0], (x, 0, 500)))], None)


def test_deadlock_is_found(scene: Scene) -> None:
    x, y = two_words(scene)
    spin = [load(A1, A0), PAUSE, branch_if_zero(A1, -8 & 0x1FFF), RET]
    (start,) = place_code(scene, spin)
    with pytest.raises(ScheduleFailure, match="deadlock: hart 0 waits for ever"):
        scene.explore([Thread(0, Call(start, (x,))), Thread(1, Call(start, (y,)))], None)


def test_endless_loop_is_found(scene: Scene) -> None:
    (start,) = place_code(scene, [addi(A0, A0, 1), branch_if_zero(ZERO, -4 & 0x1FFF), RET])
    with pytest.raises(GuestPanic, match="came to no end"):
        scene.call(0, start, 0)


def test_sleeping_for_ever_is_found(scene: Scene) -> None:
    (start,) = place_code(scene, [WFI, RET])
    with pytest.raises(ScheduleFailure, match="sleeps, and nobody wakes it"):
        scene.explore([Thread(0, Call(start))], None)
    scene.explore([Thread(0, Call(start), waits=True)], None)


# Traps and translations


def test_kernel_trap_is_found(scene: Scene) -> None:
    (start,) = place_code(scene, [load(A0, A0), RET])
    with pytest.raises(GuestPanic, match="the kernel trapped: cause 13"):
        scene.call(0, start, 0x5000)


@pytest.mark.parametrize(("flush", "stale"), [("", True), ("other", True), ("own", False)])
def test_translations_stay_until_they_are_flushed(scene: Scene, flush: str, stale: bool) -> None:
    """A user load goes on to see what was mapped, until an sfence.vma that is
    meant for its address space."""
    out = scene.call(0, "page_alloc")
    assert scene.call_signed(0, "space_create", out) == 0
    space = scene.memory().u64(out)
    satp = scene.field(space, "space", "satp")
    code, data = scene.call(0, "page_alloc"), scene.call(0, "page_alloc")
    for i, word in enumerate([load(A1, A0), ECALL]):
        scene.memory().set_u32(code + 4 * i, word)
    scene.memory().set_u64(data, 77)
    for va, page, bits in ((0x1000000, code, R | X | U), (0x2000000, data, R | W | U)):
        pa = scene.memory().translate(page)
        assert scene.call_signed(0, "map_page", space, va, pa, bits) == 0
    hart = scene.world.harts[0]

    def user_load() -> int:
        before = hart.save()
        hart.csr[SATP], hart.mode, hart.pc, hart.x[A0] = satp, USER, 0x1000000, 0x2000000
        hart.csr[SSTATUS] &= ~0x100
        try:
            scene.run(0, 0x1000004, scene.symbols["trap_entry"])
            return hart.x[A1] if hart.mode == USER else 0
        finally:
            tlb = hart.tlb
            hart.restore(before)
            hart.tlb = tlb

    assert user_load() == 77
    entry = scene.table(satp).lookup(0x2000000)
    assert entry is not None and entry.flags & (V | A | D)
    scene.world.set_word(entry.at >> 3, 0)
    asid = satp >> 44 & 0xFFFF
    (start,) = place_code(scene, [0x12A00073 & ~(31 << 15), RET])  # sfence.vma x0, a0
    if flush:
        scene.call(0, start, asid if flush == "own" else asid + 1)
    assert (user_load() == 77) == stale


# The explorer


def test_the_same_every_time(snapshot: Snapshot) -> None:
    def explore() -> list[str]:
        scene = Scene(snapshot)
        threads = [Thread(2, Call("page_alloc")), Thread(3, Call("page_alloc"))]
        return [str(report) for report in scene.explore(threads, None)]

    first = explore()
    assert first == explore()
    assert all("schedules" in line for line in first)


def test_scene_is_as_before(scene: Scene) -> None:
    threads = [Thread(2, Call("page_alloc")), Thread(3, Call("page_alloc"))]
    before = scene.allocation().free
    scene.explore(threads, lambda s: None if s.call(0, "page_alloc") else "no page")
    assert scene.allocation().free == before


def test_what_the_oracle_says_is_shown(scene: Scene) -> None:
    threads = [Thread(2, Call("page_alloc")), Thread(3, Call("page_alloc"))]
    with pytest.raises(ScheduleFailure, match="no good"):
        scene.explore(threads, lambda _: "no good")


def test_unknown_model(scene: Scene) -> None:
    with pytest.raises(StagError, match="there is no memory model 'weak'"):
        scene.explore([Thread(0, Call("page_alloc"))], None, models=["weak"])


def test_worlds_share_nothing(snapshot: Snapshot) -> None:
    one, other = Scene(snapshot), Scene(snapshot)
    page = one.call(0, "page_alloc")
    one.memory().set_u64(page, 5)
    one.world.settle()
    assert isinstance(one.world, World)
    assert other.call(0, "page_alloc") == page
    assert other.memory().u64(page) != 5
