"""The SQLite database: file permissions, migration from the first version, and views."""

import asyncio
import sqlite3
import stat
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.environment import SettingsError
from core.event import Event, parse_stored
from core.receiver import DEADLINE
from core.stores.contract import Outcome, StoreUnavailableError
from local.sqlite import SqliteStore
from tests.support.deliveries import body, fresh_body

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
CASES = Path(__file__).parents[3] / "shared" / "cases"

# As the first version made it.
FIRST_VERSION = """
PRAGMA journal_mode=WAL;
CREATE TABLE events (
    key TEXT PRIMARY KEY NOT NULL, event_id TEXT, event_type TEXT, device_id TEXT, project_id TEXT, timestamp TEXT,
    received_at TEXT NOT NULL, parsed INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX events_of_device ON events (device_id, event_type, timestamp);
CREATE VIEW readings AS SELECT key FROM events;
CREATE VIEW latest AS SELECT key FROM readings;
PRAGMA user_version=1;
"""
OLD_INSERT = """
INSERT INTO events (key, event_id, event_type, device_id, project_id, timestamp, received_at, parsed, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING
"""


def put(path: Path, events: Sequence[Event]) -> list[Outcome | BaseException]:
    async def run() -> list[Outcome | BaseException]:
        store = SqliteStore(path)
        await store.open()
        puts = (store.put(event, time.monotonic() + DEADLINE) for event in events)
        outcomes = await asyncio.gather(*puts, return_exceptions=True)
        await store.close()
        return outcomes

    return asyncio.run(run())


