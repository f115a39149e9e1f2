"""Builds the tree that is graded."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InfrastructureError, StagError
from .grade_process import crowding, own_group
from .grade_symbols import GradedSymbols
from .grade_tree import BadSubmission
from .verdict import plain

ERRORS_SHOWN = 5
LINES_MAX = 40
WIDTH_MAX = 200  # of a line, which may come from a file that is no text
OUTPUT_MAX = 1 << 20  # bytes of what the build says that are looked at
IMAGE_MAX = 16 << 20  # bytes of memory: each machine of the tests has room for it
UNDER_WAY = ".building"  # in a tree whose build has not come to its end
MADE = ("/asm_offsets.h", "/shell.stripped", "/first.stripped")  # which sources read
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
    output = tempfile.TemporaryFile()  # LIMITS keep it small
    with _under_way(tree) as lock:
        try:
            make = subprocess.Popen(
                ["make", "-s", f"-j{jobs}", "kernel"],
                cwd=tree,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=own_group(LIMITS),
                pass_fds=[lock],
            )
        except OSError as error:
            raise InfrastructureError(f"make does not start: {error}") from None
        _wait(make)
    with output:
        output.seek(0)
        said = output.read(OUTPUT_MAX)
    if make.returncode != 0:
        text = plain(said.decode(errors="replace")).replace(f"{tree}/", "").strip()
        # Nothing has been compiled before that: it is not the submission's word.
        if found := _NO_TOOLS.match(text):
            raise InfrastructureError(found[1])
        raise BadSubmission(f"it does not build:\n{first_errors(text)}")
    _check_reads(tree)
    kernel = tree / "build" / "kernel.elf"
    symbols = GradedSymbols(kernel)
    size = sum(segment.size for segment in symbols.segments)
    if size > IMAGE_MAX:
        raise BadSubmission(
            f"the kernel takes {size >> 20} MiB of memory: at most {IMAGE_MAX >> 20} are there"
        )
    try:
        symbols.check()
    except StagError as error:
        raise BadSubmission(str(error)) from None
    return kernel


@contextmanager
def _under_way(tree: Path) -> Iterator[int]:
    """Mark the tree until its build has come to its end. Who is killed leaves half an
    object, newer than its source, and compilers that write for a while yet: they hold
    the mark's lock, whose descriptor is given."""
    mark = tree / UNDER_WAY
    was_killed = mark.exists()
    with mark.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if was_killed:
            shutil.rmtree(tree / "build", ignore_errors=True)
        yield file.fileno()
        mark.unlink()


def _check_reads(tree: Path) -> None:
    """The compiler and the assembler have read nothing but the tree and the
    compiler's own headers: the reference is on this computer, too. Of what is
    made they read what given sources do: the rest may be of another submission."""
    compiler = (tree / "build/flags").read_text().split()[0]
    command = [compiler, "-print-file-name=include"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    of_compiler = Path(os.path.realpath(done.stdout.strip())).parent  # include-fixed is there, too
    temporary = re.compile(rf"{re.escape(os.path.realpath(tempfile.gettempdir()))}/cc\w+\.s")
    allowed = (f"{os.path.realpath(tree)}/", f"{of_compiler}/")
    made = f"{os.path.realpath(tree)}/build/"
    for source in sorted([*tree.glob("kernel/**/*.[cS]"), *tree.glob("user/**/*.[cS]")]):
        name = source.relative_to(tree)
        for kind in (".o.d", ".o.read"):
            listed = (tree / "build" / name).with_suffix(kind)
            text = listed.read_text(errors="replace") if listed.is_file() else ""
            for word in text.replace("\\\n", " ").partition(":")[2].split():
                read = os.path.realpath(tree / word.rstrip(":"))
                if not read.startswith(allowed) and not temporary.fullmatch(read):
                    raise BadSubmission(f"{name} reads a file outside of the tree: {word}")
                if read.startswith(made) and not read.endswith(MADE):
                    raise BadSubmission(f"{name} reads a file that is no source: {word}")


def _wait(make: subprocess.Popen[bytes]) -> None:
    """Until it ends."""
    begun = time.monotonic()
    try:
        while True:
            try:
                make.wait(timeout=1.0)
                return
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
    kept = shown[:LINES_MAX] or lines[-ERRORS_SHOWN:]
    return "\n".join(line if len(line) <= WIDTH_MAX else line[:WIDTH_MAX] + " …" for line in kept)
