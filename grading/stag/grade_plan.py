"""What is to be graded: which lab, which files of the submission, and what they
are laid on.

In the tree that has labs/, pristine files are the tree's own: with all labs in
them, or with the later labs hollow. In a student's clone they are those of the
newest commit of the course that the student's work is built on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from .errors import InfrastructureError
from .grade_process import die_with_parent
from .grade_tree import Files, read_commit, read_tree
from .labs import Lab, LabError, load_lab, load_labs, parse_lab

COURSE = "Stag course <course@stag.invalid>"  # the author of what is published
SINGLE = "grading/lab.json"  # a student's clone: one lab, and `prior`: earlier labs' files


@dataclass
class Plan:
    root: Path  # the tree that the graders are in
    lab: Lab
    prior: list[str]  # files that earlier labs own, their extra files included
    later: list[str]  # and later labs
    is_reference: bool  # the tree has all labs
    notes: list[str] = field(default_factory=list)  # for people

    @property
    def extra(self) -> list[str]:
        return [self.lab.extra] if self.lab.extra else []


def load_plan(root: Path, number: int | None) -> Plan:
    if (root / "labs").is_dir():
        if number is None:
            raise LabError("which lab? Give its number, as in LAB=2")
        lab = load_lab(root, number)
        prior: list[str] = []
        later: list[str] = []
        for other in load_labs(root):
            files = [*other.owned, *([other.extra] if other.extra else [])]
            if other.number != number:
                (prior if other.number < number else later).extend(files)
        return Plan(root, lab, prior, later, True)
    path = root / SINGLE
    try:
        data = json.loads(path.read_text())
        name, prior = data.pop("name"), list(data.pop("prior", []))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise LabError(f"{SINGLE} can't be read ({error}): git checkout -- {SINGLE}") from None
    lab = parse_lab(data, name, Path(SINGLE))
    if number not in (None, lab.number):
        raise LabError(f"this tree is for lab {lab.number}: give LAB={lab.number}, or none")
    return Plan(root, lab, prior, [], False)


_OF_ANOTHER = "which belongs to somebody else; to let it: git config --global --add safe.directory"


def git_reason(root: Path, said: bytes) -> str:
    """Why git failed in that folder, in a line."""
    lines = said.decode(errors="replace").strip().splitlines() or ["it failed"]
    if any("dubious ownership" in line for line in lines):
        return f"git does not read {root}, {_OF_ANOTHER} {root}"
    return next((line for line in lines if line.startswith(("fatal: ", "error: "))), lines[-1])


def _git(root: Path, *arguments: str) -> str | None:
    """What git answers, or None."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True)
    except OSError:
        return None
    if b"dubious ownership" in done.stderr:
        raise InfrastructureError(git_reason(root, done.stderr))
    return os.fsdecode(done.stdout).strip() if done.returncode == 0 else None


def _hollow_tree(plan: Plan) -> Files:
    """The tree with all labs up to this one, and the later ones hollow."""
    with tempfile.TemporaryDirectory(prefix="stag-") as folder:
        out = Path(folder) / "tree"
        command = [sys.executable, str(plan.root / "tools/starter")]
        command += ["--hollow-after", str(plan.lab.number), str(out)]
        done = subprocess.run(
            command, cwd=plan.root, capture_output=True, text=True, preexec_fn=die_with_parent()
        )
        if done.returncode != 0:
            raise InfrastructureError(f"tools/starter: {(done.stderr or done.stdout).strip()}")
        return read_tree(out)


def _start(plan: Plan) -> str | None:
    """The newest commit of the course for this lab that HEAD is built on,
    whatever remote it came from."""
    command = ["rev-list", "--topo-order", f"--author={COURSE}", "--fixed-strings", "HEAD"]
    for commit in (_git(plan.root, *command) or "").split():
        try:
            lab = json.loads(_git(plan.root, "show", f"{commit}:{SINGLE}") or "{}")
        except ValueError:
            continue
        if isinstance(lab, dict) and lab.get("number") == plan.lab.number:
            return commit
    return None


def pristine_files(plan: Plan, hollow: bool, prior: str) -> Files:
    """What the submission's files are laid on. Earlier labs' files are the
    reference's if `prior` says so."""
    if plan.is_reference:
        return _hollow_tree(plan) if hollow else read_tree(plan.root)
    number = plan.lab.number
    start = _start(plan)
    if start:
        files = read_commit(plan.root, start)
    else:
        plan.notes.append(
            f"git knows no commit of the course for lab {number} here: files that are not yours"
            " to write were taken as they are"
        )
        files = read_tree(plan.root)
    if prior == "reference" and plan.prior:
        pattern = f"refs/remotes/*/lab{number}-base"
        refs = _git(plan.root, "for-each-ref", "--format=%(refname)", pattern) or ""
        if not refs:
            raise InfrastructureError(
                f"PRIOR=reference needs your course's branch lab{number}-base, if it hands"
                " one out (git fetch it); or use PRIOR=mine"
            )
        base = read_commit(plan.root, refs.splitlines()[0])
        files.update({name: base[name] for name in plan.prior if name in base})
    return files
