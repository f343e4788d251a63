"""``pip install .``, as a fork installs it beside its own programs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.support.repository import copy_repository

# What the wheel's script does.
RUN = "import sys; sys.argv[0] = 'dtconn'; from cli.main import app; app()"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip installed a copy of the files in git."""
    folder = tmp_path_factory.mktemp("install")
    copy_repository(folder / "source")
    target = folder / "installed"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--no-compile",
            "--target",
            target,
            folder / "source",
        ],
        check=True,
    )
    return target


def dtconn(installed: Path, folder: Path, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-P", "-c", RUN, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(installed), "COLUMNS": "200"},
        capture_output=True,
        check=True,
        text=True,
    ).stdout


def test_dtconn_works_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    assert "events" in dtconn(installed, tmp_path, "--help")
    assert (installed / "bin/dtconn").is_file()


def test_every_adapter_is_installed_with_its_sql(installed: Path) -> None:
    for path in ROOT.glob("*/__init__.py"):
        if path.parent.name not in ("tests", "bench"):
            assert (installed / path.relative_to(ROOT)).is_file()
    for script in ROOT.glob("*/*.sql"):
        assert (installed / script.relative_to(ROOT)).read_bytes() == script.read_bytes()
    assert not (installed / "tests").exists()
