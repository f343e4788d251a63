"""Migration of the previous version's database while events are written."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from core.event import Event, parse_stored
from core.receiver import DEADLINE
from core.stores.contract import Outcome, StoreUnavailableError
from heroku import release
from heroku.postgres import PostgresStore
from tests.support.deliveries import body, fresh_body
from tests.support.postgres import execute

NOW = datetime.now(UTC)
# What it had, and how it wrote.
BEFORE = Path(__file__).with_name("schema_0.sql").read_text()
_INSERT = """
INSERT INTO events (key, event_id, event_type, device_id, project_id, timestamp, received_at, parsed, body)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING key
"""


@pytest.fixture
def old(url: str) -> str:
    execute(url, "DROP TABLE events CASCADE")
    execute(url, "DROP VIEW quantities CASCADE")
    asyncio.run(run_script(url, BEFORE))
    return url


async def run_script(url: str, script: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(script)
    await connection.close()


def event() -> Event:
    return parse_stored(fresh_body(), NOW)


def row(one: Event) -> tuple[object, ...]:
    return (
        *(one.key, one.event_id, one.event_type, one.device_id, one.project_id, one.timestamp, one.received_at),
        *(one.parsed, one.body),
    )


async def write_as_before(url: str, stopping: asyncio.Event, written: list[str]) -> None:
    """Write as the previous version did, with its timeout, by one prepared statement."""
    connection = await asyncpg.connect(url, server_settings={"synchronous_commit": "on"})
    insert = await connection.prepare(_INSERT)
    while not stopping.is_set():
        events = [event() for _ in range(5)]
        written += [one[0] for one in await insert.fetchmany([row(each) for each in events], timeout=30)]
        await asyncio.sleep(0)
    await connection.close()


def columns(url: str, view: str) -> list[str]:
    found = execute(
        url,
        "SELECT column_name FROM information_schema.columns WHERE table_name = $1 ORDER BY ordinal_position",
        view,
    )
    return [row["column_name"] for row in found]


def indexes(url: str) -> dict[str, bool]:
    found = execute(
        url, "SELECT indexrelid::regclass::text AS name, indisvalid FROM pg_index WHERE indrelid = 'events'::regclass"
    )
    return {row["name"]: row["indisvalid"] for row in found}


def test_migration_while_the_previous_version_writes(old: str) -> None:
    """With a reader that locks the table for a while, as a backup does, and two concurrent releases."""
    names = {view: columns(old, view) for view in ("readings", "latest")}
    written: list[str] = []

    async def run() -> None:
        stopping = asyncio.Event()
        writing = [asyncio.ensure_future(write_as_before(old, stopping, written)) for _ in range(2)]
        reader = await asyncpg.connect(old)
        async with reader.transaction():
            await reader.fetch("SELECT FROM events LIMIT 1")
            releasing = asyncio.gather(release.migrate(old), release.migrate(old))
            await asyncio.sleep(1)
            assert not releasing.done()
        await reader.close()
        await releasing
        store = PostgresStore(old)
        assert await store.put(event(), time.monotonic() + DEADLINE) == Outcome.STORED
        await store.close()
        count = len(written)
        while len(written) < count + 10:
            await asyncio.sleep(0.01)
        stopping.set()
        await asyncio.gather(*writing)

    asyncio.run(run())
    stored = {row["key"] for row in execute(old, "SELECT key FROM events")}
    assert stored >= set(written)
    assert len(stored) == len(written) + 1
    for view, before in names.items():
        assert columns(old, view) == [*before, "signed_by", "event_time"]
    assert indexes(old) == dict.fromkeys(("events_pkey", *release.INDEXES), True)
    assert [row[0] for row in execute(old, "SELECT DISTINCT signed_by FROM readings ORDER BY 1")] == ["unknown", None]


def test_half_built_index_is_rebuilt(old: str) -> None:
    execute(old, "CREATE INDEX events_by_time ON events ((coalesce(timestamp, received_at)))")
    execute(old, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'events_by_time'::regclass")
    asyncio.run(release.migrate(old))
    assert indexes(old)["events_by_time"]


def test_migration_converts_the_earliest_and_latest_timestamps(old: str) -> None:
    times = {"first": "0001-01-01T00:00:00Z", "last": "9999-12-31T23:59:59.999999Z"}
    events = [parse_stored(body(eventId=name, timestamp=written), NOW) for name, written in times.items()]

    async def run() -> None:
        connection = await asyncpg.connect(old)
        await connection.fetchmany(_INSERT, [row(one) for one in events])
        assert await connection.fetchval("SELECT count(*) FROM events WHERE isfinite(timestamp)") == 0
        await connection.close()
        await release.migrate(old)

    asyncio.run(run())
    found = {row["event_id"]: row["timestamp"] for row in execute(old, "SELECT event_id, timestamp FROM events")}
    assert found == {one.event_id: one.timestamp for one in events}


def test_new_code_before_the_migration_refuses_events(old: str) -> None:
    one = event()

    async def run() -> None:
        store = PostgresStore(old)
        await store.open()
        with pytest.raises(StoreUnavailableError) as caught:
            await store.put(one, time.monotonic() + DEADLINE)
        assert caught.value.reason == "42703:UndefinedColumnError"
        await release.migrate(old)
        assert await store.put(one, time.monotonic() + DEADLINE) == Outcome.STORED
        await store.close()

    asyncio.run(run())
