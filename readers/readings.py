"""Readings of a store, as rows."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import NamedTuple

from core.event import Event, rfc3339
from core.readings import Reading, readings
from readers.contract import BATCH, Reader
from readers.query import Query, event_time

# How much newer than its event a reading may be. DT sets an event's time when it arrives, after the times in it, and
# all captured deliveries agree; the rest is for a Cloud Connector whose clock is ahead.
_AHEAD = timedelta(minutes=10)
# Events that are merged at a time grow from this to BATCH: few rows need few events.
_FIRST_BATCH = 8


class ReadingRow(NamedTuple):
    """A reading, and the event that it is from."""

    reading: Reading
    event: Event


def newest_readings(reader: Reader, query: Query) -> Iterator[ReadingRow]:
    """Yield the readings of the events that match, newest first by their own time; a queue's, in its order.

    Args:
        reader: The store.
        query: ``since``, ``until`` and ``limit`` are for readings.
    """
    wide = readings_query(query)
    found = _in_its_order(reader, wide) if reader.is_queue else _newest_first(reader, wide)
    since, until = (rfc3339(time) if time else None for time in (query.since, query.until))
    yield from islice(
        (
            row
            for row in found
            if (since is None or (row.reading.time or "") >= since)
            and (until is None or (row.reading.time is not None and row.reading.time < until))
        ),
        query.limit or None,
    )


def readings_query(query: Query) -> Query:
    """Return which events to read for the readings of a query.

    A reading may be much older than its event, which a sensor may have sent late, and a little newer.
    """
    since = query.since
    if since:
        try:
            since -= _AHEAD
        except OverflowError:
            since = None
    return replace(query, since=since, until=None, limit=0)


def rows_of(event: Event) -> Iterator[ReadingRow]:
    """Yield the readings of an event, newest first; none if it could not be parsed."""
    if event.parsed:
        for reading in readings(event):
            yield ReadingRow(reading if reading.key == event.key else replace(reading, key=event.key), event)


def _in_its_order(reader: Reader, query: Query) -> Iterator[ReadingRow]:
    for event in reader.events(query):
        yield from rows_of(event)


def _newest_first(reader: Reader, query: Query) -> Iterator[ReadingRow]:
    """Merge: a reading is due once no event that follows can have a newer one."""
    waiting: list[ReadingRow] = []
    events, size = reader.events(query), _FIRST_BATCH
    while batch := list(islice(events, size)):
        size = min(size * 2, BATCH)
        for event in batch:
            waiting += rows_of(event)
        waiting.sort(key=_time, reverse=True)
        try:
            newest = rfc3339(event_time(batch[-1]) + _AHEAD)
        except OverflowError:
            continue
        due = bisect_left(waiting, True, key=lambda row: _time(row) <= newest)
        yield from waiting[:due]
        del waiting[:due]
    yield from waiting


def _time(row: ReadingRow) -> str:
    return row.reading.time or ""


def newest_rows(events: Iterator[Event]) -> Iterator[ReadingRow]:
    """Yield the newest reading of each quantity of each event: its first sample."""
    for event in events:
        seen = set()
        for row in rows_of(event):
            if row.reading.quantity not in seen:
                seen.add(row.reading.quantity)
                yield row
