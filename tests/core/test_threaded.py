"""An event loop goes on while a store waits."""

import asyncio
import threading
import time
from datetime import UTC, datetime

import pytest

from core.event import Event, reread
from core.store import Outcome, StoreUnavailable
from core.threaded import Threaded
from tests.support.deliveries import body

EVENT = reread(body(), datetime.now(UTC))


class Slow:
    """A store that takes a while, and says of an event whose deadline is over that it was not stored."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def put(self, event: Event, deadline: float) -> Outcome:
        if time.monotonic() > deadline:
            raise StoreUnavailable("deadline")
        self.threads.add(threading.get_ident())
        time.sleep(0.1)
        return Outcome.STORED


def test_as_many_at_a_time_as_it_has_threads() -> None:
    slow = Slow()

    async def run() -> list[Outcome]:
        store = Threaded(slow, 4)
        return await asyncio.gather(*(store.put(EVENT, time.monotonic() + 8) for _ in range(8)))

    started = time.monotonic()
    assert asyncio.run(run()) == [Outcome.STORED] * 8
    assert 0.2 <= time.monotonic() - started < 0.7
    assert len(slow.threads) == 4
    assert threading.get_ident() not in slow.threads


def test_what_waited_until_its_deadline_is_told_so() -> None:
    async def run() -> list[Outcome | BaseException]:
        store, deadline = Threaded(Slow(), 1), time.monotonic() + 0.05
        return await asyncio.gather(*(store.put(EVENT, deadline) for _ in range(2)), return_exceptions=True)

    first, second = asyncio.run(run())
    assert first is Outcome.STORED
    assert isinstance(second, StoreUnavailable)


def test_an_error_comes_through() -> None:
    with pytest.raises(StoreUnavailable, match="deadline"):
        asyncio.run(Threaded(Slow(), 1).put(EVENT, 0))
