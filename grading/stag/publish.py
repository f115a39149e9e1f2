"""Brings the course's repositories up to date with the reference: what
`make branches` does. Everything is checked before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .branches import Branch, check_known, make_branches
from .course import Repository, Update, newest_date
from .labs import LabError, check_place

Say = Callable[[str], None]


def _plan(repository: Repository, branches: list[Branch]) -> list[Update]:
    """The commits that the branches need, from lab 1 up."""
    updates: list[Update] = []
    below = ""  # of the lab before: its new commit, to be taken in
    published = ""  # the same, as it was
    for branch in branches:
        old = repository.tips.get(branch.name, "")
        changed = repository.changed(branch.name, branch.files)
        if not old or changed or below:
            # A branch that is new among old ones stands on the lab before, too.
            updates.append(Update(branch, changed, old, below or ("" if old else published)))
            below = f":{len(updates)}"
        published = old
    return updates


def _plan_base(repository: Repository, branches: list[Branch], course: Repository) -> list[Update]:
    """The same for the branches with the reference's earlier labs: each stands
    on its course branch."""
    updates = []
    for branch in branches:
        old = repository.tips.get(branch.name, "")
        tip = course.tips[f"lab{branch.lab.number}"]
        changed = repository.changed(branch.name, branch.files)
        taken = bool(old) and tip in repository.git("rev-list", old).split()
        if not old or changed or not taken:
            updates.append(Update(branch, changed, old, "" if taken else tip))
    return updates


def _broken(repository: Repository, branches: list[Branch]) -> list[str]:
    """Published files that students write in, and that would change."""
    found = []
    for lab in (branch.lab for branch in branches):
        name = f"lab{lab.number}"
        if name not in repository.tips:
            continue
        owned = set(lab.owned)
        before = json.loads(repository.text(name, "grading/lab.json"))
        owned |= set(before["owned"])
        for branch in branches[lab.number - 1 :]:
            if branch.name in repository.tips:
                changed = owned.intersection(repository.changed(branch.name, branch.files))
                found += [f"lab {lab.number}: {file}" for file in sorted(changed)]
    return list(dict.fromkeys(found))


def publish(root: Path, out: Path, pages: dict[str, str], *, may_break: bool, say: Say) -> None:
    """Bring the repositories `out` and `out`-base up to date. `pages`: handouts,
    filled in, and their drawings, by path."""
    root, out = root.resolve(), out.resolve()
    check_place(root, out)
    branches, bases = make_branches(root, pages), make_branches(root, pages, base=True)
    date = newest_date(root)
    course = Repository(out, [branch.name for branch in branches])
    base = Repository(out.with_name(f"{out.name}-base"), [branch.name for branch in bases])
    course.read()
    base.read()
    broken = _broken(course, branches)
    if broken and not may_break:
        raise LabError(
            f"published files that students write in would change ({'; '.join(broken)}): whoever"
            " has begun them must merge them by hand. To do it all the same: BREAK=1"
        )
    check_known(root)
    course.adopt()
    base.adopt()
    for line in broken:
        say(f"{line} changes: whoever has begun it must merge it by hand")
    for branch in branches:
        if not branch.lab.tests:
            say(f"{branch.lab.source} lists no tests yet: lab {branch.lab.number} has no points")
    for repository, what in ((course, "the course"), (base, "starting points")):
        plan = _plan(course, branches) if repository is course else _plan_base(base, bases, course)
        new = not repository.exists
        if plan:
            repository.write(plan, date, None if repository is course else out)
        repository.show()
        state = "new" if new else f"{len(plan)} of its branches have news" if plan else "no news"
        say(f"{what}: {repository.path} ({state})")
