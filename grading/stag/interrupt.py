"""Ctrl-C ends a program with a word, not with a traceback.

Programs import it first, since ctrl-C may come while the other modules load.
What is underway is cleaned up as after any exception.
"""

from __future__ import annotations

import signal
import sys
from types import TracebackType


def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("\ninterrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = show


def clean_up_when_killed() -> None:
    """So does SIGTERM, without the word."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
