"""Writes lines to a file descriptor without waiting for its reader, such as a paused pager or a stuck log driver."""

import atexit
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

# Bytes buffered for a blocked reader: some 2,000 lines.
MAX_KEPT = 1_000_000


class Lines:
    """Writes without blocking; buffers up to `MAX_KEPT` bytes more, and counts the lines that it drops.

    A pipe that is ready takes `select.PIPE_BUF` bytes without blocking (https://docs.python.org/3/library/select.html),
    so each write has at most that size. O_NONBLOCK would work too, but it is shared with other processes. A thread,
    started when first needed, writes the buffer.

    Args:
        stream: The target. A stream without a descriptor is in memory, and is written directly; None discards.
        dropped: Builds the line that reports how many lines were dropped; it is written when the reader continues.
    """

    def __init__(self, stream: TextIO | None, dropped: Callable[[int], str]) -> None:
        self._stream = stream
        self._dropped = dropped
        self._kept: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        # Whether a full disk cut the last line.
        self._is_torn = False
        self._descriptor, self._is_file, self._is_pipe = _descriptor(stream)
        poll = select.poll()
        if self._descriptor is not None:
            poll.register(self._descriptor, select.POLLOUT)
        self._ready = poll.poll

    def write(self, text: str) -> None:
        """Write complete lines. Never raises, never blocks."""
        # A full disk or a closed pipe must not fail an event that is stored.
        data = b""
        try:
            if self._descriptor is None:
                if self._stream:
                    self._stream.write(text)
                    self._stream.flush()
                return
            data = text.encode("utf-8", "backslashreplace")
            with self._lock:
                if self._is_file and self._lost:
                    missing = self._dropped(self._lost).encode()
                    data, self._lost = (b"\n" if self._is_torn else b"") + missing + data, 0
                # Behind the buffered lines, to keep the order.
                rest = data if self._kept else self._write(self._descriptor, data)
                if rest:
                    self._keep(rest)
        except (OSError, ValueError):
            self._lost += data.count(b"\n") if data else text.count("\n")

    def _write(self, descriptor: int, data: bytes) -> bytes:
        """Write as much as possible without blocking, and return the rest."""
        if self._is_file:
            while data:
                written = os.write(descriptor, data)
                self._is_torn = written < len(data)
                data = data[written:]
            return data
        # A terminal or a socket that is ready may still block within a line, so the thread writes to it.
        while data and self._is_pipe and self._ready(0):
            data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]
        return data

    def _keep(self, data: bytes) -> None:
        # After the first drop, drop everything until the report is written: it then stands where lines are missing.
        if self._size + len(data) > MAX_KEPT or (self._lost and self._kept):
            self._lost += data.count(b"\n")
            return
        self._kept.append(data)
        self._size += len(data)
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_kept, name="log", daemon=True)
            self._thread.start()
            atexit.register(self.drain)
        self._changed.notify_all()

    def _write_kept(self) -> None:
        assert self._descriptor is not None
        while True:
            with self._changed:
                while not self._kept:
                    self._changed.wait()
                data = self._kept[0]
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                self._lost += data.count(b"\n")
            with self._changed:
                self._size -= len(self._kept.popleft())
                if self._lost and not self._kept:
                    lost, self._lost = self._lost, 0
                    self._keep(self._dropped(lost).encode())
                self._changed.notify_all()

    def drain(self, seconds: float = 1.0) -> None:
        """Return when the buffer is written, or after ``seconds``. Also called at the end of the process."""
        with self._changed:
            self._changed.wait_for(lambda: not self._kept, seconds)


def _descriptor(stream: TextIO | None) -> tuple[int | None, bool, bool]:
    """Return a stream's descriptor, whether it never blocks (a file or /dev/null), and whether it is a pipe."""
    try:
        descriptor = stream.fileno() if stream else None
        if descriptor is None:
            return None, False, False
        mode = os.fstat(descriptor).st_mode
        is_file = stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(descriptor))
        return descriptor, is_file, stat.S_ISFIFO(mode)
    except (OSError, ValueError):
        return None, False, False
