"""Python's logging, including uvicorn's, to standard error without waiting for its reader."""

import logging
import sys

from core.lines import Lines


class _Handler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines = Lines(sys.stderr, "{} lines were dropped here: the reader was blocked.\n".format)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.write(self.format(record) + "\n")


def never_wait() -> None:
    """Install this for all loggers without a handler; `server.asgi.UVICORN` leaves uvicorn without one."""
    logging.lastResort = _Handler()
