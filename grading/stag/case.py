"""A schedule in a file: enough to go it again in a model, and to bring a machine
in QEMU to any step of it (replay.py).

Kept are all pages that the model had read, as they were when the schedule
began, and for each step the harts, and the words of memory that differ from
then. Whatever else is in memory, no step of the schedule has looked at.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import StagError
from .model import PAGE, Hart
from .timeline import Row, pack, phrase, rows_of, unpack

if TYPE_CHECKING:
    from .explore import Explorer, Finding
    from .scene import Scene

VERSION = 2


@dataclass(frozen=True)
class Step:
    """A machine between two steps of a schedule."""

    title: str  # what has just happened
    hart: int  # who did it
    harts: list[dict[str, Any]]
    words: dict[int, int]  # of memory, by address / 8: what differs from the start
    time: int


@dataclass(frozen=True)
class Case:
    test: str
    complaint: str
    kernel: Path
    digest: str
    config: dict[str, Any]
    rows: list[Row]  # of the timeline …
    columns: list[int]  # … and its harts
    programs: list[Path]  # that run in user mode
    pages: dict[int, bytes]
    steps: list[Step]


def _hart(hart: Hart) -> dict[str, Any]:
    return {
        "id": hart.id,
        "x": list(hart.x),
        "pc": hart.pc,
        "mode": hart.mode,
        "pending": hart.accepts,
        "csr": {str(number): value for number, value in hart.csr.items()},
    }


def digest(kernel: Path) -> str:
    """Which kernel this is."""
    return hashlib.sha256(kernel.read_bytes()).hexdigest()


def dump(scene: Scene, explorer: Explorer, finding: Finding, test: str) -> str:
    """The text of the file. Goes through the schedule once more."""
    world = scene.world
    steps: list[dict[str, Any]] = []

    def note(hart: int, title: str) -> None:
        steps.append(
            {
                "title": title,
                "hart": hart,
                "harts": [_hart(h) for h in world.harts],
                "words": {str(k): v for k, v in world.memory.items()},
                "time": world.time,
            }
        )

    for hart in world.harts:  # these are looked at in the debugger, if not by the model
        world.word(scene.memory().translate(scene.hart_page(hart.index)) >> 3)
    events, _ = explorer.replay(
        finding.options, watch=lambda event: note(event.hart, phrase(scene, event))
    )
    note(finding.hart if finding.hart is not None else events[-1].hart if events else 0, "the end")
    machine = scene.snapshot.system.machine.config
    used = sorted(world.base)
    data = b"".join(word.to_bytes(8, "little") for page in used for word in world.base[page])
    return json.dumps(
        {
            "version": VERSION,
            "test": test,
            "complaint": finding.complaint,
            "kernel": str(scene.symbols.path.resolve()),
            "digest": digest(scene.symbols.path),
            "config": {"harts": machine.harts, "memory": machine.memory, "mmu": machine.mmu},
            "rows": pack(rows_of(scene, events)),
            "columns": [hart.index for hart in explorer.harts],
            "programs": [str(program.path.resolve()) for program in scene.programs],
            "steps": steps,
            "pages": used,
            "memory": base64.b64encode(zlib.compress(data)).decode(),
        }
    )


def _by_address(words: dict[str, int]) -> dict[int, int]:
    """JSON's keys are strings."""
    return {int(address): word for address, word in words.items()}


def load(path: Path) -> Case:
    """Read a file that dump wrote."""
    if path.exists() and not path.is_file():
        raise StagError(f"{path} is no file")
    try:
        data = json.loads(path.read_text())
        if data["version"] != VERSION:
            raise StagError(f"{path} was written by another version: make grade again")
        memory = zlib.decompress(base64.b64decode(data["memory"]))
        pages = {page: memory[i * PAGE : (i + 1) * PAGE] for i, page in enumerate(data["pages"])}
        steps = [
            Step(s["title"], s["hart"], s["harts"], _by_address(s["words"]), s["time"])
            for s in data["steps"]
        ]
        return Case(
            data["test"], data["complaint"], Path(data["kernel"]), data["digest"],
            data["config"], unpack(data["rows"]), data["columns"],
            [Path(name) for name in data["programs"]], pages, steps,
        )  # fmt: skip
    except OSError as error:
        raise StagError(f"{path} can't be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, zlib.error):
        raise StagError(f"{path} holds no schedule: make grade writes them") from None
