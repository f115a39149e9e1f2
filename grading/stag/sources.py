"""C and assembly sources, taken apart into their top-level pieces.

The kernel's sources all have one form (.clang-format sees to that), so lines
tell enough: a function of C ends with a brace at the start of a line, one of
assembly with its END (kernel/riscv/assembly.h). Put together again, the pieces
are the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["function", "variable", "type", "macro", "other", "blank", "comment"]

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_BEHIND_BRACE = re.compile(r"(?<=\{)\s*(?:/\*(?:(?!\*/).)*\*/|//.*)$")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass
class Item:
    """One piece: its lines, and the lines of the comment right above it."""

    kind: Kind
    lines: list[str]
    names: tuple[str, ...] = ()
    comment: list[str] = field(default_factory=list)
    private: bool = False  # static, or a PRIVATE_FUNCTION of assembly
    body: tuple[int, int] = (0, 0)  # the lines of a function that are its body

    def words(self) -> set[str]:
        """Every word of the code, without comments and strings."""
        code = _STRING.sub('""', _COMMENT.sub("", "\n".join(self.lines)))
        return set(re.findall(r"[A-Za-z_]\w*", code))

    def replace_body(self, lines: list[str]) -> None:
        start, end = self.body
        self.lines[start:end] = lines
        self.body = (start, start + len(lines))


class SourceError(Exception):
    """A source that does not have the form that is read here."""


def join(items: list[Item]) -> str:
    lines: list[str] = []
    for item in items:
        lines += item.comment + item.lines
    text = "\n".join(lines)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


def parse(text: str, assembly: bool) -> list[Item]:
    """The pieces of a file, in order."""
    lines = text.rstrip("\n").split("\n")
    items: list[Item] = []
    comment: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith("/*"):
            end = at
            while "*/" not in lines[end]:
                end += 1
            comment = lines[at : end + 1]
            at = end + 1
            if at == len(lines) or not lines[at].strip():
                items.append(Item("comment", comment))
                comment = []
            continue
        if not line.strip():
            items.append(Item("blank", [line]))
            at += 1
            continue
        end = (_assembly_end if assembly else _c_end)(lines, at)
        item = (_assembly_item if assembly else _c_item)(lines[at:end])
        item.comment, comment = comment, []
        items.append(item)
        at = end
    return items


def find(items: list[Item], function: str) -> Item | None:
    return next((i for i in items if i.kind == "function" and function in i.names), None)


def drop_unused(items: list[Item], before: set[str]) -> list[Item]:
    """Without the private pieces whose names nothing uses. `before` holds the
    names that something used when the file was whole."""
    while True:
        uses: dict[str, int] = {}
        for item in items:
            for word in item.words():
                uses[word] = uses.get(word, 0) + 1
        kept = [
            item
            for item in items
            if not item.private
            or not any(name in before for name in item.names)
            or any(uses[name] > 1 for name in item.names)
        ]
        if len(kept) == len(items):
            return items
        items = kept


def used_names(items: list[Item]) -> set[str]:
    """The names of pieces that other pieces use."""
    names = {name for item in items for name in item.names}
    return {n for n in names if sum(n in item.words() for item in items) > 1}


def _c_end(lines: list[str], at: int) -> int:
    """One past the last line of the piece of C that begins at `at`."""
    if lines[at].startswith("#"):
        while lines[at].endswith("\\"):
            at += 1
        return at + 1
    braced = False
    for end in range(at, len(lines)):
        line = _BEHIND_BRACE.sub("", lines[end]).partition("/*")[0].rstrip()
        if line.endswith("{"):
            braced = True
        if line.startswith("}") or (not braced and line.endswith(";")):
            return end + 1
        if not braced and line.startswith("enum {") and line.endswith("};"):
            return end + 1
    raise SourceError(f"no end of: {lines[at]}")


def _without_attributes(code: str) -> str:
    while (at := code.find("__attribute__((")) >= 0:
        depth, end = 0, at + len("__attribute__")
        while True:
            depth += {"(": 1, ")": -1}.get(code[end], 0)
            end += 1
            if depth == 0:
                break
        code = code[:at] + code[end:]
    return code


def _c_item(lines: list[str]) -> Item:
    code = [_BEHIND_BRACE.sub("", line) for line in lines]
    if lines[0].startswith("#"):
        macro = re.match(r"#define (\w+)", lines[0])
        if macro is None:
            return Item("other", lines)
        return Item("macro", lines, (macro[1],), private=True)
    head = _without_attributes(_COMMENT.sub("", "\n".join(code)))
    private = re.search(r"\bstatic\b", head.partition("{")[0]) is not None
    if function := re.match(r"[^{=;]*?(\w+)\([^{=;]*\) \{\n", head):
        opened = next(at for at, line in enumerate(code) if line.endswith("{"))
        name, body = function[1], (opened + 1, len(lines) - 1)
        return Item("function", lines, (name,), private=private, body=body)
    if type_ := re.match(r"(?:struct|union) (\w+)\s*\{", head):
        return Item("type", lines, (type_[1],), private=True)
    if enum := re.match(r"enum\s*\w*\s*\{(.*)\}", head, re.DOTALL):
        names = re.findall(r"(?:^|,)\s*(\w+)", enum[1])
        return Item("type", lines, tuple(names), private=True)
    if head.startswith(("extern", "typedef", "_Static_assert", "register")):
        return Item("other", lines)
    before = re.split(r"[={]", head)[0]
    if function := re.search(r"(\w+)\s*\(", before):
        return Item("other", lines, (function[1],), private=private)
    names = re.findall(r"(\w+)\s*(?:\[[^\]]*\]\s*)*(?:,|;|$)", before.strip())
    return Item("variable", lines, tuple(names), private=private)


_ASSEMBLY_FUNCTION = re.compile(r"(PRIVATE_)?FUNCTION\((\w+)\)$")


def _assembly_end(lines: list[str], at: int) -> int:
    """One past the last line of the piece of assembly that begins at `at`."""
    if lines[at].split()[0] == ".macro":
        last = "    .endm"
    elif function := _ASSEMBLY_FUNCTION.match(lines[at]):
        last = f"END({function[2]})"
    else:
        return at + 1
    if last not in lines[at:]:
        raise SourceError(f"no {last.strip()}")
    return lines.index(last, at) + 1


def _assembly_item(lines: list[str]) -> Item:
    words = lines[0].split()
    if words[0] == ".macro":
        return Item("macro", lines, (words[1],), private=True)
    function = _ASSEMBLY_FUNCTION.match(lines[0])
    if function is None:
        return Item("other", lines)
    private = function[1] is not None
    return Item("function", lines, (function[2],), private=private, body=(1, len(lines) - 1))
