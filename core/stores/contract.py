"""The contract every store implements."""

from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

from core.event import Event


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a write: the event is durable. Two are equal if their names are.

    Attributes:
        name: ``stored`` or ``duplicate``.
        note: A remark for the log line of this delivery, which then has severity WARNING.
    """

    name: str
    note: str | None = field(default=None, compare=False)

    STORED: ClassVar["Outcome"]
    DUPLICATE: ClassVar["Outcome"]

    def noting(self, *notes: str | None) -> "Outcome":
        """Return the same outcome with ``notes``, except None."""
        texts = [note for note in (self.note, *notes) if note]
        return replace(self, note="; ".join(texts)) if texts else self


Outcome.STORED = Outcome("stored")
Outcome.DUPLICATE = Outcome("duplicate")


class StoreUnavailableError(Exception):
    """The store did not confirm the event, which may or may not be stored: DT must retry.

    Attributes:
        reason: Short and safe to log, such as ``timeout`` or a service's own error code. Never a service's message:
            it may quote the row.
        note: As in `Outcome`.
    """

    def __init__(self, reason: str, note: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.note = note


class Store(Protocol):
    """One atomic insert-if-absent of key and payload together. Safe for calls from many threads at once."""

    def put(self, event: Event, deadline: float) -> Outcome:
        """Return once ``event`` is durable under ``event.key``.

        Args:
            event: The event to store.
            deadline: ``time.monotonic()`` seconds after which the result is no longer used.

        Raises:
            StoreUnavailableError: The event is not confirmed.
        """
        ...


class AsyncStore(Protocol):
    """The same contract as `Store`, for one event loop. Opened before the first event and closed after the last.

    If it also has a method ``begin(event, deadline, done)``, as `core.stores.grouped.GroupedStore` has, the server
    calls that instead of `put`, which saves a task for each event. ``done`` gets the outcome or the exception, later.
    """

    async def open(self) -> None:
        """Connect. An unavailable service is not an error: `put` reconnects.

        Raises:
            core.environment.SettingsError: The configuration cannot work.
        """
        ...

    async def close(self) -> None:
        """Finish pending writes, and disconnect."""
        ...

    def put(self, event: Event, deadline: float) -> Awaitable[Outcome]:
        """Return once ``event`` is durable under ``event.key``; arguments and errors as in `Store.put`.

        A coroutine, or a future, which needs no task.
        """
        ...


class Queue(Protocol):
    """A queue that does not detect duplicates; `core.stores.dedup.Deduplicated` makes it a `Store`."""

    def send(self, event: Event, deadline: float) -> None:
        """Return once the queue has accepted ``event``; arguments and errors as in `Store.put`."""
        ...


class SeenKeys(Protocol):
    """A durable set of event keys that outlives DT's 12 hours of retries."""

    def contains(self, key: str, deadline: float) -> bool:
        """Return whether ``key`` was marked; errors as in `Store.put`."""
        ...

    def mark(self, key: str, deadline: float) -> None:
        """Remember ``key``; errors as in `Store.put`."""
        ...
