"""What `make branches` publishes: each branch holds what its students need and
nothing of a solution, and their work survives every merge."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import KERNEL, ROOT
from leaks import leaks
from published import (
    LABS,
    Project,
    base_of,
    clone,
    commit,
    copy_project,
    git,
    hashes,
    run,
    use_times_of_reference,
    write_reference,
)
from stag.branches import write_starter
from stag.course import run_git
from stag.labs import Lab, LabError
from stag.machine import MachineConfig, run_to_exit
from stag.starter import Form, hollow_file
from test_starter import FIRST_EXERCISE, build, todo_line

pytest_plugins = ["published_fixtures"]
slow = pytest.mark.slow
NUMBERS = [lab.number for lab in LABS]
some_labs = [2, *(pytest.param(number, marks=slow) for number in (1, 3, 4, 5, 6))]


def files_of_branch(repository: Path, branch: str) -> dict[str, str]:
    """By path: the hash of the contents."""
    lines = git(repository, "ls-tree", "-r", branch).splitlines()
    return {path: entry.split()[2] for entry, path in (line.split("\t") for line in lines)}


# What the branches hold


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: f"lab{lab.number}")
def test_a_branch_holds_what_its_students_need(course: Path, lab: Lab) -> None:
    files = files_of_branch(course, f"lab{lab.number}")
    folders = {path.partition("/")[0] for path in files if "/" in path}
    assert folders - {"handouts"} == {"grading", "include", "kernel", "tools", "user"}
    kernel = {p.relative_to(ROOT).as_posix() for p in (ROOT / "kernel").rglob("*.[chSl]*")}
    assert kernel <= files.keys()
    assert "handouts/index.md" in files and "handouts/instructors.md" not in files
    for path in files:
        number = re.match(r"handouts/(\d)-|grading/lab(\d)/", path)
        assert number is None or number[2] in (None, str(lab.number)), path
        assert number is None or int(number[1] or 0) <= lab.number, path
    data = json.loads(git(course, "show", f"lab{lab.number}:grading/lab.json"))
    assert (data["number"], data["name"]) == (lab.number, lab.name)
    assert data["prior"] == [f for o in LABS[: lab.number - 1] for f in (*o.owned, o.extra)]


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: f"lab{lab.number}")
def test_handouts_of_a_branch_are_whole(course: Path, lab: Lab) -> None:
    """Tables are filled in, and drawings are there: as Markdown is read where
    nothing is made of it."""
    names = files_of_branch(course, f"lab{lab.number}").keys()
    page = git(course, "show", f"lab{lab.number}:handouts/{lab.name}.md")
    assert "generate:" not in page and page.startswith(f"# {lab.number}")
    for exercise in lab.exercises:
        assert f'<a id="exercise-{exercise.number}"></a>' in page
    for test in lab.tests:
        assert test.title in page, test.name
    page += git(course, "show", f"lab{lab.number}:handouts/grading.md")
    drawings = re.findall(r"\]\((drawings/[^)]+)\)", page)
    assert drawings and {f"handouts/{name}" for name in drawings} <= names


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: f"lab{lab.number}")
def test_handouts_of_a_branch_lead_nowhere_else(course: Path, lab: Lab) -> None:
    branch = f"lab{lab.number}"
    names = files_of_branch(course, branch).keys()
    targets = re.findall(r"^([a-z-]+):.* ## ", git(course, "show", f"{branch}:Makefile"), re.M)
    for name in (name for name in names if re.match(r"handouts/.*\.md$", name)):
        text = git(course, "show", f"{branch}:{name}")
        links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
        inside = {f"handouts/{link}" for link in links if "://" not in link}
        assert inside <= names, name
        rows = re.findall(r"^\| `make ([a-z-]+)` \|", text, re.M)
        assert set(rows) <= set(targets), name
        assert rows or name != "handouts/tools.md"


def test_makefile_has_only_what_students_can_use(course: Path) -> None:
    text = git(course, "show", "lab3:Makefile")
    for word in ("tests", "labs/", "solutions", "bench.py", "tools/branches", "BREAK"):
        assert word not in text
    for tool in re.findall(r"tools/[\w.]+", text):
        assert tool in files_of_branch(course, "lab3"), tool


def test_owned_files_are_the_same_from_their_branch_on(course: Path) -> None:
    """Else the merge of a later lab would meet what a student has written."""
    files = {number: files_of_branch(course, f"lab{number}") for number in NUMBERS}
    for lab in LABS:
        for name in lab.owned:
            assert len({files[number][name] for number in NUMBERS[lab.number - 1 :]}) == 1, name
        starter = hollow_file((ROOT / lab.owned[0]).read_text(), lab.owned[0], lab, Form.STARTER)
        there = git(course, "show", f"lab{lab.number}:{lab.owned[0]}")
        assert there == starter.rstrip("\n")


def test_starting_points_differ_in_files_of_earlier_labs_alone(course: Path) -> None:
    base = base_of(course)
    assert set(hashes(base)) == {f"lab{number}-base" for number in NUMBERS[1:]}
    for lab in LABS[1:]:
        here = files_of_branch(base, f"lab{lab.number}-base")
        there = files_of_branch(course, f"lab{lab.number}")
        differ = {path for path in here.keys() | there.keys() if here.get(path) != there.get(path)}
        assert differ == {name for other in LABS[: lab.number - 1] for name in other.owned}
        tip = hashes(course)[f"lab{lab.number}"]
        git(base, "merge-base", "--is-ancestor", tip, f"lab{lab.number}-base")


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: f"lab{lab.number}")
def test_a_starter_is_what_the_branch_holds(course: Path, lab: Lab, tmp_path: Path) -> None:
    """For who hands out folders: also with the handouts filled in."""
    bases = [(course, f"lab{lab.number}", True), (base_of(course), f"lab{lab.number}-base", False)]
    for repository, branch, base_hollow in bases[: 1 if lab.number == 1 else 2]:
        tree = clone(repository, branch, tmp_path / branch)
        shutil.rmtree(tree / ".git")
        pages = {
            path.relative_to(tree).as_posix(): path.read_text()
            for path in sorted((tree / "handouts").rglob("*.*"))
        }
        out = tmp_path / f"{branch}-starter"
        write_starter(ROOT, lab.number, out, lambda pages=pages: pages, base_hollow=base_hollow)
        assert run(["diff", "-r", str(tree), str(out)], tmp_path).stdout == ""


# Nothing of a solution


def test_no_object_holds_a_solution(course: Path) -> None:
    """In all that students can fetch, of every branch and every commit."""
    listed = git(course, "rev-list", "--objects", "--branches").splitlines()
    paths = dict(line.split(" ", 1) for line in listed if " " in line)
    assert not [p for p in paths.values() if re.match(r"(labs|solutions|tests)(/|$)", p)]
    found, blobs = {}, 0
    for name, path in paths.items():
        if git(course, "cat-file", "-t", name) == "blob":
            blobs += 1
            leaked = leaks(git(course, "cat-file", "-p", name), path.endswith(".S"))
            found |= {path: leaked} if leaked else {}
    assert found == {}
    assert blobs > 200


def test_the_search_finds_a_solution() -> None:
    """… also in a text, and written in other lines."""
    for lab in LABS:
        for name in lab.owned:
            assembly = name.endswith(".S")
            text = (ROOT / name).read_text()
            assert name in leaks(text, assembly)
            if not assembly:
                text = re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL))
                assert name in leaks(f"# Look here\n```\n{text}```\n")


# Students' work


def test_labs_one_after_another(course: Path, tmp_path: Path) -> None:
    """With each lab done, its successor merges without conflict, and only
    students' own files differ from the branch."""
    tree = clone(course, "lab1", tmp_path / "student")
    mine: set[str] = set()
    for lab in LABS:
        write_reference(tree, lab)
        mine |= {*lab.owned, lab.extra}
        (tree / "notes.txt").write_text(f"Lab {lab.number}\n")
        commit(tree, f"My lab {lab.number}")
        assert set(git(tree, "diff", "--name-only", f"origin/lab{lab.number}").split()) == {
            *mine,
            "notes.txt",
        }
        if lab.number < len(LABS):
            git(tree, "switch", "-q", "-c", f"lab{lab.number + 1}")
            git(tree, "merge", "-q", "--no-edit", f"origin/lab{lab.number + 1}")
    for name in (name for lab in LABS for name in lab.owned):
        assert (tree / name).read_bytes() == (ROOT / name).read_bytes()
    assert git(tree, "status", "--porcelain") == ""


