"""Following an SQLite file that is moved, replaced or vacuumed meanwhile."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from core.event import Event
from readers.sqlite import SqliteReader
from tests.cli.stored import NOW, ONE, dtconn, event, fill, objects


def touches(first: int, count: int) -> list[Event]:
    return [event(ONE.body("touch", NOW + timedelta(seconds=number)), NOW) for number in range(first, first + count)]


def followed(reader: SqliteReader, position: str) -> tuple[list[str], str]:
    keys = []
    for batch in reader.follow(position):
        keys += [each.key for each in batch.events]
        position = batch.position
    return keys, position


def test_new_file_in_the_place_of_a_moved_one_is_followed_from_its_beginning(tmp_path: Path) -> None:
    path, before, after = tmp_path / "e.db", touches(0, 5), touches(10, 3)
    fill(path, before)
    with SqliteReader(path) as reader:
        _, position = followed(reader, "")
        path.rename(tmp_path / "moved.db")
        assert followed(reader, position) == ([], position)
        fill(path, after)
        keys, position = followed(reader, position)
        assert keys == [each.key for each in after]
        fill(path, touches(20, 1))
        assert len(followed(reader, position)[0]) == 1


@pytest.mark.parametrize("change", ["replaced", "vacuumed", "emptied"])
def test_position_of_another_file_begins_again(tmp_path: Path, change: str) -> None:
    path = tmp_path / "e.db"
    fill(path, touches(0, 5))
    with SqliteReader(path) as reader:
        _, position = followed(reader, "")
    if change == "replaced":
        path.unlink()
    else:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"DELETE FROM events WHERE rowid <= {3 if change == 'vacuumed' else 5}")
            connection.execute("VACUUM")
    # More than before, so that the row of the position is there, and another.
    arrived = touches(20, 8)
    fill(path, arrived)
    with SqliteReader(path) as reader:
        keys, _ = followed(reader, position)
    assert {each.key for each in arrived} <= set(keys)


def test_mirror_copies_the_file_that_took_the_place_of_another(tmp_path: Path) -> None:
    path, copy = tmp_path / "e.db", tmp_path / "copy.db"
    fill(path, touches(0, 30))
    assert dtconn("mirror", "--from", path, "--to", copy).exit_code == 0
    path.rename(tmp_path / "archive.db")
    fill(path, touches(100, 3))
    assert "3 new events copied" in dtconn("mirror", "--from", path, "--to", copy).stdout
    assert len(objects("--from", copy, "--limit", "0")) == 33
