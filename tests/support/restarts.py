"""A program that is started again on the same port, as a platform does when its settings change."""

import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.ports import free_port
from tests.support.processes import Program


class Restarting:
    """The program.

    Args:
        module: The module for ``python -m``.
        folder: Its working directory.
        options: As of `tests.support.processes.Program`.

    Attributes:
        port: Its port.
    """

    def __init__(self, module: str, folder: Path, **options: Any) -> None:
        self.port = free_port()
        self._module = module
        self._folder = folder
        self._options = options
        self._program: Program | None = None
        # A program ends with the thread that starts it: one thread starts all.
        self._thread = ThreadPoolExecutor(1)

    def start(self, environ: Mapping[str, str]) -> None:
        """Start it with these settings, after the one that runs has ended; it may end at once, if they are wrong."""
        self._thread.submit(self._start, environ).result()

    def close(self) -> None:
        """Stop it."""
        self._thread.submit(self._stop).result()
        self._thread.shutdown()

    def _start(self, environ: Mapping[str, str]) -> None:
        self._stop()
        self._program = Program(self._module, environ, self._folder, port=self.port, **self._options)
        try:
            self._program.wait_until_ready()
        except AssertionError:
            # Its output names the setting.
            assert "DT_" in self._program.output(), self._program.output()

    def _stop(self) -> None:
        if self._program:
            self._program.stop(signal.SIGKILL)
            self._program.close()
            self._program = None


@contextmanager
def restarting(module: str, folder: Path, **options: Any) -> Iterator[Restarting]:
    """Yield a program that is not yet started, and stop it afterwards."""
    program = Restarting(module, folder, **options)
    try:
        yield program
    finally:
        program.close()
