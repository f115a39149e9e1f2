"""Symbols, structure layouts and source lines of an ELF file."""

from __future__ import annotations

import bisect
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.dwarf.die import DIE
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.elf.elffile import ELFFile

from .errors import InfrastructureError, StagError

_EXECUTABLE = 0x4
_ALLOCATED = 0x2
_WRITABLE = 0x1


@dataclass(frozen=True)
class Symbol:
    name: str
    address: int
    size: int
    is_function: bool


@dataclass(frozen=True)
class Section:
    name: str
    address: int
    data: bytes  # zero bytes are not spelled out: see size
    size: int
    executable: bool
    writable: bool


@dataclass(frozen=True)
class Segment:
    """One PT_LOAD."""

    virtual: int
    physical: int
    size: int  # in memory
    data: bytes
    readable: bool
    writable: bool
    executable: bool


@dataclass(frozen=True)
class Member:
    """A member of a structure."""

    name: str
    offset: int
    size: int
    count: int  # elements if it is an array, else 1
    members: dict[str, Member] = field(default_factory=dict, compare=False)  # of a structure

    @property
    def stride(self) -> int:
        return self.size // self.count if self.count else 0

    def path(self, offset: int, size: int) -> str:
        """As C names so many bytes there: `cache[3].entry`."""
        text = self.name
        if self.count > 1 and size <= self.stride:
            index, offset = divmod(offset, self.stride)
            text += f"[{index}]"
        inner = _path(self.members, offset, size)
        return f"{text}.{inner}" if inner else f"{text}+{offset:#x}" if offset else text


@dataclass(frozen=True)
class Struct:
    """The layout of a C structure."""

    name: str
    size: int
    members: dict[str, Member]

    def __getitem__(self, name: str) -> Member:
        try:
            return self.members[name]
        except KeyError:
            raise StagError(f"struct {self.name} has no member {name}") from None

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def path(self, offset: int, size: int = 8) -> str:
        """As C names so many bytes there; "" if no member is there."""
        return _path(self.members, offset, size)

    def decode(self, data: bytes) -> dict[str, int]:
        """The members of up to 8 bytes as numbers."""
        return {
            member.name: int.from_bytes(data[member.offset : member.offset + member.size], "little")
            for member in self.members.values()
            if member.size <= 8
        }


