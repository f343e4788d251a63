"""When a device was last seen: the one rule of `dtconn check`, the receiver's page, and the view `seen` in Postgres.

By the newest event of any type, also one that the receiver does not know. What a sensor sent late from its memory says
nothing about now. An event whose time is after its arrival counts as of its arrival: the clock that set it is ahead.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from core.event import Event
from core.values import data_of
from readers.rows import FOREIGN, UNKNOWN_TIME


def seen_at(event: Event) -> datetime | None:
    """Return when an event shows that its device was there; None if it was sent late, or has no time of its own."""
    data = data_of(event)
    if event.timestamp is None or (type(data) is dict and data.get("isBackfilled") is True):
        return None
    return min(event.timestamp, event.received_at)


def newest_signs(events: Iterable[Event]) -> Iterator[Event]:
    """Return the event by which each device was last seen, in any order given; only those are kept in memory.

    Of a device that only sent late readings, it is the newest of these.
    """
    found: dict[str | None, Event] = {}
    for event in filter(_counts, events):
        found[event.device_id] = max(found.get(event.device_id, event), event, key=_order)
    return iter(found.values())


def newest_sign(events: Iterable[Event]) -> Iterator[Event]:
    """Do the same for the events of one device, newest first by their own time, and read no more than is needed."""
    found: Event | None = None
    for event in filter(_counts, events):
        found = max(found or event, event, key=_order)
        # All that follow are from before this time.
        if (seen_at(found) or UNKNOWN_TIME) >= (event.timestamp or UNKNOWN_TIME):
            break
    if found:
        yield found


def _counts(event: Event) -> bool:
    return bool(event.device_id and event.event_type and event.timestamp) and event.fault != FOREIGN


def _order(event: Event) -> tuple[datetime, datetime, str]:
    return seen_at(event) or UNKNOWN_TIME, event.timestamp or UNKNOWN_TIME, event.key
