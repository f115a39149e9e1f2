"""Memory of a stopped machine, with words of every size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .errors import MemoryFault
from .remote import Remote

if TYPE_CHECKING:
    from .pagetable import Entry, PageTable


class Memory(Protocol):
    """Whatever bytes can be read from."""

    def read(self, address: int, size: int) -> bytes: ...


class WordMemory(ABC):
    """Memory with little-endian words and strings on top of its bytes."""

    @abstractmethod
    def read(self, address: int, size: int) -> bytes: ...

    @abstractmethod
    def write(self, address: int, data: bytes) -> None: ...

    def u8(self, address: int) -> int:
        return self.read(address, 1)[0]

    def u32(self, address: int) -> int:
        return int.from_bytes(self.read(address, 4), "little")

    def u64(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")

    def set_u32(self, address: int, value: int) -> None:
        self.write(address, (value & (1 << 32) - 1).to_bytes(4, "little"))

    def set_u64(self, address: int, value: int) -> None:
        self.write(address, (value & (1 << 64) - 1).to_bytes(8, "little"))

    def string(self, address: int, limit: int = 1024) -> str:
        """A C string, cut at `limit` bytes."""
        data = bytearray()
        while len(data) < limit:
            piece = self.read(address + len(data), min(64, limit - len(data)))
            text, end, _ = piece.partition(b"\0")
            data += text
            if end:
                break
        return data.decode(errors="replace")


@dataclass(frozen=True)
class PhysicalMemory(WordMemory):
    """RAM and devices by physical address, whatever the harts are doing."""

    remote: Remote

    def read(self, address: int, size: int) -> bytes:
        return self.remote.read_physical(address, size)

    def write(self, address: int, data: bytes) -> None:
        self.remote.write_physical(address, data)


@dataclass(frozen=True)
class VirtualMemory(WordMemory):
    """Memory as one hart sees it in its present mode."""

    remote: Remote
    hart: int

    def read(self, address: int, size: int) -> bytes:
        return self.remote.read_virtual(self.hart, address, size)

    def write(self, address: int, data: bytes) -> None:
        self.remote.write_virtual(self.hart, address, data)


class TranslatedMemory(WordMemory):
    """Memory through a page table, whatever the harts are doing.

    Translations are remembered: for mappings that stay, as the kernel's image
    and its linear map do.
    """

    def __init__(self, physical: PhysicalMemory, table: PageTable) -> None:
        self.physical = physical
        self.table = table
        self._leaves: list[Entry] = []

    def _leaf(self, address: int) -> Entry:
        for leaf in self._leaves:
            if leaf.va <= address < leaf.va + leaf.size:
                return leaf
        found = self.table.lookup(address)
        if found is None:
            raise MemoryFault(f"nothing is mapped at {address:#x}")
        self._leaves.append(found)
        return found

    def translate(self, address: int) -> int:
        leaf = self._leaf(address)
        return leaf.pa + (address - leaf.va)

    def _pieces(self, address: int, size: int) -> Iterator[tuple[int, int]]:
        """(physical address, length) of the pieces that a range falls into."""
        while size:
            leaf = self._leaf(address)
            length = min(size, leaf.va + leaf.size - address)
            yield leaf.pa + (address - leaf.va), length
            address += length
            size -= length

    def read(self, address: int, size: int) -> bytes:
        pieces = self._pieces(address, size)
        return b"".join(self.physical.read(at, length) for at, length in pieces)

    def write(self, address: int, data: bytes) -> None:
        done = 0
        for at, length in self._pieces(address, len(data)):
            self.physical.write(at, data[done : done + length])
            done += length
