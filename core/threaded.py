"""A store that waits, for an event loop that may not."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from core.event import Event
from core.store import Outcome, Store


class Threaded:
    """An `core.store.AsyncStore` that has a `core.store.Store` wait on threads of its own.

    Args:
        store: The store; safe to call from several threads.
        threads: How many events it may be given at a time. More wait, and the deadline of an event is for both.
    """

    def __init__(self, store: Store, threads: int) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(threads)

    async def put(self, event: Event, deadline: float) -> Outcome:
        """Store ``event``; see `core.store.Store.put`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._store.put, event, deadline)
