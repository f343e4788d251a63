"""Adapts a blocking store for an event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from core.event import Event
from core.stores.contract import Outcome, Store


class Threaded:
    """Calls a blocking store on separate threads, so that the event loop never blocks.

    If no thread is free in time, `put` raises `core.stores.contract.StoreUnavailableError` with the reason
    ``deadline``, as long as the store respects `core.service.attempts`.

    Args:
        store: The store.
        threads: The maximum of concurrent calls.
    """

    def __init__(self, store: Store, threads: int) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(threads)

    def put(self, event: Event, deadline: float) -> "asyncio.Future[Outcome]":
        """Put ``event``; see `core.stores.contract.AsyncStore`."""
        return asyncio.get_running_loop().run_in_executor(self._threads, self._store.put, event, deadline)

    async def open(self) -> None:
        """Do nothing: a blocking store connects at its first event."""

    async def close(self) -> None:
        """Wait for running calls, each until its deadline at most, and end the threads."""
        await asyncio.to_thread(self._threads.shutdown)
