"""A store for an event loop, called on threads."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.environment import SettingsError
from core.event import Event
from core.stores.blocking import Blocking
from core.stores.contract import Outcome, StoreUnavailableError
from tests.core.test_dedup import event


class Loop:
    """A store that keeps events in memory, and notes on which thread it was called."""

    def __init__(self, faults: int = 0, seconds: float = 0) -> None:
        self.keys: set[str] = set()
        self.threads: set[int] = set()
        self.opened = 0
        self._faults = faults
        self._seconds = seconds

    async def open(self) -> None:
        self.opened += 1
        await asyncio.sleep(0.01)
        if self.opened <= self._faults:
            raise SettingsError(["Set this."])

    async def close(self) -> None:
        raise AssertionError("nobody closes it: the process ends")

    async def put(self, event: Event, deadline: float) -> Outcome:
        self.threads.add(threading.get_ident())
        await asyncio.sleep(self._seconds)
        if event.key in self.keys:
            return Outcome.DUPLICATE
        self.keys.add(event.key)
        return Outcome.STORED


def soon(seconds: float = 5) -> float:
    return time.monotonic() + seconds


def test_threads_share_one_event_loop() -> None:
    there = Loop()
    store = Blocking(there)
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda number: store.put(event(f"e{number % 20}"), soon()), range(40)))
    assert (outcomes.count(Outcome.STORED), outcomes.count(Outcome.DUPLICATE)) == (20, 20)
    assert (len(there.threads), there.opened) == (1, 1)
    assert threading.get_ident() not in there.threads


def test_silent_store_times_out_at_the_deadline() -> None:
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        Blocking(Loop(seconds=30)).put(event(), soon(0.2))
    assert caught.value.reason == "deadline"
    assert time.monotonic() - started < 2


def test_failed_open_is_retried_by_the_next_event() -> None:
    there = Loop(faults=1)
    store = Blocking(there)
    with pytest.raises(StoreUnavailableError, match=r"^Set this\.$"):
        store.put(event(), soon())
    assert store.put(event(), soon()) == Outcome.STORED
    assert store.put(event("another"), soon()) == Outcome.STORED
    assert there.opened == 2
