"""Turns what a store holds into events."""

from dataclasses import replace
from datetime import UTC, datetime

from core.event import Event, parse_stored, read_time

# For a row whose time of arrival cannot be read: it sorts as the oldest.
UNKNOWN_TIME = datetime.min.replace(tzinfo=UTC)
FOREIGN = "not written by the receiver"


def stored(key: object, body: object, received_at: object, signed_by: object) -> Event:
    """Return the event in a row.

    Its fields are read from the body again, so that every store and version gives the same.

    Args:
        key: The stored key, which is kept.
        body: The stored bytes.
        received_at: A time, or RFC 3339.
        signed_by: The stored text; anything else is ``unknown``.

    Returns:
        The event; `foreign` if the row has no key, body or time of arrival of ours.
    """
    arrival = received_at if isinstance(received_at, datetime) else read_time(received_at)
    if not isinstance(key, str) or not isinstance(body, bytes) or arrival is None or not arrival.tzinfo:
        return foreign(str(key), body if isinstance(body, bytes) else b"", arrival)
    event = parse_stored(body, arrival.astimezone(UTC), signed_by if isinstance(signed_by, str) else "unknown")
    return event if event.key == key else replace(event, key=key)


def foreign(key: str, body: bytes = b"", received_at: datetime | None = None) -> Event:
    """Return a row that the receiver did not write, so that a listing shows it instead of ending.

    Args:
        key: What identifies the row in its store.
        body: What it contains, if that can be said in bytes.
        received_at: When it arrived, if known.
    """
    event = parse_stored(body, received_at if received_at and received_at.tzinfo else UNKNOWN_TIME)
    return replace(event, key=key, parsed=False, fault=FOREIGN)
