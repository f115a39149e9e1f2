"""The solutions that the graders are tested on: what they say of themselves is
complete and fits the tree, and mistakes in them are told in one line. That they
come out as they must is for `make grade-solutions`."""

from __future__ import annotations

import html.parser
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, processes
from stag.errors import StagError
from stag.grade_run import Result
from stag.grade_tree import read_tree
from stag.labs import Lab, load_lab
from stag.solutions import Mutant, SolutionError, challenge, mutants, variants
from stag.solutions_items import (
    ITEMS,
    choose,
    cover,
    load_items,
    lost_tests,
    needed_tests,
    points_never_lost,
)
from stag.solutions_page import page
from stag.solutions_report import LabReport
from stag.solutions_run import Job, Runner

pytestmark = pytest.mark.skipif(not (ROOT / "labs").is_dir(), reason="no labs here")
every_lab = pytest.mark.parametrize("number", range(1, 7))


# What there is


@every_lab
def test_mutants_apply(number: int) -> None:
    pristine = read_tree(ROOT)
    wrong = []
    for mutant in mutants(ROOT, load_lab(ROOT, number)):
        try:
            mutant.applied(pristine)
        except SolutionError as error:
            wrong.append(str(error))
    assert not wrong, "\n".join(wrong)


@every_lab
def test_challenge_has_a_solution(number: int) -> None:
    lab = load_lab(ROOT, number)
    solution = challenge(ROOT, lab)
    assert solution is not None, f"{lab.source} lists no challenge"
    pristine = read_tree(ROOT)
    changed = {n for n, file in solution.applied(pristine).items() if file != pristine[n]}
    assert changed <= set(lab.owned)


@every_lab
def test_every_item_has_a_mutant(number: int) -> None:
    lab = load_lab(ROOT, number)
    assert load_items(ROOT, lab, mutants(ROOT, lab))


@every_lab
def test_every_test_fails_a_mutant(number: int) -> None:
    """A test that no mutant fails is no test."""
    lab = load_lab(ROOT, number)
    caught = frozenset().union(*(mutant.caught_by for mutant in mutants(ROOT, lab)))
    assert [test.name for test in lab.tests if test.name not in caught] == []


@every_lab
def test_chosen_mutants_lose_every_point(number: int) -> None:
    lab = load_lab(ROOT, number)
    found = mutants(ROOT, lab)
    chosen = choose(ROOT, lab, found)
    assert points_never_lost(lab, chosen) == []
    assert set(load_items(ROOT, lab, found).values()) <= set(chosen)
    assert len(chosen) < len(found)


@every_lab
def test_variants_can_be_read(number: int) -> None:
    variants(ROOT, load_lab(ROOT, number))


# Choosing


def mutant(name: str, *tests: str) -> Mutant:
    return Mutant(f"{name}.patch", "", name, "a mistake", frozenset(tests), "seen")


def test_lost_and_needed() -> None:
    lab = load_lab(ROOT, 2)
    lost = lost_tests(lab, ["test_append_is_constant_time"])
    assert lost == {"test_append_is_constant_time"}
    first = lab.tests[0].name
    assert {"test_pages_are_distinct", "test_two_harts_allocate"} <= lost_tests(lab, [first])
    names = [test.name for test in needed_tests(lab, ["test_empty_chain"])]
    assert names[0] == first and names[-1] == "test_empty_chain"
    for test in needed_tests(lab, ["test_empty_chain"]):
        assert set(test.needs) <= set(names)


def test_cover_takes_the_largest_first() -> None:
    found = [mutant("one", "a"), mutant("two", "a", "b"), mutant("three", "c"), mutant("four", "b")]
    taken = cover(found, lambda one: one.caught_by, {"a", "b", "c", "d"})
    assert [one.name for one in taken] == ["two", "three"]


# Judging


def filled(job: Job, failed: set[str]) -> Job:
    for test in job.lab.tests:
        outcome = "fail" if test.name in failed else "pass"
        job.results.append(Result(test, outcome, "expected: 1\nfound: <2>"))  # type: ignore
    job.judge()
    return job


