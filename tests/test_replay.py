"""A schedule that failed can be looked at in the debugger, at any of its steps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import KERNEL, ROOT
from replay import commands
from stag import case
from stag.explore import Thread
from stag.grade_machine import bring_up, graded
from stag.machine import MachineConfig
from stag.model import PAGE, SATP, USER, Call, Event
from stag.scene import Scene, ScheduleFailure
from stag.snapshot import Snapshot
from stag.system import symbols_of
from stag.timeline import layout, phrase, place

THREADS = [Thread(hart, Call("page_alloc")) for hart in (2, 3)]


def second_first(scene: Scene) -> str | None:
    pages = [scene.world.harts[hart].results[0] for hart in (2, 3)]
    return "hart 3 got the lower page" if pages[1] < pages[0] else None


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with graded(MachineConfig(KERNEL, harts=4)) as system:
        bring_up(system)
        yield Scene(Snapshot.take(system))


@pytest.fixture(scope="module")
def stored(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A schedule of two harts that refill their caches, called wrong."""
    folder = tmp_path_factory.mktemp("cases")
    os.environ["STAG_CASES"] = str(folder)
    try:
        with pytest.raises(ScheduleFailure, match="make replay CASE="):
            scene.explore(THREADS, second_first)
    finally:
        del os.environ["STAG_CASES"]
    (path,) = folder.glob("*.case")
    return path


