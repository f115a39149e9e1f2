"""What a grader says when something is wrong.

    fail("count 1", f"count {count}", where="page_alloc (kernel/page_alloc.c:90)")
    check(found == wanted, expected=f"{wanted:#x}", found=f"{found:#x}")

Such a failure is shown without a Python traceback: what was expected, what was
found, where, and a hint. The state of the machine is added by the report
(report_state.py), so a grader need not print it.
"""

from __future__ import annotations

import re
from typing import NoReturn

from .errors import StagError


class Failure(StagError):
    """The kernel does not keep its contract."""

    def __init__(self, expected: str, found: str, where: str = "", hint: str = "") -> None:
        lines = [
            f"{label:<10}{text}"
            for label, text in (
                ("expected:", expected),
                ("found:", found),
                ("where:", where),
                ("hint:", hint),
            )
            if text
        ]
        super().__init__("\n".join(lines))


def fail(expected: str, found: str, where: str = "", hint: str = "") -> NoReturn:
    """End the test as failed."""
    raise Failure(expected, found, where, hint)


def check(holds: bool, expected: str, found: str, where: str = "", hint: str = "") -> None:
    """End the test as failed unless it holds."""
    if not holds:
        raise Failure(expected, found, where, hint)


def plain(text: str) -> str:
    """Text that may come from the guest, made safe to show: control characters,
    escape sequences among them, are spelled out."""
    text = re.sub(r"\r+\n", "\n", text).expandtabs(4)
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
