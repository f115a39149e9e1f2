"""Processes that end with the grader, also when it is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

# Where a worker of the grader finds the files to talk through (grade_worker.py).
RESULTS_FD = "STAG_GRADE_RESULTS"
ORDERS_FD = "STAG_GRADE_ORDERS"

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> Callable[[], None]:
    """What a child is to run between fork and exec (preexec_fn)."""
    parent = os.getpid()

    def ask() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it was killed before we could ask
                os._exit(1)

    return ask


def own_group() -> Callable[[], None]:
    """The same, and ctrl-C reaches only the grader, which ends the child."""
    ask = die_with_parent()

    def leave() -> None:
        os.setsid()
        ask()

    return leave


def processors() -> int:
    """How many processes may work side by side."""
    if hasattr(os, "sched_getaffinity"):
        return min(8, len(os.sched_getaffinity(0)))
    return min(8, os.cpu_count() or 1)
