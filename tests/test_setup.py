"""What the first `make` says and does where tools are missing (tools/setup). Other
systems are played by a PATH that holds nothing but what a test puts there."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

COMMON = "awk cat dirname env grep id make mkdir printf sed sh sleep sort true uname".split()
SCRIPTS = {
    "apt-get": 'echo "$*" >>calls',
    "apt-cache": "exit 100",  # no list of packages yet
    "dnf": "",
    "pacman": "",
    "sudo": 'echo sudo >>calls; exec "$@"',
}


class System:
    """A tree with the Makefile and the tools, on a system with these commands."""

    def __init__(self, tree: Path, *commands: str) -> None:
        self.tree, self.bin = tree, tree / "bin"
        shutil.copytree(ROOT / "tools", tree / "tools")
        shutil.copy2(ROOT / "Makefile", tree)
        self.bin.mkdir()
        for name in COMMON:
            (self.bin / name).symlink_to(shutil.which(name) or name)
        for name in commands:
            self.command(name, SCRIPTS[name])

    def command(self, name: str, script: str) -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def user(self, number: int) -> None:
        self.command("id", f"echo {number}")

    def make(self, *arguments: str, types: str | None = None, **settings: str) -> str:
        """What make says; it must fail, since no compiler ever comes. `types`: at a
        terminal, where somebody types that."""
        environment = {"PATH": str(self.bin), "SHELL": "/bin/sh"} | settings
        ours, theirs = pty.openpty()
        os.write(ours, (types or "").encode())
        try:
            done = subprocess.run(
                ["make", *arguments],
                cwd=self.tree,
                env=environment,
                stdin=subprocess.DEVNULL if types is None else theirs,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if types is None else theirs,
                text=True,
            )
            os.close(theirs)
            said = done.stderr or ""
            with contextlib.suppress(OSError):  # at the end
                while types is not None:
                    said += os.read(ours, 1 << 16).decode().replace("\r\n", "\n")
        finally:
            os.close(ours)
        assert done.returncode == 2, done
        return said

    def calls(self) -> list[str]:
        """What apt-get and sudo were called with: the first words."""
        path = self.tree / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.removeprefix("-y -q ").split()[0] for line in lines]


TWICE = ["update", "install", "update", "install"]  # with the old list, and with a new one


@pytest.mark.parametrize(
    ("manager", "line"),
    [
        ("apt-get", "Type: sudo apt-get install --no-install-recommends gcc-riscv64"),
        ("dnf", "Type: sudo dnf install gcc-riscv64"),
        ("pacman", "Type: sudo pacman -S --needed riscv64"),
        (None, "Install: gcc and binutils for riscv64"),
    ],
)
def test_nobody_to_ask(manager: str | None, line: str, tmp_path: Path) -> None:
    """A line that says what to type, and nothing is installed."""
    system = System(tmp_path, *([manager] if manager else []))
    system.user(1000)
    if manager:
        said = system.make("qemu")
        assert f". {line.replace('Type: sudo', 'As root, type:')}" in said, "there is no sudo"
        system.command("sudo", SCRIPTS["sudo"])
    said = system.make("qemu")
    assert f"Missing: a RISC-V compiler; qemu-system-riscv64. {line}" in said
    assert said.count("\n") == 1 and system.calls() == []


def test_handouts_need_more(tmp_path: Path) -> None:
    system = System(tmp_path, "dnf")
    assert "pandoc" not in system.make("kernel")
    assert "; pandoc; dot; weasyprint; pdftotext. Type: dnf" in (said := system.make("handouts"))
    assert "python3-rich pandoc graphviz" in said


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"])
def test_answer_that_is_no(answer: str, tmp_path: Path) -> None:
    system = System(tmp_path, "apt-get", "apt-cache", "sudo")
    said = system.make(types=answer)
    assert "[y/N]" in said and "Nothing was installed. To do it yourself, type:" in said
    assert system.calls() == []


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_answer_that_is_yes(answer: str, tmp_path: Path) -> None:
    system = System(tmp_path, "apt-get", "apt-cache")
    system.user(0)
    assert "apt-get could not install the tools" in system.make(types=answer)
    assert system.calls() == TWICE


def test_apt_waits_for_no_answer(tmp_path: Path) -> None:
    """Nobody would see its question."""
    system = System(tmp_path, "apt-cache")
    system.user(0)
    system.command("apt-get", 'read -r answer && echo "E: it was answered" || echo "E: no answer"')
    assert "tools: no answer (all" in system.make(types="y\nyes\nyes\nyes\nyes\n")


@pytest.mark.parametrize(("user", "setting"), [(0, {}), (1000, {"CI": "true"})])
def test_installs_unasked(user: int, setting: dict[str, str], tmp_path: Path) -> None:
    system = System(tmp_path, "apt-get", "apt-cache", "sudo")
    system.user(user)
    said = system.make(**setting)
    assert "Stag needs these packages" in said and "[y/N]" not in said
    assert [call for call in system.calls() if call != "sudo"] == TWICE
    assert ("sudo" in system.calls()) == (user != 0)
    system.make(STAG_INSTALL="no", **setting)
    assert [call for call in system.calls() if call != "sudo"] == TWICE


def test_dry_run_installs_nothing(tmp_path: Path) -> None:
    """Shells call `make -npq` to complete a word."""
    system = System(tmp_path, "apt-get", "apt-cache")
    system.user(0)
    for options in (["-n"], ["-npq", "-j8"], ["--dry-run", "-s", "HARTS=2"]):
        assert "Missing: a RISC-V compiler. Type: apt-get" in system.make(*options)
    assert system.calls() == []
    for options in (["-s"], ["--no-print-directory"], ["TEST=n"]):
        system.make(*options)
        assert "install" in system.calls(), options
        (tmp_path / "calls").unlink()


def test_no_way_to_be_root(tmp_path: Path) -> None:
    system = System(tmp_path, "apt-get", "apt-cache")
    system.user(1000)
    said = system.make(CI="true")
    assert "As root, type: apt-get install" in said and said.count("\n") == 1
    system.command("sudo", "echo refused >&2; exit 1")
    said = system.make(CI="true")
    assert said.count("refused\n") == 1, "asked more than once"
    assert "sudo refused. As root, type: apt-get install" in said and system.calls() == []


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("E: Unable to locate package", "tools: Unable to locate package (all"),
        ("E: one\\nW: Failed to fetch it\\nE: two", "tools: Failed to fetch it (all"),
        ("", "tools: its packages are there, the commands are not in PATH (all"),
    ],
)
def test_why_apt_failed(says: str, told: str, tmp_path: Path) -> None:
    system = System(tmp_path, "apt-cache")
    system.user(0)
    system.command("apt-get", f"printf '{says}\\n'; exit 100")
    assert told in system.make()


def test_progress(tmp_path: Path) -> None:
    """In lines where there is no terminal; and the tools are there in the end."""
    system = System(tmp_path, "apt-cache")
    system.user(0)
    gcc = tmp_path / "bin/riscv64-linux-gnu-gcc"
    system.command(
        "apt-get",
        f"echo dlstatus:1:60:half >&3; echo pmstatus:gcc:100:done >&3; : >{gcc}"
        f"; {shutil.which('chmod')} +x {gcc}",
    )
    said = system.make()
    assert "   20 %\n" in said and "   99 %\n" in said and "The tools are installed.\n" in said
