"""Senders that retry like DT Cloud: a delivery is sent again until its answer is 200."""

import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from tests.support.ledger import Ledger, Post
from tests.support.numbered import sign
from tests.support.processes import Answer

# The time-out of an answer, in seconds. DT Cloud's is 10; answers after the promised 8.5 must be visible.
PATIENCE = 15.0


class Server(Protocol):
    """The receiver of the events."""

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Make one request."""
        ...


def posting(server: Callable[[], Server]) -> Callable[[], Post]:
    """Return a sender to the current server, for `Load`."""

    def post(content: bytes) -> int:
        headers = {"Content-Type": "application/json", "X-Dt-Signature": sign(content).decode()}
        return server().request("POST", "/events", headers, content).status

    return lambda: post


class Connection:
    """A persistent connection with little overhead.

    Args:
        port: Returns the receiver's current port on 127.0.0.1.
    """

    def __init__(self, port: Callable[[], int]) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def __call__(self, content: bytes) -> int:
        """Send a body, and return the answer's status.

        Raises:
            Exception: There was no answer, or it was not HTTP.
        """
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self._port()), PATIENCE)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(head(content, len(content)) + content)
            return self._answer(self._socket)
        except Exception:
            self.close()
            raise

    def _answer(self, connection: socket.socket) -> int:
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += _received(connection)
        headers, _, body = answer.partition(b"\r\n\r\n")
        _, _, length = headers.lower().partition(b"content-length:")
        missing = int(length.split(maxsplit=1)[0]) - len(body)
        while missing > 0:
            missing -= len(_received(connection))
        if b"\r\nconnection: close" in headers.lower():
            self.close()
        return int(headers[9:12])

    def close(self) -> None:
        """Close the connection; the next delivery opens another."""
        if self._socket:
            self._socket.close()
            self._socket = None


def head(content: bytes, length: int) -> bytes:
    """Return the head of a delivery with this Content-Length."""
    return (
        b"POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"X-Dt-Signature: %b\r\nContent-Length: %d\r\n\r\n" % (sign(content), length)
    )


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise ConnectionError("closed without an answer")
    return data


class Load:
    """Sends from several threads until stopped.

    Args:
        ledger: The deliveries and their outcomes.
        connect: Creates a thread's sender.
        threads: The number of concurrent deliveries.
    """

    def __init__(self, ledger: Ledger, connect: Callable[[], Post], threads: int = 8) -> None:
        self.ledger = ledger
        self._connect = connect
        self._count = threads
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start, or continue."""
        self._stopping.clear()
        self._threads = [threading.Thread(target=self._run) for _ in range(self._count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop sending; deliveries in flight are still answered."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def finish(self) -> None:
        """Send unacknowledged deliveries until they are acknowledged, and no new ones."""
        self.ledger.allowed = self.ledger.sent
        self.start()
        deadline = time.monotonic() + 60
        while not self.ledger.is_settled and time.monotonic() < deadline:
            time.sleep(0.01)
        self.stop()

    def _run(self) -> None:
        post = self._connect()
        while not self._stopping.is_set():
            if not self.ledger.attempt(post):
                time.sleep(0.005)
        if isinstance(post, Connection):
            post.close()
