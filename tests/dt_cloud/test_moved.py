"""The database moved, replaced or deleted while the cloud runs: it ends, and acknowledges nothing it would lose."""

import http.client
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from dt_cloud.database import Database
from tests.support.dt_cloud import DEVICES, DtCloud

VALUES = range(1, 1000)


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def delete(path: Path) -> None:
    path.unlink()


def delete_log(path: Path) -> None:
    log_of(path).unlink()


def delete_all(path: Path) -> None:
    path.unlink()
    log_of(path).unlink()


def move_without_log(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def replace(path: Path) -> None:
    shutil.copy(path, path.with_name("copy.db"))
    os.replace(path.with_name("copy.db"), path)


def overwrite(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def accepted(cloud: DtCloud, sensor: str) -> list[int]:
    """Publish until the cloud is gone, and return what it acknowledged."""
    found = []
    with suppress(OSError, http.client.HTTPException):
        for value in VALUES:
            cloud.publish(sensor, temperature={"value": value})
            found.append(value)
    return found


def stored(path: Path) -> set[int]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT json_extract(event, '$.data.temperature.value') FROM events")
        return {value for (value,) in rows}


@pytest.mark.parametrize("happens", [delete, delete_log, delete_all, move_without_log, replace, overwrite])
def test_it_ends_with_a_sentence_and_acknowledges_nothing(cloud: DtCloud, happens: Callable[[Path], None]) -> None:
    sensor = cloud.sensor()
    cloud.publish(sensor, temperature={"value": 0})
    before = cloud.output()
    happens(cloud.database)
    assert accepted(cloud, sensor) == []
    assert cloud.process.wait(10) == 1
    said = cloud.output().removeprefix(before)
    assert said.count("\n") == 1
    assert str(cloud.database) in said
    assert "moved, replaced, overwritten or deleted" in said


def test_it_ends_though_nothing_is_published(cloud: DtCloud) -> None:
    cloud.database.unlink()
    assert cloud.process.wait(10) == 1


def test_a_connector_or_a_sensor_is_not_acknowledged_either(cloud: DtCloud) -> None:
    cloud.database.unlink()
    with pytest.raises((OSError, http.client.HTTPException)):
        cloud.call("POST", DEVICES, {"type": "touch"})


def test_the_moved_file_has_every_event_acknowledged_before(cloud: DtCloud) -> None:
    sensor = cloud.sensor()
    for value in (1, 2, 3):
        cloud.publish(sensor, temperature={"value": value})
    move_without_log(cloud.database)
    cloud.process.wait(10)
    moved = cloud.database.with_name("moved.db")
    assert stored(moved) == {1, 2, 3}
    # Nothing of it is taken for the log of the next file in its place.
    cloud.start()
    assert cloud.ledger()["published"] == 0
    cloud.stop()
    moved.rename(cloud.database)
    cloud.start()
    cloud.publish(sensor, temperature={"value": 4})


def test_an_overwritten_file_is_what_it_was_overwritten_with(cloud: DtCloud) -> None:
    sensor = cloud.sensor()
    cloud.publish(sensor, temperature={"value": 1})
    assert cloud.stop() == 0
    backup = cloud.database.read_bytes()
    cloud.start()
    cloud.publish(sensor, temperature={"value": 2})
    cloud.database.write_bytes(backup)
    assert cloud.process.wait(30) == 1
    cloud.start()
    assert cloud.stop() == 0
    assert stored(cloud.database) == {1}


def test_its_own_writes_do_not_end_it(tmp_path: Path) -> None:
    path = tmp_path / "cloud.db"
    database = Database(path)
    before = path.stat().st_size
    for number in range(30):
        database.set_meta(f"name {number}", "x" * 500_000)
    assert log_of(path).stat().st_size < 5_000_000
    assert path.stat().st_size > before + 10_000_000
    # Not while a query is read.
    rows = database.execute("SELECT name FROM meta")
    rows.fetchone()
    for number in range(30):
        database.set_meta(f"name {number}", "y" * 500_000)
    rows.close()
    database.set_meta("name", "z")
    assert log_of(path).stat().st_size < 5_000_000
    database.close()


def test_it_ends_while_it_still_starts(tmp_path: Path) -> None:
    database = Database(tmp_path / "cloud.db")
    delete(tmp_path / "cloud.db")
    with pytest.raises(SystemExit, match="deleted"), database.transaction():
        database.set_meta("name", 1)
    database.close()


def test_a_symbolic_link_leads_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cloud.db").symlink_to(tmp_path / "elsewhere" / "real.db")
    (tmp_path / "elsewhere" / "real.db").touch()
    database = Database(tmp_path / "cloud.db")
    database.set_meta("name", 1)
    database.close()
