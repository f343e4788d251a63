"""``dtconn mirror``: a copy of a store, complete after any interruption, and each event once."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from core.event import Event
from dt_cloud.bodies import Device
from heroku.release import migrate
from readers.sources import open_reader
from tests.cli.stored import NOW, ONE, OTHER, ROOT, SOME_EVENTS, Databases, dtconn, event, fill, filled, objects
from tests.support.postgres import Postgres, execute


@pytest.fixture(params=["sqlite", "postgres"])
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty copy."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'copy.db'}"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.create_database()


def many(count: int) -> Iterable[Event]:
    return (event(Device(f"emu{index:020}", "p").body("touch", NOW), NOW) for index in range(count))


def test_copy_equals_the_store(tmp_path: Path, copy: str) -> None:
    fill(tmp_path / "e.db", SOME_EVENTS)
    found = dtconn("mirror", "--from", tmp_path / "e.db", "--to", copy)
    assert found.exit_code == 0, found.output
    assert found.stdout == f"{len(SOME_EVENTS)} new events copied, 0 were there already.\n"
    for command in ("events", "readings", "latest"):
        limit = () if command == "latest" else ("--limit", "0")
        ours, theirs = (objects("--from", each, *limit, command=command) for each in (copy, str(tmp_path / "e.db")))
        assert ours == theirs


def test_next_run_copies_what_arrived_since(tmp_path: Path, copy: str) -> None:
    fill(tmp_path / "e.db", SOME_EVENTS)
    dtconn("mirror", "--from", tmp_path / "e.db", "--to", copy)
    # Older than all others by its own time.
    fill(tmp_path / "e.db", [event(ONE.body("touch", NOW - timedelta(days=90)), NOW)])
    found = dtconn("mirror", "--from", tmp_path / "e.db", "--to", copy)
    assert found.stdout == "1 new events copied, 0 were there already.\n"
    assert len(objects("--from", copy, "--limit", "0")) == len(SOME_EVENTS) + 1


def test_several_stores_share_one_copy(tmp_path: Path, copy: str, postgres: Postgres) -> None:
    fill(tmp_path / "e.db", SOME_EVENTS[:-3])
    other = filled(postgres, SOME_EVENTS[3:])
    for source in (tmp_path / "e.db", other, tmp_path / "e.db", other):
        assert dtconn("mirror", "--from", source, "--to", copy).exit_code == 0
    assert {row["key"] for row in objects("--from", copy, "--limit", "0")} == {each.key for each in SOME_EVENTS}


def test_copy_is_followed_by_what_was_copied_when(tmp_path: Path, copy: str) -> None:
    """What a second store received is older than what was copied of the first."""
    first = [event(ONE.body("touch", NOW), NOW)]
    second = [event(OTHER.body("touch", NOW), NOW - timedelta(hours=hours)) for hours in (2, 26)]
    third, lake = tmp_path / "third.db", tmp_path / "lake"
    fill(tmp_path / "first.db", first)
    fill(tmp_path / "second.db", second)
    for name, expected in (("first.db", first), ("second.db", first + second)):
        assert dtconn("mirror", "--from", tmp_path / name, "--to", copy).exit_code == 0
        with open_reader(copy) as reader:
            position = reader.end()
        assert dtconn("mirror", "--from", copy, "--to", third).exit_code == 0
        assert count(third) == len(expected)
        options = ("--partition", "day", "--rows", "events", "--format", "jsonl")
        assert dtconn("export", "--from", copy, "--to", lake, *options).exit_code == 0
        assert sum(path.read_text().count("\n") for path in lake.glob("*.jsonl")) == len(expected)
    late = event(ONE.body("touch", NOW), NOW - timedelta(days=9))
    fill(tmp_path / "first.db", [late])
    assert dtconn("mirror", "--from", tmp_path / "first.db", "--to", copy).exit_code == 0
    with open_reader(copy) as reader:
        assert late.key in {each.key for batch in reader.follow(position) for each in batch.events}


def test_postgres_copy_of_before_is_followed_too(tmp_path: Path, postgres: Postgres) -> None:
    fill(tmp_path / "e.db", SOME_EVENTS)
    copy = filled(postgres, [])
    with open_reader(copy) as reader:
        position = reader.end()
    for _ in range(2):
        assert dtconn("mirror", "--from", tmp_path / "e.db", "--to", copy).exit_code == 0
    with open_reader(copy) as reader:
        assert sum(len(batch.events) for batch in reader.follow(position)) == len(SOME_EVENTS)
    assert execute(copy, "SELECT count(*) FROM pg_index WHERE indexrelid = 'events_by_copy'::regclass") == [(1,)]


def test_databases_that_take_turns_at_one_address_are_two_sources(tmp_path: Path, postgres: Postgres) -> None:
    url = filled(postgres, SOME_EVENTS[:3])
    dtconn("mirror", "--from", url, "--to", tmp_path / "copy.db")
    # As through a tunnel, which leads elsewhere the next time.
    execute(url, "ALTER TABLE events RENAME TO previous")
    asyncio.run(migrate(url))
    execute(url, "INSERT INTO events SELECT * FROM previous WHERE event_type = 'touch'")
    execute(url, "UPDATE events SET key = 'another', received_at = received_at - interval '1 day'")
    found = dtconn("mirror", "--from", url, "--to", tmp_path / "copy.db")
    assert found.stdout == "1 new events copied, 0 were there already.\n"


def test_killed_mirror_is_completed_by_the_next(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", many(20_000))
    copy = tmp_path / "copy.db"
    command = [sys.executable, "-m", "cli", "mirror", "--from", str(tmp_path / "e.db"), "--to", str(copy)]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end and count(copy) < 1_000:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 1_000 <= count(copy) < 20_000
    assert dtconn("mirror", "--from", tmp_path / "e.db", "--to", copy).exit_code == 0
    assert count(copy) == 20_000


def count(path: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])
    except sqlite3.Error:
        return 0


def test_interrupted_mirror_says_that_the_next_run_continues(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", many(20_000))
    copy = tmp_path / "copy.db"
    command = [sys.executable, "-m", "cli", "mirror", "--from", str(tmp_path / "e.db"), "--to", str(copy)]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and count(copy) < 1_000:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "Interrupted. The next run continues."


def test_row_of_somebody_else_is_counted_and_not_copied(tmp_path: Path, copy: str) -> None:
    fill(tmp_path / "e.db", [event(ONE.body("touch", NOW), NOW)])
    with closing(sqlite3.connect(tmp_path / "e.db")) as connection:
        connection.execute("INSERT INTO events (key, received_at, parsed, body) VALUES ('theirs', 'today', 1, 7)")
        connection.commit()
    found = dtconn("mirror", "--from", tmp_path / "e.db", "--to", copy)
    assert found.exit_code == 0
    assert "1 new events copied" in found.stdout
    assert "1 rows were not written by the receiver, and not copied" in found.stdout


def test_event_that_the_copy_refuses_is_counted(tmp_path: Path, postgres: Postgres) -> None:
    fill(tmp_path / "e.db", SOME_EVENTS)
    copy = postgres.create_database()
    execute(copy, "ALTER TABLE events ADD CHECK (event_type IS DISTINCT FROM 'touch')")
    found = dtconn("mirror", "--from", tmp_path / "e.db", "--to", copy)
    assert found.exit_code == 1
    assert "1 were refused by the copy" in found.stdout
    assert len(objects("--from", copy, "--limit", "0")) == len(SOME_EVENTS) - 1


@pytest.mark.parametrize(
    "to", ["dynamodb:events", "sqllite:copy.db", "mysql://u:hidden@h/d", "postgres://u:hid#den@h/d"]
)
def test_copy_that_is_not_sql_is_refused(tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "e.db", [])
    monkeypatch.chdir(tmp_path)
    found = dtconn("mirror", "--from", tmp_path / "e.db", "--to", to)
    assert found.exit_code == 2
    assert "hid" not in found.output
    assert all(path.name.startswith("e.db") for path in tmp_path.iterdir())


def test_store_is_no_copy_of_itself(databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = databases([event(ONE.body("touch", NOW), NOW)])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to("events.db")
    others = ["events.db", "sqlite:events.db", "link.db"]
    if source.startswith("postgres"):
        others = [source.replace("127.0.0.1", "localhost"), f"{source}?application_name=x"]
    for to in (source, *others):
        found = dtconn("mirror", "--from", source, "--to", to)
        assert (found.exit_code, found.stderr) == (2, "The copy is the store itself. Name another by --to.\n")
    if source.startswith("postgres"):
        assert execute(source, "SELECT to_regclass('mirrors')") == [(None,)]
    else:
        with closing(sqlite3.connect(source)) as connection:
            assert not connection.execute("SELECT * FROM sqlite_master WHERE name = 'mirrors'").fetchall()


@pytest.mark.parametrize(
    "source",
    ["cloudant:http://u:p@127.0.0.1:1/events", "azure-table:https://a:1/t", "postgres://u@127.0.0.1:1/d", "none.db"],
)
def test_store_that_cannot_be_read_leaves_no_copy(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = dtconn("mirror", "--from", source, "--to", "copy.db", "--yes")
    assert found.exit_code == 1
    assert not list(tmp_path.iterdir())


def test_copy_of_nothing_has_the_tables(tmp_path: Path, copy: str) -> None:
    fill(tmp_path / "e.db", [])
    found = dtconn("mirror", "--from", tmp_path / "e.db", "--to", copy)
    assert found.stdout == "0 new events copied, 0 were there already.\n"
    assert objects("--from", copy) == []


def test_file_that_cannot_be_the_copy_is_named_by_the_option(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", [event(ONE.body("touch", NOW), NOW)])
    (tmp_path / "no.db").write_text("not a database, but long enough to look like one" * 100)
    for to in (tmp_path / "no.db", "/dev/null/copy.db", "postgres://u:p#d@h/d"):
        found = dtconn("mirror", "--from", tmp_path / "e.db", "--to", to)
        assert found.exit_code == 2
        assert "--to" in found.stderr
        assert "DATABASE" not in found.stderr


def test_unreachable_copy_is_one_sentence(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", [event(ONE.body("touch", NOW), NOW)])
    found = dtconn("mirror", "--from", tmp_path / "e.db", "--to", "postgres://u:hidden@127.0.0.1:1/d")
    assert found.exit_code == 1
    assert len(found.output.splitlines()) == 1
    assert "hidden" not in found.output
