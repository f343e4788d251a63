"""What a place for events must promise, whichever cloud it is in."""

import enum
from typing import Protocol

from core.event import Event


class Outcome(enum.Enum):
    """What became of an event that is now durable."""

    STORED = "stored"
    DUPLICATE = "duplicate"


class StoreUnavailable(Exception):
    """The store did not confirm the event, which may or may not be there: DT has to deliver it again.

    Attributes:
        cause: Short and safe to log, such as ``timeout`` or a service's own error code. Never a message of the
            service's: those may quote the row.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Store(Protocol):
    """One atomic insert-if-absent of key and payload together. Preferred wherever the cloud has one."""

    def put(self, event: Event, deadline: float) -> Outcome:
        """Return once ``event`` is durable under ``event.key``.

        Args:
            event: The event to keep.
            deadline: ``time.monotonic()`` seconds after which the answer no longer matters.

        Raises:
            StoreUnavailable: The event is not confirmed.
        """
        ...


class AsyncStore(Protocol):
    """The same promise as `Store`, for an event loop."""

    async def put(self, event: Event, deadline: float) -> Outcome:
        """Return once ``event`` is durable under ``event.key``; arguments and errors as in `Store.put`."""
        ...


class Queue(Protocol):
    """A queue that cannot refuse a second copy by itself; `core.dedup.Deduplicated` makes a `Store` of it."""

    def send(self, event: Event, deadline: float) -> None:
        """Return once the queue has accepted ``event``; arguments and errors as in `Store.put`."""
        ...


class SeenKeys(Protocol):
    """A durable set of event keys that outlives DT's 12 hours of retries."""

    def contains(self, key: str, deadline: float) -> bool:
        """Tell whether ``key`` was marked; errors as in `Store.put`."""
        ...

    def mark(self, key: str, deadline: float) -> None:
        """Remember ``key``; errors as in `Store.put`."""
        ...
