"""The Service Bus store in a test: open, use, close."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import pytest

from azure_functions.amqp_sender import Sender
from azure_functions.namespace import Namespace, namespace
from azure_functions.service_bus import ServiceBusStore
from core.event import Event
from core.receiver import DEADLINE
from core.service.attempts import ATTEMPT
from core.stores.contract import Outcome, StoreUnavailableError
from tests.support.events import event
from tests.support.service_bus import ServiceBus

# Enough for one attempt, and for no other.
ONE_ATTEMPT = ATTEMPT + 0.9
# The store blocks the event loop for less than this many seconds.
PACE = 2.0


class Connect:
    """Connects, and counts the connections."""

    def __init__(self, bus: ServiceBus, there: Namespace | None = None) -> None:
        self._there = there or namespace(bus.connection_string, "events", None)
        self.count = 0

    async def __call__(self) -> tuple[Sender, float]:
        self.count += 1
        return await self._there.open()


async def put(store: ServiceBusStore, one: Event | None = None, seconds: float = DEADLINE) -> Outcome:
    return await store.put(one or event(), time.monotonic() + seconds)


async def cause_of(store: ServiceBusStore, one: Event | None = None, seconds: float = DEADLINE) -> str:
    """Put an event; assert that it is refused in time, and return the cause."""
    with pytest.raises(StoreUnavailableError) as caught:
        async with asyncio.timeout(DEADLINE):
            await put(store, one, seconds)
    return caught.value.reason


def run(connect: Connect, work: Callable[[ServiceBusStore], Awaitable[None]]) -> None:
    """Work with a store, and close its connection, which a worker never does."""

    async def all_of_it() -> None:
        store = ServiceBusStore(connect)
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(all_of_it())


def open_files() -> int:
    return len(os.listdir("/dev/fd"))
