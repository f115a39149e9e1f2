"""Packs what a student has written, to hand it in: `make submit`.

In build/lab<n>-submission.tar.gz are exactly the files that the lab owns, and
the lab's extra file if there is one. First they are laid on pristine files and
built: what does not build is not packed. The same files give the same archive,
byte for byte.
"""

from __future__ import annotations

from stag import interrupt  # noqa: I001 (first: see there)

import gzip
import io
import sys
import tarfile
from pathlib import Path

from stag.command_line import Parser
from stag.errors import StagError
from stag.grade_build import build
from stag.grade_plan import load_plan, pristine_files
from stag.grade_process import processors
from stag.grade_tree import BadSubmission, Files, alone, compose, ignored_edits, lay

ROOT = Path(__file__).resolve().parent.parent


def archive(files: Files) -> bytes:
    """A compressed archive that tells nothing but names and contents."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, file in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(file.data)
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(file.data))
    return packed.getvalue()


def submit(number: int | None, tree: Path) -> None:
    plan = load_plan(ROOT, number)
    lab = plan.lab
    folder = ROOT / "build/grade" / f"lab{lab.number}"  # where `make grade` builds
    packed = ROOT / "build" / f"lab{lab.number}-submission.tar.gz"
    packed.unlink(missing_ok=True)
    pristine = pristine_files(plan, False, "mine")
    earlier = [name for name in plan.prior if name in pristine]
    added = [name for name in plan.prior if name not in pristine]
    files = compose(pristine, tree, [*lab.owned, *earlier], [*plan.extra, *added])
    print(f"lab {lab.number}: building what you hand in, on files as they were given")
    with alone(folder):
        lay(files, folder / "tree")
        build(folder / "tree", processors())

    mine = {name: files[name] for name in (*lab.owned, *plan.extra) if name in files}
    packed.parent.mkdir(parents=True, exist_ok=True)
    part = packed.with_name(f"{packed.name}.part")  # a disk may be full
    part.write_bytes(archive(mine))
    part.replace(packed)
    print(f"packed into {packed.relative_to(ROOT)}:")
    known = not plan.is_reference and not plan.notes  # what was given
    for name in sorted(mine):
        same = known and pristine.get(name) == mine[name]
        left = mine[name].to_write
        functions = "function is" if left == 1 else "functions are"
        about = "as it was given" if same else f"{left} {functions} still to be written"
        print(f"  {name}{f'  ({about})' if same or left else ''}")
    if left_out := ignored_edits(pristine, tree, {*mine, *plan.prior, *plan.later}):
        print("left out, since only the files above are graded:")
        for edit in left_out:
            print(f"  {edit}")
    for note in plan.notes:
        print(f"note: {note}")


def main() -> int:
    interrupt.clean_up_when_killed()
    parser = Parser("submit.py", "Pack a lab to hand it in.")
    parser.add_argument("--lab", type=int, help="its number")
    parser.add_argument("--tree", type=Path, default=ROOT, help="where the files are")
    options = parser.parse_args()
    try:
        submit(options.lab, options.tree.resolve())
    except BadSubmission as error:
        print(f"nothing was packed: {error}", file=sys.stderr)
        return 1
    except (StagError, OSError) as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
