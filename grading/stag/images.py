"""Edits of ELF files that need no tools."""

from __future__ import annotations

import struct
from pathlib import Path

_EHDR_PHOFF, _EHDR_PHENTSIZE, _EHDR_PHNUM = 0x20, 0x36, 0x38
_PHDR_PADDR = 0x18
_PT_LOAD = 1


def move_load_address(source: Path, to: Path, offset: int) -> Path:
    """A copy of a 64-bit ELF file that is loaded `offset` bytes higher in
    physical memory. Virtual addresses stay."""
    data = bytearray(source.read_bytes())
    (headers,) = struct.unpack_from("<Q", data, _EHDR_PHOFF)
    size, count = struct.unpack_from("<HH", data, _EHDR_PHENTSIZE)
    for header in range(headers, headers + size * count, size):
        (kind,) = struct.unpack_from("<I", data, header)
        if kind == _PT_LOAD:
            (physical,) = struct.unpack_from("<Q", data, header + _PHDR_PADDR)
            struct.pack_into("<Q", data, header + _PHDR_PADDR, physical + offset)
    to.write_bytes(data)
    return to
