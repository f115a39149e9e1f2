"""Does a text hold a piece of a solution: 40 tokens in a row of what students are
to write, or of what solves a challenge? Comments and line breaks don't count. Of
a file whose functions are all shorter, the longest counts as a whole."""

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


def _runs(words: list[str], length: int = RUN) -> Iterator[Run]:
    return (tuple(words[at : at + length]) for at in range(len(words) - length + 1))


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
            pieces = sorted(_taken_out(lab, name), key=len)
            for words in [piece for piece in pieces if len(piece) >= RUN] or pieces[-1:]:
                found.update(dict.fromkeys(_runs(words, min(RUN, len(words))), name))
        solution = challenge(ROOT, lab)
        if solution is not None:
            added = re.findall(r"^\+(?!\+\+ )(.*)", solution.diff, re.MULTILINE)
            words = _tokens("\n".join(added))
            found |= {run: solution.path for run in _runs(words) if run not in found}
    # A list of numbers, such as that of all registers, says nothing.
    found = {run: file for run, file in found.items() if sum(map(str.isidentifier, run)) > 5}
    assert {file for lab in labs for file in lab.owned} <= set(found.values())
    return found


def leaks(text: str, assembly: bool = False) -> set[str]:
    """The files that the text holds a piece of."""
    needles, words = _needles(), _tokens(text, assembly)
    lengths = {len(run) for run in needles}
    return {needles[run] for n in lengths for run in _runs(words, n) if run in needles}
