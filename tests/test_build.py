"""The build after what went wrong in an earlier one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a kernel is built from; nothing is built yet."""
    for name in ("kernel", "include", "user", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy2(ROOT / "Makefile", tmp_path)
    return tmp_path


def make(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    keep = ("PATH", "HOME", "CROSS", "CI", "TMPDIR")
    environment = {name: os.environ[name] for name in keep if os.environ.get(name)}
    command = ["make", "-s", *arguments]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)


def test_mended_header_is_enough(tree: Path) -> None:
    """The header that is made of one with a mistake is made again without it."""
    header, made = tree / "kernel/hart.h", tree / "build/kernel/asm_offsets.h"
    text = header.read_text()
    for _ in range(2):
        header.write_text('#include "no_such_header.h"\n' + text)
        done = make(tree, str(made.relative_to(tree)))
        assert done.returncode != 0 and "no_such_header.h" in done.stderr, done.stderr
        header.write_text(text)
        done = make(tree, "build/kernel/riscv/entry.o")
        assert done.returncode == 0, done.stderr
        assert "#define " in made.read_text()


def test_clean_comes_first(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it before anything is built, with many jobs too."""
    slow_rm = tree / "bin/rm"
    slow_rm.parent.mkdir()
    slow_rm.write_text(f'#!/bin/sh\nsleep 1\nexec {shutil.which("rm")} "$@"\n')
    slow_rm.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow_rm.parent), prepend=os.pathsep)
    done = make(tree, "-j8", "clean", "build/kernel/riscv/entry.o")
    assert done.returncode == 0, done.stderr
    assert (tree / "build/kernel/riscv/entry.o").exists()
