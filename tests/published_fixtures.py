"""Fixtures of the tests that name this module in `pytest_plugins`: a project and
the course cut from it, for tests that leave both as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import KERNEL
from published import Project, copy_project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """To cut courses from."""
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def course(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be cloned and read."""
    out = tmp_path_factory.mktemp("published") / "course"
    return project.cut(out, "--kernel", str(KERNEL))
