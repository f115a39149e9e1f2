"""A client of the GDB remote protocol, as QEMU's stub speaks it.

It knows about threads (a hart is thread `p1.<hart + 1>`), registers by name,
memory, breakpoints and resuming; what to do with them is decided elsewhere
(harts.py).

Peculiarities of the stub that this module takes care of:

- Registers can be asked for only after the target description was read.
- Every stop selects the hart that caused it.
- A hart that stands on a breakpoint stops there again when it is continued,
  while a step passes over it. Only a hart whose stop was *reported* may be
  stepped off: another that reached the breakpoint at the same moment has its
  hit still to come.
- Acknowledgements can't be switched off, but need not be sent.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .errors import GuestExit, GuestHang, InfrastructureError, MemoryFault, RemoteError
from .patience import Patience

SIGNAL_INTERRUPT = 2
SIGNAL_TRAP = 5

CHUNK = 2048  # bytes of memory in one packet: the stub's buffer holds 4096 digits
GENERAL_REGISTERS = 33  # x0 … x31 and pc, what a `g` packet carries
PC = 32

STEP_PLAIN = 1
STEP_MASKED = 7  # neither interrupts nor the timers of the machine

WATCH_WRITE = 2
WATCH_READ = 3
WATCH_ACCESS = 4

_CHECKSUM = [b"#%02x" % value for value in range(256)]

_ABI_NAMES = (
    "zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7"
    " s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6"
).split()


@dataclass(frozen=True)
class Stop:
    """Why the machine stopped."""

    hart: int | None = None  # the one that caused the stop
    signal: int = 0
    watch: int | None = None  # the address, when a watchpoint was hit
    exit_code: int | None = None  # QEMU has ended

    @property
    def exited(self) -> bool:
        return self.exit_code is not None


class Remote:
    """One connection to the stub of one QEMU. All harts are stopped at first."""

    def __init__(self, connection: socket.socket, *, trace: bool = False) -> None:
        self.connection = connection
        self.trace = trace
        self.running = False
        self.timeout_factor = 1.0
        self._buffer = b""
        self._selected: int | None = None
        self._physical = False
        self._breakpoints: Counter[int] = Counter()
        self._reported: dict[int, int] = {}  # hart: pc of a breakpoint it reported
        self.hart_count = 0
        self.registers: dict[str, int] = {}

    # Packets

    def _send(self, body: bytes) -> None:
        if self.trace:
            print("-->", body[:200].decode(errors="replace"), file=sys.stderr)
        try:
            self.connection.sendall(b"$" + body + _CHECKSUM[sum(body) & 255])
        except OSError:
            raise GuestExit("QEMU has ended: its debug stub takes no more requests") from None

    def _receive(self, timeout: float = 30.0) -> bytes:
        patience = Patience(timeout * self.timeout_factor)
        while True:
            start = self._buffer.find(b"$")
            end = self._buffer.find(b"#", start) if start >= 0 else -1
            if end >= 0 and len(self._buffer) >= end + 3:
                body = self._buffer[start + 1 : end]
                self._buffer = self._buffer[end + 3 :]
                if self.trace:
                    print("<--", body[:200].decode(errors="replace"), file=sys.stderr)
                return _expand(body) if b"}" in body or b"*" in body else body
            pause = patience.pause()
            if not select.select([self.connection], [], [], pause)[0]:
                if pause == 0:
                    raise GuestHang(f"no answer from the debug stub within {timeout:g} seconds")
                continue
            try:
                data = self.connection.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                raise GuestExit("QEMU has ended: its debug stub closed the connection")
            self._buffer += data

    def request(self, body: bytes | str) -> bytes:
        """Send one packet and return the answer."""
        self._send(body.encode() if isinstance(body, str) else body)
        return self._receive()

    def _request_ok(self, body: bytes | str) -> None:
        answer = self.request(body)
        if answer != b"OK":
            raise RemoteError(f"the debug stub answered {answer!r} to {body!r}")

    # Connecting

    def connect(self) -> None:
        """The first conversation: features, harts, register names."""
        self.request("qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+")
        threads: list[bytes] = []
        answer = self.request("qfThreadInfo")
        while answer.startswith(b"m"):
            threads += answer[1:].split(b",")
            answer = self.request("qsThreadInfo")
        self.hart_count = len(threads)
        self.registers = self._register_numbers()
        self.request("?")

    def _document(self, name: str) -> str:
        text = b""
        while True:
            answer = self.request(f"qXfer:features:read:{name}:{len(text):x},ffb")
            text += answer[1:]
            if answer[:1] == b"l":
                return text.decode()
            if answer[:1] != b"m":
                raise InfrastructureError(f"QEMU's debug stub has no description of {name}")

    def _register_numbers(self) -> dict[str, int]:
        numbers: dict[str, int] = {}
        number = -1  # goes on counting from one document to the next
        for href in re.findall(r'href="([^"]+)"', self._document("target.xml")):
            for tag in re.findall(r"<reg [^>]*>", self._document(href)):
                attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
                number = int(attributes.get("regnum", number + 1))
                numbers[attributes["name"]] = number
        for index, name in enumerate(_ABI_NAMES):
            numbers[name] = numbers[f"x{index}"] = index
        numbers["fp"] = numbers["s0"]
        numbers["pc"] = PC
        return numbers

    # Harts and registers

    def select(self, hart: int) -> None:
        """Registers and virtual memory are this hart's from here on."""
        if self._selected != hart:
            self._request_ok(f"Hgp1.{hart + 1:x}")
            self._selected = hart

    def register(self, hart: int, name: str) -> int:
        """The value of a register or CSR; `priv` is the privilege mode."""
        self.select(hart)
        answer = self.request(f"p{self._register_number(name):x}")
        if not answer or answer.startswith(b"E"):
            raise RemoteError(f"hart {hart}: register {name} can't be read")
        return int.from_bytes(bytes.fromhex(answer.decode()), "little")

    def set_register(self, hart: int, name: str, value: int) -> None:
        self.select(hart)
        digits = (value & (1 << 64) - 1).to_bytes(8, "little").hex()
        self._request_ok(f"P{self._register_number(name):x}={digits}")

    def _register_number(self, name: str) -> int:
        try:
            return self.registers[name]
        except KeyError:
            raise RemoteError(f"QEMU shows no register named {name}") from None

    def pc(self, hart: int) -> int:
        return self.register(hart, "pc")

    def general_registers(self, hart: int) -> list[int]:
        """x0 … x31, then pc."""
        digits = bytes.fromhex(self.save_registers(hart).decode())
        return list(struct.unpack(f"<{GENERAL_REGISTERS}Q", digits[: GENERAL_REGISTERS * 8]))

    def set_general_registers(self, hart: int, values: list[int]) -> None:
        """All of general_registers at once."""
        data = struct.pack(f"<{GENERAL_REGISTERS}Q", *values)
        self.restore_registers(hart, data.hex().encode())

    def save_registers(self, hart: int) -> bytes:
        """x1 … x31 and pc as one piece, for restore_registers."""
        self.select(hart)
        return self.request("g")

    def restore_registers(self, hart: int, saved: bytes) -> None:
        self.select(hart)
        self._request_ok(b"G" + saved)

    # Memory

    def _memory_mode(self, physical: bool) -> None:
        if self._physical != physical:
            self._request_ok(f"Qqemu.PhyMemMode:{physical:d}")
            self._physical = physical

    def read_physical(self, address: int, size: int) -> bytes:
        self._memory_mode(True)
        return self._read(address, size)

    def write_physical(self, address: int, data: bytes) -> None:
        self._memory_mode(True)
        self._write(address, data)

    def read_virtual(self, hart: int, address: int, size: int) -> bytes:
        """Memory as the hart sees it now: its mode, its table."""
        self._memory_mode(False)
        self.select(hart)
        return self._read(address, size)

    def write_virtual(self, hart: int, address: int, data: bytes) -> None:
        self._memory_mode(False)
        self.select(hart)
        self._write(address, data)

    def _read(self, address: int, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            at, length = address + len(data), min(size - len(data), CHUNK)
            answer = self.request(b"m%x,%x" % (at, length))
            if answer.startswith(b"E"):
                raise MemoryFault(f"no memory at {at:#x}")
            data += bytes.fromhex(answer.decode())
        return bytes(data)

    def _write(self, address: int, data: bytes) -> None:
        for start in range(0, len(data), CHUNK - 64):
            piece = data[start : start + CHUNK - 64]
            answer = self.request(f"M{address + start:x},{len(piece):x}:{piece.hex()}")
            if answer != b"OK":
                raise MemoryFault(f"no memory to write at {address + start:#x}")

    # Breakpoints and watchpoints

    def set_breakpoint(self, address: int) -> None:
        """May be set several times; it goes when it was cleared as often."""
        self._breakpoints[address] += 1
        if self._breakpoints[address] == 1:
            self._request_ok(f"Z0,{address:x},4")

    def clear_breakpoint(self, address: int) -> None:
        self._breakpoints[address] -= 1
        if self._breakpoints[address] == 0:
            del self._breakpoints[address]
            self._request_ok(f"z0,{address:x},4")

    def has_breakpoint(self, address: int) -> bool:
        return address in self._breakpoints

    @contextlib.contextmanager
    def breakpoints(self, *addresses: int) -> Iterator[None]:
        """Breakpoints for the length of a `with` block."""
        for address in addresses:
            self.set_breakpoint(address)
        try:
            yield
        except KeyboardInterrupt:
            addresses = ()  # perhaps amid a request: no other can be made
            raise
        finally:
            with contextlib.suppress(GuestExit):
                for address in addresses:
                    self.clear_breakpoint(address)

    def set_watchpoint(self, address: int, size: int, kind: int = WATCH_WRITE) -> None:
        self._request_ok(f"Z{kind},{address:x},{size}")

    def clear_watchpoint(self, address: int, size: int, kind: int = WATCH_WRITE) -> None:
        self._request_ok(f"z{kind},{address:x},{size}")

    # Resuming and stopping

    def mask_interrupts(self, masked: bool) -> None:
        """In steps: yes, as it is at first, or no."""
        self._request_ok(f"Qqemu.sstep={STEP_MASKED if masked else STEP_PLAIN}")

    def step(self, hart: int, timeout: float = 30.0) -> Stop:
        """One instruction on one hart, interrupts masked; the others frozen.

        With several emulator threads it may happen that nothing was executed.
        """
        self._reported.pop(hart, None)
        self._resume(f"vCont;s:p1.{hart + 1:x}")
        return self.wait(timeout)

    def resume(self, harts: list[int] | None = None) -> None:
        """Let these harts run, the others frozen; all of them without a list."""
        for hart in range(self.hart_count) if harts is None else harts:
            if hart in self._reported:
                at = self._reported.pop(hart)
                if at in self._breakpoints and self.pc(hart) == at:
                    self.step(hart)
        if harts is None:
            self._resume("vCont;c")
        else:
            self._resume("vCont;" + ";".join(f"c:p1.{hart + 1:x}" for hart in harts))

    def _resume(self, packet: str) -> None:
        self._send(packet.encode())
        self.running = True

    def wait(self, timeout: float) -> Stop:
        """Wait for the stop that ends a resume. GuestHang after `timeout`
        seconds, with the machine still running."""
        try:
            while (answer := self._receive(timeout))[:1] not in (b"T", b"S", b"W", b"X"):
                pass
        except GuestExit:
            self.running = False
            raise
        self.running = False
        stop = _parse_stop(answer)
        self._selected = stop.hart
        if stop.hart is not None and stop.signal == SIGNAL_TRAP and self._breakpoints:
            pc = self.pc(stop.hart)
            if pc in self._breakpoints:
                self._reported[stop.hart] = pc
        return stop

    def interrupt(self) -> Stop:
        """Stop all harts where they are."""
        if not self.running:
            return Stop()
        try:
            self.connection.sendall(b"\x03")
        except OSError:
            raise GuestExit("QEMU has ended") from None
        return self.wait(30.0)

    def pass_breakpoint(self, hart: int) -> None:
        """The hart was brought onto a breakpoint by hand, or its stop has been
        dealt with: the next resume passes over it."""
        self._reported[hart] = self.pc(hart)

    def monitor(self, line: str) -> str:
        """A command of QEMU's monitor."""
        self._send(b"qRcmd," + line.encode().hex().encode())
        text = b""
        while (answer := self._receive()) != b"OK":
            if not answer.startswith(b"O"):
                raise RemoteError(f"QEMU's monitor refused {line!r}")
            text += bytes.fromhex(answer[1:].decode())
        return text.decode(errors="replace")


def _expand(body: bytes) -> bytes:
    """Undo the protocol's escapes and run lengths."""
    result = bytearray()
    index = 0
    while index < len(body):
        byte = body[index]
        if byte == ord("}"):
            result.append(body[index + 1] ^ 0x20)
            index += 2
        elif byte == ord("*"):
            result += bytes([result[-1]]) * (body[index + 1] - 29)
            index += 2
        else:
            result.append(byte)
            index += 1
    return bytes(result)


def _parse_stop(answer: bytes) -> Stop:
    code = int(answer[1:3], 16)
    if answer[:1] in (b"W", b"X"):
        return Stop(exit_code=code)
    fields: Mapping[bytes, bytes] = dict(
        field.split(b":", 1) for field in answer[3:].split(b";") if b":" in field
    )
    hart = watch = None
    if thread := fields.get(b"thread"):
        hart = int(thread.rpartition(b".")[2], 16) - 1
    for name in (b"watch", b"rwatch", b"awatch"):
        if name in fields:
            watch = int(fields[name], 16)
    return Stop(hart=hart, signal=code, watch=watch)
