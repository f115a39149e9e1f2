"""Fixtures of the tests that name this module in `pytest_plugins`: a course to
grade in, and submissions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import ROOT
from course import LAB_CODE, PARTS, SOURCE, Course, Submit, copy_build, copy_parts, lab_toml
from stag.labs import load_lab


@pytest.fixture(scope="session")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Course:
    root = tmp_path_factory.mktemp("course")
    copy_parts(ROOT, root, *PARTS)
    (root / load_lab(ROOT, 2).source).write_text(lab_toml())
    tests = root / "grading/lab2"
    shutil.rmtree(tests, ignore_errors=True)
    tests.mkdir()
    (tests / "test_probe.py").write_text(LAB_CODE)
    out = root / "build/grade/lab2"
    copy_parts(ROOT, out / "tree", "Makefile", "include", "kernel", "tools", "user")
    copy_build(out / "tree")
    return Course(root, out)


@pytest.fixture
def submit(probed: Course, tmp_path: Path) -> Submit:
    """submit((old, new), …): a folder with page_alloc.c and these edits in it,
    as an option of the grader."""

    def write(*edits: tuple[str, str]) -> str:
        text = (probed.root / SOURCE).read_text()
        for old, new in edits:
            assert text.count(old) == 1, f"{SOURCE} has changed: mend this test ({old})"
            text = text.replace(old, new)
        path = tmp_path / SOURCE
        path.parent.mkdir(parents=True)
        path.write_text(text, errors="surrogateescape")
        return f"--tree={tmp_path}"

    return write
