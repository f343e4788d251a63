"""Heroku's README is correct: its queries, its columns and its commands."""

import asyncio
import re
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from core.event import Event, parse_stored
from dt_cloud.bodies import Device
from tests.support.pages import PAGES

if sys.platform == "win32":
    pytest.skip("the commands are for a POSIX shell", allow_module_level=True)

NOW = datetime.now(UTC).replace(microsecond=0)
HEROKU = PAGES["heroku/README.md"]


def test_its_queries_and_their_results(request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("postgres")
    from heroku.postgres import PostgresStore
    from tests.support.postgres import execute

    url = server.create_database()
    kept, old = device_events("emu00000000000000000aa", hours=3), device_events("emu00000000000000000bb", days=100)
    gone = device_events("emu00000000000000000aa", days=100)
    failing = kept[0].key

    async def fill() -> None:
        store = PostgresStore(url)
        await asyncio.gather(*(store.put(event, time.monotonic() + 8) for event in kept + old + gone))
        await store.close()

    asyncio.run(fill())
    execute(url, f"UPDATE events SET attempts = 5 WHERE key = '{failing}'")
    found = {statement: execute(url, statement) for statement in HEROKU.statements()}
    queries = [statement for statement in found if statement.startswith("SELECT")]
    assert len(queries) >= 6
    for statement in queries:
        assert found[statement], statement
    (dead,) = (rows for statement, rows in found.items() if "attempts >= 5" in statement and rows)
    assert [row["key"] for row in dead] == [failing]
    assert execute(url, "SELECT key FROM events WHERE attempts > 0") == []
    # The newest event of each type of the silent device, and all recent events.
    newest = {event.event_type: event.key for event in sorted(old, key=lambda event: event.received_at)}
    left = {row["key"] for row in execute(url, "SELECT key FROM events")}
    assert left == {event.key for event in kept} | set(newest.values())
    assert execute(url, "SELECT 1 FROM latest WHERE device_id = 'emu00000000000000000bb'")


def device_events(device_id: str, hours: int = 0, days: int = 0) -> list[Event]:
    """Return events of two types that arrived this long ago, an hour apart."""
    device = Device(device_id, "ccol8iuk9smqiha4e8l0")
    times = [NOW - timedelta(hours=hours + number, days=days) for number in range(3)]
    return [
        parse_stored(device.body(name, moment), moment) for moment in times for name in ("temperature", "networkStatus")
    ]


def test_the_columns_that_it_lists_are_those_of_the_view(request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("postgres")
    (listed,) = re.findall(r"Columns: (.*?)\.\n", HEROKU.prose, re.DOTALL)
    rows = server.execute(
        server.create_database().rpartition("/")[2],
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'readings' ORDER BY ordinal_position",
    )
    assert re.findall(r"`(\w+)`", listed) == [row["column_name"] for row in rows]
