"""Exercise 2: from user mode into the kernel, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from executor_stage import (
    CODE,
    EBREAK,
    ECALL,
    ILLEGAL,
    LOOP,
    NAMES,
    Stage,
    differences,
    pattern,
)
from stag.addressmap import HART_PAGE, HART_STACK, HART_STACK_SIZE, KERNEL_IMAGE
from stag.isa import LR, SC, Decoded, Kind, decode
from stag.pagetable import PAGE
from stag.verdict import check, fail
from test_trap_exit import check_registers, check_user_mode, check_way_back
from user_mode import READ_ONLY, SELF, User

LOAD, STORE, JUMP = 0x000FB503, 0x00AFB023, 0x000F8067  # ld, sd of a0 at 0(t6); jr t6
LOAD_RESERVED, ATOMIC_ADD = 0x100FB52F, 0x00AFB52F  # lr.d, amoadd.d a0, (t6)
T6, A0 = 31, 10
INTERRUPT = 1 << 63
SOFTWARE, TIMER, EXTERNAL = 1, 5, 9
NOTHING = 0x40000
BREAKPOINT = 3
STEPS = 2000


@pytest.fixture
def stage(ready) -> Stage:
    return Stage(ready(harts=1))


def run_call(user: User, number: int) -> None:
    """The ecall at this place of the program, up to call_dispatch."""
    name, executor, _ = user.run_to("trap", "call_dispatch")
    check(
        name == "call_dispatch" and executor == user.executor,
        expected=f"an ecall leads to call_dispatch({user.executor:#x})",
        found=f"{name}({executor:#x})",
        where=user.trap_text(),
    )
    user.check_saved(CODE + 4 * number + 4, f"at ecall {number}, pc past it")


def test_call_saves_registers(stage: Stage) -> None:
    run_call(User(stage, ECALL, LOOP), 0)


def test_call_returns(stage: Stage) -> None:
    """Three in a row: a0 is the result, all else as before."""
    user = User(stage, ECALL, ECALL, ECALL, LOOP)
    x = stage.layout("executor")["x"].offset
    for number in range(3):
        run_call(user, number)
        user.registers[A0] = 0x5A5A0000 + number
        stage.set_word(user.executor + x + 8 * (A0 - 1), user.registers[A0])
        user.resume()
        user.check_live(CODE + 4 * number + 4, f"after system call {number + 1}")
        check_user_mode(stage, user.executor)
        check_way_back(stage)


def test_kernel_state_after_entry(stage: Stage) -> None:
    """What C code finds: satp, sscratch, gp, tp, sp."""
    user = User(stage, ECALL, LOOP)
    user.run_to("call_dispatch")
    remote = stage.system.remote
    for name, wanted, why in (
        ("satp", stage.get("hart", stage.hart_page, "kernel_satp"), "this hart's kernel table"),
        ("sscratch", 0, "0 in the kernel, by which a trap there is known"),
        ("tp", HART_PAGE, "the hart page"),
        ("gp", stage.system.symbols["global_page"], "the global page"),
    ):
        found = remote.register(stage.hart, name)
        check(
            found == wanted,
            expected=f"{name} is {wanted:#x} when C runs: {why}",
            found=f"{found:#x}",
            where=stage.system.harts.where(0),
        )
    sp = remote.register(stage.hart, "sp")
    top = HART_STACK + HART_STACK_SIZE
    check(
        top - 512 <= sp <= top and sp % 16 == 0,
        expected=f"sp is at the top of the kernel stack, {top:#x}, or a little below",
        found=f"{sp:#x}",
        where="nothing lives on the kernel stack from one trap to the next",
    )


def resume_other(user: User, executor: int) -> None:
    """The hart stands at the last function, which returns this executor, that was
    dispatched meanwhile."""
    stage = user.stage
    theirs = pattern(55)
    stage.set_registers(executor, theirs)
    stage.set("hart", stage.hart_page, "executor", executor)
    stage.set("hart", stage.hart_page, "switched", 1)
    user.resume(executor)
    check_user_mode(stage, executor)
    check_registers(stage, [CODE, *theirs[1:]], "that shootdown_publish has returned")


def same_goes_on(user: User, *names: str) -> None:
    """From one ecall to the next, with nobody dispatched between; but the hart has
    withdrawn, as if the call had locked the space."""
    user.run_to(*names)
    for member in ("switched", "published"):
        user.stage.set("hart", user.stage.hart_page, member, 0)
    user.return_now(user.executor)
    found, executor, _ = user.run_to(*names)
    check(
        found == "shootdown_publish" and executor == user.executor,
        expected="shootdown_publish is called also if the executor goes on that made the call, as"
        " long as hart->published is not its space",
        found=f"{found}({executor:#x})",
        where="kernel/trap.h",
    )
    user.resume()


def test_order_of_the_calls(stage: Stage) -> None:
    """As trap.h says, each given what the one before returned. All but the way
    between them is the grader's: each function returns another executor."""
    _, second = stage.program(EBREAK, LOOP)
    _, between = stage.program(LOOP)
    user = User(stage, ECALL, ECALL, LOOP)
    names = ("call_dispatch", "trap", "shootdown_publish")
    same_goes_on(user, *names)
    for gets, last, first in (
        (user.executor, second, "call_dispatch"),
        (second, user.executor, "trap"),
    ):
        wanted = [first, "shootdown_publish"]
        for number, name in enumerate(wanted):
            found, executor, told = user.run_to(*names)
            check(
                found == name,
                expected=f"calls in this order: {', '.join(wanted)}",
                found=", ".join([*wanted[:number], found]),
                where="kernel/trap.h",
            )
            check(
                executor == gets,
                expected=f"{name} gets the executor {gets:#x}"
                + (f", which {wanted[number - 1]} has returned" if number else ""),
                found=f"{executor:#x}",
            )
            check(
                name != "trap" or told == BREAKPOINT,
                expected=f"trap gets scause, {BREAKPOINT}, in a1",
                found=f"{told:#x}",
            )
            if name == first:
                gets = between
                user.return_now(gets)
        resume_other(user, last)


