"""Processes that end with the grader, also when it is killed; of a build then only
make: what it has started ends by itself, or at a limit."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping

# Where a worker of the grader finds the files to talk through (grade_worker.py).
RESULTS_FD = "STAG_GRADE_RESULTS"
ORDERS_FD = "STAG_GRADE_ORDERS"

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(limits: Mapping[int, int] | None = None) -> Callable[[], None]:
    """What a child is to run between fork and exec (preexec_fn). `limits`: what
    each process that comes of it may use at most (RLIMIT_… of `resource`)."""
    parent = os.getpid()

    def ask() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it was killed before we could ask
                os._exit(1)
        for kind, most in (limits or {}).items():
            hard = resource.getrlimit(kind)[1]
            least = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (least, least))

    return ask


def own_group(limits: Mapping[int, int] | None = None) -> Callable[[], None]:
    """The same, and ctrl-C reaches only the grader, which ends the child."""
    ask = die_with_parent(limits)

    def leave() -> None:
        os.setsid()
        ask()

    return leave


def crowding() -> float:
    """How many processes want each processor, at least 1: what a limit by the
    clock is to be multiplied by."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def processors() -> int:
    """How many processes may work side by side."""
    if hasattr(os, "sched_getaffinity"):
        return min(8, len(os.sched_getaffinity(0)))
    return min(8, os.cpu_count() or 1)
