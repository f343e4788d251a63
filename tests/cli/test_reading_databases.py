"""``dtconn events`` on SQLite and Postgres: current, previous and missing databases."""

import asyncio
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from core.event import rfc3339
from dt_cloud.bodies import Device
from local.sqlite import SqliteStore
from readers.query import Query
from readers.readings import readings_query
from readers.sql import COLUMNS, newest
from tests.cli.stored import LISTINGS, NO_TEXT, NOW, ONE, ROOT, Databases, dtconn, event, events, fill, filled, objects
from tests.support.pgbouncer import needs_pgbouncer, pgbouncer
from tests.support.postgres import Postgres, execute


def test_database_of_the_environment(database: Path) -> None:
    assert events(DT_DATABASE=str(database), DATABASE_URL="postgres://127.0.0.1:1/none").exit_code == 0


@pytest.mark.parametrize(
    "url",
    ["mysql://u:hidden@h/d", "jdbc:postgresql://u:hidden@h/d", "postgress://u:hidden@h/d", "postgres:/u:hidden@h/d"],
)
def test_url_of_another_database_is_refused_without_its_password(url: str) -> None:
    for found in (events("--from", url), events(DATABASE_URL=url), events(DT_DATABASE=url)):
        assert found.exit_code == 1
        assert "hidden" not in found.output
        assert "postgres" in found.output


def test_reads_while_the_receiver_writes(tmp_path: Path) -> None:
    path = tmp_path / "events.db"

    async def both() -> "subprocess.CompletedProcess[str]":
        store = SqliteStore(path)
        await store.put(event(ONE.body("touch", NOW), NOW), time.monotonic() + 8)
        command = [sys.executable, "-m", "cli", "events", "--json", "--from", str(path)]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        result = subprocess.run(command, env=env, capture_output=True, text=True, encoding="utf-8", check=True)
        await store.put(event(ONE.body("touch", NOW), NOW), time.monotonic() + 8)
        await store.close()
        return result

    assert json.loads(asyncio.run(both()).stdout)["eventType"] == "touch"


OLD_SCHEMA = """
CREATE TABLE events (
    key {text} PRIMARY KEY, event_id {text}, event_type {text}, device_id {text}, project_id {text},
    timestamp {time}, received_at {time} NOT NULL, parsed {bool} NOT NULL, body {bytes} NOT NULL
);
"""


def test_sqlite_database_of_the_previous_version_is_listed(tmp_path: Path) -> None:
    columns = {"text": "TEXT", "time": "TEXT", "bool": "INTEGER", "bytes": "BLOB"}
    with closing(sqlite3.connect(tmp_path / "e.db")) as connection:
        connection.executescript(OLD_SCHEMA.format(**columns))
        values = ("one", *["x"] * 4, rfc3339(NOW), rfc3339(NOW), 1, ONE.body("co2", NOW))
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        connection.commit()
    check_old(str(tmp_path / "e.db"), {"one": rfc3339(NOW)})


def test_postgres_database_of_the_previous_version_is_listed(postgres: Postgres) -> None:
    """With times of arrival that Python cannot represent."""
    url = postgres.create_database()
    columns = {"text": "text", "time": "timestamptz", "bool": "boolean", "bytes": "bytea"}
    for statement in ("DROP TABLE events CASCADE", OLD_SCHEMA.format(**columns)):
        execute(url, statement)
    times = {
        "one": "-infinity",
        "two": "infinity",
        "three": "12000-01-01T00:00:00Z",
        "four": "0001-01-01T00:00:00+01:00",
        "five": rfc3339(NOW),
    }
    body = ONE.body("co2", NOW).hex()
    for key, time_ in times.items():
        execute(url, f"INSERT INTO events VALUES ('{key}', 'e', 'x', 'd', 'p', now(), '{time_}', true, '\\x{body}')")
    first, last = "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"
    check_old(url, {"one": None, "two": last, "three": None, "four": None, "five": rfc3339(NOW)})
    assert first not in str(objects("--from", url))


def check_old(database: str, arrivals: dict[str, str | None]) -> None:
    for listing in LISTINGS:
        assert dtconn(*listing, "--from", database).exit_code == 0, listing
    rows = objects("--from", database)
    assert {row["key"]: row["receivedAt"] for row in rows} == arrivals
    readings = objects("--from", database, "--since", "0001-01-02", command="readings")
    assert {row["signedBy"] for row in [*rows, *readings]} == {"unknown"}
    assert readings


