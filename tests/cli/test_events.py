"""``dtconn events`` over a database that the receiver's own store wrote."""

import asyncio
import base64
import contextlib
import csv
import importlib.util
import io
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.events import Query, parse_time
from cli.main import app
from core.event import Event, parse, rfc3339
from core.readings import readings
from core.verify.signature import Verified
from dt_cloud.bodies import EVENT_TYPES, Device
from local.sqlite import SqliteStore
from tests.support.cases import OWN, each_table
from tests.support.pgbouncer import needs_pgbouncer, pgbouncer
from tests.support.postgres import Postgres, execute

ROOT = Path(__file__).parents[2]
NOW = datetime.now(UTC)
ONE = Device("emuc17m6d7lq0bgk44smcqg", "c14u9p094l47cdv1o3pg")
OTHER = Device("bchonod7rihjtvdmd2vg", "c14u9p094l47cdv1o3pg", samples=30)
UNPARSED = b'{"event":{"eventType":"tomorrows","deviceId":7}}'
NO_TEXT = b"\xff\xfe"


def event(body: bytes, received_at: datetime) -> Event:
    return parse(Verified(body, "hs256:0"), received_at)


def a_contact(state: str) -> bytes:
    return re.sub(rb'"OPEN"|"CLOSED"', lambda _: json.dumps(state).encode(), OTHER.body("contact", NOW))


def fill(path: Path, events: Iterable[Event]) -> None:
    async def put() -> None:
        store = SqliteStore(path)
        await asyncio.gather(*(store.put(event, time.monotonic() + 8) for event in events))
        await store.close()

    asyncio.run(put())


def some_events() -> list[Event]:
    """One event of each type, an hour apart and received 90 s later; two that are strange; and 30 samples."""
    hour = timedelta(hours=1)
    return [
        *(
            event(ONE.body(event_type, NOW - index * hour), NOW - index * hour + timedelta(seconds=90))
            for index, event_type in enumerate(EVENT_TYPES)
        ),
        event(OTHER.body("humidity", NOW - 30 * hour), NOW),
        event(UNPARSED, NOW - 0.5 * hour),
        event(NO_TEXT, NOW - 1.5 * hour),
    ]


SOME_EVENTS = some_events()
Databases = Callable[[Iterable[Event]], str]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("var") / "events.db"
    fill(path, SOME_EVENTS)
    return path


def events(*args: str | Path, **environ: str) -> Result:
    env: dict[str, str | None] = {"DT_DATABASE": None, "DATABASE_URL": None, "COLUMNS": "200"}
    return CliRunner().invoke(app, ["events", *map(str, args)], env=env | environ)


