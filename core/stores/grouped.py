"""Concurrent deliveries in one commit: for stores in which the commit, not the row, is what costs."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

from core.event import Event
from core.stores.contract import Outcome, StoreUnavailableError

# One commit of 200 rows is within 10 % of the best rate per row; what is above only adds latency.
MAX_GROUP = 200
# With 400 bytes an event this is about 1 MB of memory; a sender that outruns the store is told so at once.
MAX_WAITING = 2_000
# Seconds in which both the group ahead and an event's own are written or given up: a write takes 4 s at most.
_AMPLE = 7.5


class RowsRefusedError(Exception):
    """The store refused one of these events for what is in it. Alone, each of the others can be stored.

    Attributes:
        reason: As in `StoreUnavailableError`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class GroupedStore(ABC):
    """Groups by what waits, not by a timer: while one commit is on its way the next events gather, and go together.

    A single delivery is thus written at once, and many at a time share one commit. Each is answered only after its own
    commit. When the store is unavailable, all that wait are told so at once. Groups go in the order of arrival, each
    before the earliest deadline in it: so each event is answered before its own.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Event, float, asyncio.Future[Outcome]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    @abstractmethod
    async def write(self, events: Sequence[Event], deadline: float) -> Sequence[Outcome | None]:
        """Make all of ``events`` durable, or none of them. Called for one group at a time.

        Args:
            events: At least one.
            deadline: As in `core.stores.contract.Store.put`, the earliest of them.

        Returns:
            What became of each. None is one that is not there although the store refused nothing: a trigger dropped it.

        Raises:
            StoreUnavailableError: They are not confirmed.
            RowsRefusedError: One of them is refused, and none is stored.
        """

    async def put(self, event: Event, deadline: float) -> Outcome:
        """Return once ``event`` is durable; see `core.stores.contract.AsyncStore`."""
        if len(self._waiting) >= MAX_WAITING:
            raise StoreUnavailableError("too_many_waiting")
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((event, deadline, stored))
        if self._writer is None:
            self._writer = loop.create_task(self._run())
        if deadline - time.monotonic() > _AMPLE:
            return await stored
        # One whose body came late may wait behind a group that has more time.
        try:
            async with asyncio.timeout_at(loop.time() + deadline - time.monotonic()):
                return await stored
        except TimeoutError:
            raise StoreUnavailableError("deadline") from None

    async def drain(self) -> None:
        """Return once all that waits is written, or is known not to be."""
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
            # All or nothing was written, which is nothing. Alone, one strange row cannot refuse its neighbours.
            if len(group) == 1:
                _settle(group, StoreUnavailableError(f"row_refused:{refused.reason}"))
            else:
                for one in group:
                    await self._write_group([one])
        except StoreUnavailableError as unavailable:
            group += self._waiting
            self._waiting.clear()
            _settle(group, unavailable)
        except Exception as bug:
            _settle(group, bug)
        else:
            for (_, _, stored), outcome in zip(group, outcomes, strict=True):
                if stored.done():
                    continue
                if outcome:
                    stored.set_result(outcome)
                else:
                    stored.set_exception(StoreUnavailableError("not_stored"))


def _settle(group: list[tuple[Event, float, asyncio.Future[Outcome]]], error: Exception) -> None:
    for _, _, stored in group:
        if not stored.done():
            stored.set_exception(error)
