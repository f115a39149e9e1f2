"""The reference: calls, constants and contracts, as the headers tell them."""

from __future__ import annotations

import re
from pathlib import Path

from stag.errors import StagError

from . import headers
from .headers import Function, Header


class SourceError(StagError):
    """A header is not as the reference expects it: tells which."""


_PICTURE = re.compile(r" |\+-|\|")
_ITEM = re.compile(r"(?:[1-9]\d*\.|-) ")  # 0 ends many a sentence
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~^$])")
_NAME = re.compile(
    r"(-E[A-Z]+|\b(?:\w+\(\)|\w*_\w*|EXECUTING|QUEUED|PARKED|STOPPED|TERMINATED))"
    r"(?!\w)"
)


def prose(comment: str) -> str:
    """A comment as Markdown. Lists stay lists; lines further in, and pictures,
    stay as they are."""
    parts: list[str] = []
    for block in re.split(r"\n\s*\n", comment):
        lines = block.splitlines()
        first = next((i for i, line in enumerate(lines) if _PICTURE.match(line)), len(lines))
        text, picture = lines[:first], lines[first:]
        # A line that begins an item begins a paragraph.
        while text:
            end = next((i for i, line in enumerate(text) if i and _ITEM.match(line)), len(text))
            mark = _ITEM.match(text[0])
            item = " ".join(text[:end])
            parts.append(mark[0] + _inline(item[mark.end() :]) if mark else _inline(item))
            text = text[end:]
        if picture:
            parts.append("```text\n" + "\n".join(picture) + "\n```")
    return "\n\n".join(parts)


def _inline(text: str) -> str:
    """Markdown that shows just this; names of the code as code."""
    parts = re.split(r"(`[^`]+`)", text)
    done = []
    for part in parts:
        if part.startswith("`"):
            done.append(part)
            continue
        pieces = _NAME.split(part)
        done += [f"`{p}`" if i % 2 else _SPECIAL.sub(r"\\\1", p) for i, p in enumerate(pieces)]
    return "".join(done)


def _code(declaration: str) -> str:
    """A declaration, broken after its arguments where it is long."""
    if len(declaration) > 72:
        head, _, rest = declaration.partition("(")
        arguments, lines = rest.split(", "), [head + "("]
        for number, argument in enumerate(arguments):
            end = "" if number == len(arguments) - 1 else ", "
            if len(lines[-1]) + len(argument) + len(end) > 72:
                lines.append("    ")
            lines[-1] += argument + end
        declaration = "\n".join(line.rstrip() for line in lines)
    return f"```c\n{declaration};\n```"


def calls(root: Path) -> str:
    """Every call of abi.h, with the user library's function for it."""
    abi = root / "include/stag/abi.h"
    numbers = [
        (name, int(number))
        for name, number in re.findall(r"^#define CALL_(\w+)\s+(\d+)", abi.read_text(), re.M)
        if name != "COUNT"
    ]
    library = headers.read(root / "user/lib/call.h", root)
    functions = {function.name: function for function in library.functions}
    parts = []
    for name, number in numbers:
        function = functions.get(name.lower())
        if function is None or not function.comment:
            raise SourceError(f"{library.path}: CALL_{name} has no function with a comment there")
        text = re.sub(r"\s*\n\s*", "\n", function.comment)
        parts.append(
            f"### {number} {name.lower()} {{#call-{name.lower().replace('_', '-')}}}\n\n"
            f"{_code(function.declaration)}\n\n{prose(text)}"
        )
    return "\n\n".join(parts)


def constants(root: Path, prefix: str) -> str:
    """A table of the constants of abi.h whose names begin so."""
    rows = []
    for name, value, text in re.findall(
        rf"^#define ({prefix}\w*)[ \t]+(.+?)[ \t]*(?:/\* (.*?) \*/)?$",
        (root / "include/stag/abi.h").read_text(),
        re.MULTILINE,
    ):
        number = re.sub(r"^\((.*)\)$", r"\1", value)
        rows.append(f"| `{name}` | `{number}` | {_inline(text)} |")
    if not rows:
        raise SourceError(f"include/stag/abi.h defines nothing that begins with {prefix}")
    return "\n".join(["| name | value | |", "| --- | --- | --- |", *rows])


def _section(header: Header) -> str:
    """One header: what it says at its beginning, then its functions."""
    name = header.path.removeprefix("kernel/")
    anchor = re.sub(r"\W", "-", name.removesuffix(".h"))
    parts = [f"### {name} {{#contract-{anchor}}}", prose(header.essay)]
    groups: list[tuple[str, list[Function]]] = []
    for function in header.functions:
        if groups and groups[-1][0] == function.comment:
            groups[-1][1].append(function)
        else:
            groups.append((function.comment, [function]))
    for comment, functions in groups:
        text = "\n".join(_code(f.declaration)[5:-4] for f in functions)
        parts.append(f"```c\n{text}\n```")
        if comment and comment != header.essay:
            parts.append(prose(comment))
    return "\n\n".join(part for part in parts if part)


def contracts(root: Path) -> str:
    """Every header of the kernel that promises something."""
    paths = sorted(root.glob("kernel/*.h")) + sorted(root.glob("kernel/riscv/*.h"))
    read = [headers.read(path, root) for path in paths]
    return "\n\n".join(_section(header) for header in read if header.essay)