def replay(
    path: Path, step: str = "", *extra: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "grading" / "replay.py"), str(path), *extra],
        env={**os.environ, "STEP": step, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_debugger_stands_at_the_step(stored: Path) -> None:
    """At some steps, the debugger and the model agree where every hart is."""
    found = case.load(stored)
    symbols = symbols_of(KERNEL)
    assert len(found.steps) > 10
    for number in (1, len(found.steps) // 2, len(found.steps)):
        step = found.steps[number - 1]
        done = replay(stored, str(number))
        assert done.returncode == 0, done.stderr
        assert "hart 3 got the lower page" in done.stdout
        threads = [line for line in done.stdout.splitlines() if "(CPU#" in line]
        assert len(threads) == 4
        for hart in step.harts:
            function = symbols.function_at(hart["pc"])
            line = threads[hart["id"]]
            if function is None:
                assert f"{hart['pc']:#x}"[2:] in line
            else:
                where = symbols.line(hart["pc"])
                assert function.name in line or (where and where.file in line), line
        chosen = [line for line in threads if line.startswith("*")]
        assert chosen == [threads[step.harts[step.hart]["id"]]]


def memory_of(found: case.Case, number: int, pa: int) -> int:
    """A word of memory as the case has it before a step."""
    data = found.pages[pa // PAGE][pa % PAGE :][:8]
    return found.steps[number - 1].words.get(pa // 8, int.from_bytes(data, "little"))


@pytest.mark.parametrize("number", [1, 12])
def test_debugger_shows_the_memory_of_the_step(stored: Path, tmp_path: Path, number: int) -> None:
    """The queue's tail, and a field of each hart's page by its own address."""
    found = case.load(stored)
    symbols = symbols_of(KERNEL)
    asked = tmp_path / "gdb"
    asked.write_text(
        '#!/bin/sh\nexec "$REAL_GDB" "$@" -ex "thread $THREAD" -ex "x/gx $ASK" -ex "x/i \\$pc"'
        ' -ex "p harts[2] == ((struct hart *) \\$tp)->self"\n'
    )
    asked.chmod(0o755)
    tail = symbols["global_page"] + symbols.struct("global")["page_alloc_tail"].offset
    gdb = os.environ.get("GDB") or "gdb-multiarch"
    thread = str(found.steps[0].harts[2]["id"] + 1)
    asks = {"GDB": str(asked), "REAL_GDB": gdb, "ASK": f"{tail:#x}", "THREAD": thread}
    done = replay(stored, str(number), **asks)
    text = done.stdout + done.stderr
    image = next(s for s in symbols.segments if s.virtual <= tail < s.virtual + s.size)
    # The kernel is loaded where it is linked to be (riscv/kernel.ld).
    wanted = memory_of(found, number, tail - image.virtual + image.physical)
    assert wanted != 0
    assert f"0x{wanted:016x}" in text, text
    assert re.search(r"\$1 = 1|\$1 = true", text), text
    assert "unimp" not in text and "Cannot access" not in text, text


def test_last_step_without_a_choice(stored: Path) -> None:
    done = replay(stored)
    assert "after the last step" in done.stdout


def test_timeline_speaks_in_names(stored: Path) -> None:
    """Variables, fields of fields, entries of the allocation table; an address
    goes by the name of what is there."""
    found = case.load(stored)
    text = layout(found.rows, found.columns, 400)
    for name in (
        "global.page_alloc_head was dummy_entry, now 0",
        "global.main_bank.marked ",  # is, or was: compilers differ
        "entry of page 0xffffffe0",
        "global.pages_free was ",
    ):
        assert name in text, text
    # A refill writes 16 entries, which nobody else looks at.
    assert text.count("(the same for 14 words more)") == 2, text
    assert "[physical" not in text and "[0x" not in text, text


def test_bytes_of_a_word_have_their_own_names(scene: Scene) -> None:
    space = scene.add_object(scene.call(0, "page_alloc"), "space", "space")
    lock, alive = (scene.symbols.struct("space")[name] for name in ("lock", "alive"))
    assert (lock.offset // 8, lock.size, alive.size) == (alive.offset // 8, 4, 4)
    word = scene.memory().translate(space + lock.offset) // 8
    low, high = 0xFFFFFFFF, 0xFFFFFFFF << 32
    assert place(scene, word, low) == "space.lock.held"
    assert place(scene, word, high) == "space.alive"
    arrives = Event(0, 0, "arrives", word, 1 << 32, 7, high)
    assert phrase(scene, arrives) == "… space.alive = 1 arrives in memory (was 0)"


def test_order_alone_is_shown_without_store_buffers(scene: Scene) -> None:
    with pytest.raises(ScheduleFailure, match="of the sc memory model"):
        scene.explore(THREADS, second_first, models=["pso"])


def test_store_buffers_are_shown_where_they_matter(scene: Scene) -> None:
    """That sc was tried too changes nothing of what is shown."""

    def buffered(scene: Scene) -> str | None:
        return second_first(scene) if scene.world.buffering else None

    for models in (["pso"], ["sc", "pso"]):
        with pytest.raises(ScheduleFailure, match="of the pso memory model") as failure:
            scene.explore(THREADS, buffered, models=models)
        assert "(held back)" in str(failure.value)


def test_kernel_memory_is_seen_while_a_program_runs(scene: Scene) -> None:
    hart, page = scene.world.harts[0], scene.hart_page(1)
    satp, mode = hart.csr[SATP], hart.mode
    hart.csr[SATP], hart.mode = 0, USER
    try:
        assert scene.hart_page(1) == page
        assert scene.field(page, "hart", "index") == 1
    finally:
        hart.csr[SATP], hart.mode = satp, mode


def check_refused(done: subprocess.CompletedProcess[str], words: str) -> None:
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("step", ["0", "9999", "two"])
def test_no_such_step(stored: Path, step: str) -> None:
    check_refused(replay(stored, step), "give a number from 1 to")


def test_no_such_file(tmp_path: Path) -> None:
    check_refused(replay(tmp_path / "nothing"), "can't be read")


def test_no_schedule(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no schedule")
    check_refused(replay(path), "holds no schedule")


def test_kernel_has_changed(stored: Path, tmp_path: Path) -> None:
    text = stored.read_text()
    digest = case.load(stored).digest
    path = tmp_path / "old"
    path.write_text(text.replace(digest, "0" * len(digest)))
    check_refused(replay(path), "is not the kernel any more")


def test_without_a_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "grading" / "replay.py"), ""],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    check_refused(done, "usage: make replay CASE=")


def test_paths_with_blanks() -> None:
    """Each is one word for the debugger."""
    program = ROOT / "README.md"  # any file that is there
    found = SimpleNamespace(kernel=Path("/my course/kernel.elf"), programs=[program])
    said = commands(found, Path("/tmp/gdb.sock"), 0)
    assert 'file "/my course/kernel.elf"' in said and f'add-symbol-file "{program}"' in said
