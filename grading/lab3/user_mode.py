"""An executor in user mode, whose traps stop at the kernel's C functions."""

from __future__ import annotations

import random

from executor_stage import EXECUTOR, HANDLE, RO, Stage, differences, pattern
from stag.remote import PC
from stag.verdict import check
from test_trap_exit import check_registers

TEMPORARY = [5, 6, 7, *range(11, 18), *range(28, 32)]  # t0-t6, a1-a7
READ_ONLY, SELF = 0x30000, 0x2000000000


class User:
    """An executor in user mode on the stage's hart. While it is there its page
    holds other values than the registers, so that what is saved is seen. Its
    space has a page that it may only read, and its own handle."""

    def __init__(self, stage: Stage, *words: int, registers: list[int] | None = None) -> None:
        self.stage = stage
        self.remote = stage.system.remote
        self.space, self.executor = stage.program(*words)
        stage.map(self.space, READ_ONLY, stage.page(), RO)
        stage.hold(self.executor)
        stage.map(self.space, SELF, self.executor, EXECUTOR | HANDLE)
        self.registers = registers or pattern(7)
        stage.enter(self.executor, self.registers)
        self.remote.set_register(stage.hart, "sie", 0)
        stage.system.run_to_user([stage.hart])
        self.forget(self.executor)

    def forget(self, executor: int) -> None:
        """Other values in the page of an executor that is in user mode."""
        self.stage.set_registers(executor, pattern(99), 0xBAD0)

    def become(self, registers: list[int], pc: int) -> None:
        """In user mode: go on with these registers."""
        self.registers = registers
        live = self.remote.general_registers(self.stage.hart)
        live[1:32] = registers[1:]
        live[PC] = pc
        self.remote.set_general_registers(self.stage.hart, live)

    def run_to(self, *places: str) -> tuple[str, int, int]:
        """From user mode to one of these functions: which, and its first two
        arguments."""
        harts = self.stage.system.harts
        names = {harts.address(name): name for name in places}
        name = names[self.stage.run(*names)]
        return name, *(self.remote.register(self.stage.hart, n) for n in ("a0", "a1"))

    def run_to_trap(self, cause: int, pc: int, what: str) -> None:
        """The trap reaches `trap`, or call_dispatch, as it should: registers and
        pc are saved, and the cause is told."""
        name, executor, told = self.run_to("trap", "call_dispatch")
        check(
            name == "trap" and told == cause,
            expected=f"{what}: trap is called with cause {cause:#x}",
            found=f"{name} is called, second argument {told:#x}",
            where=self.trap_text(),
        )
        check(
            executor == self.executor,
            expected="its first argument is the executor that runs here",
            found=f"{executor:#x}, not {self.executor:#x}",
        )
        self.check_saved(pc, what)

    def trap_text(self) -> str:
        cause, pc, address = (
            self.remote.register(self.stage.hart, name) for name in ("scause", "sepc", "stval")
        )
        return f"scause {cause:#x}, sepc {pc:#x}, stval {address:#x}"

    def check_saved(self, pc: int, what: str) -> None:
        wrong = differences([pc, *self.registers[1:]], self.stage.saved(self.executor))
        check(
            not wrong,
            expected=f"{what}: all 31 registers and pc are saved in the executor's page",
            found=wrong,
            where=self.trap_text(),
        )

    def scramble(self) -> None:
        """What a C function may do to the registers that it need not keep."""
        dice = random.Random(3)
        registers = self.remote.general_registers(self.stage.hart)
        for number in TEMPORARY:
            registers[number] = dice.getrandbits(64)
        self.remote.set_general_registers(self.stage.hart, registers)

    def return_now(self, executor: int) -> None:
        """The function at which the hart stands has done its work, and returns this
        executor."""
        self.scramble()
        self.stage.system.harts.return_now(self.stage.hart, executor)

    def resume(self, executor: int | None = None) -> None:
        """And on to user mode, with this executor."""
        self.return_now(executor or self.executor)
        self.stage.system.run_to_user([self.stage.hart])
        self.forget(executor or self.executor)

    def check_live(self, pc: int, when: str) -> None:
        check_registers(self.stage, [pc, *self.registers[1:]], when)