def mutant_job_of(lab: Lab, caught_by: str, failed: set[str]) -> Job:
    wrong = mutant("x", caught_by)
    return filled(Job(lab, "mutant x", lambda _: {}, wrong.caught_by, mutant=wrong), failed)


def starter_job(lab: Lab, failed: set[str]) -> Job:
    return filled(Job(lab, "the starter", lambda _: {}, None), failed)


def test_verdicts() -> None:
    lab = load_lab(ROOT, 2)
    name, other = "test_append_is_constant_time", "test_empty_chain"
    worth = sum(test.points for test in lab.tests if test.name == name)
    assert mutant_job_of(lab, name, {name}).complaint == ""
    assert mutant_job_of(lab, name, {name}).points == 100 - worth
    assert mutant_job_of(lab, name, set()).complaint == f"not caught by {name}"
    extra = mutant_job_of(lab, name, {name, other})
    assert extra.complaint == f"fails in {other}, the first with: expected: 1\nfound: <2>"
    tests = {test.name for test in lab.tests}
    starter = starter_job(lab, tests - {name})
    assert starter.complaint == f"scores {worth} points: {name}"
    assert starter_job(lab, tests).complaint == ""


def test_several_runs() -> None:
    """Once not caught is not caught."""
    lab = load_lab(ROOT, 2)
    name = "test_empty_chain"
    done = mutant_job_of(lab, name, {name})
    good = done.results
    bad = [Result(result.test, "pass") for result in good]
    for done.results in (good, bad, good):
        done.judge_run()
    assert done.caught == [True, False, True]
    assert done.complaint == f"run 2: not caught by {name}"


# The report


class Page(html.parser.HTMLParser):
    """Are the elements nested, and do links within the page lead somewhere?"""

    VOID = ("meta", "link", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values["href"] or ""] if "href" in values else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page() -> None:
    lab = load_lab(ROOT, 2)
    name = "test_append_is_constant_time"
    one, two = (mutant_job_of(lab, name, {name}) for _ in range(2))
    two.title, two.mutant = "mutant y", mutant("y", name)
    wrong = mutant_job_of(lab, name, set())
    wrong.title, wrong.mutant = "mutant z", mutant("z", name)
    report = LabReport(lab, [one, two, wrong], {"x": ["a <double> free"]}, 3)
    text = page([report], 0)
    read = Page(text)
    assert read.open == [] and "script" not in read.tags
    assert len(set(read.ids)) == len(read.ids)
    assert all(link.startswith("#") and link[1:] in read.ids for link in read.links)
    assert "a &lt;double&gt; free" in text and "found: &lt;2&gt;" in text
    assert "2 of 3 as they must be" in text
    assert [[j.title for j in group] for group in report.same()] == [["mutant x", "mutant y"]]
    assert list(report.alone()) == [name]
    assert name not in [test.name for test in report.never_lost()]


# Mistakes


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A lab's solutions, to be spoilt."""
    lab = load_lab(ROOT, 2)
    folder = tmp_path / "solutions" / lab.name
    shutil.copytree(ROOT / "solutions" / lab.name / "mutants", folder / "mutants")
    shutil.copy(ROOT / ITEMS, tmp_path / ITEMS)
    (folder / "variants/other/kernel").mkdir(parents=True)
    (folder / "variants/other/kernel/page_alloc.c").write_text("/* other */\n")
    (folder / "variants/other/README.md").write_text("# Other\n\nA lock.\n")
    return tmp_path


def read_all(tree: Path) -> None:
    lab = load_lab(ROOT, 2)
    found = mutants(tree, lab)
    load_items(tree, lab, found)
    assert [v.about for v in variants(tree, lab) if v.name == "other"] == ["A lock."]
    pristine = read_tree(ROOT)
    next(one for one in found if one.name == "free-does-not-look").applied(pristine)


PATCH = "solutions/2-page-allocator/mutants/free-does-not-look.patch"
VARIANT = "solutions/2-page-allocator/variants/other"


