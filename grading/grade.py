"""Grades one lab: `make grade LAB=2`.

The files that the lab owns are laid on pristine ones (stag/grade_tree.py), the
kernel is built, the lab's tests in grading/lab<n> are run, and a table of
points is shown, with an explanation of each failure. Results for other programs
are in build/grade/lab<n>: results.json and junit.xml.

The exit status is 0 for full points, 1 if points were lost, 2 for a wrong
command line or a lab without tests, 3 if something could not be judged.
"""

from __future__ import annotations

from stag import interrupt  # noqa: I001 (first: see there)

import argparse
import difflib
import os
import shutil
import sys
from pathlib import Path

from rich.console import Console
from stag.command_line import Parser, at_least
from stag.errors import StagError
from stag.grade_build import build
from stag.grade_plan import Plan, load_plan, pristine_files
from stag.grade_process import processors
from stag.grade_progress import Progress
from stag.grade_run import Worker, not_run, run_tests, tests_of
from stag.grade_symbols import OWNED
from stag.grade_tree import BadSubmission, alone, compose, ignored_edits, lay
from stag.labs import TestItem
from stag.machine import require_qemu
from stag.report_grade import INDENT, Grade, remove_files, show, write_files
from stag.timeline import WIDTH_SETTING

ROOT = Path(__file__).resolve().parent.parent


# What is set for other runs of pytest, or for a deeper search, judges nothing here.
NOT_OURS = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "STAG_DEPTH")


def arguments() -> argparse.Namespace:
    parser = Parser("grade.py", "Grade one lab.")
    parser.add_argument("--lab", type=int, help="its number")
    parser.add_argument("--test", default="", help="only tests with this in their name")
    parser.add_argument(
        "--prior", choices=("reference", "mine"), help="whose files of earlier labs"
    )
    parser.add_argument("--challenge", action="store_true", help="the challenge's tests")
    parser.add_argument("--depth", type=at_least(1), help="how far schedules are explored")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the submission")
    parser.add_argument("--hollow", action="store_true", help="grade with later labs hollow")
    parser.add_argument("--out", type=Path, help="folder for the build and the results")
    parser.add_argument("--jobs", type=at_least(1), default=processors())
    parser.add_argument("--verbose", action="store_true", help="show the debugger's traffic")
    return parser.parse_args()


def check_folders(options: argparse.Namespace) -> None:
    tree, out = options.tree, options.out
    if not tree.is_dir():
        what = "is a file: unpack it first" if tree.exists() else "there is no such folder"
        raise StagError(f"--tree {tree}: {what}")
    # Links that are handed in must not lead what is written there elsewhere.
    if out and tree.resolve() != ROOT and tree.absolute() in out.absolute().parents:
        raise StagError(f"--out {out}: give a folder outside of --tree, which may hold links")
    if out and (out.resolve() in (tree.resolve(), ROOT) or (out.exists() and not out.is_dir())):
        raise StagError(f"--out {out}: give a folder of its own")


def chosen(plan: Plan, challenge: bool, word: str) -> list[TestItem]:
    """The tests with the word in their names, and what they need."""
    tests = list(plan.lab.challenge if challenge else plan.lab.tests)
    if not tests:
        raise StagError(f"{plan.lab.source} lists no {'challenge' if challenge else 'tests'} yet")
    wanted = {test.name for test in tests if word in test.name}
    if not wanted:
        names = [test.name for test in tests]
        near = difflib.get_close_matches(word, names, cutoff=0.4) or names[:3]
        raise StagError(
            f"lab {plan.lab.number} has no test with '{word}' in its name; it has"
            f" {', '.join(near)} … (all are in {plan.lab.source})"
        )
    for test in reversed(tests):  # what a test needs stands above it
        if test.name in wanted:
            wanted.update(test.needs)
    return [test for test in tests if test.name in wanted]


def make_kernel(
    plan: Plan, options: argparse.Namespace, grade: Grade, tree: Path
) -> tuple[Path, list[str]]:
    """The kernel's ELF file, and which of its sources are the submission's."""
    prior = options.prior or ("reference" if plan.is_reference else "mine")
    pristine = pristine_files(plan, options.hollow, prior)
    owned, extra = list(plan.lab.owned), plan.extra
    if prior == "mine":
        owned += [name for name in plan.prior if name in pristine]
        extra += [name for name in plan.prior if name not in pristine]
    submission = options.tree.resolve()
    taken = {*owned, *extra, *plan.prior, *plan.later}
    grade.ignored = ignored_edits(pristine, submission, taken)
    files = compose(pristine, submission, owned, extra)
    if left := [name for name in plan.prior if name in files and files[name].to_write]:
        plan.notes.append(
            f"functions of earlier labs are still to be written, in {', '.join(left)}: merge your"
            " work on those labs first (README.md, The next lab)"
        )
    lay(files, tree)
    return build(tree, options.jobs), [*owned, *extra]


def run(
    plan: Plan, tests: list[TestItem], options: argparse.Namespace, grade: Grade, out: Path
) -> None:
    require_qemu()
    progress = Progress(Console(stderr=True), len(tests))
    with progress:
        progress.say("building")
        kernel, owned = make_kernel(plan, options, grade, out / "tree")
        environment = {k: v for k, v in os.environ.items() if k not in NOT_OURS}
        environment |= {"STAG_KERNEL": str(kernel), OWNED: ":".join(owned)}
        environment["PYTHONPYCACHEPREFIX"] = str(ROOT / "build" / "pycache")
        shutil.rmtree(out / "cases", ignore_errors=True)
        environment["STAG_CASES"] = str(out / "cases")
        environment[WIDTH_SETTING] = str(Console().width - INDENT)
        if options.verbose:
            environment["STAG_TRACE"] = "1"
        if options.depth is not None:
            environment["STAG_DEPTH"] = str(options.depth)
        scratch = out / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
        scratch.mkdir(parents=True)

        def make_worker(index: int) -> Worker:
            where = tests_of(plan.lab, options.challenge)
            return Worker(where, environment, options.verbose, scratch / str(index))

        try:
            progress.say("testing")
            grade.results = run_tests(
                tests, make_worker, options.jobs, progress.begun, progress.ended
            )
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def judge(
    plan: Plan, tests: list[TestItem], options: argparse.Namespace, grade: Grade, out: Path
) -> None:
    """Run the tests; what keeps them from being run is noted in the grade."""
    try:
        run(plan, tests, options, grade, out)
    except BadSubmission as error:
        grade.rejected = str(error)
        grade.results = not_run(tests)
    except StagError as error:
        grade.broken = str(error)


def main() -> int:
    interrupt.clean_up_when_killed()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # where letters are ASCII
    options = arguments()
    try:
        check_folders(options)
        plan = load_plan(ROOT, options.lab)
        tests = chosen(plan, options.challenge, options.test)
    except (StagError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    out = (options.out or ROOT / "build" / "grade" / f"lab{plan.lab.number}").resolve()
    grade = Grade(plan.lab)
    try:
        with alone(out):
            remove_files(out)
            judge(plan, tests, options, grade, out)
            grade.notes = plan.notes
            write_files(grade, out)
        show(grade, Console(highlight=False))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"grade: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
        return 3
    return grade.status


if __name__ == "__main__":
    sys.exit(main())
