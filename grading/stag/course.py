"""The course's repositories: git branches that students clone and merge.

A branch grows by commits only, each on top of what was published, so that
students merge what has changed. The commits of the branch of a lab have those
of the lab before among their ancestors: so the merge of the next lab into a
student's work brings only what differs between the two labs.

Commits hold nothing of the computer they are made on: author and committer are
the course, the date is that of the reference's newest commit. The same
reference, and the same repository before, give the same hashes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .branches import Branch, ask_git
from .grade_plan import COURSE, git_reason
from .grade_tree import File, Files
from .labs import LabError

SHOWN = 20  # files that a commit's message lists


def run_git(*arguments: str, cwd: Path | None = None, data: bytes = b"") -> str:
    """What git says, whatever the settings of whoever calls it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    settings = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"}
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, input=data, capture_output=True, env=kept | settings
    )
    if done.returncode != 0:
        command = next(word for word in arguments if not word.startswith("-"))
        raise LabError(f"git {command}: {git_reason(cwd or Path(), done.stderr)}")
    return done.stdout.decode().rstrip("\n")


def newest_date(root: Path) -> str:
    """The date of the reference's newest commit, as git writes it."""
    try:
        seconds = ask_git(root, "rev-list", "--max-count=1", "--timestamp", "HEAD").split()[0]
    except LabError:
        raise LabError(f"{root} has no commit yet: the course's commits have its date") from None
    return f"{seconds} +0000"


