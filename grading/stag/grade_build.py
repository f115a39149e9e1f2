"""Builds the tree that is graded."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import time
from pathlib import Path

from .errors import InfrastructureError
from .grade_process import crowding, own_group
from .grade_tree import BadSubmission
from .verdict import plain

ERRORS_SHOWN = 5
LINES_MAX = 40
WIDTH_MAX = 200  # of a line, which may come from a file that is no text
TIME_LIMIT = 300.0  # seconds, on a computer that does nothing else
# Of a compiler or an assembler that was sent round in circles.
LIMITS = {resource.RLIMIT_CPU: 60, resource.RLIMIT_AS: 4 << 30, resource.RLIMIT_FSIZE: 1 << 28}
ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LANG", "CROSS", "CI")

_ERROR = re.compile(
    r"error:|Error:|undefined reference|multiple definition|relocation truncated", re.IGNORECASE
)
_NO_TOOLS = re.compile(r"^\S*Makefile:\d+: \*\*\* ((?:Missing:|There is no command|GNU make).*)\.")


def build(tree: Path, jobs: int) -> Path:
    """The kernel's ELF file. BadSubmission with the first errors of the
    compiler if it does not build."""
    environment = {name: os.environ[name] for name in ENVIRONMENT if os.environ.get(name)}
    environment |= {"LC_ALL": "C", "STAG_INSTALL": "no"}  # what is missing is named
    try:
        make = subprocess.Popen(
            ["make", "-s", f"-j{jobs}", "kernel"],
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=own_group(LIMITS),
        )
    except OSError as error:
        raise InfrastructureError(f"make does not start: {error}") from None
    said = _output(make)
    if make.returncode != 0:
        text = plain(said.decode(errors="replace")).strip()
        for line in text.splitlines():
            if found := _NO_TOOLS.match(line):
                raise InfrastructureError(found[1])
        raise BadSubmission(f"it does not build:\n{first_errors(text)}")
    return tree / "build" / "kernel.elf"


def _output(make: subprocess.Popen[bytes]) -> bytes:
    """What it says until it ends."""
    begun = time.monotonic()
    try:
        while True:
            try:
                return make.communicate(timeout=1.0)[0]
            except subprocess.TimeoutExpired:
                if time.monotonic() - begun > TIME_LIMIT * crowding():
                    raise BadSubmission("the build does not end") from None
    finally:
        if make.returncode is None:
            os.killpg(make.pid, signal.SIGKILL)
            make.wait()


def first_errors(text: str) -> str:
    """The compiler's first errors, each with the lines that explain it."""
    lines, shown, errors = text.splitlines(), [], 0
    taking = False
    for line in lines:
        if line.startswith("make"):
            taking = False
        elif _ERROR.search(line):
            errors += 1
            taking = errors <= ERRORS_SHOWN
        elif not line.startswith(" ") and taking and ": note:" not in line:
            taking = False
        if taking:
            shown.append(line)
    if errors > ERRORS_SHOWN:
        shown.append(f"… and {errors - ERRORS_SHOWN} more")
    kept = (shown or lines)[:LINES_MAX]
    return "\n".join(line if len(line) <= WIDTH_MAX else line[:WIDTH_MAX] + " …" for line in kept)
