"""The standard streams of dtconn: what happens when nobody reads them any more, or the disk is full."""

import errno
import io
import os
import sys
from typing import Any, TextIO

# What a shell reports of a program that SIGPIPE ended.
CLOSED = 141


class _Stream(io.FileIO):
    """A standard stream that ends the command if it cannot be written.

    Python raises `OSError`, from which click and rich make exit codes of their own. SIGPIPE itself is no way: it would
    come from a server's closed connection too, in the middle of a change.
    """

    def write(self, data: Any) -> int:
        """Write; if that fails, end the command, and let what is still in the buffers go nowhere."""
        try:
            return super().write(data)
        except OSError as error:
            failure = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if failure.errno == errno.EPIPE:  # `| head`
            raise SystemExit(CLOSED)
        print(f"The output cannot be written: {failure.strerror}.", file=sys.stderr)
        raise SystemExit(1)


def guard() -> None:
    """End the command in order if standard output or standard error cannot be written; a terminal always can."""
    sys.stdout, sys.stderr = _guarded(sys.stdout), _guarded(sys.stderr)


def _guarded(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper) or stream.isatty():
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Stream(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
