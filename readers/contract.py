"""The contract every reader implements."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import ClassVar, NamedTuple, Self, TypeVar

from core.event import Event, rfc3339
from readers import ReaderError
from readers.query import Query, newest_of_each
from readers.rows import UNKNOWN_TIME
from readers.seen import newest_sign, newest_signs

T = TypeVar("T")

# Events that are read, or given back, at a time.
BATCH = 500
# Arrivals of this time before the watermark are read again. A receiver stamps an event on arrival and has 8 s to store
# it; the rest is for the clocks of several receivers.
OVERLAP = timedelta(minutes=5)


class Batch(NamedTuple):
    """Events in the order in which the store gives them, and the position after them.

    Attributes:
        events: May contain events of an earlier batch again.
        position: Where `Reader.follow` continues; opaque text.
    """

    events: Sequence[Event]
    position: str


class Reader(ABC):
    """Reads one store, and changes nothing in it. A context manager.

    Every method raises `readers.ReaderError` if the store cannot be read.
    """

    # Whether the store is a queue, which has no history: only `events` works.
    is_queue: ClassVar[bool] = False
    # What reading does to a queue that cannot be peeked, as a sentence; None if reading changes nothing.
    receiving: ClassVar[str | None] = None
    # Whether `arrived` yields the oldest arrival first.
    is_in_order: ClassVar[bool] = False
    # The URL without user, password and options; `readers.sources.open_reader` sets it.
    url: str = ""
    # Seconds between two calls of `follow` to see events as they arrive; None if each call reads the whole store.
    poll_seconds: ClassVar[float | None] = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - not every store has connections
        """Release connections."""

    def place(self) -> str:
        """Return what tells this store from another one with the same URL, such as its region; empty if nothing can."""
        return ""

    def identity(self) -> str:
        """Return the name under which to keep a position: safe to print and to store."""
        return f"{self.url} {self.place()}".strip()

    @abstractmethod
    def matching(self, query: Query) -> Iterator[Event]:
        """Yield at least all events that ``query`` matches, newest first by event time; a queue, in its order.

        Other events are left out by `events`, which also stops at the limit. A row that the receiver did not write is
        yielded as `readers.rows.foreign`.
        """

    def events(self, query: Query) -> Iterator[Event]:
        """Yield the events that ``query`` asks for, newest first by event time; a queue, in its order."""
        found = (event for event in self.matching(query) if query.matches(event))
        return islice(found, query.limit or None)

    def cost(self, query: Query) -> str | None:  # noqa: ARG002
        """Return what a query reads and about what that costs, as a sentence.

        None if it costs nothing, or if the store finds what the query returns: then it reads little more.
        """
        return None

    def latest(self, query: Query) -> Iterator[Event]:
        """Yield the newest event of each device and type in the time, if it has the labels; there is no limit."""
        return newest_of_each(self.matching(query.widened()), query)

    def latest_cost(self, query: Query) -> str | None:
        """Return what `latest` reads and costs, as `cost` does."""
        return self.cost(query)

    def last_signs(self, query: Query) -> Iterator[Event]:
        """Yield the event by which each device was last seen, as `readers.seen` says, if its labels match."""
        if query.device_id is None:
            found = newest_signs(self.arrived(None))
        else:
            found = newest_sign(self.matching(Query(device_id=query.device_id)))
        return filter(query.matches, found)

    def last_signs_cost(self, query: Query) -> str | None:
        """Return what `last_signs` reads and costs, as `cost` does."""
        return self.latest_cost(query)

    def arrived(self, since: datetime | None) -> Iterator[Event]:  # noqa: ARG002
        """Yield at least all events that arrived at ``since`` or later; all if None."""
        raise ReaderError("A queue has no history. Run the worker of its cloud, which processes what it takes.")

    def arrivals(self, since: datetime | None) -> Iterator[tuple[datetime, Event]]:
        """Yield what `arrived` yields, each with the time at which it got into this store."""
        return ((event.received_at, event) for event in self.arrived(since))

    def arrived_cost(self, since: datetime | None) -> str | None:  # noqa: ARG002
        """Return what `arrived` reads and costs, as `cost` does."""
        return None

    def follow_cost(self, position: str | None) -> str | None:  # noqa: ARG002
        """Return what `follow` reads and costs, as `cost` does; by default as much as `arrived` from the beginning."""
        return self.arrived_cost(None)

    def end(self) -> str:
        """Return the position after everything that is stored now."""
        return rfc3339(datetime.now(UTC))

    def follow(self, position: str | None = None) -> Iterator[Batch]:
        """Yield everything that arrived since ``position``, and end when there is no more.

        Args:
            position: That of an earlier batch, also of another process; None or an empty text for the beginning.
        """
        watermark = datetime.fromisoformat(position) if position else None
        newest = watermark
        for arrivals in batches(self.arrivals(watermark - OVERLAP if watermark else None)):
            newest = max(newest or UNKNOWN_TIME, *(time for time, _ in arrivals))
            events = [event for _, event in arrivals]
            # Without an order, an event that arrived earlier may still come.
            yield Batch(events, _position(newest) if self.is_in_order else position or "")
        if newest:
            yield Batch((), _position(newest))


def batches(items: Iterator[T]) -> Iterator[list[T]]:
    """Group items into lists of `BATCH`."""
    while batch := list(islice(items, BATCH)):
        yield batch


def _position(newest: datetime) -> str:
    # A receiver whose clock is ahead must not hide what others receive until then.
    return rfc3339(min(newest, datetime.now(UTC)))
