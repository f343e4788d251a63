"""Lines to a file descriptor, without ever waiting for the reader: a paused pager, a stuck log driver."""

import atexit
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

# Bytes kept for a reader that does not read: some 2,000 lines.
MAX_KEPT = 1_000_000


class Lines:
    """Writes at once what the descriptor takes at once; keeps up to `MAX_KEPT` bytes more, and counts what it drops.

    A pipe that is ready takes `select.PIPE_BUF` bytes without blocking (https://docs.python.org/3/library/select.html),
    so that is what is written at a time. O_NONBLOCK would do too, but a descriptor shares it with other processes. What
    is kept is written by a thread, which is started when it is first needed.

    Args:
        stream: Where to. One without a descriptor is in memory, and is written to directly; None takes nothing.
        dropped: Makes the line that says how many were dropped, once there is somebody to read it.
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
        # Whether the last line that was written was cut, by a disk that is full.
        self._is_torn = False
        self._descriptor, self._is_file, self._is_pipe = _descriptor(stream)
        poll = select.poll()
        if self._descriptor is not None:
            poll.register(self._descriptor, select.POLLOUT)
        self._ready = poll.poll

    def write(self, text: str) -> None:
        """Write whole lines. Never raises, never waits."""
        # A full disk or a closed pipe under the log must not refuse an event that is stored.
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
                # Behind what is kept, so that the order stays.
                rest = data if self._kept else self._write(self._descriptor, data)
                if rest:
                    self._keep(rest)
        except (OSError, ValueError):
            self._lost += data.count(b"\n") if data else text.count("\n")

    def _write(self, descriptor: int, data: bytes) -> bytes:
        """Write what can be written at once, and return the rest."""
        if self._is_file:
            while data:
                written = os.write(descriptor, data)
                self._is_torn = written < len(data)
                data = data[written:]
            return data
        # A terminal or a socket that is ready may still block halfway through a line: they are for the thread.
        while data and self._is_pipe and self._ready(0):
            data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]
        return data

    def _keep(self, data: bytes) -> None:
        # Once something is dropped, all is until that is said, so that it is said in the place of what is missing.
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
        """Return once all that is kept is written, or after so many seconds; the end of the process does so, too."""
        with self._changed:
            self._changed.wait_for(lambda: not self._kept, seconds)


def _descriptor(stream: TextIO | None) -> tuple[int | None, bool, bool]:
    """Return the descriptor of a stream; whether it is a file or /dev/null, which take everything; whether a pipe."""
    try:
        descriptor = stream.fileno() if stream else None
        if descriptor is None:
            return None, False, False
        mode = os.fstat(descriptor).st_mode
        is_file = stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(descriptor))
        return descriptor, is_file, stat.S_ISFIFO(mode)
    except (OSError, ValueError):
        return None, False, False
