"""The real programs, started as a user starts them, and called over real sockets."""

import http.client
import json
import os
import shutil
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
_SETPRIV = shutil.which("setpriv")


def spawn(command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a server that ends with the thread that starts it, so that a killed test run leaves no servers.

    Only Linux has this, and setpriv(1); elsewhere the server ends when the test closes it.

    Args:
        command: The command to run.
        options: Options of `subprocess.Popen`.
    """
    # Not by preexec_fn: with it Python forks, which copies the page tables of a large process at each start.
    return subprocess.Popen([_SETPRIV, "--pdeathsig=KILL", *command] if _SETPRIV else command, **options)


@dataclass
class Answer:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Printing:
    """A process with captured output."""

    process: subprocess.Popen[bytes]

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - close() closes it

    def output(self) -> str:
        """Return its output."""
        # The position in the file is the process's too: it writes there.
        return os.pread(self._log.fileno(), os.fstat(self._log.fileno()).st_size, 0).decode()

    def lines(self) -> list[dict[str, Any]]:
        """Return its log lines, without those of health checks."""
        lines = [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("outcome") != "health"]

    def wait_for_lines(self, count: int) -> list[dict[str, Any]]:
        """Return its log lines when there are ``count``: an answer may arrive before its line."""
        deadline = time.monotonic() + 30
        while len(self.lines()) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.lines()

    def close(self) -> None:
        """Delete its output."""
        self._log.close()


class Requesting:
    """A server on a port of this machine."""

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
    """A process in place of a cloud's service, to be frozen and killed; subclasses set ``process``."""

    process: subprocess.Popen[bytes] | None = None

    def freeze(self) -> None:
        """Freeze it: it accepts connections and does not answer."""
        self._running().send_signal(signal.SIGSTOP)
        # Reported when the last of its threads has stopped; one may answer until then.
        os.waitid(os.P_PID, self._running().pid, os.WSTOPPED)

    def thaw(self) -> None:
        """Continue it. It then handles the requests that arrived meanwhile, even if the clients have disconnected."""
        self._running().send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it: connections are refused from now on."""
        self._running().kill()
        self._running().communicate()
        self.process = None

    def close(self) -> None:
        """Stop it in any state."""
        if self.process:
            self.kill()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a client needs; only the process that started it can stop it."""
        return {name: value for name, value in vars(self).items() if isinstance(value, str | int)}

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
        module: The module for ``python -m``.
        environ: Its whole environment: nothing is inherited from the tests.
        folder: Its working directory.
        root: The folder of the code: this repository by default, or a staged package.
        python: The interpreter.
        port: Its port; a free one if None.
        stdout: The file for its output, if it is not captured.
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
        basics = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(root),
            # Warnings are errors in the program too.
            "PYTHONWARNINGS": "error",
            "HOST": "127.0.0.1",
            # As Heroku sets it; uvicorn reads it.
            "WEB_CONCURRENCY": "2",
        }
        self.process = spawn(
            [python, "-m", module],
            cwd=folder,
            env={**basics, "PORT": str(self.port), **environ},
            stdout=stdout or self._log,
            stderr=subprocess.STDOUT,
        )

    def wait_until_ready(self) -> "Program":
        """Return when it answers."""
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
        """Stop it, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def running(module: str, environ: Mapping[str, str], folder: Path, **options: Any) -> Iterator[Program]:
    """Yield a ready program, and stop it afterwards."""
    program = Program(module, environ, folder, **options)
    try:
        yield program.wait_until_ready()
    finally:
        program.stop(signal.SIGKILL)
        program.close()
