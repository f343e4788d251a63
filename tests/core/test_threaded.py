"""A blocking store for an event loop."""

import asyncio
import threading
from datetime import UTC, datetime

from core.event import Event, parse_stored
from core.stores.contract import Outcome
from core.stores.threaded import Threaded


def test_blocking_store_does_not_block_the_event_loop() -> None:
    started, released = threading.Event(), threading.Event()

    class Waits:
        def put(self, event: Event, deadline: float) -> Outcome:
            started.set()
            assert released.wait(30)
            return Outcome.STORED

    async def run() -> Outcome:
        store = Threaded(Waits(), 1)
        await store.open()
        put = asyncio.ensure_future(store.put(parse_stored(b"", datetime.now(UTC)), 0))
        while not started.is_set():
            await asyncio.sleep(0)
        closed = asyncio.ensure_future(store.close())
        await asyncio.sleep(0.05)
        # Close waits for calls in flight.
        assert not closed.done()
        released.set()
        await closed
        return await put

    assert asyncio.run(run()) == Outcome.STORED
