"""What a class has handed in: a folder with an entry for each submission. An entry
is a tree, or the lab's files alone, or an archive of that, or a folder in which
nothing stands but one of these, as the web sites of courses make it.

An archive may be anything: only plain files are taken out of it, as many as a
submission may have, and none leaves the folder that it is unpacked into.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from .errors import StagError
from .grade_tree import BadSubmission, shown
from .verdict import plain

BYTES_MAX = 64 << 20  # of an archive, packed or not
FILES_MAX = 10_000  # in it
DEPTH_MAX = 8  # folders and archives in each other

KINDS = (".tar", ".tar.gz", ".tgz", ".zip")
# What unpacking may raise; RuntimeError where a zip wants a password, or is of a rare kind.
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error)
BROKEN += (EOFError, OSError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Submission:
    name: str  # of the entry, without the archive's ending
    path: Path


def _kind(path: Path) -> str:
    """The archive's ending, or nothing."""
    return next((kind for kind in KINDS if path.name.lower().endswith(kind)), "")


def find_submissions(folder: Path) -> list[Submission]:
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "there is no such folder"
        raise StagError(f"SUBMISSIONS={folder}: {what}")
    found: dict[str, Submission] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.is_dir() and not _kind(path):
            raise StagError(
                f"{folder}: {shown(path.name)} is neither a folder nor an archive"
                f" ({', '.join(KINDS)}): take it away"
            )
        name = path.name if path.is_dir() else path.name[: -len(_kind(path))]
        if name in found:
            raise StagError(f"{folder}: there are two submissions of {shown(name)}: rename one")
        found[name] = Submission(name, path)
    if not found:
        raise StagError(f"{folder}: there is no submission in it")
    return list(found.values())


def stamp(path: Path) -> str:
    """Another one if any file of a tree, or a single file, has changed."""
    digest = hashlib.sha256()
    waiting = [path]
    while waiting:  # without recursion: folders may lie in each other a thousandfold
        at = waiting.pop()
        try:
            about = at.lstat()
            if at.is_dir() and (not at.is_symlink() or at == path):
                skip = (".git", "__pycache__")
                waiting += sorted(child for child in at.iterdir() if child.name not in skip)
                continue
            mark = f"{about.st_size} {about.st_mtime_ns}"
        except OSError as error:
            mark = str(error.errno)
        digest.update(os.fsencode(at.relative_to(path)) + b"\0" + mark.encode() + b"\0")
    return digest.hexdigest()


# Archives


def _members(path: Path, scratch: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Its plain files. A tar file is unpacked into `scratch` first, so that its
    headers can't ask for more memory than it is large."""
    if _kind(path) == ".zip":
        with zipfile.ZipFile(path) as archive:
            for about in archive.infolist():
                if not about.is_dir() and about.external_attr >> 28 in (0, 8):  # no link
                    with archive.open(about) as file:
                        yield about.filename, file
        return
    with path.open("rb") if _kind(path) == ".tar" else gzip.open(path) as packed:
        _copy(packed, scratch, BYTES_MAX)
    scratch.seek(0)
    with tarfile.open(fileobj=scratch, mode="r:") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            if file is not None:
                yield member.name, file


def _copy(source: IO[bytes], to: IO[bytes], most: int) -> int:
    """How many bytes it was; BadSubmission if it is more than `most`."""
    size = 0
    while data := source.read(1 << 16):
        size += len(data)
        if size > most:
            raise BadSubmission(f"what is packed in it is larger than {BYTES_MAX >> 20} MiB")
        to.write(data)
    return size


def unpack(path: Path, to: Path) -> None:
    """The plain files of an archive, into a folder that is empty."""
    left, count = BYTES_MAX, 0
    try:
        if path.stat().st_size > BYTES_MAX:
            raise BadSubmission(f"it is larger than {BYTES_MAX >> 20} MiB")
        with tempfile.TemporaryFile() as scratch:
            for name, file in _members(path, scratch):
                parts = PurePosixPath(name).parts
                if name.startswith("/") or ".." in parts or not parts:
                    raise BadSubmission(f"it names a file outside of itself: {shown(name)[:80]}")
                count += 1
                if count > FILES_MAX:
                    raise BadSubmission(f"it has more than {FILES_MAX:,} files")
                target = to.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as out:
                    left -= _copy(file, out, left)
    except BROKEN as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadSubmission(f"it can't be unpacked: {plain(reason)[:200]}") from None


def tree_of(submission: Submission, wanted: Sequence[str], scratch: Path) -> Path:
    """The folder that the lab's files stand in. Archives are unpacked below
    `scratch`, which is empty. If nothing looks like it, the last folder: the grader
    says what it lacks."""
    path = submission.path
    for depth in range(DEPTH_MAX):
        if path.is_symlink() and depth > 0:
            raise BadSubmission(f"{shown(path.name)} is a link")
        if path.is_dir():
            if any(os.path.lexists(path / name) for name in wanted):
                return path
            try:
                inside = [at for at in path.iterdir() if not at.name.startswith((".", "__MACOSX"))]
            except OSError as error:
                raise BadSubmission(f"{shown(path.name)}: {error.strerror}") from None
            if len(inside) != 1:
                return path
            path = inside[0]
        elif _kind(path) and path.is_file():
            to = scratch / str(depth)
            to.mkdir(parents=True)
            unpack(path, to)
            path = to
        else:
            raise BadSubmission(
                f"{shown(path.name)} is neither a folder nor an archive ({', '.join(KINDS)})"
            )
    raise BadSubmission(f"more than {DEPTH_MAX} folders and archives in each other")
