"""The neutral web adapter, spoken to in ASGI. Real servers and sockets are in tests/contract and tests/heroku."""

import asyncio
import io
import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

import core.asgi
from core.asgi import App, Message, Threaded
from core.event import Event, reread
from core.log import Log
from core.receiver import MAX_BODY, AsyncReceiver
from core.settings import Settings, SettingsError
from core.store import Outcome
from tests.core.test_receiver import AsyncMemory, Memory
from tests.support.deliveries import SECRET, body, signed


class Server:
    """The other side of the interface."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.log = io.StringIO()
        self.steps: list[str] = []
        receiver = AsyncReceiver(
            Settings.load({"DT_SIGNATURE_SECRET": SECRET}), AsyncMemory(self.memory), Log(self.log)
        )
        self.app = App(receiver, on_startup=self._startup, on_shutdown=self._shutdown)

    async def _startup(self) -> None:
        self.steps.append("startup")

    async def _shutdown(self) -> None:
        self.steps.append("shutdown")

    def run(self, scope: dict[str, Any], messages: list[Message], pause: float = 0) -> list[Message]:
        sent: list[Message] = []

        async def receive() -> Message:
            if not messages:
                await asyncio.sleep(60)
            await asyncio.sleep(pause)
            return messages.pop(0)

        async def send(message: Message) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        return sent

    def post(self, messages: list[Message], headers: dict[str, str], pause: float = 0) -> list[Message]:
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        return self.run({"type": "http", "method": "POST", "path": "/", "headers": pairs}, messages, pause)

    @property
    def reasons(self) -> list[str]:
        return [json.loads(line)["reason"] for line in self.log.getvalue().splitlines()]


def part(content: bytes, more_body: bool = False) -> Message:
    return {"type": "http.request", "body": content, "more_body": more_body}


def test_one_delivery_is_stored_and_answered() -> None:
    server = Server()
    start, end = server.post([part(body())], signed(body()))
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert (b"event-outcome", b"stored") in start["headers"]
    assert end == {"type": "http.response.body", "body": b""}
    assert [event.body for event in server.memory.events.values()] == [body()]


def test_a_body_in_pieces_is_put_together() -> None:
    content = body()
    messages = [part(content[:10], True), part(b"", True), part(content[10:], True), {"type": "http.request"}]
    server = Server()
    assert server.post(messages, signed(content))[0]["status"] == 200


def test_a_body_without_end_is_not_read_to_its_end() -> None:
    messages = [part(b"x" * 65_536, True) for _ in range(1000)]
    server = Server()
    assert server.post(messages, {})[0]["status"] == 413
    assert len(messages) == 1000 - MAX_BODY // 65_536 - 1


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core.asgi, "DEADLINE", 0.05)
    server = Server()
    assert server.post([part(body()[:10], True)], signed(body()))[0]["status"] == 503
    assert server.reasons == ["body_timeout"]
    assert server.memory.events == {}


def test_a_client_that_goes_away_is_not_answered() -> None:
    server = Server()
    assert server.post([part(body()[:10], True), {"type": "http.disconnect"}], signed(body())) == []
    assert server.reasons == ["disconnected"]
    assert server.memory.events == {}


def test_startup_and_shutdown() -> None:
    server = Server()
    sent = server.run({"type": "lifespan"}, [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert server.steps == ["startup", "shutdown"]


def test_the_log_is_flushed_once_for_what_is_answered_together() -> None:
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
            receiver.give_up(core.asgi.to_request({"method": "POST", "path": "/", "headers": []}), "x", 0)
        assert stream.flushes == 0
        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert stream.flushes == 1
    assert len(stream.getvalue().splitlines()) == 10


def test_websockets_are_not_ours() -> None:
    assert Server().run({"type": "websocket"}, []) == []


def test_a_start_that_fails_stops_the_server_with_its_sentence() -> None:
    server = Server()

    async def fail() -> None:
        raise SettingsError(["Set this."])

    app = App(server.app._receiver, on_startup=fail)
    server.app = app
    sent = server.run({"type": "lifespan"}, [{"type": "lifespan.startup"}])
    assert sent == [{"type": "lifespan.startup.failed", "message": "Set this."}]


def test_a_server_that_cancels_a_request_is_obeyed() -> None:
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


def test_a_store_that_waits_does_not_hold_up_the_loop() -> None:
    started, released = threading.Event(), threading.Event()

    class Waits:
        def put(self, event: Event, deadline: float) -> Outcome:
            started.set()
            assert released.wait(5)
            return Outcome.STORED

    async def run() -> Outcome:
        store = Threaded(Waits(), 1)
        put = asyncio.ensure_future(store.put(reread(b"", datetime.now(UTC)), 0))
        while not started.is_set():
            await asyncio.sleep(0)
        closed = asyncio.ensure_future(store.close())
        await asyncio.sleep(0.05)
        # Whoever closes it waits for what it has begun.
        assert not closed.done()
        released.set()
        await closed
        return await put

    assert asyncio.run(run()) is Outcome.STORED
