"""The Service Bus store in a test: open, use, close."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from azure_functions.sdk import ServiceBusClient
from azure_functions.service_bus import ServiceBusStore, connector
from core.event import Event, parse_stored
from core.receiver import DEADLINE
from core.stores.contract import Outcome, StoreUnavailableError
from tests.support.deliveries import fresh_body
from tests.support.service_bus import ServiceBus

NOW = datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=UTC)
DEVICE, PROJECT = "emucdd6ef2eu277bo8f52vg", "ccol8iuk9smqiha4e8l0"
KEY = f"cpbg96qngr7ai7ldarrg.temperature.{DEVICE}"
# Enough for one attempt, and for no other.
ONE_ATTEMPT = 3.05
# The store blocks the event loop for less than this many seconds.
PACE = 0.8


class Connect:
    """Makes clients, and counts them: one for each connection."""

    def __init__(self, bus: ServiceBus) -> None:
        self._connect = connector(bus.connection_string, None)
        self.count = 0

    def __call__(self) -> ServiceBusClient:
        self.count += 1
        return self._connect()


def event(content: bytes | None = None) -> Event:
    return parse_stored(fresh_body() if content is None else content, NOW)


async def put(store: ServiceBusStore, one: Event | None = None, seconds: float = DEADLINE) -> Outcome:
    return await store.put(one or event(), time.monotonic() + seconds)


async def cause_of(store: ServiceBusStore, one: Event | None = None, seconds: float = DEADLINE) -> str:
    """Put an event; assert that it is refused in time, and return the cause."""
    with pytest.raises(StoreUnavailableError) as caught:
        async with asyncio.timeout(DEADLINE):
            await put(store, one, seconds)
    return caught.value.reason


def run(connect: Callable[[], ServiceBusClient], work: Callable[[ServiceBusStore], Awaitable[None]]) -> None:
    """Work with a store, and close its connections, which a worker never does."""

    async def all_of_it() -> None:
        store = ServiceBusStore(connect, "events")
        try:
            await work(store)
        finally:
            await close(store)

    asyncio.run(all_of_it())


async def close(store: ServiceBusStore) -> None:
    for connection in store._idle:
        await connection.close()


def open_files() -> int:
    return len(os.listdir("/dev/fd"))
