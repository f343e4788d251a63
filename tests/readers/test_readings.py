"""Readings of events in the order of their own times, however they are merged."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.event import Event, parse_stored, rfc3339
from core.readings import Reading, readings
from readers.contract import Reader
from readers.query import Query, newest_first
from readers.readings import newest_readings, newest_rows
from readers.rows import FOREIGN, foreign, stored
from tests.support.deliveries import body

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


class Listed(Reader):
    """A store in memory."""

    def __init__(self, events: list[Event]) -> None:
        self.read = 0
        self._events = events

    def matching(self, query: Query) -> Iterator[Event]:
        for event in newest_first(self._events, 0):
            self.read += 1
            yield event


def event(number: int, minutes: float, samples: list[float]) -> Event:
    """Return an event of ``minutes`` ago with samples that are so much older than it; newer, if negative."""
    sent = NOW - timedelta(minutes=minutes)
    times = [rfc3339(sent - timedelta(minutes=age)) for age in samples]
    payload = {
        "value": 1,
        "updateTime": times[0],
        "samples": [{"value": index, "sampleTime": time} for index, time in enumerate(times)],
    }
    content = body(eventId=f"e{number}", timestamp=rfc3339(sent), data={"temperature": payload})
    return parse_stored(content, sent)


def order(reading: Reading) -> str:
    return reading.time or ""


@given(
    st.lists(
        st.tuples(st.floats(0, 60), st.lists(st.floats(-10, 120), min_size=1, max_size=4)), min_size=1, max_size=8
    ),
    st.none() | st.integers(0, 90),
    st.none() | st.integers(0, 90),
    st.integers(0, 5),
)
def test_readings_are_those_of_all_events_newest_first(
    sent: list[tuple[float, list[float]]], since: int | None, until: int | None, limit: int
) -> None:
    events = [event(number, minutes, samples) for number, (minutes, samples) in enumerate(sent)]
    query = Query(
        since=None if since is None else NOW - timedelta(minutes=since),
        until=None if until is None else NOW - timedelta(minutes=until),
        limit=limit,
    )
    expected = [
        reading
        for event in events
        for reading in readings(event)
        if (query.since is None or order(reading) >= rfc3339(query.since))
        and (query.until is None or order(reading) < rfc3339(query.until))
    ]
    found = [row.reading for row in newest_readings(Listed(events), query)]
    assert len(found) == min(len(expected), limit or len(expected))
    assert list(map(order, found)) == sorted(map(order, expected), reverse=True)[: len(found)]
    assert {repr(reading) for reading in found} <= {repr(reading) for reading in expected}


def test_newest_readings_read_little_more_than_they_return() -> None:
    reader = Listed([event(number, number * 5, [0]) for number in range(1_000)])
    assert len(list(newest_readings(reader, Query(limit=20)))) == 20
    assert reader.read < 64


def test_latest_rows_are_the_first_sample_of_each_quantity() -> None:
    assert [row.reading.value for row in newest_rows(iter([event(1, 0, [0, 5]), event(2, 9, [0])]))] == [0, 0]


def test_key_of_the_store_is_kept() -> None:
    [one] = newest_rows(iter([stored("theirs", body(), rfc3339(NOW), "hs256:0")]))
    assert (one.event.key, one.reading.key) == ("theirs", "theirs")


@pytest.mark.parametrize(
    ("key", "content", "received_at"),
    [
        (None, b"{}", NOW),
        ("k", "text", NOW),
        ("k", b"{}", "today"),
        ("k", b"{}", NOW.replace(tzinfo=None)),
        ("k", b"{}", None),
    ],
)
def test_row_that_is_not_ours_is_foreign(key: object, content: object, received_at: object) -> None:
    found = stored(key, content, received_at, 7)
    assert (found.parsed, found.fault, found.key) == (False, FOREIGN, str(key))
    assert found.received_at.tzinfo
    assert list(newest_first([found, foreign("a", b"", NOW)], 0))[-1] is found or received_at == NOW