def blob_hash(data: bytes) -> str:
    """The name that git gives to contents."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _mode(file: File) -> str:
    return "100755" if file.executable else "100644"


@dataclass
class Update:
    """One commit to be made on top of a branch."""

    branch: Branch
    changed: list[str]  # files that come, go or change
    old: str  # what the branch has now, or ""
    merged: str  # a commit to take in: a hash, or the mark of an earlier update; or ""

    @property
    def message(self) -> str:
        lab = self.branch.lab
        if not self.old:
            return f"Lab {lab.number}: {lab.title}\n"
        if not self.changed:
            return f"Take in changes of lab {lab.number - 1}\n"
        more = len(self.changed) - SHOWN
        last = [f"and {more} more"] if more > 0 else []
        return "\n".join([f"Update lab {lab.number}", "", *self.changed[:SHOWN], *last]) + "\n"


@dataclass
class Repository:
    """A repository of the course, new or grown."""

    path: Path
    names: list[str]  # of its branches
    tips: dict[str, str] = field(default_factory=dict)  # branch: commit

    def git(self, *arguments: str, data: bytes = b"") -> str:
        where = [f"--git-dir={self.path / '.git'}", f"--work-tree={self.path}"]
        return run_git(*where, *arguments, data=data)

    @property
    def exists(self) -> bool:
        return (self.path / ".git").is_dir()

    def read(self) -> None:
        """Learn what is there. An error if it is not the course's alone."""
        if not self.exists:
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise LabError(f"{self.path} is no course repository: give another folder")
            return
        if (self.path / ".git").stat().st_uid != os.geteuid():
            raise LabError(f"{self.path} belongs to somebody else: give another folder")
        if (self.path / ".git/shallow").exists():
            raise LabError(f"{self.path} has not all of its history: git fetch --unshallow")
        refs = self.git("for-each-ref", "--format=%(refname)", "refs/heads").split()
        heads = {ref.removeprefix("refs/heads/") for ref in refs}
        if foreign := sorted(heads - set(self.names)):
            raise LabError(f"{self.path} has a branch {foreign[0]}, which is not the course's")
        for name in self.names:
            if tip := self._tip(name):
                self.tips[name] = tip
        self._check_commits()
        if self._cutting.exists():
            return
        if changes := self.git("--no-optional-locks", "status", "--porcelain") if heads else "":
            file = changes.splitlines()[0][3:]
            raise LabError(f"{self.path} has local changes ({file}): put them aside (git stash -u)")

    def _tip(self, name: str) -> str:
        """The newest commit of a branch, or "". A clone of what was published
        has most branches only as its remote's."""
        refs = (f"refs/heads/{name}", f"refs/remotes/origin/{name}")
        here, there = (self.git("for-each-ref", "--format=%(objectname)", ref) for ref in refs)
        if not here or not there or there in self.git("rev-list", here).split():
            return here or there
        if here not in self.git("rev-list", there).split():
            raise LabError(f"{self.path}: {name} and origin/{name} have parted: clone it anew")
        return there

    @property
    def _cutting(self) -> Path:
        """There as long as the folder may be another state than its branch."""
        return self.path / ".git/stag-cutting"

    def adopt(self) -> None:
        """Have as its own what a clone has only as its remote's. To be shown."""
        if self.exists:
            self._cutting.touch()
        for name, tip in self.tips.items():
            self.git("update-ref", f"refs/heads/{name}", tip)

    def show(self) -> None:
        """Have in the folder what its branch holds, also if that was interrupted.
        There are no local changes besides."""
        (self.path / ".git/index.lock").unlink(missing_ok=True)
        self.git("reset", "-q", "--hard")
        self._cutting.unlink()

    def _check_commits(self) -> None:
        for name, tip in self.tips.items():
            for line in self.git("log", "--format=%h %an <%ae>|%cn <%ce>", tip).splitlines():
                commit, _, people = line.partition(" ")
                if people != f"{COURSE}|{COURSE}":
                    who = people.partition("|")[0]
                    raise LabError(
                        f"{self.path}: commit {commit} on {name} is by {who}, not by the course:"
                        " give another folder, such as a fresh clone of what was published"
                    )

    def files(self, name: str) -> dict[str, tuple[str, str]]:
        """By path: mode and hash of what a branch holds now."""
        found = {}
        if name in self.tips:
            for line in self.git("ls-tree", "-r", "-z", self.tips[name]).split("\0"):
                entry, _, path = line.partition("\t")
                if path:
                    mode, _, blob = entry.split()
                    found[path] = (mode, blob)
        return found

    def text(self, name: str, path: str) -> str:
        return self.git("show", f"{self.tips[name]}:{path}")

    def changed(self, name: str, files: Files) -> list[str]:
        """The files in which a branch differs from what it should be."""
        old = self.files(name)
        new = {path: (_mode(file), blob_hash(file.data)) for path, file in files.items()}
        return sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))

    def write(self, updates: list[Update], date: str, fetch: Path | None = None) -> None:
        """Make the commits, all or none; to be shown.
        `fetch`: a repository whose commits they build on."""
        if not self.exists:
            self.path.mkdir(parents=True, exist_ok=True)
            first = f"--initial-branch={self.names[0]}"
            run_git("init", "-q", "--template=", first, str(self.path.resolve()))
        if fetch is not None:
            self.git("fetch", "-q", str(fetch.resolve()), "+refs/heads/*:refs/course/*")
        self._cutting.touch()
        stream = b"".join(_commit(at, update, date) for at, update in enumerate(updates, 1))
        self.git("fast-import", "--quiet", "--done", data=stream + b"done\n")
        for ref in self.git("for-each-ref", "--format=%(refname)", "refs/course").split():
            self.git("update-ref", "-d", ref)
        for name in self.names:
            self.tips[name] = self.git("rev-parse", f"refs/heads/{name}")


def _commit(mark: int, update: Update, date: str) -> bytes:
    """A commit as `git fast-import` reads it."""
    message = update.message.encode()
    head = f"commit refs/heads/{update.branch.name}\nmark :{mark}\n"
    head += f"author {COURSE} {date}\ncommitter {COURSE} {date}\n"
    parts = [head.encode(), b"data %d\n" % len(message), message]
    parents = [parent for parent in (update.old, update.merged) if parent]
    for word, parent in zip(("from", "merge"), parents, strict=False):
        parts.append(f"{word} {parent}\n".encode())
    parts.append(b"deleteall\n")
    for path, file in sorted(update.branch.files.items()):
        parts.append(f"M {_mode(file)} inline {path}\ndata {len(file.data)}\n".encode())
        parts.append(file.data + b"\n")
    return b"".join(parts)