def test_corrections_reach_students(tmp_path: Path) -> None:
    """The instructor changes a handout, a grader and the kernel: in the middle
    of a lab, and before the next, they merge without conflict."""
    project = copy_project(tmp_path / "project")
    handout, grader = f"handouts/{LABS[1].name}.md", "grading/lab2/conftest.py"
    (project.root / handout).write_text("# Lab 2\n\nA misprinf.\n\nThe end.\n")
    course = project.cut(tmp_path / "course")
    tree = clone(course, "lab2", tmp_path / "student")
    other = clone(course, "lab2", tmp_path / "other")
    for student in (tree, other):
        write_reference(student, LABS[0])
        write_reference(student, LABS[1])
        commit(student)

    project.edit(handout, "misprinf", "misprint")
    project.edit("kernel/boot.c", "/*\n", "/*\n * Corrected.\n")
    (project.root / grader).write_text((ROOT / grader).read_text() + "\n# Corrected.\n")
    before = hashes(course)
    project.cut(course)
    assert all(
        git(course, "merge-base", "--is-ancestor", commit, name) == ""
        for name, commit in before.items()
    )
    git(course, "merge-base", "--is-ancestor", "lab1", "lab2")

    git(tree, "fetch", "-q")
    git(tree, "merge", "-q", "--no-edit", "origin/lab2")
    assert "misprint" in (tree / handout).read_text()
    assert "Corrected" in (tree / "kernel/boot.c").read_text()
    assert "Corrected" in (tree / grader).read_text()
    git(other, "fetch", "-q")
    for student in (tree, other):
        git(student, "merge", "-q", "--no-edit", "origin/lab3")
        assert "misprint" in (student / handout).read_text()
        for name in (*LABS[0].owned, *LABS[1].owned):
            assert (student / name).read_bytes() == (ROOT / name).read_bytes()