def test_reap_before_return(stage: Stage) -> None:
    """After a system call and after anything else; and once, though it leaves reap_due set
    if there is more to free than is done in a turn."""
    _, other = stage.program(EBREAK, LOOP)
    user = User(stage, ECALL, LOOP)
    for first, gets, returns, left in (
        ("call_dispatch", user.executor, other, 0),
        ("trap", other, user.executor, 1),
    ):
        user.run_to(first)
        stage.set("hart", stage.hart_page, "reap_due", 1)
        user.return_now(gets)
        name, executor, _ = user.run_to("trap_reap", "shootdown_publish")
        check(
            name == "trap_reap" and executor == gets,
            expected="with reap_due set in the hart page trap_reap is called with the executor,"
            " before shootdown_publish",
            found=f"{name}({executor:#x})",
            where=f"the way back after {first}",
        )
        stage.set("hart", stage.hart_page, "reap_due", left)
        stage.set("hart", stage.hart_page, "published", 0)  # trap_reap withdraws
        user.return_now(returns)
        name, executor, _ = user.run_to("trap_reap", "shootdown_publish", "call_dispatch")
        check(
            name == "shootdown_publish" and executor == returns,
            expected="then shootdown_publish, with the executor that trap_reap has returned,"
            f" {returns:#x}"
            + ("; what is left to free is for the next trap" if left else ""),
            found=f"{name}({executor:#x})",
            where="trap_reap lets interrupts in, which may have ended the one from before",
        )
        resume_other(user, returns)


def interrupt(stage: Stage, source: int, make_pending: Callable[[], None], what: str) -> None:
    user = User(stage, LOOP, registers=pattern(source))
    make_pending()
    user.remote.set_register(stage.hart, "sie", 1 << source)
    user.run_to_trap(INTERRUPT | source, CODE, what)
    user.remote.set_register(stage.hart, "sie", 0)
    user.resume()
    user.check_live(CODE, f"after a {what}")


def test_timer_interrupt(stage: Stage) -> None:
    interrupt(stage, TIMER, lambda: None, "timer interrupt")


def test_software_interrupt(stage: Stage) -> None:
    remote = stage.system.remote
    interrupt(
        stage,
        SOFTWARE,
        lambda: remote.set_register(0, "sip", remote.register(0, "sip") | 1 << SOFTWARE),
        "software interrupt",
    )


def test_external_interrupt(stage: Stage) -> None:
    serial = stage.system.machine.serial
    interrupt(stage, EXTERNAL, lambda: serial.type("x"), "external interrupt")


