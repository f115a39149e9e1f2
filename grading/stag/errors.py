"""Everything that can go wrong outside of a verdict, told in one line.

A test that meets one of these shows its text, not a Python traceback.
"""

from __future__ import annotations


class StagError(Exception):
    """Ends a test with a message that a person can act on."""


class InfrastructureError(StagError):
    """The grader's own surroundings are broken: never costs points."""

    def __str__(self) -> str:
        return f"infrastructure: {super().__str__()}"


class NotJudged(InfrastructureError):
    """What was handed in is more than the grader can try: a person must judge."""

    def __str__(self) -> str:
        return StagError.__str__(self)


class RemoteError(StagError):
    """The debug stub refused a request."""


class MemoryFault(RemoteError):
    """An address that the debugger can't read or write."""


class GuestHang(StagError):
    """The watchdog ran out: what should have happened did not."""


class GuestExit(StagError):
    """QEMU ended while the guest was expected to run on."""


class GuestPanic(StagError):
    """The kernel panicked where no panic was expected."""