def objects(*args: str | Path) -> list[dict[str, Any]]:
    result = events(*args, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_table_is_for_a_person(database: Path) -> None:
    result = events("--database", database, "--limit", "0")
    assert result.exit_code == 0
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["time", "(UTC)", "type", "device", "value", "delay", "key"]
    assert len(rows) == len(EVENT_TYPES) + 3
    assert "\x1b" not in result.stdout  # no colours where there is no terminal

    def row(event_type: str) -> str:
        return next(row for row in rows if f" {event_type} " in row)

    assert "21.5 °C" in row("temperature")
    assert "  1.5 min  " in row("temperature")
    assert ".temperature.emuc17m6d7lq0bgk44smcqg" in row("temperature")
    assert "21.5 °C, 40 %" in row("humidity")
    assert " 617 ppm " in row("co2")
    assert " 4176 " in row("objectPresentCount")
    assert " OPEN " in row("contact")
    assert " 45 %, -83 dBm " in row("networkStatus")
    assert rows[0].startswith(f"{NOW:%Y-%m-%d %H:%M:%S}  touch  ")


def test_what_was_not_parsed_is_shown_and_marked_at_its_time_of_arrival(database: Path) -> None:
    rows = events("--database", database).stdout.splitlines()[1:]
    assert "unparsed: unknown event type" in rows[1]
    assert rows[1].startswith(f"{NOW - timedelta(minutes=30):%Y-%m-%d %H:%M:%S}")
    assert "unparsed: not JSON" in rows[3]


def test_newest_first_by_event_time(database: Path) -> None:
    times = [row["timestamp"] or row["receivedAt"] for row in objects("--database", database, "--limit", "0")]
    assert times == sorted(times, reverse=True)
    assert len(times) == len(EVENT_TYPES) + 3


def test_json_has_every_column_and_the_very_bytes(database: Path) -> None:
    rows = objects("--database", database, "--limit", "4")
    assert list(rows[0]) == [
        *("key", "eventId", "eventType", "deviceId", "projectId", "timestamp", "receivedAt", "signedBy"),
        *("parsed", "body", "encoding"),
    ]
    assert rows[0]["timestamp"] == rfc3339(NOW)
    assert rows[0]["parsed"] is True
    assert json.loads(rows[0]["body"])["event"]["eventId"] == rows[0]["eventId"]
    assert event(rows[0]["body"].encode(), NOW).key == rows[0]["key"]
    assert (rows[1]["parsed"], rows[1]["body"], rows[1]["encoding"]) == (False, UNPARSED.decode(), "utf-8")
    assert (base64.b64decode(rows[3]["body"]), rows[3]["encoding"]) == (NO_TEXT, "base64")


def test_csv_says_the_same(database: Path) -> None:
    result = events("--database", database, "--limit", "4", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    expected = objects("--database", database, "--limit", "4")
    for row in expected:
        row["parsed"] = json.dumps(row["parsed"])
    assert rows == [{name: value or "" for name, value in row.items()} for row in expected]


@pytest.mark.parametrize(
    ("args", "count"),
    [
        ([], 20),
        (["--limit", "0"], 23),
        (["--limit", "3"], 3),
        (["--device", OTHER.device_id], 1),
        (["--type", "humidity"], 2),
        (["--type", "humidity", "-t", "touch"], 3),
        (["--type", "humidity", "--device", ONE.device_id], 1),
        (["--since", "29m"], 1),
        (["--since", "59m"], 2),
        (["--since", "1w", "--until", "29h"], 1),
        (["--since", rfc3339(NOW)], 1),
        (["--until", rfc3339(NOW), "--limit", "0"], 22),
        (["--since", (NOW - timedelta(minutes=59)).strftime("%Y-%m-%dT%H:%M:%S")], 2),
        (["--device", "' OR 1=1 --"], 0),
        (["--type", '") OR 1=1 --'], 0),
    ],
)
def test_filters(database: Path, args: list[str], count: int) -> None:
    assert len(objects("--database", database, *args)) == count


def test_readings_are_one_row_each(database: Path) -> None:
    rows = objects("--database", database, "--readings", "--device", OTHER.device_id, "--limit", "0")
    assert len(rows) == 60
    assert list(rows[0]) == [
        *("key", "deviceId", "projectId", "eventType", "quantity", "value", "text", "unit", "time", "receivedAt"),
        *("isBackfilled", "name", "signedBy"),
    ]
    assert {(row["quantity"], row["unit"]) for row in rows} == {("temperature", "°C"), ("relativeHumidity", "%")}
    assert rows[0]["time"] == rfc3339(NOW - timedelta(hours=30))
    assert rows[0]["isBackfilled"] is False
    times = [row["time"] for row in rows]
    assert times == sorted(times, reverse=True)
    assert len(objects("--database", database, "--readings", "--since", "29m")) == 1


def test_readings_as_a_table_and_as_csv(database: Path) -> None:
    table = events("--database", database, "--readings", "--type", "co2").stdout.splitlines()
    assert table[0].split() == ["time", "(UTC)", "type", "quantity", "device", "value", "name"]
    assert table[1].split()[2:] == ["co2", "ppm", ONE.device_id, "617", "ppm", "Kjølerom", "1"]
    header, row = events("--database", database, "--readings", "--type", "contact", "--csv").stdout.splitlines()
    assert header.startswith("key,deviceId,projectId,eventType,quantity,value,text,unit,time,")
    assert ",contact,state,,OPEN,," in row
    assert ",false,Kjølerom 1," in row


def test_backfilled_readings_are_marked(tmp_path: Path) -> None:
    body = ONE.body("temperature", NOW).replace(b'"isBackfilled":false', b'"isBackfilled":true')
    fill(tmp_path / "e.db", [event(body, NOW)])
    assert "backfilled" in events("--database", tmp_path / "e.db", "--readings").stdout
    assert objects("--database", tmp_path / "e.db", "--readings")[0]["isBackfilled"] is True


def test_the_database_of_the_environment(database: Path) -> None:
    assert events(DT_DATABASE=str(database), DATABASE_URL="postgres://127.0.0.1:1/none").exit_code == 0


@pytest.mark.parametrize(
    "url",
    ["mysql://u:hidden@h/d", "jdbc:postgresql://u:hidden@h/d", "postgress://u:hidden@h/d", "postgres:/u:hidden@h/d"],
)
def test_url_that_is_not_of_postgres_is_refused_without_its_password(url: str) -> None:
    for found in (events("--database", url), events(DATABASE_URL=url), events(DT_DATABASE=url)):
        assert found.exit_code == 1
        assert "hidden" not in found.output
        assert "postgres://" in found.output


def test_it_reads_while_the_receiver_writes(tmp_path: Path) -> None:
    path = tmp_path / "events.db"

    async def both() -> "subprocess.CompletedProcess[str]":
        store = SqliteStore(path)
        await store.put(event(ONE.body("touch", NOW), NOW), time.monotonic() + 8)
        command = [sys.executable, "-m", "cli", "events", "--json", "--database", str(path)]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        result = subprocess.run(command, env=env, capture_output=True, text=True, encoding="utf-8", check=True)
        await store.put(event(ONE.body("touch", NOW), NOW), time.monotonic() + 8)
        await store.close()
        return result

    assert json.loads(asyncio.run(both()).stdout)["eventType"] == "touch"


LISTINGS = [(*form, *view) for form in ((), ("--json",), ("--csv",)) for view in ((), ("--readings",))]


@pytest.fixture(params=["sqlite", "postgres"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Databases:
    """Return what makes a database with some events, and returns what --database has to say."""
    if request.param == "postgres":
        postgres: Postgres = request.getfixturevalue("postgres")
        return lambda events: filled(postgres, events)

    def make(events: Iterable[Event]) -> str:
        fill(tmp_path / "events.db", events)
        return str(tmp_path / "events.db")

    return make


@each_table
def test_whatever_is_stored_is_listed(databases: Databases, cases: dict[str, bytes]) -> None:
    stored = [event(content, NOW) for content in cases.values()]
    database = databases(stored)
    for listing in LISTINGS:
        result = events("--database", database, "--limit", "0", *listing)
        assert result.exit_code == 0, (listing, result.output)
        assert "--csv" in listing or result.stdout.replace("\n", "").isprintable(), listing
    rows = {row["key"]: row for row in objects("--database", database, "--limit", "0")}
    assert rows.keys() == {each.key for each in stored}
    for each in stored:
        row = rows[each.key]
        assert (row["timestamp"] or None) == (each.timestamp and rfc3339(each.timestamp))
        body = row["body"].encode() if row["encoding"] == "utf-8" else base64.b64decode(row["body"])
        assert body == each.body
    listed = objects("--database", database, "--limit", "0", "--readings")
    found = [reading for each in stored if each.parsed for reading in readings(each)]
    assert sorted(
        map(str, ([row["key"], row["value"], row["text"], row["time"], row["name"]] for row in listed))
    ) == sorted(map(str, ([each.key, each.value, each.text, each.time, each.name] for each in found)))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_no_listing_prints_terminal_control_characters(tmp_path: Path) -> None:
    database = tmp_path / "e.db"
    fill(database, [event(a_contact("[red]\x1b[2J\r\x9b31m\u202e"), NOW), event(OWN["C1, raw"], NOW)])
    for listing in LISTINGS:
        shown = on_a_terminal("--database", str(database), *listing)
        assert "[red]" in shown
        # The terminal's own line ends, and rich's own bold; nothing that came from outside.
        left = re.sub(r"\r\n|\x1b\[[0-9;]*m", "", shown)
        assert left.isprintable(), listing


def on_a_terminal(*args: str) -> str:
    main, side = os.openpty()
    environ = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-m", "cli", "events", *args], env=environ, stdout=side)
    os.close(side)
    shown = b""
    with contextlib.suppress(OSError):  # what Linux raises at the end
        while part := os.read(main, 65_536):
            shown += part
    os.close(main)
    assert process.wait() == 0
    return shown.decode()


@pytest.mark.parametrize("text", [*(f"{sign}1+1" for sign in "=+-@\t\r\n"), "'quoted", "plain", ""])
def test_no_cell_is_a_formula_and_every_text_comes_back(tmp_path: Path, text: str) -> None:
    fill(tmp_path / "e.db", [event(a_contact(text), NOW)])
    out = events("--database", tmp_path / "e.db", "--readings", "--csv").stdout
    [row] = csv.DictReader(io.StringIO(out, newline=""))
    assert not row["text"].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert row["text"].removeprefix("'") == text


def test_a_number_in_a_cell_stays_a_number(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", [event(OWN["number, -1.5E-3"], NOW)])
    [row] = csv.DictReader(io.StringIO(events("--database", tmp_path / "e.db", "--readings", "--csv").stdout))
    assert row["value"] == "-0.0015"


OLD_SCHEMA = """
CREATE TABLE events (
    key {text} PRIMARY KEY, event_id {text}, event_type {text}, device_id {text}, project_id {text},
    timestamp {time}, received_at {time} NOT NULL, parsed {bool} NOT NULL, body {bytes} NOT NULL
);
CREATE VIEW readings AS SELECT
    key, device_id, project_id, event_type, 0 AS sample, 'ppm' AS quantity, 1 AS value, NULL AS text, 'ppm' AS unit,
    timestamp AS time, received_at, parsed AS is_backfilled, 'name' AS name FROM events;
INSERT INTO events VALUES ('one', 'e', 'co2', 'd', 'p', {times}, {bytes_of_body});
"""


def test_sqlite_database_of_the_previous_version_is_listed(tmp_path: Path) -> None:
    columns = {"text": "TEXT", "time": "TEXT", "bool": "INTEGER", "bytes": "BLOB"}
    times = "'0001-01-01T00:00:00.000000Z', '2026-11-21T09:00:00.000000Z', 1"
    with closing(sqlite3.connect(tmp_path / "e.db")) as connection:
        connection.executescript(OLD_SCHEMA.format(**columns, times=times, bytes_of_body="CAST('{}' AS BLOB)"))
    check_old(str(tmp_path / "e.db"), ["0001-01-01T00:00:00.000000Z"])


def test_postgres_database_of_the_previous_version_is_listed(postgres: Postgres) -> None:
    """With the times that Python does not have, which it kept as Postgres gave or took them."""
    url = postgres.create_database()
    columns = {"text": "text", "time": "timestamptz", "bool": "boolean", "bytes": "bytea"}
    schema = OLD_SCHEMA.format(**columns, times="'-infinity', now(), true", bytes_of_body="'{}'")
    for statement in ("DROP TABLE events CASCADE", *schema.split(";\n")[:-1]):
        execute(url, statement)
    for key, time_ in (("two", "infinity"), ("three", "12000-01-01T00:00:00Z"), ("four", "0001-01-01T00:00:00+01:00")):
        execute(url, f"INSERT INTO events VALUES ('{key}', 'e', 'co2', 'd', 'p', '{time_}', now(), true, '{{}}')")
    first, last = "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"
    check_old(url, [last, "12000-01-01 00:00:00+00", "0001-12-31 23:00:00+00 BC", first])


def check_old(database: str, times: list[str]) -> None:
    for listing in LISTINGS:
        assert events("--database", database, *listing).exit_code == 0, listing
    assert [row["timestamp"] for row in objects("--database", database)] == times
    rows = objects("--database", database, "--readings", "--since", "0001-01-01")
    assert {row["signedBy"] for row in [*objects("--database", database), *rows]} == {None}
    assert rows


def test_the_newest_are_read_from_the_index(databases: Databases) -> None:
    database = databases(
        event(Device(f"emu{index % 50:020}", "p").body("touch", NOW - timedelta(minutes=index)), NOW)
        for index in range(2000)
    )
    hour = NOW - timedelta(hours=1)
    for query in (
        Query(),
        Query(device_id=f"emu{7:020}"),
        Query(event_types=["touch", "co2"]),
        Query(since=hour),
        Query(since=hour, until=NOW),
        Query(since=hour, as_readings=True),
    ):
        plan = explain(database, query)
        assert "events_by_time" in plan or (query.device_id and "events_of_device" in plan), plan


def explain(database: str, query: Query) -> str:
    there = [*query.columns, *["event_time"] * query.as_readings]
    if not database.startswith("postgres"):
        statement, arguments = query.sql(lambda _: "?", there)
        with closing(sqlite3.connect(database)) as connection:
            return "\n".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", arguments))
    statement, arguments = query.sql(lambda number: f"${number}", there)
    for number, argument in reversed([*enumerate(arguments, 1)]):
        statement = statement.replace(f"${number}", f"'{argument}'" if isinstance(argument, str) else str(argument))
    execute(database, "ANALYZE events")
    return "\n".join(row[0] for row in execute(database, f"EXPLAIN {statement}"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGPIPE")
def test_broken_pipe_is_no_error(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", (event(ONE.body("touch", NOW), NOW) for _ in range(1000)))
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "events", "--csv", "--limit", "0", "--database", str(tmp_path / "e.db")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"key,")
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()


def test_no_database_says_what_to_do(tmp_path: Path) -> None:
    result = events("--database", tmp_path / "events.db")
    assert result.exit_code == 1
    assert "make run" in result.stderr
    assert "make send" in result.stderr
    assert not (tmp_path / "events.db").exists()


@pytest.mark.parametrize("args", [(), ("--readings",)])
def test_an_empty_database_says_so(tmp_path: Path, args: tuple[str, ...]) -> None:
    fill(tmp_path / "e.db", [event(NO_TEXT, NOW)])
    result = events("--database", tmp_path / "e.db", "--since", "1h", "--until", "30m", *args)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "make send" in result.stderr
    assert events("--database", tmp_path / "e.db", "--until", "1h", "--csv", *args).stdout.startswith("key,")


def test_another_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_text("not a database, but long enough to look like one" * 100)
    sqlite3.connect(tmp_path / "other.db").close()
    for name in ("no.db", "other.db"):
        result = events("--database", tmp_path / name)
        assert result.exit_code == 1
        assert "DT_DATABASE" in result.stderr


def filled(postgres: Postgres, events: Iterable[Event] = SOME_EVENTS) -> str:
    """Return the URL of a new database with some events."""
    from heroku.postgres import PostgresStore

    url = postgres.create_database()

    async def put() -> None:
        store = PostgresStore(url)
        await asyncio.gather(*(store.put(event, time.monotonic() + 8) for event in events))
        await store.close()

    asyncio.run(put())
    return url


def test_postgres_says_the_same(database: Path, postgres: Postgres) -> None:
    url = filled(postgres)
    for args in (
        ("--limit", "0"),
        ("--limit", "4"),
        ("--readings", "--limit", "0"),
        ("--type", "humidity", "--type", "touch", "--since", "1d", "--until", "1m", "--device", ONE.device_id),
    ):
        ours, theirs = (
            sorted(
                objects("--database", each, *args), key=lambda row: (row["key"], row.get("quantity"), row.get("time"))
            )
            for each in (url, database)
        )
        assert ours
        assert ours == theirs


def test_postgres_says_the_same_over_tls(database: Path, postgres_with_tls: Postgres) -> None:
    over_tls = filled(postgres_with_tls).replace("127.0.0.1", "127.0.0.2")
    assert events(DATABASE_URL=over_tls).stdout == events("--database", database).stdout


def test_postgres_without_a_table_says_so(postgres: Postgres) -> None:
    result = events("--database", postgres.url("template1"))
    assert result.exit_code == 1
    assert "no events" in result.stderr


def test_postgres_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    result = events("--database", "postgres://127.0.0.1:1/none")
    assert result.exit_code == 1
    assert "pip install asyncpg" in result.stderr


@pytest.mark.skipif(not importlib.util.find_spec("asyncpg"), reason="asyncpg is not installed")
def test_postgres_that_does_not_answer_and_no_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    result = events(DATABASE_URL=f"postgresql://me:hush@127.0.0.1:{port}/none")
    assert result.exit_code == 1
    assert "heroku config:get DATABASE_URL" in result.stderr
    assert "hush" not in result.output


def test_postgres_with_a_url_that_cannot_be_used_says_so_without_the_password() -> None:
    result = events(DATABASE_URL="postgres://me:hu#sh@127.0.0.1:5432/none")
    assert result.exit_code == 2
    assert "# as %23" in result.stderr
    assert "hu" not in result.output.replace("Heroku", "")


@needs_pgbouncer
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_postgres_says_the_same_through_a_pooler(database: Path, postgres: Postgres, mode: str, tmp_path: Path) -> None:
    url = filled(postgres)
    with pgbouncer(postgres.port, mode, tmp_path) as port:
        for args in ((), ("--readings", "--since", "1d"), ()):
            pooled = events(*args, DATABASE_URL=f'"{url.replace(str(postgres.port), str(port))}"')
            assert pooled.stdout == events(*args, "--database", url).stdout
            assert pooled.stdout.count("\n") > 1


@pytest.mark.parametrize(
    "args",
    [["--json", "--csv"], ["--since", "yesterday"], ["--until", "2x"], ["--since", "99999999999w"], ["--limit=-1"]],
)
def test_invalid_arguments_exit_2(args: list[str]) -> None:
    assert events(*args).exit_code == 2


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("90s", "2026-01-31T11:58:30Z"),
        ("5m", "2026-01-31T11:55:00Z"),
        ("2h", "2026-01-31T10:00:00Z"),
        ("3d", "2026-01-28T12:00:00Z"),
        ("1w", "2026-01-24T12:00:00Z"),
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00Z"),
        ("2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.5Z"),
    ],
)
def test_times(text: str, time: str) -> None:
    assert parse_time(text, datetime(2026, 1, 31, 12, tzinfo=UTC)) == datetime.fromisoformat(time)
