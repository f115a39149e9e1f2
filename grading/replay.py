"""Brings a machine to a step of a schedule that the grader found to be wrong, and
a debugger to the machine: make replay CASE=file [STEP=n].

QEMU boots the same kernel, then gets the registers of all harts and the memory
that the schedule is about, as they are before that step in the explorer's
model. From there the machine is QEMU's: steps in the debugger are steps of the
real thing.
"""

from __future__ import annotations

from stag import interrupt  # noqa: I001 (first: see there)

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from stag import case
from stag.errors import InfrastructureError, StagError
from stag.grade_machine import GradedSystem, bring_up, graded
from stag.machine import MachineConfig
from stag.model import PAGE
from stag.snapshot import CSRS
from stag.timeline import WIDTH, layout

ROOT = Path(__file__).resolve().parent.parent
PC = 32


def choose_step(found: case.Case) -> int:
    """The step that the person wants: STEP=n, else the last."""
    text = os.environ.get("STEP", "")
    last = len(found.steps)
    if not text:
        return last
    if not text.isdecimal() or not 1 <= int(text) <= last:
        raise StagError(f"STEP={text}: give a number from 1 to {last}")
    return int(text)


def restore(system: GradedSystem, found: case.Case, step: case.Step) -> None:
    """Make the machine what the model was before this step."""
    for page, data in found.pages.items():
        content = bytearray(data)
        for k, value in step.words.items():
            if k * 8 // PAGE == page:
                content[k * 8 % PAGE : k * 8 % PAGE + 8] = value.to_bytes(8, "little")
        system.physical.write(page * PAGE, bytes(content))
    for hart in step.harts:
        number = hart["id"]
        remote = system.remote
        remote.set_general_registers(number, [*hart["x"], hart["pc"]])
        for name, csr in CSRS.items():
            remote.set_register(number, name, hart["csr"][str(csr)])
        remote.set_register(number, "sip", hart["pending"])
        remote.set_register(number, "priv", hart["mode"])


def hand_over(system: GradedSystem, socket: Path) -> None:
    """Let a debugger have the stub: it listens on a socket from here on, and
    the machine stays as it is."""
    system.harts.disarm_panics()
    # For the debugger addresses are virtual, whatever was left on here.
    system.remote.request("Qqemu.PhyMemMode:0")
    line = f"gdbserver unix:{socket},server=on,wait=off"
    with suppress(StagError):  # the answer goes to the new connection
        system.remote.monitor(line)
    if not socket.exists():
        raise InfrastructureError("QEMU does not open its debug stub for the debugger")


def commands(found: case.Case, socket: Path, hart: int) -> list[str]:
    return [
        "set osabi none",
        "set architecture riscv:rv64",
        "set confirm off",
        f'file "{found.kernel}"',
        f"source {ROOT / 'tools' / 'stag.gdb'}",
        *(f'add-symbol-file "{path}"' for path in found.programs if path.is_file()),
        f"target remote {socket}",
        f"thread {hart + 1}",
    ]


def take_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def replay(path: Path) -> int:
    found = case.load(path)
    if not found.kernel.is_file() or case.digest(found.kernel) != found.digest:
        raise StagError(
            f"{found.kernel} is not the kernel any more that {path} is about: grade again"
        )
    number = choose_step(found)
    step = found.steps[number - 1]
    columns = max(WIDTH, shutil.get_terminal_size().columns)
    print(f"{found.test}: {found.complaint}\n\n{layout(found.rows, found.columns, columns)}\n")
    what = "after the last step" if number == len(found.steps) else f"before step {number}"
    print(f"The machine stands {what}. Each hart is a thread: `info threads`, `thread 2`, `bt`.")
    sys.stdout.flush()
    config = MachineConfig(found.kernel, **found.config)
    with graded(config) as system, tempfile.TemporaryDirectory() as folder:
        bring_up(system)
        restore(system, found, step)
        socket = Path(folder) / "gdb.sock"
        hart = step.harts[step.hart]["id"]
        hand_over(system, socket)
        script = Path(folder) / "gdbinit"
        script.write_text("\n".join(commands(found, socket, hart)) + "\n")
        debugger = [os.environ.get("GDB") or "gdb-multiarch", "-q", "-x", str(script)]
        if not sys.stdin.isatty():
            debugger += ["-batch", "-ex", "info threads", "-ex", "backtrace"]
        # ctrl-C is for the debugger, which stops the harts.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return subprocess.run(debugger, check=False, preexec_fn=take_ctrl_c).returncode
        except OSError as error:
            raise InfrastructureError(f"{debugger[0]} does not start: {error.strerror}") from None


def main() -> int:
    interrupt.clean_up_when_killed()
    if len(sys.argv) != 2 or not sys.argv[1]:
        print("usage: make replay CASE=file [STEP=n]", file=sys.stderr)
        return 2
    try:
        return replay(Path(sys.argv[1]))
    except StagError as error:
        print(f"replay: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
