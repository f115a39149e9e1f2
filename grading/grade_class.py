"""Grades what a class has handed in: `make grade-class LAB=2 SUBMISSIONS=dir`.

Each submission (stag/class_submissions.py) is graded by a process of its own, as
`make grade` does it, in a folder of its own: one that is broken changes nothing for
the others. In the folder of OUT are then

    scores.csv              a line for each submission
    index.html              the class: distribution, scores, tests that most have failed
    graded/NAME/            index.html, results.json and junit.xml of a submission,
                            and output.txt: what its grader has said

What is there already, and of which neither the submission nor the course has changed
since, is not graded again: a run that was interrupted goes on where it was.

The exit status is 0 when all are judged, whatever their points, 2 for a wrong command
line, 3 if something could not be judged: that is tried again the next time.
"""

from __future__ import annotations

from stag import interrupt  # noqa: I001 (first: see there)

import json
import os
import shutil
import subprocess
import sys
import threading
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from stag.class_report import Graded, class_page, scores, submission_page, summary
from stag.class_submissions import Submission, find_submissions, stamp, tree_of
from stag.command_line import Parser, at_least
from stag.errors import StagError
from stag.grade_plan import load_plan
from stag.grade_process import die_with_parent, processors
from stag.grade_run import not_run
from stag.grade_tree import BadSubmission, alone, shown
from stag.labs import Lab
from stag.machine import require_qemu
from stag.report_grade import Grade, replace_file, write_files

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("Makefile", "grading", "include", "kernel", "labs", "tools", "user")


class Class:
    """The submissions of a lab, and where what comes of them is."""

    def __init__(self, lab: Lab, out: Path, prior: str) -> None:
        self.lab, self.out, self.prior = lab, out, prior
        self.course = " ".join([*(stamp(ROOT / part) for part in PARTS), str(lab.number), prior])
        self.lock = threading.Lock()
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopped = False

    def folder(self, submission: Submission) -> Path:
        return self.out / "graded" / submission.name

    def _stamp(self, submission: Submission) -> str:
        return f"{stamp(submission.path)} {self.course}\n"

    def done(self, submission: Submission) -> bool:
        """Was it judged, as it is now?"""
        folder = self.folder(submission)
        try:
            same = (folder / "stamp").read_text() == self._stamp(submission)
        except OSError:
            return False
        return same and (folder / "results.json").is_file()

    def grade(self, submission: Submission) -> None:
        """Grade one, into its folder; what it was is noted last."""
        folder = self.folder(submission)
        shutil.rmtree(folder, ignore_errors=True)  # what is there is of another time
        folder.mkdir(parents=True)
        before = self._stamp(submission)
        try:
            status = self._run(tree_of(submission, self.lab.owned, folder / "handed-in"), folder)
        except BadSubmission as error:
            write_files(Grade(self.lab, not_run(self.lab.tests), rejected=str(error)), folder)
            status = 1
        if not (folder / "results.json").is_file():
            why = f"its grader ended with status {status}: see output.txt"
            write_files(Grade(self.lab, broken=why), folder)
        elif status in (0, 1):
            (folder / "stamp").write_text(before)
        if not (folder / "cases").is_dir():  # else `make replay` needs it
            shutil.rmtree(folder / "tree", ignore_errors=True)

    def _run(self, tree: Path, folder: Path) -> int:
        command = [sys.executable, str(ROOT / "grading/grade.py"), "--lab", str(self.lab.number)]
        command += ["--tree", str(tree), "--out", str(folder), "--prior", self.prior, "--jobs", "1"]
        with (folder / "output.txt").open("wb") as output:
            with self.lock:
                if self.stopped:
                    return 130
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "COLUMNS": "80"},
                    preexec_fn=die_with_parent(),
                )
                self.running.add(process)
            try:
                return process.wait()
            finally:
                with self.lock:
                    self.running.discard(process)

    def stop(self) -> None:
        """End what runs; nothing more begins."""
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.terminate()

    def graded(self, submission: Submission) -> Graded:
        data = json.loads((self.folder(submission) / "results.json").read_text())
        return Graded(shown(submission.name), f"graded/{submission.name}", data)

    def write(self, graded: list[Graded]) -> None:
        for one in graded:
            page = submission_page(one, self.lab)
            replace_file(self.out / one.folder / "index.html", page.encode())
        replace_file(self.out / "scores.csv", scores(graded, self.lab).encode())
        replace_file(self.out / "index.html", class_page(graded, self.lab).encode())


def grade_all(a_class: Class, submissions: list[Submission], jobs: int, console: Console) -> None:
    """Grade those that are not done yet. Interrupted, it ends at once, and what was
    graded stays."""
    todo = [one for one in submissions if not a_class.done(one)]
    if len(todo) < len(submissions):
        console.print(f"{len(submissions) - len(todo)} are graded already", highlight=False)
    bar = Progress(
        *(TextColumn("grading"), BarColumn(20), MofNCompleteColumn()),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    pool = ThreadPoolExecutor(jobs)
    try:
        with bar:
            task = bar.add_task("", total=len(todo))
            futures = {pool.submit(a_class.grade, one): one for one in todo}
            for count, future in enumerate(as_completed(futures), 1):
                future.result()
                one = a_class.graded(futures[future])
                points = f"{one.got:3} of {a_class.lab.points}" if one.judged else "not judged"
                line = f"{count:>4}/{len(todo)}  {points:<10}  {one.name}"
                console.print(line, markup=False, highlight=False)
                bar.update(task, completed=count)
    except BaseException:
        a_class.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def check_folders(submissions: Path, out: Path) -> None:
    place = out.resolve()
    if submissions.resolve() in (place, *place.parents):
        raise StagError(f"OUT={out}: give a folder outside of SUBMISSIONS")
    if place == ROOT or (out.exists() and not out.is_dir()):
        raise StagError(f"OUT={out}: give a folder of its own")


def run(options: Namespace) -> int:
    if options.submissions is None:
        raise StagError("which submissions? Give their folder, as in SUBMISSIONS=../handed-in")
    plan = load_plan(ROOT, options.lab)
    out = options.out or ROOT / "build/class" / f"lab{plan.lab.number}"
    check_folders(options.submissions, out)
    submissions = find_submissions(options.submissions)
    require_qemu()
    with alone(out):
        a_class = Class(plan.lab, out.resolve(), options.prior)
        grade_all(a_class, submissions, options.jobs, Console(stderr=True))
        graded = [a_class.graded(one) for one in submissions]
        a_class.write(graded)
    print(summary(graded, plan.lab))
    for one in graded:
        if not one.judged:
            print(f"not judged: {one.name}: {one.word}")
    print(f"see {os.path.relpath(out / 'index.html')}, and scores.csv beside it")
    return 0 if all(one.judged for one in graded) else 3


def main() -> int:
    interrupt.clean_up_when_killed()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # where letters are ASCII
    parser = Parser("grade_class.py", "Grade what a class has handed in.")
    parser.add_argument("--lab", type=int, help="its number")
    parser.add_argument("--submissions", type=Path, help="a folder with an entry for each")
    parser.add_argument("--out", type=Path, help="folder for the results")
    parser.add_argument(
        "--prior", choices=("reference", "mine"), default="reference",
        help="whose files of earlier labs",
    )  # fmt: skip
    parser.add_argument("--jobs", type=at_least(1), default=processors(), help="at a time")
    try:
        return run(parser.parse_args())
    except StagError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"grade-class: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
