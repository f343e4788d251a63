"""The real programs, started as a user starts them, and called over real sockets."""

import ctypes
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
# https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def spawn(command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a server that ends when the thread that starts it does, so that no killed test run leaves one behind.

    Only Linux has that; elsewhere the server ends when the test closes it.

    Args:
        command: What to run.
        options: Those of `subprocess.Popen`.
    """
    return subprocess.Popen(command, preexec_fn=_end_with_parent if sys.platform == "linux" else None, **options)


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


class Printing:
    """A process whose output is kept."""

    process: subprocess.Popen[bytes]

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - close() closes it

    def output(self) -> str:
        """Return all that it printed."""
        self._log.seek(0)
        return self._log.read().decode()

    def lines(self) -> list[dict[str, Any]]:
        """Return its log lines, without those of health checks."""
        lines = [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("outcome") != "health"]

    def wait_for_lines(self, count: int) -> list[dict[str, Any]]:
        """Return its log lines once there are ``count``: an answer may arrive before its line."""
        deadline = time.monotonic() + 30
        while len(self.lines()) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.lines()

    def close(self) -> None:
        """Forget what it printed."""
        self._log.close()


class Requesting:
    """What listens on a port of this machine."""

    port: int

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Make one request on a new connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()


class StandIn:
    """A process in the place of a cloud's service, to be frozen and killed; whoever starts it sets ``process``."""

    process: subprocess.Popen[bytes] | None = None

    def freeze(self) -> None:
        """Freeze it: it accepts connections and answers nothing."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Thaw it. It then handles the requests that came meanwhile, even if the clients have gone."""
        self._running().send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it: connections are refused from now on."""
        self._running().kill()
        self._running().communicate()
        self.process = None

    def close(self) -> None:
        """End it in any state."""
        if self.process:
            self.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process
        return self.process


def run_alone(program: str, folder: Path, *arguments: str, **environ: str) -> str:
    """Run a Python program with only these variables, and return its output."""
    basics = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**basics, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


class Program(Printing, Requesting):
    """One server in a subprocess.

    Args:
        module: What ``python -m`` runs.
        environ: Its environment; nothing of the tests' own leaks in.
        folder: Its working directory.
        root: Where the code is; this repository unless it is a staged package.
        python: The interpreter.
        port: Where it listens; a free one if None.
        stdout: Where it prints, if that is not kept.
    """

    def __init__(
        self,
        module: str,
        environ: Mapping[str, str],
        folder: Path,
        root: Path = ROOT,
        python: str = sys.executable,
        port: int | None = None,
        stdout: int | None = None,
    ) -> None:
        super().__init__()
        self.port = port or free_port()
        # Warnings are errors there too.
        basics = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root), "PYTHONWARNINGS": "error", "HOST": "127.0.0.1"}
        self.process = spawn(
            [python, "-m", module],
            cwd=folder,
            env={**basics, "PORT": str(self.port), **environ},
            stdout=stdout or self._log,
            stderr=subprocess.STDOUT,
        )

    def wait_until_ready(self) -> "Program":
        """Return once it answers."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.output()
            try:
                if self.request("GET", "/healthz").status == 200:
                    return self
            except OSError:
                time.sleep(0.02)
        raise AssertionError(self.output())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def running(module: str, environ: Mapping[str, str], folder: Path, **options: Any) -> Iterator[Program]:
    """Give a program that is ready, and end it."""
    program = Program(module, environ, folder, **options)
    try:
        yield program.wait_until_ready()
    finally:
        program.stop(signal.SIGKILL)
        program.close()
