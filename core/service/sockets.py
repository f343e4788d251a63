"""Sockets with one time limit for a whole call: name look-up, connect, TLS, and every byte in both directions.

A socket's own time-out applies to each operation, so a peer that sends a byte a second never exceeds it. The limit
belongs to the thread, so it applies to every library that uses these connections, whatever time-outs the library has.
Reasons and figures: docs/decisions/0026-one-bound-per-call.md.
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
    """Limit this thread's use of this module's sockets to ``seconds``; of nested limits, the earlier one applies.

    After that, current and later operations raise `TimeoutError`.
    """
    outer = _bound.end
    _bound.end = min(outer, time.monotonic() + seconds)
    try:
        yield
    finally:
        _bound.end = outer


def _left() -> float | None:
    """Return the remaining seconds, None without a limit; raise `TimeoutError` if there are none."""
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
    """A TCP socket, created by `create_connection`."""

    def connect(self, *arguments: Any) -> None:
        """Connect within the remaining time."""
        _limit(self)
        super().connect(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        """Receive within the remaining time."""
        _limit(self)
        return super().recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        """Send everything within the remaining time: for sendall, a socket's time-out covers the whole call."""
        _limit(self)
        super().sendall(*arguments)


class BoundedTlsSocket(ssl.SSLSocket):
    """TLS on such a socket, created by a context with this ``sslsocket_class``.

    A handshake and a read may take many records. CPython counts the time-out from the beginning of the call
    (https://github.com/python/cpython/blob/v3.13.0/Modules/_ssl.c#L971).
    """

    def do_handshake(self, *arguments: Any) -> None:
        """Do the handshake within the remaining time."""
        _limit(self)
        super().do_handshake(*arguments)

    def read(self, *arguments: Any) -> Any:
        """Read within the remaining time; all receiving methods of this class call it."""
        _limit(self)
        return super().read(*arguments)

    def send(self, *arguments: Any) -> int:
        """Send within the remaining time; ``sendall`` calls it."""
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
        timeout: Seconds for each of the host's addresses, and the time-out of the returned socket.
        source_address: The local address.
        options: Arguments of ``setsockopt``.

    Raises:
        socket.gaierror: The name does not exist.
        TimeoutError: The time for the address, or for the call, is over.
        OSError: Connecting failed; this is the error of the last address.
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
        # A numeric address needs no look-up.
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return _LookUp.of(host, port).result()
    except UnicodeError:  # of a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None


class _LookUp(threading.Thread):
    """A name look-up on a thread, because nothing can interrupt it. Concurrent look-ups of one name share it."""

    _lock = threading.Lock()
    _under_way: dict[tuple[str, int], "_LookUp"] = {}  # noqa: RUF012

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name=f"look-up of {host}", daemon=True)
        self._address = host, port
        self._found: list[Any] = []
        self._failure: OSError | None = None

    @classmethod
    def of(cls, host: str, port: int) -> "_LookUp":
        """Return the running look-up, or start one."""
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
        """Wait within the remaining time."""
        self.join(_left())
        if self.is_alive():
            raise TimeoutError("looking up the name takes too long")
        if self._failure:
            raise type(self._failure)(*self._failure.args)
        return self._found
