"""Processes of `make test`: children end with their parents, and tests marked alone exclude others."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import ROOT

SPAWNS = """
import sys, time
from tests.support.processes import spawn
print(spawn([sys.executable, "-c", "import time; time.sleep(60)"]).pid, flush=True)
time.sleep(60)
"""
# Two processes with a test each; the second begins its test while the first is in its own.
FIRST = """
import pathlib, time, pytest
folder = pathlib.Path(__file__).parent

{mark}
def test_first():
    (folder / "first is in").touch()
    while not (folder / "second is at the door").exists():
        time.sleep(0.01)
    time.sleep(1)
    assert not (folder / "second is in").exists()
"""
SECOND = """
import pathlib, time, pytest
folder = pathlib.Path(__file__).parent
while not (folder / "first is in").exists():
    time.sleep(0.01)
(folder / "second is at the door").touch()

{mark}
def test_second():
    (folder / "second is in").touch()
"""


def is_running(pid: int) -> bool:
    """Return whether the process runs; a zombie does not."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(found.stdout.strip()) and not found.stdout.startswith("Z")


def test_child_process_ends_with_a_killed_parent() -> None:
    command = [sys.executable, "-c", SPAWNS]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as worker:
        assert worker.stdout
        server = int(worker.stdout.readline())
        assert is_running(server)
        worker.kill()
    deadline = time.monotonic() + 30
    while is_running(server) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = is_running(server)
    if left:
        os.kill(server, signal.SIGKILL)
    assert not left


@pytest.mark.parametrize("marks", [("@pytest.mark.alone", ""), ("", "@pytest.mark.alone")], ids=["first", "second"])
def test_marked_alone_excludes_other_tests(marks: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = alone\n")
    processes = []
    for name, source, mark in zip(("first", "second"), (FIRST, SECOND), marks, strict=True):
        path = tmp_path / f"test_{name}.py"
        path.write_text(source.format(mark=mark))
        command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "--timeout=30", str(path)]
        processes.append(subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}))
    assert [process.wait() for process in processes] == [0, 0]
