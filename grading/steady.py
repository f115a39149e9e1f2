"""Is the verdict the same every time? `make grade-steady TIMES=100 BUSY=8`.

Grades the reference so many times in a row, all labs or one, while so many
endless loops hold the processors. Every run must end with full points and write
the same results, to the byte. What a run printed that did not is kept in
build/steady.
"""

from __future__ import annotations

from stag import interrupt  # noqa: I001 (first: see there)

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import track
from stag.command_line import Parser, at_least
from stag.errors import StagError
from stag.grade_process import die_with_parent, processors
from stag.labs import load_labs

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build/steady"
ENDLESS = "while :; do :; done"


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Hold the processors with so many endless loops."""
    running = [
        subprocess.Popen(["/bin/sh", "-c", ENDLESS], preexec_fn=die_with_parent())
        for _ in range(loops)
    ]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def grade(number: int, place: int) -> tuple[bytes, str]:
    """What one run writes, and prints. Runs at the same time have different
    places."""
    out = OUT / f"lab{number}-{place}"
    (out / "results.json").unlink(missing_ok=True)
    command = [sys.executable, str(ROOT / "grading/grade.py"), "--lab", str(number)]
    done = subprocess.run(
        [*command, "--jobs", "1", "--out", str(out)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=die_with_parent(),
    )
    try:
        return (out / "results.json").read_bytes() if done.returncode == 0 else b"", done.stdout
    except OSError:
        return b"", done.stdout


def full(results: bytes) -> bool:
    data = json.loads(results or "{}")
    return bool(data) and data["got"] == data["points"] and data["status"] == 0


def count_wrong(numbers: list[int], times: int, jobs: int, console: Console) -> int:
    """How many runs went wrong."""
    first: dict[int, bytes] = {}
    wrong = 0
    runs = [(number, turn % jobs) for turn in range(times) for number in numbers]
    pool = ThreadPoolExecutor(jobs)
    shown = track(
        zip(runs, pool.map(grade, *zip(*runs, strict=True)), strict=True),
        total=len(runs),
        description="grading",
        console=console,
        disable=not console.is_terminal,
    )
    try:
        for done, ((number, _), (results, said)) in enumerate(shown, 1):
            if not full(results) or results != first.setdefault(number, results):
                wrong += 1
                kept = OUT / f"wrong-{wrong}.txt"
                kept.write_text(said)
                console.print(f"run {done}, lab {number}: another verdict, see {kept}")
            if not console.is_terminal and done % len(numbers) == 0:
                console.print(f"  {done // len(numbers)}/{times}", highlight=False)
    finally:
        shown.close()  # it has a thread, which would outlive an error
        pool.shutdown(cancel_futures=True)
    return wrong


def main() -> int:
    interrupt.clean_up_when_killed()
    parser = Parser("steady.py", "Grade again and again.")
    parser.add_argument("--lab", type=int, help="this lab alone")
    parser.add_argument("--times", type=at_least(1), default=10)
    parser.add_argument("--busy", type=at_least(0), default=0, help="endless loops beside it")
    parser.add_argument("--jobs", type=at_least(1), default=processors(), help="graders at a time")
    options = parser.parse_args()
    try:
        numbers = [lab.number for lab in load_labs(ROOT)]
    except StagError as error:
        print(error, file=sys.stderr)
        return 2
    if options.lab:
        numbers = [options.lab]
    try:
        OUT.mkdir(parents=True, exist_ok=True)
        for path in OUT.glob("wrong-*.txt"):
            path.unlink()
        with busy(options.busy):
            wrong = count_wrong(numbers, options.times, options.jobs, Console(stderr=True))
    except OSError as error:
        print(f"steady: {error.filename or OUT}: {error.strerror}", file=sys.stderr)
        return 3
    runs = options.times * len(numbers)
    loops = f", beside {options.busy} busy loops" if options.busy else ""
    print(f"{runs - wrong} of {runs} runs gave full points and the same results{loops}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