def test_newest_events_are_read_from_the_index(databases: Databases) -> None:
    database = databases(
        event(Device(f"emu{index % 50:020}", "p").body("touch", NOW - timedelta(minutes=index)), NOW)
        for index in range(2000)
    )
    hour = NOW - timedelta(hours=1)
    for query in (
        Query(limit=20),
        Query(device_id=f"emu{7:020}", limit=20),
        Query(event_types=["touch", "co2"], limit=20),
        Query(since=hour),
        Query(since=hour, until=NOW),
        readings_query(Query(since=hour, limit=20)),
    ):
        plan = explain(database, query)
        assert "events_by_time" in plan or (query.device_id and "events_of_device" in plan), plan


def explain(database: str, query: Query) -> str:
    if not database.startswith("postgres"):
        statement, arguments = newest(query, COLUMNS, lambda _: "?")
        with closing(sqlite3.connect(database)) as connection:
            return "\n".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", arguments))
    statement, arguments = newest(query, COLUMNS, lambda number: f"${number}")
    for number, argument in reversed([*enumerate(arguments, 1)]):
        statement = statement.replace(f"${number}", f"'{argument}'" if isinstance(argument, str) else str(argument))
    execute(database, "ANALYZE events")
    return "\n".join(row[0] for row in execute(database, f"EXPLAIN {statement}"))


def test_missing_database_says_what_to_do(tmp_path: Path) -> None:
    result = events("--from", tmp_path / "events.db")
    assert result.exit_code == 1
    assert "make run" in result.stderr
    assert "make send" in result.stderr
    assert not (tmp_path / "events.db").exists()


@pytest.mark.parametrize("command", ["events", "readings"])
def test_empty_database_is_reported(tmp_path: Path, command: str) -> None:
    fill(tmp_path / "e.db", [event(NO_TEXT, NOW)])
    result = dtconn(command, "--from", tmp_path / "e.db", "--since", "1h", "--until", "30m")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "make send" in result.stderr
    assert dtconn(command, "--from", tmp_path / "e.db", "--until", "1h", "--csv").stdout.startswith("key,")


def test_file_that_is_not_a_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_text("not a database, but long enough to look like one" * 100)
    sqlite3.connect(tmp_path / "other.db").close()
    for name in ("no.db", "other.db"):
        result = events("--from", tmp_path / name)
        assert result.exit_code == 1
        assert "DT_DATABASE" in result.stderr


def test_postgres_equals_sqlite(database: Path, postgres: Postgres) -> None:
    url = filled(postgres)
    for command, *args in (
        ("events", "--limit", "0"),
        ("events", "--limit", "4"),
        ("readings", "--limit", "0"),
        ("latest",),
        (
            "events",
            "--type",
            "humidity",
            "--type",
            "touch",
            "--since",
            "1d",
            "--until",
            "1m",
            "--device",
            ONE.device_id,
        ),
    ):
        ours, theirs = (
            sorted(
                objects(*args, "--from", each, command=command),
                key=lambda row: (row["key"], row.get("quantity"), row.get("time")),
            )
            for each in (url, database)
        )
        assert ours
        assert ours == theirs


def test_postgres_over_tls_equals_sqlite(database: Path, postgres_with_tls: Postgres) -> None:
    over_tls = filled(postgres_with_tls).replace("127.0.0.1", "127.0.0.2")
    assert events(DATABASE_URL=over_tls).stdout == events("--from", database).stdout


def test_postgres_without_a_table_is_reported(postgres: Postgres) -> None:
    result = events("--from", postgres.url("template1"))
    assert result.exit_code == 1
    assert "no events" in result.stderr


def test_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    for name in ("readers.dynamodb", "readers.dynamodb_stream", "readers.aws"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    result = events("--from", "dynamodb:events")
    assert result.exit_code == 1
    assert "pip install '.[aws]'" in result.stderr
    assert "make readers" in result.stderr


def test_postgres_connection_failure_is_reported_without_the_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    result = events(DATABASE_URL=f"postgresql://me:hush@127.0.0.1:{port}/none")
    assert result.exit_code == 1
    assert "heroku config:get DATABASE_URL" in result.stderr
    assert "hush" not in result.output


def test_unusable_postgres_url_is_reported_without_the_password() -> None:
    result = events(DATABASE_URL="postgres://me:hu#sh@127.0.0.1:5432/none")
    assert result.exit_code == 1
    assert "# as %23" in result.stderr
    assert "hu" not in result.output.replace("Heroku", "")


@needs_pgbouncer
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_postgres_through_pgbouncer_equals_sqlite(
    database: Path, postgres: Postgres, mode: str, tmp_path: Path
) -> None:
    url = filled(postgres)
    with pgbouncer(postgres.port, mode, tmp_path) as port:
        for args in (("events",), ("readings", "--since", "1d"), ("events",)):
            pooled = dtconn(*args, DATABASE_URL=f'"{url.replace(str(postgres.port), str(port))}"')
            assert pooled.stdout == dtconn(*args, "--from", url).stdout
            assert pooled.stdout.count("\n") > 1
