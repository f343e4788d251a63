"""Timeouts: a silent Service Bus broker, at each step of the protocol."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from azure_functions.namespace import namespace
from azure_functions.service_bus import ServiceBusStore
from core.stores.contract import Outcome
from tests.azure_functions.service_bus_store import PACE, Connect, cause_of, put
from tests.support.service_bus import ServiceBus, service_bus

pytestmark = [pytest.mark.usefixtures("no_pauses"), pytest.mark.alone]


@asynccontextmanager
async def pace_is_kept() -> AsyncIterator[None]:
    """Assert that nothing blocks the event loop meanwhile."""
    late = 0.0

    async def tick() -> None:
        nonlocal late
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.02)
            late = max(late, time.monotonic() - before)

    ticking = asyncio.create_task(tick())
    yield
    ticking.cancel()
    assert 0 < late < PACE


# How a broker says nothing, and whether the connection was open before. With a token unanswered it never is.
SILENCES = [
    *((mode, is_open) for mode in ("silent", "slow", "frozen") for is_open in (True, False)),
    ("mute", False),
]


async def silence(bus: ServiceBus, mode: str, is_open: bool) -> tuple[str, int]:
    """Put an event while the broker is in this mode; return the cause, and the number of attempts."""
    connect = Connect(bus)
    store = ServiceBusStore(connect)
    if is_open:
        assert await put(store) == Outcome.STORED
    await asyncio.to_thread(bus.freeze if mode == "frozen" else lambda: bus.set(mode, seconds=30))
    cause = await cause_of(store)
    attempts = connect.count
    await asyncio.to_thread(bus.thaw if mode == "frozen" else lambda: bus.set("normal"))
    # The same store recovers.
    assert await put(store) == Outcome.STORED
    await store.close()
    return cause, attempts


async def deafness(connection_string: str) -> str:
    """Put an event where nothing accepts connections; return the cause."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(64)
        address = re.sub(r"(?<=:)\d+(?=;)", str(deaf.getsockname()[1]), connection_string)
        return await cause_of(ServiceBusStore(namespace(address, "events", None).open))


@pytest.mark.long
def test_every_timeout_ends_before_the_deadline_without_blocking_the_loop(tmp_path: Path) -> None:
    """All run in one event loop, each with its own broker. There is time for two attempts at most."""

    async def all_at_once(buses: list[ServiceBus]) -> list[tuple[str, int]]:
        async with pace_is_kept():
            deaf = asyncio.create_task(deafness(buses[0].connection_string))
            found = await asyncio.gather(*map(silence, buses, *zip(*SILENCES, strict=True)))
            assert await deaf == "TimeoutError"
            return found

    with ExitStack() as stack:
        folders = [tmp_path / str(number) for number in range(len(SILENCES))]
        for folder in folders:
            folder.mkdir()
        found = asyncio.run(all_at_once([stack.enter_context(service_bus(folder, "events")) for folder in folders]))
    assert dict(zip(SILENCES, found, strict=True)) == dict.fromkeys(SILENCES, ("TimeoutError", 2))
