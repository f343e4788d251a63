"""Writes concurrent deliveries in one commit, for stores in which the commit is the main cost."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

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


class _Waiting:
    """An event that is not committed yet, and whom to tell.

    Attributes:
        event: The event.
        deadline: As in `core.stores.contract.Store.put`.
        timer: Ends it at its deadline, if there is little time.
    """

    __slots__ = ("_done", "deadline", "event", "timer")

    def __init__(self, event: Event, deadline: float, done: Callable[[Outcome | Exception], object]) -> None:
        self.event = event
        self.deadline = deadline
        self.timer: asyncio.TimerHandle | None = None
        self._done: Callable[[Outcome | Exception], object] | None = done

    def end(self, result: Outcome | Exception) -> None:
        """Tell the result, once."""
        if self.timer:
            self.timer.cancel()
        done, self._done = self._done, None
        if done:
            try:
                done(result)
            except (Exception, asyncio.CancelledError) as bug:  # the others of its group are to be told theirs
                asyncio.get_running_loop().call_exception_handler({"message": "after a commit", "exception": bug})


class GroupedStore(ABC):
    """Groups without a timer: events that arrive during one commit are written together in the next.

    So a single delivery is written at once, and concurrent ones share a commit. Each is answered only after its own
    commit. If the store is unavailable, all waiting events fail at once. Groups are written in the order of arrival,
    and before the earliest deadline in the group.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
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
        stored: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.begin(event, deadline, partial(_finish, stored))
        return stored

    def begin(self, event: Event, deadline: float, done: Callable[[Outcome | Exception], object]) -> None:
        """Call ``done`` with the outcome, or with what prevents it. If too many are waiting, raise, as `put` does.

        Right after the commit: a future's callback waits for the next turn of the event loop, and costs a tenth of a
        delivery.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise StoreUnavailableError("too_many_waiting")
        waiting = _Waiting(event, deadline, done)
        self._waiting.append(waiting)
        loop = asyncio.get_running_loop()
        if self._writer is None:
            self._writer = loop.create_task(self._run())
        seconds = deadline - time.monotonic()
        if seconds < _AMPLE:
            # An event whose body arrived late may wait behind a group with a later deadline.
            waiting.timer = loop.call_later(seconds, waiting.end, StoreUnavailableError("deadline"))

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

    async def _write_group(self, group: list[_Waiting]) -> None:
        try:
            outcomes = await self.write([each.event for each in group], min(each.deadline for each in group))
            pairs = [*zip(group, outcomes, strict=True)]
        except RowsRefusedError as refused:
            # Nothing was written. Written one by one, a refused row does not affect the others.
            if len(group) == 1:
                group[0].end(StoreUnavailableError(f"row_refused:{refused.reason}"))
            else:
                for one in group:
                    await self._write_group([one])
        except StoreUnavailableError as unavailable:
            group += self._waiting
            self._waiting.clear()
            for each in group:
                each.end(unavailable)
        except Exception as bug:
            for each in group:
                each.end(bug)
        else:
            for each, outcome in pairs:
                each.end(outcome or StoreUnavailableError("not_stored"))


def _finish(stored: "asyncio.Future[Outcome]", result: Outcome | Exception) -> None:
    if stored.done():  # its caller waits no longer
        return
    if isinstance(result, Exception):
        stored.set_exception(result)
    else:
        stored.set_result(result)
