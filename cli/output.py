"""The standard streams of dtconn: what happens when nobody reads them any more, or the disk is full."""

import errno
import io
import os
import sys
from typing import TextIO

# What a shell reports of a program that SIGPIPE ended.
CLOSED = 141


class _Stream(io.TextIOWrapper):
    """A standard stream that ends the command if it cannot be written.

    Python raises `OSError`, from which click and rich make exit codes of their own. SIGPIPE itself is no way: it would
    come from a server's closed connection too, in the middle of a change. The raw stream is Python's own, because an
    interrupt within a method in its place would have a line written twice.
    """

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise self._ended(error) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise self._ended(error) from None

    def _ended(self, failure: OSError) -> SystemExit:
        # What is still in the buffers goes nowhere.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if failure.errno == errno.EPIPE:  # `| head`
            return SystemExit(CLOSED)
        print(f"The output cannot be written: {failure.strerror}.", file=sys.stderr)
        return SystemExit(1)


def guard() -> None:
    """End the command in order if standard output or standard error cannot be written; a terminal always can."""
    sys.stdout, sys.stderr = _guarded(sys.stdout), _guarded(sys.stderr)


def _guarded(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper) or stream.isatty():
        return stream
    return _Stream(
        io.BufferedWriter(io.FileIO(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
