"""The views of Postgres: columns, types and use of indexes."""

import json
from datetime import UTC, datetime

from tests.support.deliveries import body
from tests.support.postgres import execute


def plan(url: str, statement: str) -> str:
    """Return the plan for a large table, with sequential scans disabled because a small table would use one."""
    database = url.rsplit("/", 1)[1]
    execute(url, f"ALTER DATABASE {database} SET enable_seqscan = off")
    return json.dumps(json.loads(execute(url, f"EXPLAIN (FORMAT JSON) {statement}")[0][0]))


def test_view_columns_and_types(url: str) -> None:
    for view in ("readings", "latest"):
        found = execute(
            url,
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = $1 "
            "ORDER BY ordinal_position",
            view,
        )
        assert dict(found)["value"] == "double precision"
        assert [row[0] for row in found][-2:] == ["signed_by", "event_time"]


def test_condition_on_event_time_uses_the_index(url: str) -> None:
    found = plan(url, "SELECT * FROM readings WHERE event_time > now() - interval '1 hour'")
    assert "events_by_time" in found
    assert "Index Cond" in found


def test_newest_events_are_read_from_the_end_of_the_index(url: str) -> None:
    found = plan(url, "SELECT key FROM events ORDER BY coalesce(timestamp, received_at) DESC LIMIT 20")
    assert "events_by_time" in found
    assert '"Sort"' not in found


def test_latest_uses_the_indexes(url: str) -> None:
    found = plan(url, "SELECT * FROM latest WHERE device_id = 'emu'")
    assert {"events_by_device", "events_of_device"} <= set(found.split('"'))
    assert "Seq Scan" not in found


def test_seen_uses_the_index(url: str) -> None:
    found = plan(url, "SELECT * FROM seen")
    assert "events_of_device" in found
    assert "Seq Scan" not in found


def test_row_without_a_timestamp_uses_the_times_in_its_body(url: str) -> None:
    """An import by hand may leave the column out."""
    execute(
        url,
        "INSERT INTO events (key, event_type, device_id, received_at, parsed, body) "
        "VALUES ('key', 'temperature', 'emu', now(), true, $1)",
        body(),
    )
    for view in ("readings", "latest"):
        [row] = execute(url, f"SELECT time FROM {view}")
        assert row["time"] == datetime(2024, 5, 29, 10, 34, 3, 970415, UTC)
