"""`make doctor`: which tools it finds to be missing or too old. They are played by a
PATH that holds nothing but what a test puts there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

COMMON = "dirname grep id sed sh sort uname".split()
MODULES = {"pytest": "7.2.1", "pytest-xdist": "3.1.0", "pyelftools": "0.29", "rich": "13.3.1"}
# What each says of itself, the name of its row, what is needed, and what is less.
TOOLS = {
    "riscv64-linux-gnu-gcc": ("riscv64-linux-gnu-gcc (Debian 12.2.0-14) {}", "RISC-V gcc", "12", "9.3.0"),
    "riscv64-linux-gnu-ld": ("GNU ld (GNU Binutils for Debian) {}", "RISC-V ld", "2.38", "2.9.1"),
    "qemu-system-riscv64": (
        *("QEMU emulator version {} (Debian 1:7.2+dfsg-7)", "qemu-system-riscv64", "7.2", "6.10.1"),
    ),
    "gdb-multiarch": ("GNU gdb (GDB; SUSE) {}-3.fc38", "gdb for RISC-V", "12", "9.2"),
    "gcc": ("gcc (Ubuntu 13.2.0-23ubuntu4) {}", "gcc of this machine", "12", "11.4.0"),
    "git": ("git version {} (Apple Git-154)", "git", "2.30", "2.9.5"),
}


class Computer:
    def __init__(self, tree: Path) -> None:
        self.tree, self.bin = tree, tree / "bin"
        self.bin.mkdir()
        (tree / "tests").mkdir()
        (tree / "tools").mkdir()
        for name in ("doctor", "tools.sh"):
            shutil.copy2(ROOT / "tools" / name, tree / "tools")
        for name in COMMON:
            (self.bin / name).symlink_to(shutil.which(name) or name)
        for name, (says, _, needed, _) in TOOLS.items():
            self.says(name, says.format(needed))
        self.python(MODULES)

    def command(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def says(self, name: str, line: str) -> None:
        self.command(name, f"echo '{line}'")

    def python(self, modules: dict[str, str], version: str = "3.11.2") -> None:
        told = "\n".join(f"{name}) echo {number} ;;" for name, number in modules.items())
        self.command(
            "a-python",
            f"case $1,$3 in --version,) echo Python {version}; exit ;; *:*) exit ;; esac\n"
            f"case $3 in\n{told}\n*) exit 1 ;; esac",
        )

    def doctor(self, make: str = "4.2", **settings: str) -> tuple[int, dict[str, str], str]:
        """The exit status, the rows by their names, the last line."""
        done = subprocess.run(
            ["tools/doctor", make],
            cwd=self.tree,
            env={"PATH": str(self.bin), "PYTHON": "a-python"} | settings,
            capture_output=True,
            text=True,
        )
        assert done.stderr == ""
        _, *rows, last = done.stdout.splitlines()
        return done.returncode, {row[2:24].strip(): row[25:] for row in rows}, last


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer(tmp_path)


def test_all_is_there(computer: Computer) -> None:
    status, rows, last = computer.doctor()
    assert (status, last) == (0, "All is there."), rows
    names = {row for _, row, _, _ in TOOLS.values()} | {"make", "python3"} | MODULES.keys()
    assert rows.keys() == names and all(" ok (" in row for row in rows.values()), rows


@pytest.mark.parametrize("name", TOOLS)
def test_tool(name: str, computer: Computer) -> None:
    says, row, needed, less = TOOLS[name]
    for version in ("22.0.1", f"{needed}.99", f"{needed}.0-rc1"):
        computer.says(name, says.format(version))
        assert computer.doctor()[0] == 0, version
    wrong = "Install what is missing or too old with your system's packages."
    for script, verdict in (
        (f"echo '{says.format(less)}'", f"{less:<10} {needed:<10} too old ({name})"),
        ("echo no such library >&2; exit 127", f"{'-':<10} {needed:<10} tells no version ({name})"),
    ):
        computer.command(name, script)
        status, rows, last = computer.doctor()
        assert (status, rows[row], last) == (1, verdict, wrong)
        assert sum(" ok (" not in text for text in rows.values()) == 1, rows
    (computer.bin / name).unlink()
    status, rows, last = computer.doctor()
    assert (status, rows[row], last) == (1, f"{'-':<10} {needed:<10} missing", wrong)


def test_make_and_python(computer: Computer) -> None:
    assert "too old" in computer.doctor(make="4.1")[1]["make"]
    computer.python(MODULES, version="3.9.18")
    status, rows, _ = computer.doctor()
    assert status == 1 and "3.9.18     3.11       too old (a-python)" in rows["python3"]


@pytest.mark.parametrize(
    ("name", "less"),
    [("pytest", "6.2.5"), ("pytest-xdist", "2.5.0"), ("pyelftools", "0.28"), ("rich", "9.11.0")],
)
def test_module(name: str, less: str, computer: Computer) -> None:
    computer.python({**MODULES, name: less})
    status, rows, _ = computer.doctor()
    assert status == 1 and rows[name].startswith(less) and "too old" in rows[name]
    computer.python({key: number for key, number in MODULES.items() if key != name})
    status, rows, _ = computer.doctor()
    assert status == 1 and rows[name].endswith(" missing")


def test_tool_that_make_refuses(computer: Computer) -> None:
    """Though its version is right."""
    (computer.tree / "my tools").mkdir()
    shutil.copy2(computer.bin / "qemu-system-riscv64", computer.tree / "my tools/qemu")
    status, rows, last = computer.doctor(QEMU=f"{computer.tree}/my tools/qemu")
    assert status == 1 and " ok (" in rows["qemu-system-riscv64"]
    assert last.startswith("Make would split 'QEMU="), last
