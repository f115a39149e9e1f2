"""Starting, watching and ending QEMU.

A machine is QEMU's `virt` board with a kernel on it. Its debug stub and its
serial line are sockets that it inherits: no port, no path, so any number of
machines run side by side. A thread reads the serial line all the time, since
the guest stalls on a console that nobody empties. QEMU dies with the grader,
also when the grader is killed.

Wall-clock time is never a verdict here. A watchdog turns a hang into a report;
its patience grows with how slow this computer is just now.
"""

from __future__ import annotations

import functools
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from .errors import GuestExit, GuestHang, InfrastructureError
from .grade_process import own_group
from .memory import PhysicalMemory
from .patience import Patience
from .remote import Remote, Stop

QEMU = os.environ.get("QEMU", "qemu-system-riscv64")
PATIENCE = 20.0  # seconds that anything may take on an idle computer
START_NOMINAL = 0.15  # seconds from starting QEMU to its stub's first answers

_SLOWEST = 40.0
_slowness = float(os.environ.get("STAG_TIME_FACTOR", "1"))


def slowness() -> float:
    """How many times slower than nominal this computer has shown itself."""
    return _slowness


def _note_start(seconds: float) -> None:
    """Every machine that is started calibrates the watchdog."""
    global _slowness
    _slowness = max(_slowness, min(seconds / START_NOMINAL, _SLOWEST))


def require_qemu() -> str:
    """The path of QEMU, or an infrastructure error."""
    path = shutil.which(QEMU)
    if path is None:
        raise InfrastructureError(f"{QEMU} is not installed: make doctor says what to type")
    return path


@functools.cache
def qemu_version() -> tuple[int, int]:
    done = subprocess.run(
        [require_qemu(), "--version"], capture_output=True, text=True, check=False
    )
    found = re.search(r"version (\d+)\.(\d+)", done.stdout)
    if found is None:
        raise InfrastructureError(f"{QEMU} does not tell its version: {done.stderr.strip()}")
    return int(found[1]), int(found[2])


@dataclass(frozen=True)
class MachineConfig:
    """What kind of machine to start."""

    kernel: Path
    harts: int = 2
    memory: str = "128M"
    mmu: Literal["sv39", "sv48"] = "sv39"
    arguments: str = ""  # boot arguments, after the one for the MMU mode
    threads: Literal["multi", "single"] = "multi"
    icount: bool = False  # time counts instructions; implies single
    devicetree: Path | None = None
    extra: tuple[str, ...] = ()
    console: bool = True  # without, the serial line leads nowhere and never waits
    trace: Path | None = None  # QEMU writes a line for each instruction executed …
    trace_ranges: tuple[tuple[int, int], ...] = ()  # … at these (address, size)
    debug: bool = True  # with a debug stub, stopped before the first instruction

    @property
    def boot_arguments(self) -> str:
        words = ["mmu=sv48"] if self.mmu == "sv48" else []
        return " ".join([*words, self.arguments]).strip()

    def command(self) -> list[str]:
        """QEMU's command line without the inherited sockets."""
        if not self.kernel.is_file():
            raise InfrastructureError(f"{self.kernel} does not exist: build it first (make)")
        threads = "single" if self.icount else self.threads
        accelerator = f"tcg,thread={threads}"
        if self.trace and qemu_version() >= (8, 1):
            accelerator += ",one-insn-per-tb=on"
        command = [require_qemu(), "-machine", "virt", "-accel", accelerator]
        command += ["-smp", str(self.harts), "-m", self.memory]
        command += ["-kernel", str(self.kernel)]
        command += ["-display", "none", "-monitor", "none", "-nodefaults", "-no-user-config"]
        command += ["-no-reboot"]
        if self.boot_arguments:
            command += ["-append", self.boot_arguments]
        if self.icount:
            # With sleep=off a machine that was stopped does not go on (QEMU 7.2).
            command += ["-icount", "shift=0" if self.debug else "shift=0,sleep=off"]
        if self.trace:
            if qemu_version() < (8, 1):
                command += ["-singlestep"]
            ranges = ",".join(f"{start:#x}+{size:#x}" for start, size in self.trace_ranges)
            command += ["-d", "exec,nochain", "-D", str(self.trace), "-dfilter", ranges]
        if self.devicetree is not None:
            command += ["-dtb", str(self.devicetree)]
        return [*command, *self.extra]


