"""What `make` installs: by one at a time, also in the background."""

import fcntl
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

if sys.platform == "win32" or not shutil.which("make"):
    pytest.skip("needs a POSIX system with make", allow_module_level=True)

MINUTES = 600


def test_two_make_run_at_once_install_once(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "run.txt").touch()
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "__main__.py").write_text("print('started')\n")
    environ = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), "PYTHON": sys.executable}

    def make() -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        return subprocess.Popen(["make", "run"], cwd=tmp_path, env=environ, text=True, stdout=pipe, stderr=pipe)

    with (tmp_path / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        both = [make() for _ in range(2)]
        for one in both:
            assert one.stderr
            assert "waiting for it" in one.stderr.readline()
    # Both decided that everything is to be made, and now have the lock one after the other.
    outputs = [one.communicate(timeout=MINUTES) for one in both]
    assert [one.returncode for one in both] == [0, 0], outputs
    said = "".join(output for output, _ in outputs)
    assert (said.count("Creating .venv"), said.count("Installing "), said.count("started")) == (1, 1, 2)

    assert make().communicate(timeout=MINUTES) == ("started\n", "")


def test_command_in_the_background_ends_at_ctrl_c(tmp_path: Path) -> None:
    """A shell starts it with the signal ignored."""
    alone = f"trap '' INT; exec {sys.executable} {ROOT / 'tools' / 'alone.py'} lock sh -c 'echo started; exec sleep 60'"
    with subprocess.Popen(["sh", "-c", alone], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