# Publishing


def test_same_project_same_hashes(project: Project, course: Path, tmp_path: Path) -> None:
    """Whoever cuts it, wherever."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\nname = Me\nemail = me@here\n[core]\nautocrlf = true\n[commit]\ngpgsign = true\n"
    )
    other = copy_project(tmp_path / "elsewhere")
    settings = {"HOME": str(home), "TZ": "Asia/Tokyo", "GIT_AUTHOR_NAME": "Me", "LC_ALL": "C"}
    again = other.cut(tmp_path / "again", "--kernel", str(KERNEL), **settings)
    assert hashes(again) == hashes(course)
    assert hashes(base_of(again)) == hashes(base_of(course))


def test_nothing_new_makes_no_commit(project: Project, tmp_path: Path) -> None:
    course = project.cut(tmp_path / "course")
    before = hashes(course), hashes(base_of(course))
    code, text = project.branches(course)
    assert code == 0
    assert text.count("(no news)") == 2
    assert (hashes(course), hashes(base_of(course))) == before


def test_a_clone_of_what_was_published_will_do(tmp_path: Path) -> None:
    """Whoever has lost build/ clones the course and goes on there."""
    project = copy_project(tmp_path / "project")
    course = project.cut(tmp_path / "course")
    lost = clone(course, "lab1", tmp_path / "lost")
    project.cut(lost)  # no news
    for name in ("kernel/boot.c", "grading/lab4/scheduler_bench.py"):
        project.edit(name, *(("/*\n", "/*\n\n") if name.endswith(".c") else ('"""', '"""\n')))
        project.cut(course)
        project.cut(lost)
        assert hashes(lost) == hashes(course)
        for lab in LABS[1:]:  # a starting point has in it what was corrected
            tip = hashes(course)[f"lab{lab.number}"]
            git(base_of(course), "merge-base", "--is-ancestor", tip, f"lab{lab.number}-base")


def test_a_cut_that_was_interrupted(project: Project, tmp_path: Path) -> None:
    """The branches are there, the folder is half of another one: nobody's changes."""
    mine = project.cut(tmp_path / "course")
    before = hashes(mine)
    (mine / ".git/stag-cutting").touch()
    (mine / ".git/index.lock").touch()
    (mine / "kernel/boot.c").write_text("/* half */")
    project.cut(mine)
    assert hashes(mine) == before and not git(mine, "status", "--porcelain")
    (mine / "kernel/boot.c").write_text("/* mine */")
    code, text = project.branches(mine)
    assert code == 1 and "has local changes (kernel/boot.c)" in text


def test_a_clone_of_the_first_lab_alone(tmp_path: Path) -> None:
    """Its students can merge the next lab all the same."""
    project = copy_project(tmp_path / "project")
    course = project.cut(tmp_path / "course")
    first = tmp_path / "first"
    git(course, "clone", "-q", "-b", "lab1", "--single-branch", str(course), str(first))
    project.cut(first)
    git(first, "merge-base", "--is-ancestor", "lab1", "lab2")
    assert git(first, "rev-parse", "lab1") == git(course, "rev-parse", "lab1")


