""":sync with a long history."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dt_cloud.accounts import FIRST_PROJECT
from dt_cloud.cloud import Cloud
from dt_cloud.connectors import Connector
from dt_cloud.faults import UNKNOWN_TYPE

EVENTS = 200_000
INDEX = "events_of_type"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path / "cloud.db", "http://127.0.0.1:1")
    yield cloud
    cloud.database.close()


def connect(cloud: Cloud, *events: str) -> Connector:
    given = {"type": "HTTP_PUSH", "events": list(events), "httpConfig": {"url": "http://127.0.0.1:9"}}
    return cloud.connectors.create(FIRST_PROJECT, given, cloud.clock.now())


def sent(cloud: Cloud) -> list[dict[str, object]]:
    rows = cloud.database.execute("SELECT body FROM deliveries ORDER BY id").fetchall()
    return [json.loads(body)["event"] for (body,) in rows]


def test_it_takes_no_longer_with_a_long_history(cloud: Cloud) -> None:
    device = cloud.devices.create(FIRST_PROJECT, "temperature", {}, cloud.clock.now())
    event = cloud.publisher.publish(device, "temperature", {"value": 1})
    cloud.database.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO events (project_id, device_id, event_type, timestamp, event) SELECT ?, ?, ?, i, ? FROM n",
        EVENTS, FIRST_PROJECT, device.device_id, "temperature", json.dumps(event),
    )  # fmt: skip
    connector = connect(cloud)
    began = time.process_time()
    assert cloud.publisher.sync(connector) == 1
    assert time.process_time() - began < 0.05


def test_it_sends_the_newest_of_each_type_that_the_connector_sends(cloud: Cloud) -> None:
    device = cloud.devices.create(FIRST_PROJECT, "temperature", {}, cloud.clock.now())
    cloud.devices.create(FIRST_PROJECT, "touch", {}, cloud.clock.now())
    newest = cloud.publisher.publish(device, "temperature", {"value": 2})
    # It arrives later, but was measured long before.
    cloud.publisher.publish(device, "temperature", {"value": 1, "updateTime": "2026-01-01T00:00:00Z"})
    cloud.faults.set(UNKNOWN_TYPE, 1)
    unknown = cloud.publisher.publish(device, "touch", {})
    touch = cloud.publisher.publish(device, "touch", {})
    cloud.publisher.relabel(device, {"name": "Door"}, [])
    gone = cloud.devices.create(FIRST_PROJECT, "touch", {}, cloud.clock.now())
    cloud.publisher.publish(gone, "touch", {})
    cloud.devices.delete(gone)
    assert cloud.publisher.sync(connect(cloud, "touch")) == 1
    assert cloud.publisher.sync(connect(cloud)) == 3
    first, *rest = sent(cloud)
    assert first == touch
    assert sorted(rest, key=lambda each: str(each["eventType"])) == [unknown, newest, touch]


def test_a_database_without_the_index_gets_it(cloud: Cloud, tmp_path: Path) -> None:
    cloud.database.execute(f"DROP INDEX {INDEX}")
    cloud.database.close()
    again = Cloud(tmp_path / "cloud.db", "http://127.0.0.1:1")
    again.database.close()
    with closing(sqlite3.connect(tmp_path / "cloud.db")) as connection:
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (INDEX,)).fetchone()
