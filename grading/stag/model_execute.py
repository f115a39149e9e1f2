"""Instructions of the model (model.py) that do more than change registers."""

from __future__ import annotations

from .isa import FENCE_READ, FENCE_WRITE, LR, MASK, SC, Decoded, Kind, amo_result, sign_extend
from .model_buffers import arrive_all, arrive_for_atomic, hold, own_word
from .model_hart import (
    BARRIER_HELD,
    BREAK_CAUSE,
    COUNTERS,
    ECALL_USER,
    ILLEGAL_CAUSE,
    LOAD,
    SATP,
    SBI_IPI,
    SBI_PUT,
    SBI_TIME,
    SCAUSE,
    SEPC,
    SIP,
    SOFTWARE,
    SPIE,
    SPP,
    SSTATUS,
    STATUS_SIE,
    STIMECMP,
    STORE,
    STORES,
    STVAL,
    STVEC,
    SUPERVISOR,
    TIME,
    TIMER,
    USER,
    VISIBLE,
    WAITS,
    Hart,
    KernelFault,
    Trap,
)
from .model_state import State
from .model_translate import address, flush


def carry_out(world: State, hart: Hart, decoded: Decoded) -> str | None:
    """The instruction at the pc, which is not plain. Returns why the hart
    must stop before it, if so."""
    match decoded.kind:
        case Kind.LOAD:
            return load(world, hart, decoded)
        case Kind.STORE:
            return store(world, hart, decoded)
        case Kind.ATOMIC:
            return atomic(world, hart, decoded)
        case Kind.FENCE:
            if world.buffering and hart.buffer and decoded.pred & FENCE_WRITE:
                if decoded.succ & FENCE_READ:
                    # Until here others may miss what is held back.
                    if world.is_event(hart):
                        return VISIBLE
                    arrive_all(world, hart)
                elif decoded.succ & FENCE_WRITE and world.passing:
                    hart.buffer = (*hart.buffer, BARRIER_HELD)
        case Kind.FENCE_I:
            pass
        case Kind.CSR:
            if decoded.imm == SIP and world.is_event(hart):
                return VISIBLE
            csr(world, hart, decoded)
        case Kind.SFENCE:
            flush(world, hart, decoded)
        case Kind.WFI:
            if not hart.pending:
                hart.point = None
                return WAITS
        case Kind.SRET:
            sret(world, hart)
            return None
        case Kind.ECALL:
            if hart.mode == USER:
                raise Trap(ECALL_USER, 0)
            if hart.x[17] == SBI_IPI and world.is_event(hart):
                return VISIBLE
            firmware(world, hart)
        case Kind.EBREAK:
            raise Trap(BREAK_CAUSE, hart.pc)
        case _:
            raise Trap(ILLEGAL_CAUSE, 0)
    hart.pc += 4
    return None


def load(world: State, hart: Hart, decoded: Decoded) -> str | None:
    va = hart.x[decoded.rs1] + decoded.imm & MASK
    pa = address(world, hart, va, decoded.size, LOAD)
    if pa < world.ram:
        if decoded.rd:
            hart.x[decoded.rd] = device_load(world, pa)
        hart.pc += 4
        return None
    k = pa >> 3
    if world.watching:
        world.touch(hart, k, False)
        if world.is_point(hart, k, False):
            return VISIBLE
        if k not in hart.recent:
            hart.recent = (*hart.recent[-7:], k)
    value = own_word(world, hart, k) if hart.buffer else world.word(k)
    shift, bits = (pa & 7) * 8, decoded.size * 8
    if bits < 64:
        value = value >> shift & (1 << bits) - 1
        if decoded.signed:
            value = sign_extend(value, bits)
    if world.trace is not None and k in world.shared:
        world.note(hart, "load", k, value, None, (1 << bits) - 1 << shift)
    world.learn(hart, hart.reach.loads, va, decoded.size, k)
    if decoded.rd:
        hart.x[decoded.rd] = value
    hart.pc += 4
    return None


def store(world: State, hart: Hart, decoded: Decoded) -> str | None:
    va = hart.x[decoded.rs1] + decoded.imm & MASK
    pa = address(world, hart, va, decoded.size, STORE)
    value = hart.x[decoded.rs2]
    if pa < world.ram:
        device_store(world, pa, value)
        hart.pc += 4
        return None
    k = pa >> 3
    shift, bits = (pa & 7) * 8, decoded.size * 8
    mask = (1 << bits) - 1 << shift
    stored = value << shift & mask
    held = False
    if world.watching:
        world.touch(hart, k, True)
        if k in world.shared:
            # What goes to the buffer nobody notices: no point before it.
            held = world.buffering
            if not held and world.is_point(hart, k, True):
                return VISIBLE
    if world.trace is not None and k in world.shared:
        world.note(hart, "held" if held else "store", k, stored >> shift,
                   own_word(world, hart, k) >> shift & mask >> shift, mask)  # fmt: skip
    if held:
        hart.buffer = (*hart.buffer, (k, mask, stored, STORES, False))
    else:
        world.set_word(k, world.word(k) & ~mask | stored if bits < 64 else stored)
        world.learn(hart, hart.reach.stores, va, decoded.size, k)
    hart.pc += 4
    return None


