"""The check of the receiver's store."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dt_cloud import stored
from dt_cloud.accounts import FIRST_PROJECT
from dt_cloud.cloud import Cloud
from dt_cloud.stored import DELIVERED, StoredCheck


def test_missing_events_do_not_hide_stored_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_AT_ONCE", 3)
    cloud = Cloud(tmp_path / "cloud.db", "http://127.0.0.1:1")
    device = cloud.devices.create(FIRST_PROJECT, "touch", {}, cloud.clock.now())
    events = [cloud.publisher.publish(device, "touch", {}) for _ in range(9)]
    cloud.database.execute("UPDATE events SET delivery = ?, delivered_at = 0", DELIVERED)
    with closing(sqlite3.connect(tmp_path / "events.db")) as store:
        # Without a primary key, unlike a receiver's table, so that an event can be stored twice.
        store.execute("CREATE TABLE events (key TEXT)")
        keys = [f"{each['eventId']}.touch.{device.device_id}" for each in events[4:]]
        store.executemany("INSERT INTO events VALUES (?)", [(key,) for key in [*keys, keys[0]]])
        store.commit()
    check = StoredCheck(cloud.database, cloud.clock, tmp_path / "events.db")
    for _ in range(8):
        check.check()
    found = check.document()
    assert (found["stored"], found["storedTwice"], found["missing"]) == (5, 1, 4)
    cloud.database.close()
