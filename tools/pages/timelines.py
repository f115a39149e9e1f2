"""Failing schedules to show: the explorer of the graders, let loose on the small
mistakes of handouts/examples."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stag.errors import InfrastructureError, StagError
from stag.explore import SWITCHES, Explorer, Finding, Thread
from stag.grade_machine import bring_up, graded
from stag.machine import MachineConfig
from stag.model import Call, Event
from stag.scene import Scene, ScheduleFailure
from stag.snapshot import Snapshot
from stag.symbols import Line, Struct, Symbols
from stag.timeline import phrase

from .svg import CHARACTER, Canvas

CODE = 0xFFFFFFC030000000  # where no code of the kernel is
LETTER = 42
FLAGS = (
    "-march=rv64ia_zicsr_zifencei -mabi=lp64 -mcmodel=medany -ffreestanding -O2 -g -std=gnu2x"
    " -fno-asynchronous-unwind-tables -fno-pic -nostdlib -static -Wall -Wextra -Werror"
    f" -Wl,--build-id=none -Wl,-e0 -Wl,-Ttext={CODE:#x}"
)


class Example(Symbols):
    """The symbols of the kernel and, before them, those of an example."""

    def __init__(self, kernel: Symbols, example: Symbols) -> None:
        super().__init__(kernel.path)
        self.example = example

    def __getitem__(self, name: str) -> int:
        return self.example[name] if name in self.example else super().__getitem__(name)

    def struct(self, name: str) -> Struct:
        try:
            return self.example.struct(name)
        except StagError:
            return super().struct(name)

    def instruction(self, address: int) -> int | None:
        found = self.example.instruction(address)
        return super().instruction(address) if found is None else found

    def line(self, address: int) -> Line | None:
        of_example = self.example.is_code(address)
        return self.example.line(address) if of_example else super().line(address)

    def describe(self, address: int) -> str:
        of_example = self.example.is_code(address)
        return self.example.describe(address) if of_example else super().describe(address)


@dataclass
class Timeline:
    """A schedule that went wrong, as the grader tells it and as a drawing."""

    text: str
    drawing: str


def compile_example(source: Path, out: Path) -> Symbols:
    """As the kernel is compiled."""
    compiler = os.environ.get("CROSS", "riscv64-linux-gnu-") + "gcc"
    out.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [compiler, *FLAGS.split(), source.name, "-o", out.resolve()],
        cwd=source.parent, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise InfrastructureError(f"{source} does not compile: {done.stderr.strip()}")
    return Symbols(out)


@contextmanager
def scenes(kernel: Path, example: Symbols) -> Iterator[Scene]:
    """A scene with the example's functions beside the kernel's."""
    with graded(MachineConfig(kernel, harts=2)) as system:
        bring_up(system)
        system.symbols = Example(system.symbols, example)
        yield Scene(Snapshot.take(system))


def _draw(scene: Scene, title: str, events: list[Event]) -> str:
    rows = []
    width = 0
    for event in events:
        line = "" if event.what == "arrives" else str(scene.symbols.line(event.pc))
        rows.append((event, phrase(scene, event), line))
        width = max(width, len(phrase(scene, event)), len(line))
    column = width * CHARACTER + 24
    row_height, top = 44, 40
    canvas = Canvas(title, round(2 * column + 40), top + row_height * len(rows) + 8)
    for hart in range(2):
        x = 28 + hart * column
        canvas.write(x + column / 2 - 6, 22, f"hart {hart}", anchor="middle", bold=True)
        canvas.line((x + column / 2 - 6, 30), (x + column / 2 - 6, canvas.height - 4), dashed=True)
    for number, (event, what, line) in enumerate(rows):
        x, y = 28 + event.hart * column, top + number * row_height
        late = event.what in ("held", "arrives")
        canvas.write(18, y + 22, str(number + 1), anchor="end", quiet=True)
        canvas.box(x, y, column - 12, row_height - 8, "table" if late else "kernel")
        canvas.write(x + 6, y + 15, what, mono=True)
        canvas.write(x + 6, y + 30, line, mono=True, quiet=True, size=11)
    return canvas.text


def _fail(
    scene: Scene,
    title: str,
    threads: list[Thread],
    oracle: Callable[[Scene], str | None],
    model: str,
) -> Timeline:
    """Explore until it goes wrong; then once more, for the events."""
    try:
        scene.explore(threads, oracle, models=[model])
    except ScheduleFailure as failure:
        explorer = Explorer(scene.world, threads, scene.resolve, lambda _: oracle(scene), model)
        finding = explorer.run(SWITCHES)
        assert isinstance(finding, Finding)
        events, _ = explorer.replay(finding.options)
        scene.world.restore(explorer.start)
        return Timeline(str(failure), _draw(scene, title, events))
    raise StagError(f"{title}: nothing went wrong in the {model} model")


def make(kernel: Path, example: Symbols) -> dict[str, Timeline]:
    """All timelines of the handouts, by name."""
    with scenes(kernel, example) as scene:
        box = scene.call(0, "page_alloc")
        scene.call(0, "page_zero", box)
        scene.add_object(box, "box", "mailbox")

        def counted(scene: Scene) -> str | None:
            letters = scene.field(box, "mailbox", "letters")
            return None if letters == 2 else f"two letters were counted, but letters is {letters}"

        def taken(scene: Scene) -> str | None:
            result = scene.world.harts[1].results[-1]
            fits = result in (0, LETTER)
            return None if fits else f"mailbox_take returned {result}, which nobody put in"

        scene.set_field(box, "mailbox", "letter", 7)
        scene.world.settle()
        count = Call("mailbox_count", (box,))
        put, take = Call("mailbox_put", (box, LETTER)), Call("mailbox_take", (box,))
        return {
            "lost-update": _fail(
                scene, "A lost update", [Thread(0, count), Thread(1, count)], counted, "sc"
            ),
            "letter-late": _fail(
                scene, "A letter that comes too late", [Thread(0, put), Thread(1, take)],
                taken, "pso",
            ),
        }  # fmt: skip
