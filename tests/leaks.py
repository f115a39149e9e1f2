"""Does a text hold a piece of a solution: 40 tokens in a row of what students are
to write, or of what solves a challenge? Comments and line breaks don't count."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from conftest import ROOT
from stag import sources
from stag.labs import Lab, load_labs
from stag.solutions import challenge
from stag.starter import Form, hollow_file

RUN = 40  # tokens
TOKEN = re.compile(r'[A-Za-z_]\w*|\d\w*|"(?:[^"\\\n]|\\.)*"|[^\s\w]')

Run = tuple[str, ...]


def _tokens(text: str, assembly: bool = False) -> list[str]:
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    return TOKEN.findall(re.sub(r"#.*", "", text) if assembly else text)


def _runs(words: list[str]) -> Iterator[Run]:
    return (tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1))


def _taken_out(lab: Lab, name: str) -> Iterator[list[str]]:
    """The tokens of each piece of a file that students don't get."""
    assembly = name.endswith(".S")
    text = (ROOT / name).read_text()
    left = sources.parse(hollow_file(text, name, lab, Form.STARTER), assembly)
    there = {"\n".join(item.lines) for item in left}
    for item in sources.parse(text, assembly):
        if item.names and "\n".join(item.lines) not in there:
            yield _tokens("\n".join(item.lines), assembly)


@functools.cache
def _needles() -> dict[Run, str]:
    """By run of tokens: the file that it is taken out of."""
    found: dict[Run, str] = {}
    labs = load_labs(ROOT)
    for lab in labs:
        for name in lab.owned:
            for words in _taken_out(lab, name):
                found.update(dict.fromkeys(_runs(words), name))
        solution = challenge(ROOT, lab)
        if solution is not None:
            added = re.findall(r"^\+(?!\+\+ )(.*)", solution.diff, re.MULTILINE)
            words = _tokens("\n".join(added))
            found |= {run: solution.path for run in _runs(words) if run not in found}
    assert {file for lab in labs for file in lab.owned} <= set(found.values())
    return found


def leaks(text: str, assembly: bool = False) -> set[str]:
    """The files that the text holds a piece of."""
    needles = _needles()
    return {needles[words] for words in _runs(_tokens(text, assembly)) if words in needles}