def ask(path: Path, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(query, arguments).fetchall()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def first_version(path: Path, events: Sequence[Event]) -> sqlite3.Connection:
    """Return a connection of the first version, which stored these events."""
    path.touch(0o644)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(FIRST_VERSION)
    connection.execute("BEGIN")
    for event in events:
        old_put(connection, event)
    connection.execute("COMMIT")
    return connection


def old_put(connection: sqlite3.Connection, event: Event) -> None:
    texts = event.attributes()
    names = ("key", "eventId", "eventType", "deviceId", "projectId", "timestamp", "receivedAt")
    connection.execute(OLD_INSERT, (*map(texts.get, names), event.parsed, event.body))


def temperature(value: float, at: str, event_id: str) -> Event:
    data = {"temperature": {"value": value, "updateTime": at}}
    return parse_stored(body(eventId=event_id, data=data, timestamp=at), NOW)


# ---- who may read it -------------------------------------------------------------------------------------------------


def test_database_file_permissions_are_private(tmp_path: Path) -> None:
    path = tmp_path / "var" / "events.db"

    async def run() -> list[int]:
        store = SqliteStore(path)
        await store.put(parse_stored(fresh_body(), NOW), time.monotonic() + DEADLINE)
        modes = [mode(file) for file in path.parent.iterdir()]
        await store.close()
        return modes

    assert asyncio.run(run()) == [0o600] * 3
    assert mode(path.parent) == 0o700


def test_old_database_becomes_private_once(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with closing(first_version(path, [parse_stored(fresh_body(), NOW)])):
        assert mode(Path(f"{path}-wal")) == 0o644
        put(path, [])
        assert [mode(file) for file in tmp_path.iterdir()] == [0o600] * 3
    path.chmod(0o640)
    put(path, [])
    assert mode(path) == 0o640


# ---- from the first version to this ----------------------------------------------------------------------------------


def test_old_database_is_migrated_while_its_receiver_writes(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    old = [temperature(20 + n, f"2026-11-21T08:00:{n:02}Z", f"old{n}") for n in range(30)]
    with closing(first_version(path, old)) as connection:
        new = temperature(15, "2026-11-21T07:00:00Z", "new")
        assert put(path, [new, old[0]]) == [Outcome.STORED, Outcome.DUPLICATE]
        assert ask(path, "SELECT value FROM latest") == [(49.0,)]
        old_put(connection, temperature(99, "2026-11-21T08:01:00Z", "late"))
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert ask(path, "SELECT value, signed_by FROM latest") == [(99.0, None)]
    assert ask(path, "SELECT count(*), count(signed_by) FROM readings") == [(32, 1)]
    names = {row[0] for row in ask(path, "SELECT name FROM sqlite_master")}
    assert "events_by_time" in names
    assert "events_of_device" not in names
    put(path, [])
    assert ask(path, "SELECT count(*) FROM readings") == [(32,)]


def test_deliveries_during_the_migration_are_stored(tmp_path: Path) -> None:
    """By the old receiver and by the new one."""
    path = tmp_path / "events.db"
    olds, news = ([parse_stored(fresh_body(), NOW) for _ in range(100)] for _ in range(2))
    with closing(first_version(path, [parse_stored(fresh_body(), NOW) for _ in range(3000)])) as connection:

        async def run() -> list[Outcome]:
            store = SqliteStore(path)
            opening = asyncio.create_task(store.open())
            puts = [asyncio.ensure_future(store.put(event, time.monotonic() + DEADLINE)) for event in news]
            for event in olds:
                old_put(connection, event)
                await asyncio.sleep(0)
            await opening
            outcomes = await asyncio.gather(*puts)
            await store.close()
            return outcomes

        assert asyncio.run(run()) == [Outcome.STORED] * 100
    assert ask(path, "SELECT count(*) FROM events") == [(3200,)]


def test_restored_backup_of_an_old_database_is_migrated(tmp_path: Path) -> None:
    path, backup = tmp_path / "events.db", tmp_path / "old.db"
    first_version(backup, [parse_stored(fresh_body(), NOW)]).close()

    async def run() -> Outcome:
        store = SqliteStore(path)
        await store.open()
        with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)
        outcome = await store.put(parse_stored(fresh_body(), NOW), time.monotonic() + DEADLINE)
        await store.close()
        return outcome

    assert asyncio.run(run()) == Outcome.STORED
    assert ask(path, "SELECT count(*), count(signed_by) FROM readings") == [(2, 1)]
    assert ask(path, "SELECT 1 FROM sqlite_master WHERE name = 'events_by_time'") == [(1,)]


def test_wal_without_its_database_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    Path(f"{path}-wal").write_bytes(b"events")
    with pytest.raises(SettingsError, match="Move the database back"):
        put(path, [])
    assert Path(f"{path}-wal").read_bytes() == b"events"


# ---- what the user adds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addition", "cause"),
    [
        (
            "CREATE TRIGGER mine BEFORE INSERT ON events WHEN new.event_id = 'odd' BEGIN SELECT RAISE(IGNORE); END",
            "not_stored",
        ),
        ("CREATE UNIQUE INDEX mine ON events (event_type) WHERE event_type = 'touch'", "SQLITE_CONSTRAINT_UNIQUE"),
        (
            "CREATE TRIGGER mine BEFORE INSERT ON events WHEN new.event_id='odd' BEGIN SELECT RAISE(ROLLBACK, ''); END",
            "SQLITE_CONSTRAINT_TRIGGER",
        ),
    ],
)
def test_event_that_is_not_stored_is_not_a_duplicate(addition: str, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    touch = {"eventType": "touch", "data": {"touch": {}}}
    put(path, [parse_stored(body(eventId="first", **touch), NOW)])
    ask(path, addition)
    events = [parse_stored(fresh_body(), NOW) for _ in range(5)]
    outcomes = put(path, [*events, parse_stored(body(eventId="odd", **touch), NOW), *events])
    refused = outcomes.pop(5)
    assert isinstance(refused, StoreUnavailableError)
    assert refused.reason == f"row_refused:{cause}"
    assert outcomes == [Outcome.STORED] * 5 + [Outcome.DUPLICATE] * 5
    assert ask(path, "SELECT count(*) FROM events") == [(6,)]


def test_view_in_place_of_the_table_refuses_events(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    put(path, [])
    ask(path, "DROP TABLE events")
    ask(path, "CREATE VIEW events AS SELECT 1 AS key")
    with pytest.raises(SettingsError, match="tables of another program"):
        put(path, [parse_stored(fresh_body(), NOW)])


# ---- what the views say ----------------------------------------------------------------------------------------------


def test_values_are_doubles(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    put(path, [parse_stored(body(), NOW)])
    assert ask(path, "SELECT typeof(value), value * 9 / 5 + 32 FROM readings") == [("real", 80.6)]
    assert ask(path, "SELECT typeof(value) FROM latest") == [("real",)]


def test_last_columns_of_the_views(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    event = parse_stored(body(), NOW, "hs256:1")
    put(path, [event])
    for view in ("readings", "latest"):
        [columns] = [[row[1] for row in ask(path, f"PRAGMA table_info({view})")]]
        assert columns[-2:] == ["signed_by", "event_time"]
        assert ask(path, f"SELECT signed_by, event_time FROM {view}") == [("hs256:1", "2024-05-29T10:34:03.970415Z")]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM latest",
        "SELECT * FROM latest WHERE device_id = 'one'",
        "SELECT * FROM events ORDER BY coalesce(timestamp, received_at) DESC NULLS LAST, key LIMIT 20",
        "SELECT * FROM readings WHERE event_time >= '2026' AND event_time < '2027'",
        "SELECT * FROM readings WHERE device_id = 'one' AND event_time >= '2026'",
    ],
)
def test_no_query_reads_the_whole_table(query: str, tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    put(path, [])
    steps = [row[3] for row in ask(path, f"EXPLAIN QUERY PLAN {query}")]
    assert any("events_by_time" in step for step in steps)
    assert "SCAN events" not in steps
    assert not any(step.startswith("SCAN newest") for step in steps if "one" in query)


def test_one_of_two_simultaneous_events_is_the_latest(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    put(path, [temperature(20, "2026-11-21T08:00:00Z", "a"), temperature(21, "2026-11-21T08:00:00Z", "b")])
    assert len(ask(path, "SELECT * FROM latest")) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T10:00:00.5-02:30", "2026-11-21T12:30:00.500000Z"),
        ("2026-11-21T00:30:00+01:00", "2026-11-20T23:30:00.000000Z"),
        ("2016-12-31T23:59:60.250Z", "2017-01-01T00:00:00.250000Z"),
        ("2026-11-21t10:00:00.123456789z", "2026-11-21T10:00:00.123456Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("12000-01-01T00:00:00Z", "2024-05-29T10:34:03.970415Z"),
        ("2026-11-21T10:00:00.secondsZ", "2024-05-29T10:34:03.970415Z"),
        ("half past nine", "2024-05-29T10:34:03.970415Z"),
        (5, "2024-05-29T10:34:03.970415Z"),
    ],
)
def test_times_are_the_same_instant_in_utc(text: str | int, expected: str, tmp_path: Path) -> None:
    """An invalid time is replaced by the time of the event."""
    path = tmp_path / "events.db"
    put(path, [parse_stored(body(data={"temperature": {"value": 1, "updateTime": text}}), NOW)])
    assert ask(path, "SELECT time FROM readings") == [(expected,)]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (rb"\ud83e x", "\ufffd x"),
        (rb"a\uDD8A", "a\ufffd"),
        (rb"\ud83e\udd8a\ud83e", "\N{FOX FACE}\ufffd"),
        (rb"a\u0000b", "a\ufffdb"),
        (rb"a\\u0000 \\ud83e \u00e6", r"a\u0000 \ud83e " + "æ"),
        (rb"\"\\\ud800", '"\\\ufffd'),
    ],
)
def test_invalid_text_is_replaced_in_every_column(label: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    content = body(eventType="contact", data={"contact": {"state": "LABEL"}}).replace(
        "Møterom 3 & <lab>".encode(), label
    )
    put(path, [parse_stored(content.replace(b"LABEL", label), NOW), parse_stored(body(eventId="other"), NOW)])
    assert ask(path, "SELECT name, text FROM latest WHERE event_type = 'contact'") == [(expected, expected)]
    assert len(ask(path, "SELECT * FROM latest")) == 2


@pytest.mark.parametrize("value", ["-9223372036854775808", "9223372036854775808", "1" + 300 * "0", "-9.9e307"])
def test_large_numbers_are_numbers(value: str, tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    put(
        path,
        [
            parse_stored(
                body(data={"temperature": {"value": 0}}).replace(b'"value":0', f'"value":{value}'.encode()), NOW
            )
        ],
    )
    assert ask(path, "SELECT value FROM latest") == [(float(value),)]


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no strange bodies at {CASES}")
def test_unparsable_bodies_break_no_query(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    events = [parse_stored(file.read_bytes(), NOW) for file in sorted(CASES.glob("*.json"))]
    assert put(path, events) == [Outcome.STORED] * len(events)
    assert {row[0] for row in ask(path, "SELECT key FROM events")} == {event.key for event in events}
    parsed = {event.key for event in events if event.parsed and event.event_type != "touch"}
    assert parsed <= {row[0] for row in ask(path, "SELECT key FROM readings")}
    readme = "SELECT name, device_id, quantity, value, text, unit, time FROM latest ORDER BY device_id, quantity"
    assert len(ask(path, readme)) >= 3