def test_the_reason_that_git_gives(course: Path, tmp_path: Path) -> None:
    """It is not in the last line of what it says."""
    mine = clone(course, "lab1", tmp_path / "mine")
    (mine / ".git/index.lock").touch()
    with pytest.raises(LabError, match=r"^git reset: fatal: .*index.lock"):
        run_git("reset", "--hard", cwd=mine)


def test_what_git_does_not_know(tmp_path: Path) -> None:
    """It would be published, and stay in the course's history: a solution, maybe."""
    project = copy_project(tmp_path / "project")
    shutil.copy2(project.root / "kernel/page_alloc.c", project.root / "kernel/page_alloc.c.orig")
    code, text = project.branches(tmp_path / "course")
    assert code == 1 and text.count("\n") == 1 and "kernel/page_alloc.c.orig" in text, text
    assert not (tmp_path / "course").exists()


def test_owned_file_of_a_published_lab(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    course = project.cut(tmp_path / "course")
    before = hashes(course), hashes(base_of(course))
    # What is taken out may change: no student has it.
    project.edit("kernel/scheduler.c", "if (slept) idle();\n", "if (slept) idle( );\n")
    project.cut(course)
    assert hashes(course) == before[0]
    assert hashes(base_of(course)) != before[1]
    # What students have does not change by chance.
    before = hashes(course), hashes(base_of(course))
    project.edit("kernel/page_alloc.c", '#include "page_alloc.h"', '#include  "page_alloc.h"')
    code, text = project.branches(course)
    assert code == 1
    assert text.count("\n") == 1
    assert "lab 2: kernel/page_alloc.c" in text and "BREAK=1" in text
    assert (hashes(course), hashes(base_of(course))) == before
    code, text = project.branches(course, "--break")
    assert code == 0
    assert "lab 2: kernel/page_alloc.c changes: whoever has begun it" in text
    assert hashes(course)["lab2"] != before[0]["lab2"]


def give_away(*paths: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    for path in paths:
        os.chown(path, 1, 1)


def students_commit(course: Path) -> None:
    git(course, "switch", "-q", "lab2")
    (course / "kernel/page_alloc.c").write_text("/* mine */\n")
    commit(course)


def local_change(course: Path) -> None:
    (course / "kernel/boot.c").write_text("/* mine */\n")


def foreign_branch(course: Path) -> None:
    git(course, "branch", "work")


def no_repository(course: Path) -> None:
    shutil.rmtree(course / ".git")


def parted_clone(course: Path) -> None:
    """lab2 here and lab2 where it was published have gone different ways."""
    other = git(course, "commit-tree", "-m", "Else", "lab2^{tree}", "-p", "lab1")
    git(course, "update-ref", "refs/remotes/origin/lab2", other)


def shallow(course: Path) -> None:
    (course / ".git/shallow").write_text(git(course, "rev-parse", "lab1") + "\n")


def of_another(course: Path) -> None:
    give_away(course / ".git")


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "students-commit": (students_commit, r"on lab2 is by Student .*give another folder"),
    "local-change": (local_change, r"has local changes \(kernel/boot.c\)"),
    "foreign-branch": (foreign_branch, "has a branch work"),
    "parted-clone": (parted_clone, "lab2 and origin/lab2 have parted"),
    "no-repository": (no_repository, "is no course repository"),
    "of-another": (of_another, "belongs to somebody else"),
    "shallow": (shallow, "has not all of its history"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_repository(project: Project, course: Path, name: str, tmp_path: Path) -> None:
    """One line, and nothing has changed."""
    mine = tmp_path / "course"
    shutil.copytree(course, mine)
    shutil.copytree(base_of(course), base_of(mine))
    damage, wanted = REFUSED[name]
    damage(mine)
    before = {p: p.read_bytes() for p in mine.rglob("*") if p.is_file()}
    code, text = project.branches(mine)
    assert code == 1
    assert re.match(rf"branches: .*{wanted}", text), text
    assert text.count("\n") == 1
    assert {p: p.read_bytes() for p in mine.rglob("*") if p.is_file()} == before
    assert hashes(base_of(mine)) == hashes(base_of(course))


def overlay_of_an_owned_file(project: Project) -> None:
    path = project.root / "labs" / LABS[3].name / "branch" / LABS[4].owned[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("/* */\n")


def in_project(file: str, old: str, new: str) -> Callable[[Project], None]:
    return lambda project: project.edit(file, old, new)


def one_point_less(project: Project) -> None:
    path = project.root / LABS[0].source
    path.write_text(path.read_text().replace("points = 5", "points = 4", 1))


def no_python(project: Project) -> None:
    (project.root / "grading/lab2/scratch.py").write_text("def f(:\n")


def no_git(project: Project) -> None:
    shutil.rmtree(project.root / ".git")


def ignored(project: Project) -> None:
    """It is in a folder that the repository around it ignores."""
    no_git(project)
    git(project.root.parent, "init", "-q")
    (project.root.parent / ".gitignore").write_text("/project/\n")


def of_somebody_else(project: Project) -> None:
    give_away(project.root, project.root / ".git")


def no_header(project: Project) -> None:
    path = project.root / "kernel/page_alloc.c"
    path.write_text(re.sub(r"#include \".*\n", "", path.read_text()))


def latin(project: Project) -> None:
    path = project.root / "Makefile"
    path.write_bytes("# Änderung\n".encode("latin-1") + path.read_bytes())


LAB_2, LAB_4 = (LABS[number - 1].source.as_posix() for number in (2, 4))
WRONG: dict[str, tuple[Callable[[Project], None], str]] = {
    "points": (one_point_less, f"{LABS[0].source}: its tests give 99 points"),
    "function-gone": (
        in_project("kernel/mcs_lock.c", "void mcs_lock_release(", "void mcs_lock_let_go("),
        f"{LAB_4}: kernel/mcs_lock.c has no function mcs_lock_release",
    ),
    "target-gone": (in_project("Makefile", "\ngrade: ##", "\ngraded: ##"), "no target grade"),
    "image-changed": (
        in_project("kernel/first_program_image.S", "user/shell", "user/other"),
        "kernel/first_program_image.S does not name build/user/shell.stripped",
    ),
    "overlay": (overlay_of_an_owned_file, f"branch/{LABS[4].owned[0]}: that file is for students"),
    "no-git": (no_git, "git repository: fatal: not a git repository"),
    "ignored": (ignored, "project: the course is cut from what it knows"),
    "of-somebody-else": (of_somebody_else, "git config --global --add safe.directory"),
    "no-header": (no_header, "kernel/page_alloc.c does not include its own header"),
    "latin": (latin, "Makefile is not UTF-8"),
    "phony-gone": (in_project("Makefile", "\n.PHONY:", "\n.PHONE:"), "begins with .PHONY:"),
    "settings-gone": (in_project("Makefile", "\nSETTINGS :=", "\nSETTING :="), "SETTINGS :="),
    "no-python": (no_python, r"grading/lab2/scratch.py is no Python"),
}


@pytest.mark.parametrize("name", WRONG)
def test_project_that_can_not_be_published(name: str, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    damage, wanted = WRONG[name]
    damage(project)
    code, text = project.branches(tmp_path / "course")
    assert code == 1
    assert text.startswith("branches: ") and wanted in text, text
    assert text.count("\n") == 1
    assert not (tmp_path / "course").exists()


def test_project_of_somebody_else_who_lets_us(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    of_somebody_else(project)
    settings = tmp_path / "gitconfig"
    settings.write_text("[safe]\n\tdirectory = *\n")
    project.cut(tmp_path / "course", GIT_CONFIG_GLOBAL=str(settings))


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["{root}"], "holds this tree"),
        (["{root}/labs/course"], "is inside of this tree"),
        (["--backwards"], "unrecognized arguments"),
        (["{root}/Makefile/course"], "inside of this tree"),
    ],
)
def test_wrong_arguments(project: Project, arguments: list[str], wanted: str) -> None:
    command = [str(project.root / "tools/branches")]
    done = run([*command, *(a.format(root=project.root) for a in arguments)], project.root)
    assert done.returncode == 1
    assert done.stderr.startswith("branches: ") and wanted in done.stderr
    assert done.stderr.count("\n") == 1


# Builds, boots, grades. `make test` takes one of each.


def made(tree: Path) -> Path:
    use_times_of_reference(tree)
    return build(tree)


@pytest.mark.parametrize("number", some_labs)
def test_untouched_branch_says_what_to_write_first(
    course: Path, number: int, tmp_path: Path
) -> None:
    """With earlier labs done, it is the lab's first exercise."""
    branch = "lab1" if number == 1 else f"lab{number}-base"
    kernel = made(clone(course if number == 1 else base_of(course), branch, tmp_path / "tree"))
    for mmu in ("sv39", "sv48"):
        config = MachineConfig(kernel, 4, mmu=mmu, arguments="run=hello")  # type: ignore[arg-type]
        code, text = run_to_exit(config)
        assert code == 0
        assert todo_line(text)[:2] == (number, FIRST_EXERCISE.get(number, 1))
        assert "panic" not in text


@pytest.mark.parametrize("number", some_labs)
def test_untouched_branch_alone_begins_with_lab_1(
    course: Path, number: int, tmp_path: Path
) -> None:
    code, text = run_to_exit(MachineConfig(made(clone(course, f"lab{number}", tmp_path / "t")), 2))
    assert code == 0
    assert todo_line(text)[:2] == (1, FIRST_EXERCISE[1])


@pytest.mark.parametrize("number", [2, 5, *(pytest.param(n, marks=slow) for n in (1, 3, 4))])
def test_end_of_a_lab(course: Path, number: int, tmp_path: Path) -> None:
    """With its labs done, a branch shows what they have achieved, on every
    machine."""
    tree = clone(course, f"lab{number}", tmp_path / "tree")
    for lab in LABS[:number]:
        write_reference(tree, lab)
    kernel = made(tree)
    for harts, mmu in ((1, "sv39"), (4, "sv48")):
        code, text = run_to_exit(MachineConfig(kernel, harts, mmu=mmu))  # type: ignore[arg-type]
        assert code == 0
        assert text.rstrip().endswith(f"lab {number} is done"), text[-1000:]


@slow
def test_end_of_the_last_lab(course: Path, tmp_path: Path) -> None:
    tree = clone(course, "lab6", tmp_path / "tree")
    for lab in LABS:
        write_reference(tree, lab)
    code, text = run_to_exit(MachineConfig(made(tree), 4, arguments="run=hello"))
    assert code == 0
    assert "hello from user mode" in text


def grade(tree: Path) -> tuple[int, dict[str, object], str]:
    """The exit status, the results and what was shown."""
    use_times_of_reference(tree)
    done = run(["make", "-s", "grade"], tree)
    assert "Traceback" not in done.stderr, done.stderr
    number = json.loads((tree / "grading/lab.json").read_text())["number"]
    results = tree / f"build/grade/lab{number}/results.json"
    assert results.is_file(), done.stdout + done.stderr
    return done.returncode, json.loads(results.read_text()), done.stdout


def with_tests(number: int) -> Lab:
    lab = LABS[number - 1]
    if not lab.tests:
        pytest.skip(f"{lab.source} lists no tests yet")
    return lab


@pytest.mark.parametrize("number", some_labs)
def test_untouched_branch_scores_nothing(course: Path, number: int, tmp_path: Path) -> None:
    lab = with_tests(number)
    branch = "lab1" if number == 1 else f"lab{number}-base"
    tree = clone(course if number == 1 else base_of(course), branch, tmp_path / "tree")
    _, data, shown = grade(tree)
    assert [test["name"] for test in data["tests"] if test["got"]] == []  # type: ignore[union-attr]
    assert not data["rejected"]
    assert f"0 of {lab.points} points" in shown
    assert f"#exercise-{FIRST_EXERCISE.get(number, 1)}" in shown
    assert data["ignored"] == [] and data["notes"] == []


def test_a_lab_without_the_earlier_ones_is_told(course: Path, tmp_path: Path) -> None:
    """Who switches to lab2, and merges nothing."""
    _, data, shown = grade(clone(course, "lab2", tmp_path / "tree"))
    assert len(data["notes"]) == 1 and "0 of 100 points" in shown  # type: ignore[arg-type]
    assert all(name in data["notes"][0] for name in LABS[0].owned)  # type: ignore[index]
    assert "merge your work" in " ".join(shown.split())


@slow
def test_labs_one_after_another_score_all(course: Path, tmp_path: Path) -> None:
    """In a student's clone, with the merge of each next lab."""
    tree = clone(course, "lab1", tmp_path / "tree")
    for lab in LABS:
        if lab.number > 1:
            git(tree, "merge", "-q", "--no-edit", f"origin/lab{lab.number}")
        write_reference(tree, lab)
        commit(tree)
        if lab.tests:
            status, data, shown = grade(tree)
            assert status == 0, f"lab {lab.number}:\n{shown}"
            assert data["ignored"] == [] and data["notes"] == []
