"""The views of each database against `core.readings.readings`."""

import asyncio
import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.event import EVENT_TYPES, Event, parse_stored, rfc3339
from core.readings import QUANTITIES, readings
from core.receiver import DEADLINE
from tests.contract.store import Database
from tests.contract.stores import DATABASES
from tests.support.cases import TIME, each_table
from tests.support.deliveries import FIXTURES, body, needs_fixtures
from tests.support.pages import PAGES

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
COLUMNS = "key, device_id, project_id, event_type, quantity, value, text, unit, time, is_backfilled, name"


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with DATABASES[request.param](tmp_path, request) as database:
        yield database


def put_all(database: Database, contents: Iterable[bytes]) -> list[Event]:
    events = [parse_stored(content, NOW, "hs256:0") for content in contents]

    async def run() -> None:
        store = database.store()
        await asyncio.gather(*(store.put(event, time.monotonic() + DEADLINE) for event in events))
        await store.close()

    asyncio.run(run())
    return events


def viewed(database: Database, view: str = "readings") -> list[tuple[Any, ...]]:
    rows = database.ask(f"SELECT {COLUMNS} FROM {view}")
    return sorted(((*row[:8], _micros(row[8]), bool(row[9]), row[10]) for row in rows), key=repr)


def expected(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    found = [reading for event in events if event.parsed for reading in readings(event)]
    return sorted(map(astuple, found), key=repr)


def _micros(value: str | datetime | None) -> str | None:
    return rfc3339(datetime.fromisoformat(value) if isinstance(value, str) else value) if value else None


def event(event_type: str, payload: Any) -> bytes:
    name = f"{event_type}-{hashlib.sha256(repr(payload).encode()).hexdigest()[:8]}"
    return body(eventType=event_type, eventId=name, data={event_type: payload})


def test_quantities_are_those_of_core(database: Database) -> None:
    """One event of each type with every field, numbers and texts."""
    contents = []
    for event_type in sorted(EVENT_TYPES - {"labelsChanged", "ping"}):
        named = [quantity for quantity in QUANTITIES if quantity.event_type == event_type]
        assert named
        for value in (1.5, "text"):
            payload = {quantity.field: value for quantity in named if quantity.field} | {"updateTime": TIME}
            contents.append(event(event_type, payload))
    events = put_all(database, list(dict.fromkeys(contents)))  # touch has no field, so that its two are one
    assert viewed(database) == expected(events)
    seen = {(row[3], row[4], row[7]) for row in viewed(database)}
    assert seen == {(quantity.event_type, quantity.quantity, quantity.unit) for quantity in QUANTITIES}


def test_columns_are_the_same_in_every_database(database: Database) -> None:
    names = (
        "key, device_id, project_id, event_type, sample, quantity, value, text, unit, time, received_at, "
        "is_backfilled, name, signed_by, event_time"
    )
    put_all(database, [body(), body(timestamp="2016-12-31T23:59:60Z", eventId="leap")])
    for view in ("readings", "latest"):
        rows = database.ask(f"SELECT * FROM {view} ORDER BY time")
        assert rows == database.ask(f"SELECT {names} FROM {view} ORDER BY time")
        assert {type(row[6]) for row in rows} == {float}
    found = database.ask("SELECT signed_by, event_time, received_at FROM readings ORDER BY event_time")
    times = ["2017-01-01T00:00:00.000000Z", "2024-05-29T10:34:03.970415Z"]
    assert [(row[0], _micros(row[1]), _micros(row[2])) for row in found] == [
        ("hs256:0", time, rfc3339(NOW)) for time in times
    ]


@each_table
def test_views_equal_core_readings(database: Database, cases: dict[str, bytes]) -> None:
    events = put_all(database, cases.values())
    assert viewed(database) == expected(events)
    newest: dict[tuple[str | None, str | None], Event] = {}
    for one in sorted(filter(lambda one: one.parsed and one.device_id, events), key=lambda one: str(one.timestamp)):
        newest[one.device_id, one.event_type] = one
    latest = database.ask("SELECT key FROM readings WHERE sample = 0")
    keys = {one.key for one in newest.values()}
    assert sorted(database.ask("SELECT key FROM latest")) == sorted(row for row in latest if row[0] in keys)


@each_table
def test_documented_queries_run_over_any_stored_event(database: Database, cases: dict[str, bytes]) -> None:
    put_all(database, cases.values())
    statements = [each for each in PAGES[database.page].statements() if each.startswith("SELECT")]
    assert len(statements) >= 2
    for statement in statements:
        database.ask(statement)


@needs_fixtures
def test_captured_events(database: Database) -> None:
    contents = [path.read_bytes() for path in sorted((FIXTURES / "bodies").glob("*.json")) if path.name != "INDEX.json"]
    events = put_all(database, contents)
    assert viewed(database) == expected(events)
    assert len(viewed(database)) > 30


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
    assert [(row[4], row[5]) for row in viewed(database, "latest")] == [("temperature", 21)]
    put_all(database, [reading("newest", 22, "2026-11-21T09:00:00.000000Z", False)])
    assert [(row[4], row[5]) for row in viewed(database, "latest")] == [("temperature", 22)]
    assert database.ask("SELECT DISTINCT name FROM latest") == [("Møterom 3 & <lab>",)]