@dataclass(frozen=True)
class Line:
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Symbols:
    """An ELF file, read once. Its debug information is read when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise InfrastructureError(f"{path} does not exist: build it first (make)")
        try:
            self._elf = ELFFile(io.BytesIO(path.read_bytes()))
        except ELFError as error:
            raise InfrastructureError(f"{path} is no ELF file: {error}") from None

    @cached_property
    def by_name(self) -> dict[str, Symbol]:
        table = self._elf.get_section_by_name(".symtab")
        if table is None:
            raise InfrastructureError(f"{self.path} has no symbols")
        return {
            entry.name: Symbol(
                entry.name,
                entry["st_value"],
                entry["st_size"],
                entry["st_info"]["type"] == "STT_FUNC",
            )
            for entry in table.iter_symbols()
            if entry.name and entry["st_shndx"] != "SHN_UNDEF"
        }

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def __getitem__(self, name: str) -> int:
        return self.symbol(name).address

    def symbol(self, name: str) -> Symbol:
        try:
            return self.by_name[name]
        except KeyError:
            raise StagError(f"{self.path.name} has no symbol {name}") from None

    @property
    def entry(self) -> int:
        return self._elf["e_entry"]

    @cached_property
    def _code(self) -> list[Symbol]:
        """What may stand for a place in code, by address."""
        symbols = [
            symbol
            for symbol in self.by_name.values()
            if self.is_code(symbol.address) and not symbol.name.startswith((".", "$"))
        ]
        return sorted(symbols, key=lambda s: (s.address, s.is_function, s.size))

    def function_at(self, address: int) -> Symbol | None:
        """The function, or assembler label, that this address lies in."""
        index = bisect.bisect_right(self._code, address, key=lambda s: s.address) - 1
        if index < 0:
            return None
        symbol = self._code[index]
        inside = address < symbol.address + symbol.size if symbol.size else True
        return symbol if inside and self.is_code(address) else None

    def is_code(self, address: int) -> bool:
        return any(s.address <= address < s.address + s.size for s in self._executable)

    def describe(self, address: int) -> str:
        """An address for people: function, offset and source line."""
        symbol = self.function_at(address)
        if symbol is None:
            return f"{address:#x}"
        offset = f"+{address - symbol.address:#x}" if address > symbol.address else ""
        line = self.line(address)
        return f"{symbol.name}{offset}" + (f" ({line})" if line else "")

    # What is loaded

    @cached_property
    def sections(self) -> list[Section]:
        result = []
        for section in self._elf.iter_sections():
            flags = section["sh_flags"]
            if flags & _ALLOCATED and section["sh_size"]:
                data = b"" if section["sh_type"] == "SHT_NOBITS" else section.data()
                result.append(
                    Section(
                        section.name,
                        section["sh_addr"],
                        data,
                        section["sh_size"],
                        bool(flags & _EXECUTABLE),
                        bool(flags & _WRITABLE),
                    )
                )
        return result

    @cached_property
    def segments(self) -> list[Segment]:
        return [
            Segment(
                segment["p_vaddr"],
                segment["p_paddr"],
                segment["p_memsz"],
                segment.data(),
                bool(segment["p_flags"] & 4),
                bool(segment["p_flags"] & 2),
                bool(segment["p_flags"] & 1),
            )
            for segment in self._elf.iter_segments("PT_LOAD")
            if segment["p_memsz"]
        ]

    @cached_property
    def _executable(self) -> list[Section]:
        return [section for section in self.sections if section.executable]

    def instruction(self, address: int) -> int | None:
        """The 32-bit word at an address of the code, as linked."""
        for section in self._executable:
            offset = address - section.address
            if 0 <= offset <= len(section.data) - 4:
                return int.from_bytes(section.data[offset : offset + 4], "little")
        return None

    # Debug information

    @cached_property
    def _dwarf(self) -> DWARFInfo:
        if not self._elf.has_dwarf_info():
            raise InfrastructureError(f"{self.path} has no debug information")
        return self._elf.get_dwarf_info()

    @cached_property
    def _struct_entries(self) -> dict[str, DIE]:
        entries: dict[str, DIE] = {}
        for unit in self._dwarf.iter_CUs():
            for entry in unit.get_top_DIE().iter_children():
                if entry.tag != "DW_TAG_structure_type":
                    continue
                name = entry.attributes.get("DW_AT_name")
                if name is not None and "DW_AT_byte_size" in entry.attributes:
                    entries.setdefault(name.value.decode(errors="replace"), entry)
        return entries

    def struct(self, name: str) -> Struct:
        entry = self._struct_entries.get(name)
        if entry is None:
            raise StagError(f"{self.path.name} knows no struct {name}")
        members = {member.name: member for member in _members(entry, 0)}
        return Struct(name, entry.attributes["DW_AT_byte_size"].value, members)

    @cached_property
    def _variables(self) -> dict[str, DIE]:
        return {
            entry.attributes["DW_AT_name"].value.decode(errors="replace"): entry
            for unit in self._dwarf.iter_CUs()
            for entry in unit.get_top_DIE().iter_children()
            if entry.tag == "DW_TAG_variable"
            and {"DW_AT_name", "DW_AT_type"} <= set(entry.attributes)
        }

    def variable(self, name: str) -> Member | None:
        """The layout of a variable outside of functions, if it is known."""
        entry = self._variables.get(name)
        if entry is None:
            return None
        size, count, inner = _size(entry.get_DIE_from_attribute("DW_AT_type"))
        parts = {part.name: part for part in _members(inner, 0)} if inner else {}
        return Member(name, 0, size, count, parts)

    @cached_property
    def _lines(self) -> tuple[list[int], list[Line | None]]:
        rows: dict[int, Line | None] = {}
        for unit in self._dwarf.iter_CUs():
            program = self._dwarf.line_program_for_CU(unit)
            if program is None:
                continue
            files = program["file_entry"]
            first = 0 if program["version"] >= 5 else 1
            for row in program.get_entries():
                state = row.state
                if state is None:
                    continue
                if state.end_sequence:
                    rows.setdefault(state.address, None)
                elif 0 <= state.file - first < len(files):
                    name = files[state.file - first].name.decode(errors="replace")
                    rows[state.address] = Line(name, state.line)
        addresses = sorted(rows)
        return addresses, [rows[address] for address in addresses]

    def line(self, address: int) -> Line | None:
        """The source line of an instruction."""
        if not self._elf.has_dwarf_info():
            return None
        addresses, lines = self._lines
        index = bisect.bisect_right(addresses, address) - 1
        return lines[index] if index >= 0 else None


def _path(members: dict[str, Member], offset: int, size: int) -> str:
    for member in members.values():
        if member.offset <= offset < member.offset + member.size:
            return member.path(offset - member.offset, size)
    return ""


def _members(entry: DIE, base: int) -> Iterator[Member]:
    """Members, those of nameless inner structures and unions included."""
    for child in entry.iter_children():
        if child.tag != "DW_TAG_member":
            continue
        location = child.attributes.get("DW_AT_data_member_location")
        offset = base + (location.value if location else 0)
        size, count, inner = _size(child.get_DIE_from_attribute("DW_AT_type"))
        name = child.attributes.get("DW_AT_name")
        if name is not None:
            parts = {part.name: part for part in _members(inner, 0)} if inner else {}
            yield Member(name.value.decode(errors="replace"), offset, size, count, parts)
        elif inner is not None:
            yield from _members(inner, offset)


def _size(entry: DIE) -> tuple[int, int, DIE | None]:
    """Size, number of elements, and the structure if it is one."""
    while entry.tag in (
        "DW_TAG_typedef",
        "DW_TAG_const_type",
        "DW_TAG_volatile_type",
        "DW_TAG_atomic_type",
    ):
        if "DW_AT_type" not in entry.attributes:
            return 0, 1, None
        entry = entry.get_DIE_from_attribute("DW_AT_type")
    if entry.tag == "DW_TAG_array_type":
        size, inside, inner = _size(entry.get_DIE_from_attribute("DW_AT_type"))
        count = 1
        for child in entry.iter_children():
            if child.tag == "DW_TAG_subrange_type":
                if "DW_AT_count" in child.attributes:
                    count *= child.attributes["DW_AT_count"].value
                elif "DW_AT_upper_bound" in child.attributes:
                    count *= child.attributes["DW_AT_upper_bound"].value + 1
                else:
                    count = 0
        return size * count, inside * count, inner
    size = 8 if entry.tag == "DW_TAG_pointer_type" else 0
    if "DW_AT_byte_size" in entry.attributes:
        size = entry.attributes["DW_AT_byte_size"].value
    is_record = entry.tag in ("DW_TAG_structure_type", "DW_TAG_union_type")
    return size, 1, entry if is_record else None
