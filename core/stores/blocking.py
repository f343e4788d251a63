"""Adapts an `AsyncStore` for a platform that calls the receiver on threads."""

import asyncio
import threading
import time

from core.environment import SettingsError
from core.event import Event
from core.stores.contract import AsyncStore, Outcome, StoreUnavailableError


class Blocking:
    """Runs an `AsyncStore` in an event loop on a separate thread: for example, Postgres behind a Lambda function.

    The loop starts at the first event, because a platform may freeze or fork the process before.

    Args:
        store: The store. It is opened before the first event; if that fails, the next event retries.
    """

    def __init__(self, store: AsyncStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._is_open = False

    def put(self, event: Event, deadline: float) -> Outcome:
        """Put ``event``; see `core.stores.contract.Store`."""
        put = asyncio.run_coroutine_threadsafe(self._put(event, deadline), self._running())
        try:
            return put.result(deadline - time.monotonic())
        except TimeoutError:
            put.cancel()
            raise StoreUnavailableError("deadline") from None

    async def _put(self, event: Event, deadline: float) -> Outcome:
        async with self._opening:
            if not self._is_open:
                try:
                    await self._store.open()
                except SettingsError as error:
                    raise StoreUnavailableError(str(error)) from None
                self._is_open = True
        return await self._store.put(event, deadline)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="store", daemon=True).start()
        return self._loop
