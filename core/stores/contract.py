"""The contract every store implements."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

from core.event import Event


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a write: the event is durable. Two are equal if their names are.

    Attributes:
        name: ``stored`` or ``duplicate``.
        note: What the log line of this delivery should say besides, with severity WARNING.
    """

    name: str
    note: str | None = field(default=None, compare=False)

    STORED: ClassVar["Outcome"]
    DUPLICATE: ClassVar["Outcome"]

    def noting(self, *notes: str | None) -> "Outcome":
        """Return the same outcome with those of ``notes`` that say something."""
        texts = [note for note in (self.note, *notes) if note]
        return replace(self, note="; ".join(texts)) if texts else self


Outcome.STORED = Outcome("stored")
Outcome.DUPLICATE = Outcome("duplicate")


class StoreUnavailableError(Exception):
    """The store did not confirm the event, which may or may not be stored: DT has to deliver it again.

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
            deadline: ``time.monotonic()`` seconds after which the answer no longer matters.

        Raises:
            StoreUnavailableError: The event is not confirmed.
        """
        ...


class AsyncStore(Protocol):
    """The same contract as `Store`, for one event loop. Opened before the first event and closed after the last."""

    async def open(self) -> None:
        """Connect. A service that is away for now is no error: `put` connects again.

        Raises:
            core.environment.SettingsError: It cannot work as it is set up.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way, and disconnect."""
        ...

    async def put(self, event: Event, deadline: float) -> Outcome:
        """Return once ``event`` is durable under ``event.key``; arguments and errors as in `Store.put`."""
        ...


class Queue(Protocol):
    """A queue that cannot refuse a second copy; `core.stores.dedup.Deduplicated` makes a `Store` of it."""

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
