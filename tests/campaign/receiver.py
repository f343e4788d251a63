"""A receiver in a subprocess that can be killed, and whose log can be left unread."""

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.support.load import Connection
from tests.support.processes import Program


class Receiver:
    """The program, with its log in a pipe.

    Args:
        module: What ``python -m`` runs.
        environ: Its environment.
        folder: Its working directory.
    """

    def __init__(self, module: str, environ: Mapping[str, str], folder: Path) -> None:
        self._arguments = module, environ, folder
        self._is_read = threading.Event()
        self._is_read.set()
        self._reading, self._writing = os.pipe()
        threading.Thread(target=self._read, daemon=True).start()
        self._program = self._start()

    def _start(self) -> Program:
        return Program(*self._arguments, stdout=self._writing).wait_until_ready()

    def _read(self) -> None:
        while os.read(self._reading, 65_536):
            self._is_read.wait()
        os.close(self._reading)

    @property
    def port(self) -> int:
        """Return its current port on 127.0.0.1."""
        return self._program.port

    def connect(self) -> Connection:
        """Return a connection to its current port."""
        return Connection(lambda: self.port)

    def leave_log(self) -> None:
        """Stop reading its output."""
        self._is_read.clear()

    def read_log(self) -> None:
        """Read its output again."""
        self._is_read.set()

    def restart(self) -> None:
        """Kill it, and start another."""
        self._program.stop(signal.SIGKILL)
        self._program.close()
        self._program = self._start()

    def close(self) -> None:
        """End it."""
        self._program.stop(signal.SIGKILL)
        self._program.close()
        os.close(self._writing)
