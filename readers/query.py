"""Which events to read."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from core.event import Event

# The labels of the events by which dtconn proves an endpoint, and the name of the sensor that it emulates for that.
PROOF = {"dtconn": "proof", "name": "dtconn: proof"}

_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Conditions that an event meets, and how many of the newest to return.

    Attributes:
        device_id: Of this device only.
        event_types: Of these types only; all if empty.
        labels: With these labels only: name and value; an empty value stands for any.
        since: Not older than this, by `event_time`.
        until: Older than this.
        limit: At most this many, the newest; 0 for all.
    """

    device_id: str | None = None
    event_types: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 0

    def widened(self) -> "Query":
        """Return what to read to find the newest event of each device and type, whatever its labels."""
        return replace(self, labels={}, limit=0)

    def matches(self, event: Event) -> bool:
        """Return whether an event meets every condition."""
        time = event_time(event)
        return (
            self.device_id in (None, event.device_id)
            and (not self.event_types or event.event_type in self.event_types)
            and (self.since is None or time >= self.since)
            and (self.until is None or time < self.until)
            and all(_has(event.labels, name, value) for name, value in self.labels.items())
        )


def event_time(event: Event) -> datetime:
    """Return the time of an event: its own, or that of its arrival if it has none."""
    return event.timestamp or event.received_at


def is_proof(event: Event) -> bool:
    """Return whether dtconn made an event to prove an endpoint: an emulator's, which says so."""
    labels = event.labels
    return (event.device_id or "").startswith("emu") and any(labels.get(name) == text for name, text in PROOF.items())


def newest_first(events: Iterable[Event], limit: int) -> Iterator[Event]:
    """Sort events of a store that has no order by time. With a limit, no more than ``limit`` are in memory."""

    def order(event: Event) -> tuple[timedelta, str]:
        return _LAST - event_time(event), event.key

    return iter(heapq.nsmallest(limit, events, key=order) if limit else sorted(events, key=order))


def newest_of_each(events: Iterable[Event], query: Query) -> Iterator[Event]:
    """Return the newest event of each device and type if it matches; only those are kept in memory.

    Args:
        events: At least those that match ``query.widened()``, in any order.
        query: Its labels are those of the newest event: a sensor that was moved to another floor is not listed on the
            old one. Its limit does not count.
    """
    newest: dict[tuple[str | None, str | None], Event] = {}
    for event in filter(query.widened().matches, events):
        place = event.device_id, event.event_type
        if event.parsed and (place not in newest or event_time(event) > event_time(newest[place])):
            newest[place] = event
    return newest_first(filter(query.matches, newest.values()), 0)


def _has(labels: Mapping[str, str], name: str, value: str) -> bool:
    return labels.get(name) == value if value else name in labels
