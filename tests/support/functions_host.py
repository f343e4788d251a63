"""Azure's own Functions host with Microsoft's Python worker, in front of a function app.

It can be any command that serves an app on a port of 127.0.0.1 until it is stopped:

    DT_AZURE_HOST APP PORT PYTHON [NAME=VALUE ...]

APP is the app's folder, PYTHON an interpreter with the libraries of the app and the worker; the settings follow.
Without DT_AZURE_HOST it is ``azure-functions-host``, on the PATH or among the tools beside the repository.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.processes import ROOT, Printing, Requesting

PYTHON = ROOT / ".venv-azure-host" / "bin" / "python"


def command() -> str:
    """Return the command that serves an app, or skip if it is not installed."""
    named = os.environ.get("DT_AZURE_HOST") or "azure-functions-host"
    found = shutil.which(named) or shutil.which(ROOT.parent / "shared" / "tools" / named)
    if not found:
        pytest.skip("no Azure Functions host: set DT_AZURE_HOST to a command that serves APP on PORT with PYTHON")
    if not PYTHON.is_file():
        pytest.skip("nothing that Azure's worker runs with: `make azure-host` installs it, where there is Python 3.11")
    return found


class FunctionsHost(Printing, Requesting):
    """A Functions host that serves one app.

    Args:
        app: The app's folder.
        environ: Its settings.
        folder: The host's home.
    """

    def __init__(self, app: Path, environ: Mapping[str, str], folder: Path) -> None:
        serve = command()
        super().__init__()
        self.port = free_port()
        settings = [f"{name}={value}" for name, value in environ.items()]
        self.process = subprocess.Popen(
            [serve, str(app), str(self.port), str(PYTHON), *settings],
            env={**os.environ, "AZURE_FUNCTIONS_HOST_HOME": str(folder)},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            # Its worker survives it, and is killed with the process group.
            start_new_session=True,
        )

    def wait_until_ready(self, status: int = 200) -> "FunctionsHost":
        """Return when the app answers /healthz with ``status``."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.output()
            try:
                if self.request("GET", "/healthz").status == status:
                    return self
            except OSError:
                pass
            time.sleep(0.1)
        raise AssertionError(self.output())

    def worker(self) -> int:
        """Return the process id of the host's current worker."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for stat in Path("/proc").glob("[0-9]*/stat"):
                try:
                    _, state, parent = stat.read_text().rpartition(")")[2].split(" ")[:3]
                except FileNotFoundError:
                    continue
                if int(parent) == self.process.pid and state != "Z":
                    return int(stat.parent.name)
            time.sleep(0.02)
        raise AssertionError(self.output())

    def close(self) -> None:
        """Stop the host and its worker."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        super().close()


@contextmanager
def functions_host(app: Path, environ: Mapping[str, str], folder: Path) -> Iterator[FunctionsHost]:
    """Yield a host with the function loaded, and stop it afterwards."""
    host = FunctionsHost(app, environ, folder)
    try:
        yield host.wait_until_ready()
    finally:
        host.close()