def check_fault(user: User, word: int, address: int, causes: set[int], what: str) -> None:
    """Twice: what the executor does leads to a trap, and its registers are
    kept by it."""
    page = user.stage.table(user.space).translate(CODE)
    user.stage.system.physical.set_u32(page, word)
    user.registers[T6] = address
    user.become(user.registers, CODE)
    pc = address if word == JUMP else CODE
    for _ in range(2):
        name, _, told = user.run_to("trap", "call_dispatch")
        check(
            name == "trap" and told in causes,
            expected=f"{what}: trap is called with cause {min(causes)}",
            found=f"{name} is called, second argument {told:#x}",
            where=user.trap_text(),
        )
        user.check_saved(pc, f"{what}, pc not advanced")
        user.resume()
        user.check_live(pc, f"after: {what}")


def check_faults(user: User, *faults: tuple[str, int, int, set[int]]) -> None:
    for number, (what, word, address, causes) in enumerate(faults):
        user.registers = pattern(100 + number)
        check_fault(user, word, address, causes, what)


def test_page_faults(stage: Stage) -> None:
    check_faults(
        User(stage, LOOP),
        ("load where nothing is mapped", LOAD, NOTHING, {13}),
        ("store where nothing is mapped", STORE, NOTHING + 8, {15}),
        ("store to a read-only page", STORE, READ_ONLY, {15}),
        ("jump to where nothing is mapped", JUMP, NOTHING, {12}),
        ("jump to a page without X", JUMP, READ_ONLY + 4, {12}),
    )


def test_other_exceptions(stage: Stage) -> None:
    check_faults(
        User(stage, LOOP),
        ("illegal instruction", ILLEGAL, 0, {2}),
        ("breakpoint", EBREAK, 0, {3}),
        # QEMU 7.2 calls both misaligned loads.
        ("misaligned atomic load", LOAD_RESERVED, READ_ONLY + 1, {4}),
        ("misaligned atomic addition", ATOMIC_ADD, READ_ONLY + 1, {4, 6}),
    )


def test_user_mode_reaches_no_kernel_memory(stage: Stage) -> None:
    user = User(stage, LOOP)
    symbols = stage.system.symbols
    places = {
        "the kernel's text": KERNEL_IMAGE,
        "the kernel's data": symbols["global_page"],
        "the hart page": HART_PAGE,
        "the kernel stack": HART_STACK + PAGE,
        "RAM in the linear map": user.executor,
        "a handle": SELF,
    }
    ways = (("load from", LOAD, 13), ("store to", STORE, 15), ("jump to", JUMP, 12))
    faults = [
        (f"{verb} {what}", word, address, {cause})
        for what, address in places.items()
        for verb, word, cause in ways
    ]
    check_faults(user, *faults)


def test_switch_to_another_executor(stage: Stage) -> None:
    """trap returns somebody else: all is theirs from then on."""
    _, other = stage.program(ECALL, ECALL, LOOP)
    first = User(stage, ECALL, LOOP)
    theirs = pattern(55)
    run_call(first, 0)
    stage.set_registers(other, theirs)
    stage.set("hart", stage.hart_page, "executor", other)
    stage.set("hart", stage.hart_page, "switched", 1)
    first.resume(other)
    check_registers(stage, [CODE, *theirs[1:]], "after a switch to it")
    check_user_mode(stage, other)
    check_way_back(stage)
    name, executor, _ = first.run_to("trap", "call_dispatch")
    check(
        name == "call_dispatch" and executor == other,
        expected=f"its ecall leads to call_dispatch({other:#x})",
        found=f"{name}({executor:#x})",
    )
    wrong = differences([CODE + 4, *theirs[1:]], stage.saved(other))
    check(not wrong, expected="its registers are saved in its own page", found=wrong)
    first.check_saved(CODE + 4, "the first one's page is left alone")
    first.resume(other)
    check(
        reservation_ends(first, first.executor),
        expected="an sc, to any word, before another executor goes on: an lr of the last one would"
        " else let an sc of the next succeed",
        found="none from the ecall to the sret",
        where="kernel/riscv/trap_entry.S",
    )


def kernel_steps(stage: Stage, answer: Callable[[], None]) -> Iterator[Decoded]:
    """From user mode into the kernel and back, step by step: each instruction, before
    it is executed, but for those of call_dispatch and shootdown_publish, for which
    `answer` returns."""
    harts, remote = stage.system.harts, stage.system.remote
    called = [harts.address(name) for name in ("call_dispatch", "shootdown_publish")]
    entered = False
    for _ in range(STEPS):
        if remote.pc(stage.hart) in called:
            answer()
            continue
        if not harts.in_user_mode(stage.hart):
            entered = True
            yield decode(remote.pc(stage.hart), harts.instruction(stage.hart) or 0)
        elif entered:
            return
        harts.step(stage.hart)
    fail("the way back to user mode", f"after {STEPS} steps: {harts.where(0)}")


