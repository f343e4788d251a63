"""``dtconn backup``: a whole copy, while events are written."""

import asyncio
import os
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest

from local.sqlite import SqliteStore
from tests.cli.stored import NOW, ONE, SOME_EVENTS, dtconn, event, fill, objects


def test_copy_has_what_is_only_in_the_log(tmp_path: Path) -> None:
    path, copy = tmp_path / "events.db", tmp_path / "copy.db"

    async def run() -> None:
        store = SqliteStore(path)
        await store.open()
        for each in SOME_EVENTS:
            await store.put(each, time.monotonic() + 8)
        found = await asyncio.to_thread(dtconn, "backup", copy, "--from", path)
        assert found.stdout == f"{len(SOME_EVENTS)} events copied to {copy}.\n", found.output
        # The receiver goes on with its own file.
        await store.put(event(ONE.body("touch", NOW), NOW), time.monotonic() + 8)
        await store.close()

    asyncio.run(run())
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.db"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert {row["key"] for row in objects("--from", copy, "--limit", "0")} == {each.key for each in SOME_EVENTS}
    assert objects("--from", copy, command="latest")


def test_restored_copy_takes_events(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    fill(path, SOME_EVENTS[:5])
    assert dtconn("backup", tmp_path / "copy.db", "--from", path).exit_code == 0
    (tmp_path / "copy.db").replace(path)
    fill(path, SOME_EVENTS)
    assert len(objects("--from", path, "--limit", "0")) == len(SOME_EVENTS)


def test_default_name_has_the_time(tmp_path: Path) -> None:
    fill(tmp_path / "events.db", [])
    assert dtconn("backup", "--from", tmp_path / "events.db").exit_code == 0
    [copy] = (tmp_path / "backups").iterdir()
    assert copy.name.startswith(f"{NOW:%Y}-")


def test_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    fill(tmp_path / "events.db", [])
    (tmp_path / "copy.db").write_text("mine")
    found = dtconn("backup", tmp_path / "copy.db", "--from", tmp_path / "events.db")
    assert found.exit_code == 1
    assert (tmp_path / "copy.db").read_text() == "mine"


def test_failed_backup_leaves_no_file(tmp_path: Path) -> None:
    fill(tmp_path / "events.db", SOME_EVENTS)
    damaged = bytearray((tmp_path / "events.db").read_bytes())
    damaged[8192:20_480] = os.urandom(12_288)
    (tmp_path / "events.db").write_bytes(damaged)
    (tmp_path / "no.db").write_text("not a database" * 100)
    for name in ("events.db", "no.db", "none.db"):
        found = dtconn("backup", tmp_path / "copy.db", "--from", tmp_path / name)
        assert found.exit_code == 1
        assert len(found.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("copy*"))


@pytest.mark.parametrize("command", [("backup", "copy.db"), ("events",)])
def test_damage_that_sqlite_quotes_is_one_printable_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    path = tmp_path / "events.db"
    fill(path, SOME_EVENTS)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema=ON")
        damaged = "CREATE VIEW readings AS SELECT 'two\nlines \x1b[2J"
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'readings'", [damaged])
    name, *arguments = command
    found = dtconn(name, *(tmp_path / each for each in arguments), "--from", path)
    assert found.exit_code == 1
    assert found.stderr.count("\n") == 1
    assert found.stderr.strip().isprintable()


def test_retention_of_the_documentation(tmp_path: Path) -> None:
    """The statement in docs/local.md deletes what is older than a year, and the views still work."""
    statement = next(
        line for line in Path("docs/local.md").read_text().splitlines() if line.startswith("DELETE FROM events")
    )
    path = tmp_path / "events.db"
    fill(path, [event(ONE.body("co2", NOW), NOW), event(ONE.body("touch", NOW), NOW.replace(year=NOW.year - 2))])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    assert [row["eventType"] for row in objects("--from", path)] == ["co2"]
    assert [row["quantity"] for row in objects("--from", path, command="latest")] == ["ppm"]
