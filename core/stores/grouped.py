"""Writes concurrent deliveries in one commit, for stores in which the commit is the main cost."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

from core.event import Event
from core.stores.contract import Outcome, StoreUnavailableError

# One commit of 200 rows is within 10 % of the best rate per row; more rows only add latency.
MAX_GROUP = 200
# About 1 MB of memory at 400 bytes an event. If the sender is faster than the store, events fail at once.
MAX_WAITING = 2_000
# Seconds for the preceding group and an event's own: each write takes 4 s at most.
_AMPLE = 7.5


class RowsRefusedError(Exception):
    """The store refused one of these events because of its content. The others can be stored one by one.

    Attributes:
        reason: As in `StoreUnavailableError`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class GroupedStore(ABC):
    """Groups without a timer: events that arrive during one commit are written together in the next.

    So a single delivery is written at once, and concurrent ones share a commit. Each is answered only after its own
    commit. If the store is unavailable, all waiting events fail at once. Groups are written in the order of arrival,
    and before the earliest deadline in the group.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Event, float, asyncio.Future[Outcome]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    @abstractmethod
    async def write(self, events: Sequence[Event], deadline: float) -> Sequence[Outcome | None]:
        """Make all of ``events`` durable, or none of them. Called for one group at a time.

        Args:
            events: At least one.
            deadline: The earliest deadline; as in `core.stores.contract.Store.put`.

        Returns:
            The outcome of each event; None if the event is missing although nothing failed: a trigger dropped it.

        Raises:
            StoreUnavailableError: The events are not confirmed.
            RowsRefusedError: One event is refused, and none is stored.
        """

    def put(self, event: Event, deadline: float) -> "asyncio.Future[Outcome]":
        """Return a future that is done once ``event`` is durable; see `core.stores.contract.AsyncStore`."""
        if len(self._waiting) >= MAX_WAITING:
            raise StoreUnavailableError("too_many_waiting")
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((event, deadline, stored))
        if self._writer is None:
            self._writer = loop.create_task(self._run())
        seconds = deadline - time.monotonic()
        if seconds < _AMPLE:
            # An event whose body arrived late may wait behind a group with a later deadline.
            loop.call_later(seconds, _fail, stored, StoreUnavailableError("deadline"))
        return stored

    async def drain(self) -> None:
        """Return when all waiting events are written or have failed."""
        while self._writer:
            await asyncio.wait([self._writer])

    async def _run(self) -> None:
        try:
            while self._waiting:
                size = min(len(self._waiting), MAX_GROUP)
                await self._write_group([self._waiting.popleft() for _ in range(size)])
        finally:
            self._writer = None

    async def _write_group(self, group: list[tuple[Event, float, asyncio.Future[Outcome]]]) -> None:
        try:
            outcomes = await self.write([event for event, _, _ in group], min(deadline for _, deadline, _ in group))
        except RowsRefusedError as refused:
            # Nothing was written. Written one by one, a refused row does not affect the others.
            if len(group) == 1:
                _fail_all(group, StoreUnavailableError(f"row_refused:{refused.reason}"))
            else:
                for one in group:
                    await self._write_group([one])
        except StoreUnavailableError as unavailable:
            group += self._waiting
            self._waiting.clear()
            _fail_all(group, unavailable)
        except Exception as bug:
            _fail_all(group, bug)
        else:
            for (_, _, stored), outcome in zip(group, outcomes, strict=True):
                if outcome is None:
                    _fail(stored, StoreUnavailableError("not_stored"))
                elif not stored.done():
                    stored.set_result(outcome)


def _fail_all(group: list[tuple[Event, float, asyncio.Future[Outcome]]], error: Exception) -> None:
    for _, _, stored in group:
        _fail(stored, error)


def _fail(stored: asyncio.Future[Outcome], error: Exception) -> None:
    if not stored.done():
        stored.set_exception(error)