def reservation_ends(user: User, executor: int) -> bool:
    """From an ecall back to user mode, to this executor, that was dispatched meanwhile:
    is an sc the last that was done with a reservation?"""

    def dispatched() -> None:
        user.stage.set("hart", user.stage.hart_page, "executor", executor)
        user.stage.set("hart", user.stage.hart_page, "switched", 1)
        user.return_now(executor)

    ends = False
    for step in kernel_steps(user.stage, dispatched):
        if step.kind is Kind.ATOMIC and step.funct in (LR, SC):
            ends = step.funct == SC
    return ends


def run_flushing(stage: Stage) -> tuple[bool, bool]:
    """A trap and back by way of trap_entry_flushing: was there a flush on each way,
    after satp was written, and on the way in before memory is used?"""
    harts, remote = stage.system.harts, stage.system.remote
    flushes: dict[bool, list[int]] = {False: [], True: []}  # before the first call; after it
    back = False

    def same_returns() -> None:
        nonlocal back
        back = True
        harts.return_now(stage.hart, remote.register(stage.hart, "a0"))

    used = False  # memory, before a flush
    for step in kernel_steps(stage, same_returns):
        used |= not back and not flushes[False] and step.kind in (Kind.LOAD, Kind.STORE)
        if step.kind is Kind.SFENCE and step.rs1 == 0:  # all addresses
            flushes[back].append(remote.register(stage.hart, "satp"))
    kernel = stage.get("hart", stage.hart_page, "kernel_satp")
    return kernel in flushes[False] and not used, any(satp != kernel for satp in flushes[True])


def test_entry_without_address_space_numbers(stage: Stage) -> None:
    user = User(stage, ECALL, LOOP)
    user.remote.set_register(stage.hart, "stvec", stage.system.symbols["trap_entry_flushing"])
    into, back = run_flushing(stage)
    user.check_saved(CODE + 4, "trap_entry_flushing")
    user.check_live(CODE + 4, "after trap_entry_flushing")
    check(
        into and back,
        expected="sfence.vma directly behind each write of satp: without address space numbers"
        " all translations must go",
        found="none "
        + ("on the way in, before the first load or store" if not into else "on the way back"),
        where="trap_entry_flushing",
    )


def kernel_trap(stage: Stage, sp: int | None) -> None:
    """A load in the kernel from where nothing is mapped."""
    user = User(stage, ECALL, LOOP)
    user.run_to("call_dispatch")
    harts, remote = stage.system.harts, stage.system.remote
    registers = remote.general_registers(stage.hart)
    values = pattern(9)
    for number in (1, *range(5, 32)):
        registers[number] = values[number]
    bad = 0xFFFFFFD000000000
    if sp is not None:
        registers[2] = sp
    pc = registers[32] = bad
    remote.set_general_registers(stage.hart, registers)
    with remote.breakpoints(harts.address("panic_trap")):
        stage.run("panic_trap")
    frame = remote.register(stage.hart, "a0")
    layout = stage.layout("kernel_frame")
    data = remote.read_virtual(stage.hart, frame, layout.size)

    def words(member: str) -> list[int]:
        item = layout[member]
        part = data[item.offset : item.offset + item.size]
        return [int.from_bytes(part[i : i + 8], "little") for i in range(0, len(part), 8)]

    told = (*words("pc"), *words("cause"), *words("address"))
    check(
        told == (pc, 12, bad),
        expected=f"panic_trap is told pc {pc:#x}, cause 12, address {bad:#x}",
        found="pc {:#x}, cause {}, address {:#x}".format(*told),
    )
    saved = words("x")
    wrong = [NAMES[n] for n in range(1, 32) if saved[n - 1] != registers[n]]
    check(
        not wrong,
        expected="panic_trap is given all 31 registers",
        found=f"wrong: {', '.join(wrong)}",
    )


def test_trap_in_the_kernel(stage: Stage) -> None:
    """It is a bug, and panic_trap tells of it."""
    kernel_trap(stage, None)


def test_kernel_stack_overflow(stage: Stage) -> None:
    """A trap whose stack pointer is in the guard page."""
    kernel_trap(stage, HART_STACK - 64)
    sp = stage.system.remote.register(stage.hart, "sp")
    check(
        HART_PAGE <= sp <= HART_PAGE + PAGE,
        expected="the panic runs on the emergency stack in the hart page",
        found=f"sp is {sp:#x}",
    )