def edit(path: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(tree: Path) -> None:
        text = (tree / path).read_text()
        assert re.search(old, text)
        (tree / path).write_text(re.sub(old, new, text, count=1))

    return spoil


def add(path: str, data: bytes) -> Callable[[Path], None]:
    def spoil(tree: Path) -> None:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)

    return spoil


def link(tree: Path) -> None:
    path = tree / VARIANT / "kernel/page_alloc.c"
    path.unlink()
    path.symlink_to("/nowhere")


EMPTY = "solutions/2-page-allocator/variants/empty"
MISTAKES = {
    "unknown test": (edit(PATCH, "test_double_free", "test_nothing"), "has no test test_nothing"),
    "no field": (edit(PATCH, "(?m)^How: .*\n", ""), "its head lacks 'How:'"),
    "another field": (edit(PATCH, "^", "Points: 3\n"), "'Points:', which means nothing"),
    "no patch": (edit(PATCH, "(?s)--- .*", ""), "its head lacks '--- a/file:'"),
    "no such file": (edit(PATCH, r"\+\+\+ b/kernel/page", "+++ b/nix"), "there is no nix"),
    "stale": (edit(PATCH, r"(?m)^ (.*\w.*)$", r" \1 different"), "no longer applies: adapt it"),
    "not text": (add(PATCH, b"\xff\xfe"), "free-does-not-look.patch can't be read"),
    "not the lab's": (add(f"{VARIANT}/kernel/boot.c", b""), "kernel/boot.c is not lab 2's"),
    "empty": (add(f"{EMPTY}/README.md", b"x"), "variants/empty is empty"),
    "a link": (link, "variants/other can't be read: kernel/page_alloc.c is no plain file"),
    "no items": (edit(ITEMS, r"\[2\]", "[7]"), "the table [2] is missing"),
    "item alone": (edit(ITEMS, "free-does-not-look", "nix"), "free: there is no mutant 'nix'"),
    "no TOML": (add(ITEMS, b"[2"), f"{ITEMS}: "),
}


@pytest.mark.parametrize("name", ["none", *MISTAKES])
def test_mistakes(name: str, tree: Path) -> None:
    if name == "none":
        read_all(tree)
        return
    spoil, says = MISTAKES[name]
    spoil(tree)
    with pytest.raises(StagError) as raised:
        read_all(tree)
    assert says in str(raised.value) and "\n" not in str(raised.value)


def solutions(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "grading/solutions.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_output_inside_of_the_tree() -> None:
    done = solutions("--lab", "2", "--out", "kernel/out")
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    assert "is inside of this tree: give a folder outside, or in build/" in done.stderr
    assert not (ROOT / "kernel" / "out").exists()


def test_output_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = solutions("--lab", "1", "--out", str(tmp_path / "file" / "out"))
    said = f"{tmp_path}/file/out/0: Not a directory"
    assert (done.returncode, done.stderr.strip()) == (3, said)


def test_unknown_word() -> None:
    done = solutions("--test", "no-such-word")
    assert done.returncode == 2
    assert done.stderr == "no solution has 'no-such-word' in its title\n"


def test_interrupted_run_ends(tmp_path: Path) -> None:
    """Nothing more is begun."""
    lab = load_lab(ROOT, 2)
    runner = Runner(ROOT, tmp_path, times=0, whole=True)
    pristine = read_tree(ROOT)
    jobs = [Job(lab, "the reference", lambda _: pristine, frozenset()) for _ in range(3)]

    def begun(_: Job) -> None:
        runner.stop.set()

    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(Exception) as raised:
            runner.run(jobs, 1, begun, lambda _: None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert raised.typename == "Stopped", raised.value
    assert list((tmp_path / "0").iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_interrupt_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "grading/solutions.py", "--lab", "2", "--jobs", "1"]
    command += ["--test", "the reference", "--out", str(tmp_path)]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while run.poll() is None and not any("pytest" in p for p in processes(f"{tmp_path}/0/scratch")):
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate()
    assert run.returncode == -signal.SIGINT and errors.decode().endswith("interrupted\n"), errors
    assert processes(str(tmp_path)) == []
    assert [path.name for path in (tmp_path / "0").iterdir()] == ["tree"]
