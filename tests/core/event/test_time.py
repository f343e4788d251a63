"""Times, with any number of digits, and how they are written."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.event import rfc3339
from tests.core.event.reading import edited

SECOND = datetime(2024, 5, 29, 10, 34, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-05-29T10:34:03Z", SECOND),
        ("2024-05-29T10:34:03.5Z", SECOND + timedelta(seconds=0.5)),
        ("2024-05-29T10:34:03.970415Z", SECOND + timedelta(microseconds=970_415)),
        ("2024-05-29T10:34:03.970415999Z", SECOND + timedelta(microseconds=970_415)),
        ("2024-05-29T10:34:03+00:00", SECOND),
        ("2024-05-29T10:34:03-00:00", SECOND),
        ("2024-05-29T12:34:03+02:00", SECOND),
        ("2024-05-28T22:49:03-11:45", SECOND),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
        ("0001-01-01T00:00:00+01:00", None),
        ("9999-12-31T23:59:59-01:00", None),
        ("10000-01-01T00:00:00Z", None),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60.25Z", datetime(2017, 1, 1, 0, 0, 0, 250_000, UTC)),
        ("1990-12-31T15:59:60-08:00", datetime(1991, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:60Z", None),
        ("2016-12-31T23:59:61Z", None),
        ("2016-12-31T23:59:60", None),
        ("2016-12-31T23:60:00Z", None),
        ("2024-05-29t10:34:03z", SECOND),
        ("2024-05-29T10:34:03.970415999z", SECOND + timedelta(microseconds=970_415)),
        ("2016-12-31t23:59:60z", datetime(2017, 1, 1, tzinfo=UTC)),
        # "separated by (say) a space character": https://www.rfc-editor.org/rfc/rfc3339#section-5.6
        ("2024-05-29 10:34:03z", SECOND),
        ("12000-01-01T00:00:00Z", None),
        ("2024-02-30T00:00:00Z", None),
        ("2024-05-29T10:34:03", None),
        ("2024-05-29", None),
        ("1716978843", None),
        ("", None),
        ("\ud800", None),
        (1_716_978_843, None),
        (1.5, None),
        (True, None),
        (None, None),
        ([], None),
        ({}, None),
    ],
)
def test_timestamp(text: Any, time: datetime | None) -> None:
    event = edited({"event.timestamp": text})
    assert event.timestamp == time
    assert event.fault == (None if time else "no timestamp")
    if event.timestamp:
        assert event.timestamp.tzinfo is UTC


TIMES = st.datetimes(timezones=st.just(UTC))


@given(TIMES, TIMES)
@example(SECOND, SECOND + timedelta(microseconds=1))
@example(SECOND.replace(year=999), SECOND)
def test_rfc3339_sorts_by_time(one: datetime, other: datetime) -> None:
    assert (rfc3339(one) < rfc3339(other)) == (one < other)
    assert datetime.fromisoformat(rfc3339(one)) == one


def test_rfc3339_has_always_six_digits() -> None:
    assert rfc3339(SECOND) == "2024-05-29T10:34:03.000000Z"
    assert rfc3339(SECOND.replace(microsecond=970_400)) == "2024-05-29T10:34:03.970400Z"
    assert rfc3339(datetime.min.replace(tzinfo=timezone(timedelta()))) == "0001-01-01T00:00:00.000000Z"
