"""The views that people query say what `core.readings.readings` says, in each database."""

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.event import EVENT_TYPES, Event, reread, rfc3339
from core.readings import QUANTITIES, readings
from core.receiver import DEADLINE
from core.store import AsyncStore
from heroku.postgres import PostgresStore
from local.sqlite import SqliteStore
from tests.support.deliveries import FIXTURES, body, needs_fixtures
from tests.support.postgres import Postgres, execute

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
COLUMNS = "key, device_id, project_id, event_type, quantity, value, text, unit, time, is_backfilled"
Ask = Callable[[str], list[tuple[Any, ...]]]
Database = tuple[Callable[[], AsyncStore], Ask]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Give what makes a store, and what asks its database."""
    if request.param == "sqlite":
        path = tmp_path / "events.db"

        def ask(statement: str) -> list[tuple[Any, ...]]:
            connection = sqlite3.connect(path)
            rows = connection.execute(statement).fetchall()
            connection.close()
            return rows

        yield lambda: SqliteStore(path), ask
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.create_database()
        yield lambda: PostgresStore(url), lambda statement: [tuple(row) for row in execute(url, statement)]


def put_all(database: Database, contents: list[bytes]) -> list[Event]:
    events = [reread(content, NOW) for content in contents]

    async def run() -> None:
        store = database[0]()
        await asyncio.gather(*(store.put(event, time.monotonic() + DEADLINE) for event in events))
        await store.close()  # type: ignore[attr-defined]

    asyncio.run(run())
    return events


def viewed(ask: Ask, view: str = "readings") -> list[tuple[Any, ...]]:
    rows = ask(f"SELECT {COLUMNS} FROM {view}")
    return sorted(((*row[:8], _micros(row[8]), bool(row[9])) for row in rows), key=repr)


def expected(events: list[Event]) -> list[tuple[Any, ...]]:
    found = [reading for event in events if event.parsed for reading in readings(event)]
    rows = [
        (
            reading.key,
            reading.device_id,
            reading.project_id,
            reading.event_type,
            reading.quantity,
            reading.value,
            reading.text,
            reading.unit,
            _micros(reading.time),
            reading.is_backfilled,
        )
        for reading in found
    ]
    return sorted(rows, key=repr)


def _micros(value: str | datetime | None) -> str | None:
    return rfc3339(datetime.fromisoformat(value) if isinstance(value, str) else value) if value else None


def event(event_type: str, payload: Any) -> bytes:
    name = f"{event_type}-{hashlib.sha256(repr(payload).encode()).hexdigest()[:8]}"
    return body(eventType=event_type, eventId=name, data={event_type: payload})


TIME = "2026-11-21T08:00:00.000001Z"
SAMPLES = [
    {"temperature": 20.5, "relativeHumidity": 40, "sampleTime": "2026-11-21T08:00:00Z"},
    {"temperature": -1, "relativeHumidity": 41.25, "sampleTime": "2026-11-21T07:55:00.123456123Z"},
]


def test_the_quantities_are_those_of_core(database: Database) -> None:
    """One event of each type with every field that there is, numbers and texts alike."""
    contents = []
    for event_type in sorted(EVENT_TYPES - {"labelsChanged", "ping"}):
        named = [quantity for quantity in QUANTITIES if quantity.event_type == event_type]
        assert named
        for value in (1.5, "text"):
            payload = {quantity.field: value for quantity in named if quantity.field} | {"updateTime": TIME}
            contents.append(event(event_type, payload))
    events = put_all(database, list(dict.fromkeys(contents)))  # touch has no field, so that its two are one
    assert viewed(database[1]) == expected(events)
    seen = {(row[3], row[4], row[7]) for row in viewed(database[1])}
    assert seen == {(quantity.event_type, quantity.quantity, quantity.unit) for quantity in QUANTITIES}


STRANGE = {
    "samples": event("humidity", {"temperature": 20.5, "relativeHumidity": 40, "samples": SAMPLES, "updateTime": TIME}),
    "no samples": event("humidity", {"temperature": 20.5, "relativeHumidity": 40, "updateTime": TIME}),
    "empty samples": event("temperature", {"value": 21, "samples": [], "updateTime": TIME}),
    "backfilled": event("temperature", {"value": 21, "isBackfilled": True, "updateTime": TIME}),
    "no updateTime": event("temperature", {"value": 21}),
    "times of no kind": event("temperature", {"value": 21, "samples": [{"value": 21, "sampleTime": TIME}], "x": 1}),
    "null": event("temperature", {"value": None, "updateTime": TIME}),
    "text for a number": event("temperature", {"value": "21", "updateTime": TIME}),
    "bool for a number": event("temperature", {"value": True, "updateTime": TIME}),
    "number for a text": event("contact", {"state": 1, "updateTime": TIME}),
    "empty text": event("ethernetStatus", {"macAddress": "", "updateTime": TIME}),
    "labels": event("contact", {"state": "OPEN", "updateTime": TIME}).replace(b"M\xc3\xb8terom", b"\\u0000"),
    "lone surrogate": event("contact", {"state": "CLOSED", "updateTime": TIME}).replace(b"M\xc3\xb8terom", b"\\uD800x"),
    "pair": event("contact", {"state": "OPEN", "b": 1}).replace(b"M\xc3\xb8terom", b"\\uD83D\\uDE00"),
    "other type": event("pollen", {"grains": 7, "updateTime": TIME}),
    "nothing": event("labelsChanged", {}),
    "integer": event("touchCount", {"total": 2**53, "updateTime": TIME}),
    "too large": event("temperature", {"value": 12345, "updateTime": TIME}).replace(b"12345", b"1e999"),
    "too small": event("temperature", {"value": 0, "updateTime": TIME}).replace(b":0,", b":1e-999,"),
}


def test_the_views_read_what_core_reads(database: Database) -> None:
    events = put_all(database, list(STRANGE.values()))
    assert viewed(database[1]) == expected(events)


def test_one_body_that_cannot_be_read_does_not_end_every_query(database: Database) -> None:
    deep = b"[" * 900 + b"]" * 900
    contents = [
        event("contact", {"state": "OPEN", "updateTime": TIME}),
        event("contact", {"state": "OPEN", "updateTime": "half past nine"}),
        event("contact", {"state": "OPEN", "updateTime": TIME, "x": "DEEP"}).replace(b'"DEEP"', deep),
        b"\xff\xfe",
        b"not JSON",
        b'{"event":[]}',
        body(eventType="temperature", data={"temperature": [1]}, eventId="list"),
    ]
    put_all(database, contents)
    states = [row[0] for row in database[1]("SELECT text FROM readings")]
    assert states.count("OPEN") >= 2
    assert len(database[1]("SELECT key FROM latest")) == 1


@needs_fixtures
def test_captured_events(database: Database) -> None:
    contents = [path.read_bytes() for path in sorted((FIXTURES / "bodies").glob("*.json")) if path.name != "INDEX.json"]
    events = put_all(database, contents)
    assert viewed(database[1]) == expected(events)
    assert len(viewed(database[1])) > 30


def test_latest_is_by_event_time_and_not_by_arrival(database: Database) -> None:
    def reading(event_id: str, value: float, at: str, is_backfilled: bool) -> bytes:
        older = {"value": value - 1, "sampleTime": "2026-11-21T06:00:00Z"}
        payload = {
            "value": value,
            "updateTime": at,
            "samples": [{"value": value, "sampleTime": at}, older],
            "isBackfilled": is_backfilled,
        }
        return body(eventId=event_id, data={"temperature": payload}, timestamp=at)

    for content in (
        reading("new", 21, "2026-11-21T08:00:00.5Z", False),
        reading("older", 15, "2026-11-21T08:00:00Z", True),
        reading("oldest", 10, "2026-11-01T08:00:00.000000Z", True),
    ):
        put_all(database, [content])
    assert [(row[4], row[5]) for row in viewed(database[1], "latest")] == [("temperature", 21)]
    put_all(database, [reading("newest", 22, "2026-11-21T09:00:00.000000Z", False)])
    assert [(row[4], row[5]) for row in viewed(database[1], "latest")] == [("temperature", 22)]
    assert database[1]("SELECT DISTINCT name FROM latest") == [("Møterom 3 & <lab>",)]
