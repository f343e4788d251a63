"""What uvicorn starts and stops."""

import asyncio
import io
from typing import Any

from core.environment import SettingsError
from core.log import Log
from core.receiver import AsyncReceiver
from core.settings import Settings
from server.asgi import App, Message
from tests.support.deliveries import SECRET, delivery
from tests.support.memory import AsyncMemory, Memory


def run(app: App, scope: dict[str, Any], *kinds: str) -> list[Message]:
    """Return what the application sends after these messages."""
    messages, sent = [{"type": kind} for kind in kinds], []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def app_of(store: AsyncMemory, stream: io.StringIO | None = None) -> App:
    return App(AsyncReceiver(Settings.load({"DT_SIGNATURE_SECRET": SECRET}), store, Log(stream or io.StringIO())))


def test_startup_and_shutdown() -> None:
    store = AsyncMemory(Memory())
    sent = run(app_of(store), {"type": "lifespan"}, "lifespan.startup", "lifespan.shutdown")
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert store.steps == ["open", "close"]


def test_failed_startup_stops_the_server_with_its_message() -> None:
    class Fails(AsyncMemory):
        async def open(self) -> None:
            raise SettingsError(["Set this."])

    sent = run(app_of(Fails(Memory())), {"type": "lifespan"}, "lifespan.startup")
    assert sent == [{"type": "lifespan.startup.failed", "message": "Set this."}]


def test_other_scopes_are_ignored() -> None:
    assert run(app_of(AsyncMemory(Memory())), {"type": "websocket"}) == []


def test_log_lines_of_one_loop_iteration_are_flushed_once() -> None:
    class Counting(io.StringIO):
        flushes = 0

        def flush(self) -> None:
            self.flushes += 1

    stream = Counting()
    app = app_of(AsyncMemory(Memory()), stream)

    async def refuse_ten() -> None:
        app.receiver.log.defer(asyncio.get_running_loop().call_soon)
        for _ in range(10):
            app.receiver.give_up(delivery(), "x", 0)
        assert stream.flushes == 0
        await asyncio.sleep(0.01)

    asyncio.run(refuse_ten())
    assert stream.flushes == 1
    assert len(stream.getvalue().splitlines()) == 10
