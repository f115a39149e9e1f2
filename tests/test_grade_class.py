"""`make grade-class`: many submissions, some of them broken or hostile, none of which
costs another one anything."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import grade_class as program
import pytest
from conftest import ROOT, processes
from rich.console import Console
from stag import class_submissions as submissions_of
from stag.class_report import Graded, class_page, scores, submission_page, summary
from stag.class_submissions import Submission, find_submissions, stamp, tree_of, unpack
from stag.grade_tree import BadSubmission
from stag.labs import load_labs
from stag.report_grade import Grade, write_files

pytestmark = pytest.mark.skipif(not (ROOT / "labs").is_dir(), reason="no labs here")

LAB = load_labs(ROOT)[1] if (ROOT / "labs").is_dir() else None
OWNED = "kernel/page_alloc.c"


def grade_class(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "grading/grade_class.py", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def hand_in(folder: Path, text: str | None = None) -> None:
    """The lab's file, as the reference has it or with another text."""
    target = folder / OWNED
    target.parent.mkdir(parents=True)
    target.write_text((ROOT / OWNED).read_text() if text is None else text)


def packed(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for about, data in members:
            about.size = about.size or len(data)
            archive.addfile(about, io.BytesIO(data))
    return path


def member(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    about = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(about, key, value)
    return about, data


def test_class(tmp_path: Path) -> None:
    """One is right, one does not build, one is no archive; then one is handed in anew."""
    handed_in, out = tmp_path / "handed in", tmp_path / "out"
    hand_in(handed_in / "Lee, Ann")
    packed(handed_in / "kim.tar.gz", [member(f"kim-main/{OWNED}", b"int page_alloc")])
    (handed_in / "zed.zip").write_text("no archive")
    options = ("--lab", "2", "--submissions", str(handed_in), "--out", str(out))
    done = grade_class(*options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 submissions: 1 with all points, median 0 of 100" in done.stdout
    rows = {row["name"]: row for row in csv.DictReader((out / "scores.csv").open())}
    assert [(name, row["points"], row["why"]) for name, row in rows.items()] == [
        ("Lee, Ann", "100", ""),
        ("kim", "0", "it does not build:"),
        ("zed", "0", "it can't be unpacked: File is not a zip file"),
    ]
    assert sum(int(rows["Lee, Ann"][f"exercise {n}"]) for n in range(1, 7)) == 100
    assert "expected" in (out / "graded/kim/index.html").read_text()
    for name in rows:
        assert (out / "graded" / name / "junit.xml").is_file()
        assert not (out / "graded" / name / "tree").exists(), "what was built takes room"

    before = (out / "scores.csv").read_text()
    packed(handed_in / "kim.tar.gz", [member(f"kim-main/{OWNED}", b"void page_alloc")])
    done = grade_class(*options)
    assert "2 are graded already" in done.stderr and "1/1    0 of 100  kim" in done.stderr
    assert (out / "scores.csv").read_text() == before


def test_mistakes_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "none").mkdir()
    (tmp_path / "two/lee").mkdir(parents=True)
    (tmp_path / "two/lee.zip").write_text("")
    (tmp_path / "stray/lee").mkdir(parents=True)
    (tmp_path / "stray/grades.ods").write_text("")
    for options, told in (
        ((), "which submissions?"),
        (("--submissions", "nowhere"), "there is no such folder"),
        (("--submissions", str(tmp_path / "file")), "is no folder"),
        (("--submissions", str(tmp_path / "none")), "there is no submission in it"),
        (("--submissions", str(tmp_path / "two")), "there are two submissions of lee"),
        (("--submissions", str(tmp_path / "stray")), "grades.ods is neither a folder nor"),
        (("--submissions", str(tmp_path), "--out", str(tmp_path / "o")), "outside of SUBMISSIONS"),
        (("--submissions", str(tmp_path / "none"), "--out", str(ROOT)), "a folder of its own"),
    ):
        done = grade_class("--lab", "2", *options)
        assert done.returncode == 2 and told in done.stderr, (options, done.stderr)
        assert len(done.stderr.splitlines()) == 1 and not done.stdout


# What is handed in


def test_entries_of_all_kinds(tmp_path: Path) -> None:
    """Where the lab's files stand: in the entry, or below what stands there alone."""
    handed_in = tmp_path / "in"
    hand_in(handed_in / "a")
    hand_in(handed_in / "b/project/stag")
    (handed_in / "b/.DS_Store").write_text("")
    packed(handed_in / "c.tgz", [member(f"stag/{OWNED}", b"/* c */")])
    (handed_in / "d").mkdir()
    with zipfile.ZipFile(handed_in / "d/Upload.ZIP", "w") as archive:
        archive.writestr(f"stag/{OWNED}", "/* d */")
    with tarfile.open(handed_in / "e.tar", "w") as tar:
        tar.add(ROOT / OWNED, OWNED)
    found = find_submissions(handed_in)
    assert [one.name for one in found] == ["a", "b", "c", "d", "e"]
    for one in found:
        assert (tree_of(one, [OWNED], tmp_path / one.name) / OWNED).is_file(), one


def hostile() -> dict[str, tuple[list[tuple[tarfile.TarInfo, bytes]], str]]:
    many = [member(f"{n}") for n in range(submissions_of.FILES_MAX + 1)]
    large = member("large", bytes(submissions_of.BYTES_MAX + 1))
    return {
        "above": ([member("../evil")], "a file outside of itself: ../evil"),
        "below and above": ([member("a/../../evil")], "a file outside of itself"),
        "absolute": ([member("/tmp/evil")], "a file outside of itself"),
        "colours": ([member("../\x1b[31m")], r"outside of itself: ../\x1b[31m"),
        "many": (many, "more than 10,000 files"),
        "large": ([large], "larger than 64 MiB"),
        "a file as a folder": ([member("a"), member("a/b")], "it can't be unpacked"),
        "twice": ([member("a"), member("a")], "it can't be unpacked: File exists"),
        "a long name": ([member("a" * 300)], "it can't be unpacked: File name too long"),
    }


@pytest.mark.parametrize("kind", hostile())
def test_hostile_archive(kind: str, tmp_path: Path) -> None:
    members, told = hostile()[kind]
    to = tmp_path / "to/inner"
    to.mkdir(parents=True)
    with pytest.raises(BadSubmission) as raised:
        unpack(packed(tmp_path / "a.tar.gz", members), to)
    assert told in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "to"]
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["inner"]


def test_links_and_devices_stay_in_the_archive(tmp_path: Path) -> None:
    members = [
        member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("hard", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        member("pipe", type=tarfile.FIFOTYPE),
        member("file", b"x"),
    ]
    unpack(packed(tmp_path / "a.tar.gz", members), to := tmp_path / "to")
    assert [path.name for path in to.iterdir()] == ["file"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        about = zipfile.ZipInfo("link")
        about.external_attr = 0o120777 << 16
        archive.writestr(about, "/etc/passwd")
        archive.writestr("file", "x")
    unpack(tmp_path / "a.zip", to := tmp_path / "to2")
    assert [path.name for path in to.iterdir()] == ["file"]


def test_broken_archives(tmp_path: Path) -> None:
    whole = packed(tmp_path / "whole.tar.gz", [member("a", os.urandom(9999))]).read_bytes()
    for data in (b"", b"text", whole[:5000], whole[:200] + b"junk" + whole[204:]):
        (tmp_path / "a.tar.gz").write_bytes(data)
        with pytest.raises(BadSubmission, match="it can't be unpacked"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "to")
        shutil.rmtree(tmp_path / "to", ignore_errors=True)


def test_folder_that_leads_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "lee").mkdir()
    (tmp_path / "lee/kernel").symlink_to("/etc")
    with pytest.raises(BadSubmission, match="kernel is a link"):
        tree_of(Submission("lee", tmp_path / "lee"), [OWNED], tmp_path / "scratch")
    (tmp_path / "kim" / "/".join("abcdefghij")).mkdir(parents=True)
    with pytest.raises(BadSubmission, match="in each other"):
        tree_of(Submission("kim", tmp_path / "kim"), [OWNED], tmp_path / "scratch")


def test_stamp_tells_any_change(tmp_path: Path) -> None:
    hand_in(tmp_path / "lee")
    stamps = {stamp(tmp_path / "lee")}
    (tmp_path / "lee/.git").mkdir()
    (tmp_path / "lee/.git/index").write_text("git's own")
    assert stamp(tmp_path / "lee") in stamps
    (tmp_path / "lee/kernel/more.c").write_text("")
    stamps.add(stamp(tmp_path / "lee"))
    (tmp_path / "lee/kernel/more.c").rename(tmp_path / "lee/kernel/other.c")
    stamps.add(stamp(tmp_path / "lee"))
    os.utime(tmp_path / "lee" / OWNED, (0, 0))
    stamps.add(stamp(tmp_path / "lee"))
    assert len(stamps) == 4


# One after the other, and what becomes of them


@pytest.fixture
def a_class(tmp_path: Path) -> tuple[program.Class, list[Submission]]:
    for name in ("ann", "bob", "cyd"):
        hand_in(tmp_path / "in" / name)
    assert LAB is not None
    return program.Class(LAB, tmp_path / "out", "reference"), find_submissions(
        tmp_path / "in"
    )


def grader(
    monkeypatch: pytest.MonkeyPatch, ends: dict[str, int | type[BaseException]]
) -> list[str]:
    """Instead of a grader: what it ends with, by name; whom it was called for."""
    ran: list[str] = []

    def run(self: program.Class, tree: Path, folder: Path) -> int:
        ran.append(folder.name)
        end = ends.get(folder.name, 1)
        if not isinstance(end, int):
            raise end
        if end in (0, 1, 3):
            write_files(Grade(self.lab, broken="no QEMU" if end == 3 else ""), folder)
        return end

    monkeypatch.setattr(program.Class, "_run", run)
    return ran


Made = tuple[program.Class, list[Submission]]


def test_interrupted_run_goes_on(a_class: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    one, handed_in = a_class
    ran = grader(monkeypatch, {"bob": KeyboardInterrupt})
    with pytest.raises(KeyboardInterrupt):
        program.grade_all(one, handed_in, 1, Console(file=io.StringIO()))
    assert ran[:2] == ["ann", "bob"]
    ran = grader(monkeypatch, {})
    program.grade_all(one, handed_in, 1, Console(file=io.StringIO()))
    assert "ann" not in ran and "bob" in ran


@pytest.mark.parametrize("end", [3, -9])
def test_what_was_not_judged_is_tried_again(
    end: int, a_class: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, handed_in = a_class
    grader(monkeypatch, {})
    program.grade_all(one, handed_in, 1, Console(file=io.StringIO()))
    for submission in handed_in:
        os.utime(submission.path / OWNED, (0, 0))
    grader(monkeypatch, {"bob": end})
    said = io.StringIO()
    program.grade_all(one, handed_in, 1, Console(file=said))
    assert "2/3  not judged  bob" in said.getvalue()
    graded = [one.graded(submission) for submission in handed_in]
    assert [g.judged for g in graded] == [True, False, True]
    assert "1 not judged" in summary(graded, one.lab)
    assert "bob,,100" in scores(graded, one.lab)
    ran = grader(monkeypatch, {})
    program.grade_all(one, handed_in, 1, Console(file=said))
    assert ran == ["bob"]


def test_course_that_changes_is_graded_anew(
    a_class: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, handed_in = a_class
    ran = grader(monkeypatch, {})
    program.grade_all(one, handed_in, 2, Console(file=io.StringIO()))
    assert len(ran) == 3 and all(map(one.done, handed_in))
    assert not any(map(program.Class(one.lab, one.out, "mine").done, handed_in))
    (tmp_path / "grading").mkdir()
    monkeypatch.setattr(program, "ROOT", tmp_path)
    assert not any(map(program.Class(one.lab, one.out, "reference").done, handed_in))


def test_no_grader_outlives_it(tmp_path: Path) -> None:
    hand_in(tmp_path / "in/lee")
    out = tmp_path / "out"
    command = [sys.executable, "grading/grade_class.py", "--lab", "2", "--jobs", "1"]
    command += ["--submissions", str(tmp_path / "in"), "--out", str(out)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        while not any("grade.py" in line for line in processes(str(out))):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143
    while any("grade.py" in line for line in processes(str(out))):
        pass
    assert not (out / "graded/lee/stamp").exists()


# What is written


def results(got: int, **fields: Any) -> dict[str, Any]:
    test = {"name": "test_pages_are_distinct", "exercise": 1, "points": got, "got": got}
    test |= {"title": "<b>", "outcome": "pass", "message": "", "hint": "", "read": ""}
    data = {"got": got, "status": 0, "rejected": "", "broken": "", "ignored": [], "notes": []}
    return data | {"tests": [test]} | fields


def test_pages_are_safe() -> None:
    """Names, messages and files that submissions have made up are text."""
    assert LAB is not None
    evil = "<script>alert(1)</script>"
    test = results(5)["tests"][0] | {"outcome": "fail", "message": evil, "hint": evil, "got": 0}
    one = Graded(evil, f"graded/{evil}", results(0, tests=[test], ignored=[evil], notes=[evil]))
    two = Graded("x", os.fsdecode(b"graded/\xe9"), results(0, rejected=evil))
    for page in (
        class_page([one, two], LAB),
        submission_page(one, LAB),
        submission_page(two, LAB),
    ):
        assert "<script" not in page and "&lt;script&gt;" in page
    assert 'href="graded/%E9/index.html"' in class_page([two], LAB)


def test_pages_tell_of_nobody_else() -> None:
    assert LAB is not None
    page = submission_page(Graded("lee", "graded/lee", results(5)), LAB)
    assert "href" not in page and "5 of 100 points" in page


def test_no_cell_is_a_formula() -> None:
    assert LAB is not None
    text = scores([Graded('=HYPERLINK("x")', "graded/x", results(0, rejected="@x"))], LAB)
    row = list(csv.reader(io.StringIO(text)))[1]
    assert row[0] == "'=HYPERLINK(\"x\")" and row[-1] == "'@x"


def test_distribution() -> None:
    """Each submission is in one bin; full points have one of their own."""
    assert LAB is not None
    graded = [Graded(str(n), "x", results(n)) for n in (0, 9, 10, 99, 100)]
    page = class_page([*graded, Graded("?", "x", results(50, status=3, broken="b"))], LAB)
    for name, count in (("0 to 9", 2), ("10 to 19", 1), ("50 to 59", 0), ("90 to 99", 1)):
        assert f'<th scope="row">{name}</th><td>{count}</td>' in page
    assert '<th scope="row">100</th><td>1</td>' in page
    assert "6 submissions: 1 with all points, median 10 of 100, 1 not judged" in page


def test_results_file_is_read_back(a_class: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    one, handed_in = a_class
    grader(monkeypatch, {})
    program.grade_all(one, handed_in, 1, Console(file=io.StringIO()))
    one.write([one.graded(submission) for submission in handed_in])
    assert json.loads((one.out / "graded/ann/results.json").read_text())["lab"] == 2
    assert (one.out / "graded/ann/index.html").is_file() and (one.out / "index.html").is_file()
