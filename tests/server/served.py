"""A receiver behind `server.protocol.Protocol`, on a socket of its own."""

import asyncio
import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import uvicorn
from uvicorn.server import ServerState

from core.log import Log
from core.receiver import AsyncReceiver
from core.settings import Settings
from server.asgi import App
from server.protocol import Protocol
from server.serve import UVICORN
from tests.support.deliveries import SECRET, body, signed
from tests.support.memory import AsyncMemory, Memory

# Seconds for what only has to happen.
PATIENCE = 30


class Served:
    """One server, and what it stored and logged."""

    def __init__(self, store: AsyncMemory | None = None) -> None:
        self.memory = Memory()
        self.log = io.StringIO()
        receiver = AsyncReceiver(
            Settings.load({"DT_SIGNATURE_SECRET": SECRET}), store or AsyncMemory(self.memory), Log(self.log)
        )
        self.app = App(receiver)
        self.state = ServerState()
        self._config = uvicorn.Config(self.app, **UVICORN)
        self._config.load()
        self._loop = asyncio.new_event_loop()
        listening = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(listening)))
        self._thread.start()
        listening.wait(PATIENCE)

    async def _serve(self, listening: threading.Event) -> None:
        self._stopped = asyncio.Event()
        server = await self._loop.create_server(
            lambda: Protocol(self._config, self.state, {}, self._loop), "127.0.0.1", 0
        )
        self.port = server.sockets[0].getsockname()[1]
        listening.set()
        await self._stopped.wait()
        server.close()
        while self.state.connections:
            for connection in list(self.state.connections):
                connection.shutdown()
            await asyncio.sleep(0.01)

    def close(self) -> None:
        """Stop as uvicorn does."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(PATIENCE)
        self._loop.close()

    def connect(self) -> "Client":
        """Open a connection."""
        return Client(socket.create_connection(("127.0.0.1", self.port), PATIENCE))

    @property
    def bodies(self) -> list[bytes]:
        """What is stored, in order."""
        return [event.body for event in self.memory.events.values()]

    @property
    def reasons(self) -> list[str | None]:
        """The reason of each logged request."""
        return [json.loads(line).get("reason") for line in self.log.getvalue().splitlines()]


class Client:
    """One connection, byte by byte."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._file = sock.makefile("rb")

    def send(self, *parts: bytes) -> "Client":
        """Send all parts at once."""
        self.sock.sendall(b"".join(parts))
        return self

    def answer(self, has_body: bool = True) -> "Reply":
        """Read one answer."""
        status = self._file.readline()
        headers = {}
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name] = value.strip()
        content = self._file.read(int(headers.get("content-length", 0))) if has_body else b""
        return Reply(int(status.split()[1]) if status else 0, headers, content)

    def rest(self) -> bytes:
        """Read until the server closes the connection."""
        return self._file.read()

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self.sock.close()


class Reply:
    """One answer; a status of 0 if there was none."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def is_last(self) -> bool:
        """Whether the server closes the connection after it."""
        return self.headers.get("connection") == "close"


@contextlib.contextmanager
def served(store: AsyncMemory | None = None) -> Iterator[Served]:
    """Serve for a moment."""
    server = Served(store)
    try:
        yield server
    finally:
        server.close()


def post(content: bytes | None = None, *lines: str, sends: bytes | None = None) -> bytes:
    """Return a signed POST of ``content``, with more header lines; ``sends`` is sent in place of the body."""
    content = body() if content is None else content
    headers = [f"{name}: {value}" for name, value in signed(content).items()]
    if not any(line.lower().startswith("transfer-encoding") for line in lines):
        headers.append(f"Content-Length: {len(content)}")
    head = "\r\n".join(("POST / HTTP/1.1", "Host: x", *headers, *lines, "", ""))
    return head.encode() + (content if sends is None else sends)


def wait_for(condition: Callable[[], object]) -> None:
    """Return when a condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def send_until_disconnected(client: Client, data: bytes) -> None:
    """Send the same again and again, until the server closes the connection."""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while True:
            client.send(data)
