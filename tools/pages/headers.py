"""Reads the kernel's headers: constants, and functions with their contracts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_TOKEN = re.compile(r"/\*.*?\*/|^#(?:[^\n\\]|\\.)*|[^;{}#/]+|.", re.DOTALL | re.MULTILINE)
_SUFFIX = re.compile(r"(?<=[0-9a-fA-F])[uUlL]+\b")
_WORD = re.compile(r"\b([A-Za-z_]\w*)\b")


def defines(*paths: Path) -> dict[str, int]:
    """Constants that are numbers, in terms of constants before them."""
    found: dict[str, int] = {}
    for path in paths:
        for name, text in re.findall(r"^#define (\w+)[ \t]+(.+)$", path.read_text(), re.MULTILINE):
            text = _SUFFIX.sub("", re.sub(r"/\*.*", "", text)).strip()
            names = set(_WORD.findall(re.sub(r"0x[0-9a-fA-F]+", "", text)))
            if names <= found.keys() and re.fullmatch(r"[\w\s()+*<|~&-]+", text):
                found[name] = eval(text, {"__builtins__": {}}, dict(found))
    return found


@dataclass(frozen=True)
class Function:
    name: str
    declaration: str  # on one line
    comment: str  # without the stars


@dataclass(frozen=True)
class Header:
    path: str
    essay: str
    functions: tuple[Function, ...]


def plain(comment: str) -> str:
    """The text of a comment, its lines as they stand."""
    lines = comment.removeprefix("/*").removesuffix("*/").splitlines()
    lines = [re.sub(r"^\s*\*( |$)", "", line) if i else line for i, line in enumerate(lines)]
    # The lines after the first of a short comment are indented by three.
    lines = [re.sub(r"^   (?=\S)", "", line) if i else line.strip() for i, line in enumerate(lines)]
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _tidy(declaration: str) -> str:
    text = re.sub(r"__attribute__\(\((?:[^()]|\([^()]*\))*\)\)|\[\[\w+\]\]", "", declaration)
    text = re.sub(r"\b(static|inline|extern)\b", "", text)
    return " ".join(text.split())


def read(path: Path, root: Path) -> Header:
    """A header's opening comment and the functions that have contracts. A comment
    is that of all declarations up to a blank line."""
    text = path.read_text()
    essay = ""
    functions = []
    comment, declaration, depth = "", "", 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token.startswith("#"):
            continue
        if token.startswith("/*"):
            # One behind a declaration, on its line, is no contract.
            behind = functions and "\n" not in declaration
            if depth == 0 and not declaration.strip() and not behind:
                comment = plain(token)
                essay = essay or comment
            continue
        if depth == 0 and token in ";{":
            functions += _function(declaration, comment)
            declaration = ""
        elif depth == 0 and token != "}":
            if not declaration.strip() and re.match(r"\s*\n\s*\n", token):
                comment = ""
            declaration += token
        depth += (token == "{") - (token == "}")
        if token == "}":
            declaration = ""
    return Header(path.relative_to(root).as_posix(), essay, tuple(functions))


def _function(declaration: str, comment: str) -> list[Function]:
    text = _tidy(declaration)
    found = re.match(r"[\w\s*]*?\**(\w+)\(.*\)$", text)
    if not found or "=" in text or text.startswith(("typedef", "_Static_assert", "register")):
        return []
    return [Function(found[1], text, comment)]


def function_text(path: Path, name: str) -> str:
    """A function's source with the comment above it."""
    text = path.read_text()
    found = re.search(
        rf"(?:^/\*(?:(?!\*/).)*\*/\n)?^[^\n#/]*\b{name}\([^;]*?\) \{{\n.*?^\}}\n",
        text,
        re.DOTALL | re.MULTILINE,
    )
    if found is None:
        raise LookupError(f"{path} defines no function {name}")
    return found[0].rstrip("\n")


def member_comments(path: Path, struct: str) -> dict[str, str]:
    """The comments at the end of a structure's lines, by member."""
    body = re.search(rf"^struct {struct} \{{\n(.*?)^\}};", path.read_text(), re.S | re.M)
    if body is None:
        raise LookupError(f"{path} defines no struct {struct}")
    comments = {}
    for names, text in re.findall(r"^ +([^/\n]+);\s*/\* (.*?) \*/$", body[1], re.MULTILINE):
        first, *rest = names.split(", ")
        for name in [re.split(r"[\s*]+", first)[-1], *rest]:
            comments[re.sub(r"\W.*", "", name.lstrip("*"))] = text.replace("`", "")
    return comments
