"""The ASGI application, called by ASGI messages. tests/contract and tests/heroku use real servers and sockets."""

import asyncio
import io
import json
import time
from typing import Any

import pytest

from core.environment import SettingsError
from core.log import Log
from core.receiver import DEADLINE, MAX_BODY, AsyncReceiver
from core.settings import Settings
from server import asgi
from server.asgi import App, Message
from tests.core.test_receiver import AsyncMemory, Memory
from tests.support.deliveries import SECRET, body, signed


class Server:
    """The other side of the interface."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.log = io.StringIO()
        self.store = AsyncMemory(self.memory)
        self.left_when_answered: int | None = None
        self.app = App(AsyncReceiver(Settings.load({"DT_SIGNATURE_SECRET": SECRET}), self.store, Log(self.log)))

    def run(self, scope: dict[str, Any], messages: list[Message], pause: float = 0) -> list[Message]:
        sent: list[Message] = []

        async def receive() -> Message:
            if not messages:
                await asyncio.sleep(60)
            await asyncio.sleep(pause)
            return messages.pop(0)

        async def send(message: Message) -> None:
            if not sent:
                self.left_when_answered = len(messages)
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        return sent

    def post(self, messages: list[Message], headers: dict[str, str], pause: float = 0) -> list[Message]:
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        return self.run({"type": "http", "method": "POST", "path": "/", "headers": pairs}, messages, pause)

    @property
    def reasons(self) -> list[str]:
        return [json.loads(line).get("reason") for line in self.log.getvalue().splitlines()]


def part(content: bytes, more_body: bool = False) -> Message:
    return {"type": "http.request", "body": content, "more_body": more_body}


def test_one_delivery_is_stored_and_answered() -> None:
    server = Server()
    start, end = server.post([part(body())], signed(body()))
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert (b"event-outcome", b"stored") in start["headers"]
    assert end == {"type": "http.response.body", "body": b""}
    assert [event.body for event in server.memory.events.values()] == [body()]


def test_chunked_body_is_joined() -> None:
    content = body()
    messages = [part(content[:10], True), part(b"", True), part(content[10:], True), {"type": "http.request"}]
    server = Server()
    assert server.post(messages, signed(content))[0]["status"] == 200


def test_endless_body_is_refused_while_it_is_read() -> None:
    messages = [*(part(b"x" * 65_536, True) for _ in range(999)), part(b"")]
    server = Server()
    assert server.post(messages, {})[0]["status"] == 413
    assert server.left_when_answered == 1000 - MAX_BODY // 65_536 - 1
    assert messages == []


@pytest.mark.parametrize("length", [str(MAX_BODY + 1), "9" * 5000])
def test_too_large_content_length_is_refused_unread(length: str) -> None:
    server = Server()
    answer = server.post([part(b"x", True), part(b"x")], {**signed(body()), "Content-Length": length})
    assert (answer[0]["status"], server.left_when_answered) == (413, 2)
    assert b"".join(message.get("body", b"") for message in answer).startswith(b'{"type"')
    assert answer[-1] == {"type": "http.response.body", "body": b""}
    assert server.reasons == ["too_large"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/healthz", 200), ("PUT", "/", 405)])
def test_other_requests_are_answered_unread(method: str, path: str, status: int) -> None:
    server = Server()
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    assert server.run(scope, [part(b"x" * 1000, True), part(b"x")])[0]["status"] == status
    assert server.left_when_answered == 2


def test_missing_body_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "DEADLINE", 0.05)
    server = Server()
    start, _ = server.post([part(body()[:10], True)], signed(body()))
    assert (start["status"], (b"connection", b"close") in start["headers"]) == (503, True)
    assert server.reasons == ["body_timeout"]
    assert server.memory.events == {}
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    assert server.run(scope, [part(b"x", True)])[0]["status"] == 405


def test_time_spent_on_the_body_counts_against_the_deadline() -> None:
    server = Server()
    server.post([part(body()[:10], True), part(body()[10:])], signed(body()), pause=0.3)
    assert DEADLINE - 1 < server.memory.deadlines[0] < DEADLINE - 0.5


class Clients:
    """Several at a time; an unfinished one sends no more than the messages that it is given."""

    def __init__(self) -> None:
        self.server = Server()
        self.statuses: list[int] = []

    async def post(self, *messages: Message) -> None:
        left = list(messages)

        async def receive() -> Message:
            return left.pop(0) if left else await asyncio.sleep(60, part(b""))

        async def send(message: Message) -> None:
            await asyncio.sleep(0)
            if "status" in message:
                self.statuses.append(message["status"])

        pairs = [(name.lower().encode(), value.encode()) for name, value in signed(body()).items()]
        await self.server.app({"type": "http", "method": "POST", "path": "/", "headers": pairs}, receive, send)


def test_too_many_bodies_evict_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "MAX_READING", 2)
    clients = Clients()

    async def run() -> None:
        first, *others = [asyncio.ensure_future(clients.post(part(b"x", True))) for _ in range(3)]
        await first
        assert clients.statuses == [503]
        await clients.post(part(body()))
        assert sorted(clients.statuses) == [200, 503, 503]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    asyncio.run(run())
    assert clients.server.reasons[0] == "too_many_bodies"


def test_body_evicted_at_its_timeout_is_answered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "MAX_READING", 1)
    monkeypatch.setattr(asgi, "DEADLINE", 0.05)
    clients = Clients()

    async def run() -> None:
        late = asyncio.ensure_future(clients.post(part(b"x", True)))
        await asyncio.sleep(0)
        time.sleep(0.06)
        await asyncio.gather(late, clients.post(part(b"x", True)))

    asyncio.run(run())
    assert clients.statuses == [503, 503]
    assert clients.server.reasons == ["too_many_bodies", "body_timeout"]


def test_disconnected_client_is_not_answered() -> None:
    server = Server()
    assert server.post([part(body()[:10], True), {"type": "http.disconnect"}], signed(body())) == []
    assert server.reasons == ["disconnected"]
    assert server.memory.events == {}


def test_startup_and_shutdown() -> None:
    server = Server()
    sent = server.run({"type": "lifespan"}, [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert server.store.steps == ["open", "close"]


def test_log_lines_of_one_loop_iteration_are_flushed_once() -> None:
    class Counting(io.StringIO):
        flushes = 0

        def flush(self) -> None:
            self.flushes += 1

    stream = Counting()
    receiver = AsyncReceiver(Settings.load({"DT_SIGNATURE_SECRET": SECRET}), AsyncMemory(Memory()), Log(stream))

    async def run() -> None:
        async def nothing(message: Message) -> None:
            return None

        messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive() -> Message:
            return messages.pop(0)

        app = App(receiver)
        await app({"type": "lifespan"}, receive, nothing)
        for _ in range(10):
            receiver.give_up(asgi.to_request({"method": "POST", "path": "/", "headers": []}), "x", 0)
        assert stream.flushes == 0
        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert stream.flushes == 1
    assert len(stream.getvalue().splitlines()) == 10


def test_websockets_are_ignored() -> None:
    assert Server().run({"type": "websocket"}, []) == []


def test_failed_startup_stops_the_server_with_its_message() -> None:
    class Fails(AsyncMemory):
        async def open(self) -> None:
            raise SettingsError(["Set this."])

    server = Server()
    server.app = App(AsyncReceiver(Settings.load({"DT_SIGNATURE_SECRET": SECRET}), Fails(Memory()), Log(server.log)))
    sent = server.run({"type": "lifespan"}, [{"type": "lifespan.startup"}])
    assert sent == [{"type": "lifespan.startup.failed", "message": "Set this."}]


def test_cancelled_request_ends() -> None:
    server = Server()

    async def receive() -> Message:
        await asyncio.sleep(60)
        return part(b"")

    async def send(message: Message) -> None:
        raise AssertionError(message)

    async def run() -> None:
        scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
        request = asyncio.ensure_future(server.app(scope, receive, send))
        await asyncio.sleep(0.01)
        request.cancel()
        await request

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    assert server.log.getvalue() == ""
