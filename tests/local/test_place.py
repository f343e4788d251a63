"""`make run` where it may not write, or where there is no room: one sentence for each cause, all of them at once.

And the others of the README's first commands, for whoever may not read what `make run` wrote.

Root may write everywhere, so for root the program runs without the capabilities that allow it.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.deliveries import SECRET
from tests.support.ports import free_port
from tests.support.processes import ROOT

if sys.platform != "linux":
    pytest.skip("needs Linux's permissions and mounts", allow_module_level=True)

IS_ROOT = os.geteuid() == 0
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"] if IS_ROOT else []
MOUNTS = ["unshare", "--map-root-user", "--mount"]
ELSEWHERE = "Start the receiver in a folder of yours, or set DT_DATABASE and DT_SIGNATURE_SECRET."


def said(folder: Path, *command: str, program: str = "-m local", **environ: str) -> list[str]:
    """Run a program that does not start, a receiver; return the lines that it says."""
    basics = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PORT": str(free_port())}
    run = [*(command or BOUND), sys.executable, *program.split()]
    done = subprocess.run(
        run, env=basics | environ, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0, done.stderr
    return done.stderr.splitlines()


@pytest.fixture
def var(tmp_path: Path) -> Path:
    (tmp_path / "var").mkdir()
    return tmp_path / "var"


def test_folder_that_may_not_be_written_is_one_cause(var: Path) -> None:
    var.chmod(0o500)
    owner = var.owner()
    assert said(var.parent) == [f"You may not write var, which belongs to {owner} and has the mode 0500. {ELSEWHERE}"]
    (var.parent / "above").mkdir(mode=0o500)
    assert said(var.parent / "above")[0].startswith("You may not write")
    var.chmod(0o700)
    assert not list(var.iterdir())


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_file_that_may_not_be_written_is_named(suffix: str, var: Path) -> None:
    """Such as those of a receiver that somebody once started with sudo."""
    file = var / f"events.db{suffix}"
    file.touch(mode=0o400)
    (line,) = said(var.parent, DT_SIGNATURE_SECRET=SECRET)
    assert line.startswith(
        f"You may not write var/events.db{suffix}, which belongs to {file.owner()} and has the mode 0400."
    )


def test_file_of_somebody_else_is_named(var: Path) -> None:
    place = Path("/etc")  # of root
    if IS_ROOT:
        place = var
        os.chown(var, 65534, 65534)
    (line,) = said(var.parent, DT_DATABASE=str(place / "events.db"), DT_SIGNATURE_SECRET=SECRET)
    assert line.startswith(f"You may not write {place}, which belongs to {place.owner()} and has the mode 07")
    assert line.endswith("Set DT_DATABASE to a file in a folder of yours.")


def test_secret_that_may_not_be_read_is_named(var: Path) -> None:
    (var / "signature-secret").touch(mode=0o000)
    (line,) = said(var.parent)
    assert line.startswith("You may not read var/signature-secret, ")
    (var / "signature-secret").chmod(0o600)
    (var / "signature-secret").write_bytes(b"\xff")
    assert said(var.parent) == ["var/signature-secret is not text. Delete it, or set DT_SIGNATURE_SECRET."]


@pytest.mark.parametrize(
    ("options", "cause"), [("ro", "var is on a read-only disk"), ("size=64k", "The disk of var is full")]
)
def test_disk_that_takes_nothing_is_one_cause(options: str, cause: str, var: Path) -> None:
    if not shutil.which("unshare") or subprocess.run([*MOUNTS, "true"], check=False).returncode:
        pytest.skip("needs unshare(1), and the right to mount in a namespace of its own")
    mount = f'mount -t tmpfs -o {options} tmpfs var && exec "$@"'
    assert said(var.parent, *MOUNTS, "sh", "-c", mount, "sh") == [f"{cause}. {ELSEWHERE}"]


def test_all_causes_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "var").touch()
    found = said(tmp_path, PORT="http", DT_DATABASE=str(tmp_path), DT_LEEWAY="an hour")
    assert [line.partition(". ")[0] for line in found] == [
        "var is not a folder",
        f"{tmp_path} is a folder",
        "DT_LEEWAY must be a whole number of seconds from 0 to 600.",
        "PORT must be a number from 1 to 65535, such as 8000.",
    ]
    assert (tmp_path / "var").read_bytes() == b""


@pytest.mark.parametrize(
    ("mode", "program", "sentence"),
    [
        (0o000, "-m cli events", "You may not look into var. Run this as the receiver's user."),
        (
            0o000,
            "-m cli send",
            "You may not read var/signature-secret. Run this as the receiver's user, or set",
        ),
        (0o500, "-m cli events", "Cannot read events from var/events.db: SQLite writes an index beside a database"),
        (0o500, f"{ROOT}/tools/alone.py var/lock true", "cannot be written: Permission denied. Use a copy that"),
    ],
)
def test_reading_of_what_belongs_to_somebody_else_is_one_sentence(
    mode: int, program: str, sentence: str, var: Path
) -> None:
    with closing(sqlite3.connect(var / "events.db")) as database:
        database.executescript("PRAGMA journal_mode = wal; CREATE TABLE events (key TEXT)")
    var.chmod(mode)
    (line,) = said(var.parent, program=program)
    assert sentence in line
    var.chmod(0o700)
