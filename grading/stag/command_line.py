"""The programs' command lines: a mistake gets one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """`status`: what the program exits with after a mistake."""

    def __init__(self, prog: str, description: str, status: int = 2) -> None:
        super().__init__(prog=prog, description=description)
        self._status = status

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (--help lists the options)", file=sys.stderr)
        sys.exit(self._status)


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is a number from there on."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"give a number from {least} on")
        return int(text)

    return number
