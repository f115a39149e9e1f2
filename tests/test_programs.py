"""The programs that try the kernel hard: litmus tests of the memory ordering of
map and unmap, random system calls, processes killed at random moments. They
judge themselves, free pages included; their exit status becomes QEMU's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import KERNEL, ROOT
from stag.machine import Machine, MachineConfig, Serial, run_to_exit
from stag.starter import write_hollow_after
from stag.system import PROMPT
from test_starter import build

slow = pytest.mark.slow


def check_run(command: str, last_words: str, harts: int = 4, patience: float = 300) -> None:
    config = MachineConfig(KERNEL, harts, arguments=f"run={command}")
    code, text = run_to_exit(config, patience)
    assert code == 0, f"{command}: exit status {code}; the console said last:\n{text[-2000:]}"
    assert last_words in text, f"{command} said no {last_words!r}:\n{text[-2000:]}"


def test_litmus() -> None:
    check_run("litmus", "litmus: 9 of 9 cells ok")


@slow
def test_litmus_100000_rounds() -> None:
    check_run("litmus all 100000", "litmus: 9 of 9 cells ok", patience=3600)


@pytest.mark.parametrize("harts", [1, 4])
def test_stress(harts: int) -> None:
    check_run("stress 20000", ": ok", harts)


@slow
def test_stress_million_calls() -> None:
    check_run("stress 1000000", "stress: 1000000 calls", patience=3600)


def test_killer() -> None:
    check_run("killer 50", "killer: 50 times")


@slow
def test_killer_1000_times() -> None:
    check_run("killer 1000", "killer: 1000 times", patience=3600)


def test_usertests_knows_its_names() -> None:
    code, text = run_to_exit(MachineConfig(KERNEL, arguments="run=usertests park nosuch"), 60)
    assert code != 0 and "usertests: no test or part is called nosuch" in text, text


def test_longest_chain() -> None:
    """There is memory for all of its 10,000 spaces."""
    config = MachineConfig(KERNEL, 4, "512M", arguments="run=usertests deep chain")
    code, text = run_to_exit(config, 120)
    assert code == 0 and "chain: ok" in text, text


def test_arguments() -> None:
    """As they were typed: short, long, and as many as the shell takes."""
    words = ["a", "bc", "x" * 90, *(str(number) for number in range(11)), "last"]
    code, text = run_to_exit(MachineConfig(KERNEL, arguments="run=hello " + " ".join(words)), 60)
    shown = [line for line in text.splitlines() if line.startswith("argument ")]
    assert code == 0, text
    assert shown == [f"argument {number}: {word}" for number, word in enumerate(words, 1)]


def test_demonstrations() -> None:
    """What a visitor tries first."""
    check_run("pingpong 200; primes; philosophers; pager; date; mem", "the child saw 0 wrong words")


@pytest.fixture
def serial() -> Iterator[Serial]:
    """The console of a machine whose shell waits for a command."""
    with Machine.of(KERNEL, harts=2, debug=False) as machine:
        machine.serial.wait_for(PROMPT, patience=60)
        yield machine.serial


def test_shell_stops_waiting(serial: Serial) -> None:
    """One ctrl-C, however many jobs: they go on, and the shell is back."""
    serial.type("loop &\nloop &\nwait\n")
    end = serial.wait_for("wait")
    serial.type("\x03")
    end = serial.wait_for(PROMPT, start=end)
    serial.type("jobs\n")
    end = serial.wait_for("1  loop", start=end)
    serial.wait_for("2  loop", start=end)


def test_ctrl_c_ends_the_line(serial: Serial) -> None:
    serial.type("hello; loop; crash\n")
    end = serial.wait_for("hello from user mode")
    serial.type("\x03")
    end = serial.wait_for(PROMPT, start=serial.wait_for("^C", start=end))
    serial.type("hello\x1b\n")  # Enter after a lone escape is Enter
    end = serial.wait_for("hello from user mode", start=end)
    serial.wait_for(PROMPT, start=end)
    assert "crash stopped" not in serial.text


def test_background_jobs_count_if_waited_for() -> None:
    for command, fails in (("crash null &; hello; hello", False), ("crash null &; wait", True)):
        code, text = run_to_exit(MachineConfig(KERNEL, 2, arguments=f"run={command}"), 60)
        assert (code != 0) == fails, text


# Reads all keys from half a second on: so it is the last reader, not the shell.
KEYS = """#include "stag.h"

int main(void) {
    char key;

    sleep_ms(500);
    for (;;) {
        while (console_read(&key, 1) > 0) printf("<%c>", key);
        park(EVENT_CONSOLE, DEADLINE_NONE);
    }
}
"""

# Maps all memory, and gives 8 pages back: fewer than the heap grows by.
SCARCE = """#include "stag.h"

int main(void) {
    uint64_t at = 0x100000000;

    for (uint64_t pages = 1024; pages > 0; pages /= 4) {
        while (map(SPACE_OWN, at, pages, PROT_READ, 0) == 0) at += pages * PAGE_SIZE;
    }
    if (!page_present(USER_IMAGE) || page_present(0)) return 1;
    unmap(SPACE_OWN, 0x100000000, 8);
    if (malloc(100) == 0) return 2;
    while (handle_take() > 0) continue;
    return page_present(USER_IMAGE) ? 0 : 3;
}
"""


@pytest.fixture(scope="module")
def kernel_with_more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernel with two more programs, keys and scarce."""
    tree = tmp_path_factory.mktemp("more") / "tree"
    write_hollow_after(ROOT, 6, tree)  # all of the reference
    for name, text in (("keys", KEYS), ("scarce", SCARCE)):
        (tree / f"user/programs/{name}.c").write_text(text)
    return build(tree)