class Serial:
    """The serial line: everything that came, and a way to type."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = bytearray()
        self._arrived = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._read, name="serial", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._closed:
            select.select([self._connection], [], [])
            with self._arrived:
                self._take()
                self._arrived.notify_all()

    def _take(self) -> None:
        """Take in all that has come. The lock is held."""
        while not self._closed:
            try:
                data = self._connection.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self._data += data
            self._closed = not data

    @property
    def data(self) -> bytes:
        """Everything that the guest has sent up to now."""
        with self._arrived:
            self._take()
            return bytes(self._data)

    @property
    def text(self) -> str:
        return self.data.decode(errors="replace").replace("\r\n", "\n")

    def type(self, text: str) -> None:
        """Press keys. QEMU hands them over as fast as the guest reads."""
        try:
            self._connection.sendall(text.encode())
        except OSError:
            raise GuestExit("QEMU has ended: nobody reads the keys any more") from None

    def wait_for(self, text: str, *, start: int = 0, patience: float = PATIENCE) -> int:
        """Wait until `text` has come at or after byte `start`; its end."""
        wanted = text.encode()
        waiting = Patience(patience * slowness())
        with self._arrived:
            while True:
                pause = waiting.pause()
                found = self._data.find(wanted, start)
                if found >= 0:
                    return found + len(wanted)
                if self._closed or pause == 0:
                    why = "QEMU ended" if self._closed else f"{patience:g} seconds passed"
                    seen = bytes(self._data[start:][-600:]).decode(errors="replace")
                    raise GuestHang(
                        f"{why} before the console said {text!r}; it said last:\n{seen}"
                    )
                self._arrived.wait(pause)

    def close(self) -> None:
        self._connection.close()

    def finish(self) -> None:
        """QEMU has ended: take in what is left."""
        self._thread.join(5.0)


@dataclass
class Machine:
    """A running QEMU. Use it in a `with` statement: it is always killed."""

    config: MachineConfig
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _remote: Remote | None = field(default=None, repr=False)
    _serial: Serial | None = field(default=None, repr=False)
    _files: ExitStack = field(default_factory=ExitStack, repr=False)

    @classmethod
    def of(cls, kernel: Path, **settings: object) -> Machine:
        """A machine from MachineConfig's fields."""
        return cls(replace(MachineConfig(kernel), **settings))  # type: ignore[arg-type]

    def __enter__(self) -> Machine:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        command = self.config.command()
        theirs: list[socket.socket] = []

        def inherited(name: str) -> socket.socket:
            ours, their = socket.socketpair()
            theirs.append(their)
            command.extend(["-chardev", f"socket,id={name},fd={their.fileno()}"])
            return ours

        began = time.monotonic()
        serial = inherited("serial")
        command += ["-serial", "chardev:serial" if self.config.console else "null"]
        stub = None
        if self.config.debug:
            stub = inherited("stub")
            command += ["-gdb", "chardev:stub", "-S"]
        self._errors = self._files.enter_context(tempfile.TemporaryFile())
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=[their.fileno() for their in theirs],
                preexec_fn=own_group(),
            )
        except OSError as error:
            raise InfrastructureError(f"QEMU does not start: {error}") from None
        finally:
            for their in theirs:
                their.close()
        self._serial = Serial(serial)
        if stub is not None:
            self._remote = Remote(stub, trace="STAG_TRACE" in os.environ)
            try:
                self._remote.connect()
            except GuestExit:
                self._process.wait()
                raise InfrastructureError(f"QEMU does not start: {self.complaint()}") from None
            _note_start(time.monotonic() - began)
            self._remote.timeout_factor = slowness()

    def complaint(self) -> str:
        """What QEMU wrote to its standard error."""
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()
        return text or "it said nothing"

    @property
    def remote(self) -> Remote:
        if self._remote is None:
            raise InfrastructureError("this machine has no debug stub")
        return self._remote

    @property
    def serial(self) -> Serial:
        assert self._serial is not None, "not started"
        return self._serial

    @property
    def memory(self) -> PhysicalMemory:
        return PhysicalMemory(self.remote)

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def ended(self) -> bool:
        """QEMU is gone: the guest has powered off."""
        return self._process is not None and self._process.poll() is not None

    def cpu_seconds(self) -> float:
        """CPU time of the host that QEMU has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def run(self, harts: list[int] | None = None, patience: float = PATIENCE) -> Stop:
        """Resume (all harts without a list) and wait for the next stop. On a
        hang the machine is stopped and the watchdog reports."""
        self.remote.resume(harts)
        return self.wait_stop(patience)

    def wait_stop(self, patience: float = PATIENCE) -> Stop:
        try:
            stop = self.remote.wait(patience)
        except GuestExit:
            return Stop(exit_code=self.wait_exit())
        except GuestHang:
            if (stop := self.interrupt()).exited:
                return stop
            raise GuestHang(
                f"nothing happened within {patience:g} seconds; the console said last:\n"
                + self.serial.text[-600:]
            ) from None
        return Stop(exit_code=self.wait_exit()) if stop.exited else stop

    def interrupt(self) -> Stop:
        """Stop all harts, unless the machine has just powered off."""
        try:
            return self.remote.interrupt()
        except GuestExit:
            return Stop(exit_code=self.wait_exit())

    def wait_exit(self, patience: float = PATIENCE) -> int:
        """Wait until QEMU ends by itself; its exit status."""
        assert self._process is not None, "not started"
        if self._remote is not None and self._remote.running:
            self._drain_stub(patience)
        waiting = Patience(patience * slowness())
        while True:
            pause = waiting.pause()
            try:
                code = self._process.wait(pause)
                break
            except subprocess.TimeoutExpired:
                if pause > 0:
                    continue
                raise GuestHang(
                    f"the machine did not power off within {patience:g} seconds;"
                    f" the console said last:\n{self.serial.text[-600:]}"
                ) from None
        self.serial.finish()
        return code

    def _drain_stub(self, patience: float) -> None:
        try:
            stop = self.remote.wait(patience)
        except (GuestExit, GuestHang):
            return
        if not stop.exited:
            raise GuestHang(f"the machine stopped on hart {stop.hart} instead of powering off")

    def kill(self) -> None:
        """End QEMU, however it is doing."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
        if self._remote is not None:
            self._remote.connection.close()
        if self._serial is not None:
            self._serial.finish()
            self._serial.close()
        self._files.close()


def run_to_exit(config: MachineConfig, patience: float = 60.0) -> tuple[int, str]:
    """Boot without a debugger, wait for power-off: exit status and console."""
    with Machine(replace(config, debug=False)) as machine:
        code = machine.wait_exit(patience)
        if code < 0 or (code == 1 and not machine.serial.data):
            raise InfrastructureError(f"QEMU failed: {machine.complaint()}")
        return code, machine.serial.text