def atomic(world: State, hart: Hart, decoded: Decoded) -> str | None:
    va = hart.x[decoded.rs1]
    bits = decoded.size * 8
    is_lr, is_sc = decoded.funct == LR, decoded.funct == SC
    pa = address(world, hart, va, decoded.size, LOAD if is_lr else STORE)
    k, shift = pa >> 3, (pa & 7) * 8
    # An aq on the sc alone need order nothing (unprivileged manual, Load-Reserved/
    # Store-Conditional).
    aq = decoded.aq and (decoded.rl or not is_sc)
    # What an atomic without aq writes may arrive late, where nobody needs
    # to know at once what it read.
    holds = world.watching and world.passing and not aq and k in world.shared
    holds = holds and (is_sc or (decoded.rd == 0 and not is_lr))
    if world.watching:
        world.touch(hart, k, not is_lr)
        if not (holds and not is_sc) and world.is_point(hart, k, not is_lr):
            return VISIBLE
        if k not in hart.recent:
            hart.recent = (*hart.recent[-7:], k)
    mask = (1 << bits) - 1 << shift
    operand = hart.x[decoded.rs2] & (1 << bits) - 1
    if holds:
        hold(world, hart, decoded, k, mask, operand << shift)
        hart.pc += 4
        return None
    if aq or k in world.shared or not (world.passing and world.watching):
        arrive_for_atomic(world, hart, k, decoded.rl)
    # else nobody sees in which order this and what is held back arrive
    word = world.word(k)
    old = (word & mask) >> shift
    new = old
    result = sign_extend(old, bits)
    if is_lr:
        hart.reservation = k
        world.reserved.add(k)
    elif is_sc:
        result = 0 if hart.reservation == k else 1
        new = operand if result == 0 else old
        hart.reservation = None
    else:
        new = amo_result(decoded.funct, old, operand, bits)
    if world.trace is not None and k in world.shared:
        name = "lr" if is_lr else ("sc" if result == 0 else "sc fails") if is_sc else "atomic"
        world.note(hart, name, k, new, old, mask)
    if not is_lr and not (is_sc and result):
        world.set_word(k, word & ~mask | new << shift)
    if decoded.rd:
        hart.x[decoded.rd] = result
    hart.pc += 4
    return None


def device_load(world, pa: int) -> int:
    return 0x60 if pa == 0x10000005 else 0  # the UART can always send


def device_store(world, pa: int, value: int) -> None:
    if pa == 0x10000000:
        world.console.append(value & 0xFF)


def firmware(world: State, hart: Hart) -> None:
    """A call to the SBI. It fences before it lets others know."""
    arrive_all(world, hart)
    x = hart.x
    error = value = 0
    if x[17] == SBI_TIME:
        hart.timer = x[10]
        hart.accepts &= ~(1 << TIMER)
        world.advance(0)
    elif x[17] == SBI_IPI:
        for other in world.harts:
            if x[11] == MASK or (other.id >= x[11] and x[10] >> other.id - x[11] & 1):
                other.accepts |= 1 << SOFTWARE
                if world.trace is not None:
                    world.note(hart, "ipi", value=other.index)
    elif x[17] == SBI_PUT:
        world.console.append(x[10] & 0xFF)
    else:
        error = -2 & MASK
    x[10], x[11] = error, value


def csr(world: State, hart: Hart, decoded: Decoded) -> None:
    number = decoded.imm
    operand = decoded.rs1 if decoded.funct >= 4 else hart.x[decoded.rs1]
    writes = decoded.funct & 3 == 1 or decoded.rs1 != 0
    privileged = number >> 8 & 3
    if hart.mode == USER and privileged:
        raise Trap(ILLEGAL_CAUSE, 0)
    if number == SIP:
        old = hart.accepts
    elif number == TIME:
        old = world.time
    elif number == STIMECMP:
        old = hart.timer
    elif number in COUNTERS:
        old = world.executed
    elif number in hart.csr:
        old = hart.csr[number]
    else:
        raise Trap(ILLEGAL_CAUSE, 0)
    new = (operand, old | operand, old & ~operand)[(decoded.funct & 3) - 1] & MASK
    if writes:
        if number == SIP:
            hart.accepts = old & ~(1 << SOFTWARE) | new & 1 << SOFTWARE
        elif number == STIMECMP:
            hart.timer = new
            hart.accepts &= ~(1 << TIMER)
            world.advance(0)
        elif number == SATP:
            hart.csr[SATP] = new
            hart.forget_translations()
        else:
            hart.csr[number] = new
    if decoded.rd:
        hart.x[decoded.rd] = old


def trap(world: State, hart: Hart, cause: int, value: int) -> None:
    """To the kernel, as section "Supervisor Trap Handling" has it."""
    csr = hart.csr
    if hart.mode == SUPERVISOR:
        raise KernelFault(
            hart.index,
            f"the kernel trapped: cause {cause} at pc {hart.pc:#x}, address {value:#x}",
        )
    csr[SEPC], csr[SCAUSE], csr[STVAL] = hart.pc, cause, value
    status = csr[SSTATUS]
    csr[SSTATUS] = status & ~(SPP | STATUS_SIE) | (SPIE if status & STATUS_SIE else 0)
    hart.mode = SUPERVISOR
    hart.pc = csr[STVEC] & ~3
    if world.trace is not None:
        world.note(hart, "trap", value=cause)


def sret(world: State, hart: Hart) -> None:
    csr = hart.csr
    status = csr[SSTATUS]
    hart.mode = SUPERVISOR if status & SPP else USER
    csr[SSTATUS] = status & ~(SPP | STATUS_SIE) | SPIE | (STATUS_SIE if status & SPIE else 0)
    hart.pc = csr[SEPC]
