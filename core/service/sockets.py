"""Sockets under one bound for a whole call: looking up a name, connecting, TLS, and every byte in both directions.

A socket's own time-out is for each operation, so a peer that sends a byte a second never meets it. The bound belongs to
the thread, so every library that gets its connections from here keeps to it, whatever time-outs it has of its own.
docs/decisions/0026-one-bound-per-call.md has the reasons and the figures.
"""

import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class _Bound(threading.local):
    end = math.inf


_bound = _Bound()


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """End what this thread does with sockets of this module after ``seconds``; inside another bound, the earlier holds.

    Whatever is under way then raises `TimeoutError`, and so does whatever is begun later.
    """
    outer = _bound.end
    _bound.end = min(outer, time.monotonic() + seconds)
    try:
        yield
    finally:
        _bound.end = outer


def _left() -> float | None:
    """Return the seconds that are left, None without a bound; raise `TimeoutError` if there are none."""
    if _bound.end == math.inf:
        return None
    left = _bound.end - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for this call is over")
    return left


def _limit(sock: socket.socket) -> None:
    left, timeout = _left(), sock.gettimeout()
    if left is not None and (timeout is None or timeout > left):
        sock.settimeout(left)


class BoundedSocket(socket.socket):
    """A TCP socket; made by `create_connection`."""

    def connect(self, *arguments: Any) -> None:
        """Connect, within what is left."""
        _limit(self)
        super().connect(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        """Receive, within what is left."""
        _limit(self)
        return super().recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        """Send everything, within what is left: here a socket's time-out is for all of it."""
        _limit(self)
        super().sendall(*arguments)


class BoundedTlsSocket(ssl.SSLSocket):
    """TLS on such a socket; made by a context with this as its ``sslsocket_class``.

    A handshake and a read may take many records. CPython counts the time-out from where each of them begins
    (https://github.com/python/cpython/blob/v3.13.0/Modules/_ssl.c#L971).
    """

    def do_handshake(self, *arguments: Any) -> None:
        """Shake hands, within what is left."""
        _limit(self)
        super().do_handshake(*arguments)

    def read(self, *arguments: Any) -> Any:
        """Read, within what is left; all of this class's ways to receive end here."""
        _limit(self)
        return super().read(*arguments)

    def send(self, *arguments: Any) -> int:
        """Send, within what is left; so does ``sendall``, which is made of this."""
        _limit(self)
        return super().send(*arguments)


def create_connection(
    address: tuple[str, int],
    timeout: float | None,
    source_address: tuple[str, int] | None = None,
    options: Sequence[tuple[int, int, int | bytes]] = (),
) -> BoundedSocket:
    """Connect, as `socket.create_connection` does.

    Args:
        address: Host and port.
        timeout: Seconds for each of the host's addresses, and the time-out of the socket that comes out.
        source_address: Where to connect from.
        options: What ``setsockopt`` is called with.

    Raises:
        socket.gaierror: There is no such name.
        TimeoutError: There was no time, for this address or at all.
        OSError: Connecting failed; the error is that of the last address.
    """
    failure = OSError("no address")
    for family, kind, protocol, _, place in _look_up(*address):
        sock = BoundedSocket(family, kind, protocol)
        try:
            for option in options:
                sock.setsockopt(*option)
            sock.settimeout(timeout)
            if source_address:
                sock.bind(source_address)
            sock.connect(place)
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise failure


def _look_up(host: str, port: int) -> list[Any]:
    try:
        # Digits need no look-up.
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return _LookUp.of(host, port).result()
    except UnicodeError:  # of a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None


class _LookUp(threading.Thread):
    """A look-up of a name, on a thread: nothing else ends it before the system does. All who ask meanwhile share it."""

    _lock = threading.Lock()
    _under_way: dict[tuple[str, int], "_LookUp"] = {}  # noqa: RUF012

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name=f"look-up of {host}", daemon=True)
        self._address = host, port
        self._found: list[Any] = []
        self._failure: OSError | None = None

    @classmethod
    def of(cls, host: str, port: int) -> "_LookUp":
        """Return the look-up that is under way, or begin one."""
        with cls._lock:
            found = cls._under_way.get((host, port))
            if found is None:
                found = cls(host, port)
                found.start()
                cls._under_way[host, port] = found
            return found

    def run(self) -> None:
        """Look up."""
        try:
            self._found = socket.getaddrinfo(*self._address, type=socket.SOCK_STREAM)
        except OSError as error:
            self._failure = error
        finally:
            with self._lock:
                del self._under_way[self._address]

    def result(self) -> list[Any]:
        """Wait, within what is left."""
        self.join(_left())
        if self.is_alive():
            raise TimeoutError("looking up the name takes too long")
        if self._failure:
            raise type(self._failure)(*self._failure.args)
        return self._found
