"""dtconn from any folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.stored import NOW, a_contact, dtconn, event, events, fill
from tests.support.repository import copy_repository


def run(clone: Path, folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("DT_", "DATABASE"))}
    return subprocess.run(
        [sys.executable, "-m", "cli", *args],
        cwd=folder,
        env=environ | {"PYTHONPATH": str(clone)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_files_of_the_clone_are_found_from_any_folder(tmp_path: Path) -> None:
    clone, folder = copy_repository(tmp_path / "clone"), tmp_path / "elsewhere"
    folder.mkdir()
    assert "There is no database at var/events.db yet." in run(clone, folder, "events").stderr
    assert "writes one to var/signature-secret" in run(clone, folder, "send").stderr
    for place, state in ((clone, "OPEN"), (folder, "CLOSED")):
        (place / "var").mkdir()
        (place / "var" / "signature-secret").write_text("a secret of sixteen bytes")
        fill(place / "var" / "events.db", [event(a_contact(state), NOW)])
        # The working directory comes first.
        assert state in run(clone, folder, "events").stdout
        assert state in run(clone, place, "readings").stdout
    assert "Cannot connect to http://127.0.0.1:1" in run(clone, folder, "send", "http://127.0.0.1:1").stderr


def test_export_of_the_clone_goes_on_from_any_folder(tmp_path: Path) -> None:
    clone, folder = copy_repository(tmp_path / "clone"), tmp_path / "elsewhere"
    folder.mkdir()
    (clone / "var").mkdir()
    fill(clone / "var" / "events.db", [event(a_contact("OPEN"), NOW)])
    for place in (folder, clone):
        found = run(clone, place, "export", "--to", str(tmp_path / "lake"), "--partition", "day")
        assert found.returncode == 0, found.stderr
    assert str(clone / "var" / "events.db") in (tmp_path / "lake" / "export.json").read_text()


def test_version() -> None:
    assert dtconn("--version").stdout.startswith("dtconn 0.")


@pytest.mark.parametrize("name", ["temperatur", "Temperature", "TOUCH", "objectpresent"])
def test_misspelt_type_is_refused(name: str, tmp_path: Path) -> None:
    found = events("--type", name, "--from", tmp_path / "e.db")
    assert found.exit_code == 2
    assert "Do you mean" in found.stderr


def test_type_of_tomorrow_is_listed(database: Path) -> None:
    assert events("--type", "tomorrows", "--from", database).exit_code == 0
