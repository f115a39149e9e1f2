"""Devicetrees for machines that QEMU does not make by itself.

QEMU describes the machine it is about to start; the description is read into
a tree of nodes, edited, and handed back with `-dtb` or written into the
guest's memory. (Devicetree specification 0.4, chapter 5: the flattened
format.)
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .errors import InfrastructureError, StagError
from .machine import require_qemu

MAGIC = 0xD00DFEED
_BEGIN_NODE, _END_NODE, _PROPERTY, _NOP, _END = 1, 2, 3, 4, 9
_HEADER = struct.Struct(">10I")
_VERSION, _COMPATIBLE_VERSION = 17, 16


@dataclass
class Node:
    """A node: properties as bytes, children by name."""

    properties: dict[str, bytes] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)

    def string(self, name: str) -> str:
        return self.properties[name].split(b"\0")[0].decode()

    def cells(self, name: str) -> list[int]:
        data = self.properties[name]
        return list(struct.unpack(f">{len(data) // 4}I", data))

    def set_cells(self, name: str, *values: int) -> None:
        self.properties[name] = struct.pack(f">{len(values)}I", *values)

    def set_wide(self, name: str, *values: int) -> None:
        """Numbers of two cells each, as in `reg`."""
        self.properties[name] = struct.pack(f">{len(values)}Q", *values)

    def wide(self, name: str) -> list[int]:
        data = self.properties[name]
        return list(struct.unpack(f">{len(data) // 8}Q", data))

    def set_string(self, name: str, *values: str) -> None:
        self.properties[name] = b"".join(value.encode() + b"\0" for value in values)


@dataclass
class Devicetree:
    """A devicetree that can be edited."""

    root: Node
    reservations: list[tuple[int, int]] = field(default_factory=list)
    boot_hart: int = 0

    # Finding and editing

    def node(self, path: str) -> Node:
        found = self.root
        for name in path.strip("/").split("/"):
            if name not in found.children:
                raise StagError(f"the devicetree has no node {path}")
            found = found.children[name]
        return found

    def walk(self) -> Iterator[tuple[str, Node]]:
        """All nodes with their paths."""

        def below(path: str, node: Node) -> Iterator[tuple[str, Node]]:
            yield path or "/", node
            for name, child in node.children.items():
                yield from below(f"{path}/{name}", child)

        yield from below("", self.root)

    def remove(self, path: str) -> None:
        parent, _, name = path.rstrip("/").rpartition("/")
        owner = self.node(parent) if parent else self.root
        if name not in owner.children:
            raise StagError(f"the devicetree has no node {path}")
        del owner.children[name]

    def compatible(self, name: str) -> list[str]:
        """Paths of the nodes that say they are compatible with `name`."""
        return [
            path
            for path, node in self.walk()
            if name.encode() in node.properties.get("compatible", b"").split(b"\0")
        ]

    @property
    def memory(self) -> list[tuple[int, int]]:
        """(start, size) of each piece of RAM, by address."""
        pieces = []
        for name, node in self.root.children.items():
            if name.split("@")[0] == "memory":
                values = node.wide("reg")
                pieces += list(zip(values[::2], values[1::2], strict=True))
        return sorted(pieces)

    def set_memory(self, *pieces: tuple[int, int]) -> None:
        """Replace all RAM by these (start, size) pieces, a node each."""
        for name in [name for name in self.root.children if name.split("@")[0] == "memory"]:
            del self.root.children[name]
        for start, size in pieces:
            node = Node()
            node.set_string("device_type", "memory")
            node.set_wide("reg", start, size)
            self.root.children[f"memory@{start:x}"] = node

    # The flattened format

    @classmethod
    def parse(cls, data: bytes) -> Devicetree:
        (
            magic,
            total,
            structure,
            strings,
            reserved,
            _version,
            _compatible,
            boot_hart,
            strings_size,
            structure_size,
        ) = _HEADER.unpack_from(data)
        if magic != MAGIC or total > len(data):
            raise StagError("this is no devicetree")
        names = data[strings : strings + strings_size]
        reservations = []
        while any(entry := struct.unpack_from(">QQ", data, reserved)):
            reservations.append(entry)
            reserved += 16
        root = _parse_structure(data[structure : structure + structure_size], names)
        return cls(root, reservations, boot_hart)

    def flatten(self) -> bytes:
        names = bytearray()
        offsets: dict[str, int] = {}
        structure = _flatten_node("", self.root, names, offsets) + struct.pack(">I", _END)
        reserved = b"".join(struct.pack(">QQ", *entry) for entry in [*self.reservations, (0, 0)])
        reserved_at = _HEADER.size
        structure_at = reserved_at + len(reserved)
        strings_at = structure_at + len(structure)
        total = strings_at + len(names)
        header = _HEADER.pack(
            MAGIC,
            total,
            structure_at,
            strings_at,
            reserved_at,
            _VERSION,
            _COMPATIBLE_VERSION,
            self.boot_hart,
            len(names),
            len(structure),
        )
        return header + reserved + structure + bytes(names)

    def write(self, path: Path) -> Path:
        path.write_bytes(self.flatten())
        return path


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _flatten_node(name: str, node: Node, names: bytearray, offsets: dict[str, int]) -> bytes:
    parts = [struct.pack(">I", _BEGIN_NODE), _padded(name.encode() + b"\0")]
    for key, value in node.properties.items():
        if key not in offsets:
            offsets[key] = len(names)
            names += key.encode() + b"\0"
        parts += [struct.pack(">3I", _PROPERTY, len(value), offsets[key]), _padded(value)]
    parts += [_flatten_node(key, child, names, offsets) for key, child in node.children.items()]
    return b"".join([*parts, struct.pack(">I", _END_NODE)])


def _parse_structure(data: bytes, names: bytes) -> Node:
    above: list[Node] = []
    holder = Node()  # of the root
    node = holder
    at = 0
    while True:
        (token,) = struct.unpack_from(">I", data, at)
        at += 4
        if token == _BEGIN_NODE:
            end = data.index(0, at)
            child = Node()
            node.children[data[at:end].decode()] = child
            above.append(node)
            node = child
            at = end + 1 + -(end + 1) % 4
        elif token == _END_NODE:
            node = above.pop()
        elif token == _PROPERTY:
            size, name = struct.unpack_from(">II", data, at)
            at += 8
            key = names[name : names.index(0, name)].decode()
            node.properties[key] = data[at : at + size]
            at += size + -size % 4
        elif token == _END:
            return holder.children[""]
        elif token != _NOP:
            raise StagError(f"a devicetree has no token {token}")


def of_qemu(*, harts: int = 2, memory: str = "128M", extra: tuple[str, ...] = ()) -> Devicetree:
    """What QEMU would tell the kernel of such a machine."""
    with tempfile.TemporaryDirectory(prefix="stag-") as directory:
        path = Path(directory) / "machine.dtb"
        command = [require_qemu(), "-machine", f"virt,dumpdtb={path}", "-smp", str(harts)]
        command += ["-m", memory, "-display", "none", "-nodefaults", *extra]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not path.is_file():
            raise InfrastructureError(f"QEMU wrote no devicetree: {done.stderr.strip()}")
        return Devicetree.parse(path.read_bytes())
