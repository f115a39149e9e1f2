"""The tree that is graded: the files that a lab owns, taken from a submission
and laid on pristine files.

So what a submission changes elsewhere, in the Makefile, the linker script or
the graders, changes nothing; it is only listed.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import InfrastructureError, StagError
from .verdict import plain

PARTS = ("Makefile", "include", "kernel", "tools", "user")
SIZE_MAX = 1 << 20  # bytes of a source file
EDITS_MAX = 200  # that are listed


@dataclass(frozen=True)
class File:
    data: bytes
    executable: bool = False

    @property
    def to_write(self) -> int:
        """How many functions in it are still as they were given."""
        return len(re.findall(rb"\blab_todo\b", self.data))


Files = dict[str, File]


class BadSubmission(StagError):
    """What was handed in can't be graded: no points, and here is why."""


def read_file(path: Path, name: str) -> File:
    """A plain file of reasonable size; nothing else is opened."""
    try:
        if path.is_symlink() or not path.is_file():
            raise BadSubmission(f"{name} is no plain file")
        if path.stat().st_size > SIZE_MAX:
            raise BadSubmission(f"{name} is larger than {SIZE_MAX >> 20} MiB")
        return File(path.read_bytes(), os.access(path, os.X_OK))
    except OSError as error:
        raise BadSubmission(f"{name} can't be read: {error.strerror}") from None


def _paths(tree: Path) -> list[str]:
    """The sources of a tree, relative to it. Hidden files, editors' backups
    and what is neither file nor link are no sources."""
    found = []
    waiting = [tree / part for part in PARTS]
    while waiting:  # without recursion: folders may lie in each other a thousandfold
        path = waiting.pop()
        name = path.relative_to(tree).as_posix()
        backup = name.endswith(("~", ".orig", ".rej", ".pyc"))
        with suppress(OSError):  # closed to us, or of a name that is too long
            if path.is_symlink() or path.is_file():
                found += [] if backup else [name]
            elif path.is_dir():
                waiting += [at for at in path.iterdir() if not at.name.startswith(".")]
    return sorted(found)


def read_tree(tree: Path) -> Files:
    """The sources of a tree that is trusted."""
    if not (tree / "kernel").is_dir():
        raise InfrastructureError(f"{tree} is no Stag tree: it has no folder kernel")
    return {name: read_file(tree / name, name) for name in _paths(tree)}


def read_commit(root: Path, commit: str) -> Files:
    """The sources of a commit."""
    done = subprocess.run(
        ["git", "archive", "--format=tar", commit, *PARTS], cwd=root, capture_output=True
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise InfrastructureError(f"git gives no tree of {commit[:12]}: {said}")
    files = {}
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                files[member.name] = File(content.read(), bool(member.mode & 0o100))
    return files


def _submitted(submission: Path, name: str) -> File:
    """A file of a submission, reached without a symbolic link."""
    path = submission / name
    for parent in [path, *path.parents]:
        if parent == submission:
            break
        if parent.is_symlink():
            raise BadSubmission(f"{name} is reached through a symbolic link: {parent.name}")
    return read_file(path, name)


def compose(pristine: Files, submission: Path, owned: list[str], extra: list[str]) -> Files:
    """The pristine files, with the owned ones as the submission has them."""
    files = {name: file for name, file in pristine.items() if name not in extra}
    missing = [name for name in owned if not os.path.lexists(submission / name)]
    if missing:
        raise BadSubmission(f"not in the submission: {', '.join(missing)}")
    for name in [*owned, *extra]:
        if os.path.lexists(submission / name):
            files[name] = _submitted(submission, name)
    return files


def ignored_edits(pristine: Files, submission: Path, taken: set[str]) -> list[str]:
    """What a submission has changed that is not graded, for people. It may be
    a whole tree, or only the files that were to be written."""
    edits = []
    names = _paths(submission)
    whole = (submission / "Makefile").exists()
    for name in sorted({*names, *pristine} - taken):
        if name not in names:
            if whole:
                edits.append(f"{name} (removed)")
        elif name not in pristine:
            edits.append(f"{shown(name)} (added)")
        else:
            try:
                same = read_file(submission / name, name).data == pristine[name].data
            except BadSubmission:
                same = False
            if not same:
                edits.append(f"{name} (changed)")
    more = len(edits) - EDITS_MAX
    return [*edits[:EDITS_MAX], f"… and {more} more"] if more > 0 else edits


def shown(name: str) -> str:
    """A name that somebody has made up: safe to show and to write to a file."""
    return plain(os.fsencode(name).decode(errors="replace")).replace("\n", "\\n")


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Wait until nobody else builds in this folder, and keep others out."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another grader is at work on this lab here: waiting …", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lay(files: Files, tree: Path) -> None:
    """Make the tree's sources these files. One that stays the same is not
    touched, so that make builds only what has changed."""
    tree.mkdir(parents=True, exist_ok=True)
    for name in set(_paths(tree)) - files.keys():
        (tree / name).unlink()
    for name, file in files.items():
        path = tree / name
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise InfrastructureError(f"{path} is in the way: remove {tree}")
        if not path.exists() or path.read_bytes() != file.data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.data)
        path.chmod(0o755 if file.executable else 0o644)