def test_a_job_in_the_background_may_read_keys(kernel_with_more: Path) -> None:
    """The shell looks now and then all the same: it can be ended."""
    with Machine.of(kernel_with_more, debug=False) as machine:
        machine.serial.wait_for(PROMPT)
        machine.serial.type("keys &\n")
        machine.serial.wait_for("[1] keys")
        for _ in range(20):
            time.sleep(1)  # the shell looks five times a second
            machine.serial.type("\x15kill 1\n")
            time.sleep(1)
            if machine.serial.text.endswith(f"kill 1\n{PROMPT}"):
                break
        assert machine.serial.text.endswith(f"kill 1\n{PROMPT}")


def test_little_memory_is_used(kernel_with_more: Path) -> None:
    """By malloc, down to the last page; and a page is there without memory."""
    code, text = run_to_exit(MachineConfig(kernel_with_more, arguments="run=scarce"), 60)
    assert code == 0, text


def test_keys_that_are_no_letters(serial: Serial) -> None:
    """F1 of a Linux console, a tab, and a letter beyond ASCII."""
    serial.type("\x1b[[Ahello\ta\u00e9b\n")
    serial.wait_for(PROMPT, start=serial.wait_for("argument 1: ab"))
    assert f"{PROMPT}hello a\ab\nhello from user mode\n" in serial.text


def check_goes_on(serial: Serial, start: int) -> None:
    """The shell, after what it has said up to `start`, with the next command."""
    start = serial.wait_for(PROMPT, start=start)
    serial.type("hello next\n")
    serial.wait_for(PROMPT, start=serial.wait_for("argument 1: next", start=start))


def test_a_line_too_long(serial: Serial) -> None:
    """It takes 255 characters, and a bell rings for each of the others."""
    serial.type("hello " + "x" * 300 + "\n")
    check_goes_on(serial, serial.wait_for("argument 1: " + "x" * 249 + "\r\n"))
    assert serial.text.count("\a") == 300 - 249


def test_nothing_to_take_back(serial: Serial) -> None:
    """Backspace and ctrl-U in an empty line."""
    serial.type("\x7f\b\x15\x7fhello\n")
    check_goes_on(serial, serial.wait_for("hello"))
    assert f"{PROMPT}hello\nhello from user mode\n" in serial.text


def test_too_many_words(serial: Serial) -> None:
    serial.type("hello" + " x" * 16 + "\n")
    check_goes_on(serial, serial.wait_for("too many words, at most 16"))
    assert "argument 16" not in serial.text


def test_too_many_keys(serial: Serial) -> None:
    """While a program runs, the first 1024 are kept; ctrl-C makes room again."""
    serial.type("usertests print\n")  # it counts free pages for half a second before
    end = serial.wait_for("usertests print\r\n")
    serial.type("hello first\n" + "x" * 1024)
    end = serial.wait_for("\a", start=serial.wait_for("argument 1: first", start=end))
    serial.type("\x15loop\n")
    end = serial.wait_for("loop\r\n", start=end)
    serial.type("x" * 2000)
    for _ in range(50):
        serial.type("\x03")  # again: if the shell is slow, the kernel drops keys as well
        time.sleep(0.1)
        if "^C" in serial.text:
            break
    check_goes_on(serial, serial.wait_for("^C", start=end))


def test_jobs_that_are_not_there(serial: Serial) -> None:
    end = 0
    for number in (99, 17, 0, -1, 10**9, -(10**9)):
        serial.type(f"kill {number}\n")
        end = serial.wait_for(f"there is no job {number}; `jobs` lists them", start=end)
    check_goes_on(serial, end)


def test_too_many_jobs(serial: Serial) -> None:
    """All places are taken: the next is refused until one is ended."""
    serial.type("loop & " * 17 + "\n")
    end = serial.wait_for("[16] loop")
    end = serial.wait_for("loop: there are 16 jobs already; `kill N` ends one", start=end)
    serial.type("kill 16; hello next\n")
    serial.wait_for("argument 1: next", start=end)


def test_more_jobs_than_places() -> None:
    """One after the other, those that have ended make room."""
    config = MachineConfig(KERNEL, 2, arguments="run=" + "hello & hello; " * 20)
    code, text = run_to_exit(config, 60)
    assert code == 0 and "jobs already" not in text, text


def test_no_double_ampersand() -> None:
    code, text = run_to_exit(MachineConfig(KERNEL, arguments="run=hello && poweroff"), 60)
    assert code != 0 and "`&&` is not known" in text and "hello from" not in text, text


def test_ctrl_c_ends_the_commands_of_boot() -> None:
    with Machine.of(KERNEL, debug=False, arguments="run=hello; loop; hello") as machine:
        machine.serial.wait_for(f"{PROMPT}loop")
        machine.serial.type("\x03")
        assert machine.wait_exit() != 0
        assert machine.serial.text.count("hello from user mode") == 1
