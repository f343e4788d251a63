"""How ``dtconn events`` shows what is stored: tables, JSON and CSV, filters and times."""

import base64
import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.times import parse_time
from core.event import rfc3339
from core.readings import readings
from dt_cloud.bodies import EVENT_TYPES
from tests.cli.stored import (
    LISTINGS,
    NO_TEXT,
    NOW,
    ONE,
    OTHER,
    ROOT,
    UNPARSED,
    Databases,
    a_contact,
    dtconn,
    event,
    events,
    fill,
    objects,
)
from tests.support.cases import OWN, each_table


def test_table_output(database: Path) -> None:
    result = events("--from", database, "--limit", "0")
    assert result.exit_code == 0
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["time", "(UTC)", "type", "device", "name", "value", "delay", "key"]
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


def test_unparsed_event_is_shown_at_its_time_of_arrival(database: Path) -> None:
    rows = events("--from", database).stdout.splitlines()[1:]
    assert "unparsed: unknown event type" in rows[1]
    assert rows[1].startswith(f"{NOW - timedelta(minutes=30):%Y-%m-%d %H:%M:%S}")
    assert "unparsed: not JSON" in rows[3]


def test_newest_first_by_event_time(database: Path) -> None:
    times = [row["timestamp"] or row["receivedAt"] for row in objects("--from", database, "--limit", "0")]
    assert times == sorted(times, reverse=True)
    assert len(times) == len(EVENT_TYPES) + 3


def test_json_has_every_column_and_the_exact_body(database: Path) -> None:
    rows = objects("--from", database, "--limit", "4")
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


def test_csv_equals_json(database: Path) -> None:
    result = events("--from", database, "--limit", "4", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    expected = objects("--from", database, "--limit", "4")
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
    assert len(objects("--from", database, *args)) == count


def test_readings_are_one_row_each(database: Path) -> None:
    rows = objects("--from", database, "--device", OTHER.device_id, "--limit", "0", command="readings")
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
    assert len(objects("--from", database, "--since", "29m", command="readings")) == 1


def test_readings_as_a_table_and_as_csv(database: Path) -> None:
    table = dtconn("readings", "--from", database, "--type", "co2").stdout.splitlines()
    assert table[0].split() == ["time", "(UTC)", "type", "quantity", "device", "value", "name"]
    assert table[1].split()[2:] == ["co2", "ppm", ONE.device_id, "617", "ppm", "Kjølerom", "1"]
    header, row = dtconn("readings", "--from", database, "--type", "contact", "--csv").stdout.splitlines()
    assert header.startswith("key,deviceId,projectId,eventType,quantity,value,text,unit,time,")
    assert ",contact,state,,OPEN,," in row
    assert ",false,Kjølerom 1," in row


def test_backfilled_readings_are_marked(tmp_path: Path) -> None:
    body = ONE.body("temperature", NOW).replace(b'"isBackfilled":false', b'"isBackfilled":true')
    fill(tmp_path / "e.db", [event(body, NOW)])
    assert "backfilled" in dtconn("readings", "--from", tmp_path / "e.db").stdout
    assert objects("--from", tmp_path / "e.db", command="readings")[0]["isBackfilled"] is True


@each_table
def test_any_stored_event_is_listed(databases: Databases, cases: dict[str, bytes]) -> None:
    stored = [event(content, NOW) for content in cases.values()]
    database = databases(stored)
    for listing in LISTINGS:
        result = dtconn(*listing, "--from", database, "--limit", "0")
        assert result.exit_code == 0, (listing, result.output)
        assert "--csv" in listing or result.stdout.replace("\n", "").isprintable(), listing
    rows = {row["key"]: row for row in objects("--from", database, "--limit", "0")}
    assert rows.keys() == {each.key for each in stored}
    for each in stored:
        row = rows[each.key]
        assert (row["timestamp"] or None) == (each.timestamp and rfc3339(each.timestamp))
        body = row["body"].encode() if row["encoding"] == "utf-8" else base64.b64decode(row["body"])
        assert body == each.body
    listed = objects("--from", database, "--limit", "0", command="readings")
    found = [reading for each in stored if each.parsed for reading in readings(each)]
    assert sorted(
        map(str, ([row["key"], row["value"], row["text"], row["time"], row["name"]] for row in listed))
    ) == sorted(map(str, ([each.key, each.value, each.text, each.time, each.name] for each in found)))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_listings_print_no_terminal_control_characters(tmp_path: Path) -> None:
    database = tmp_path / "e.db"
    fill(database, [event(a_contact("[red]\x1b[2J\r\x9b31m\u202e"), NOW), event(OWN["C1, raw"], NOW)])
    for listing in LISTINGS:
        shown = on_a_terminal(*listing, "--from", str(database))
        assert "[red]" in shown
        # The terminal's own line ends, and rich's own bold; nothing that came from outside.
        left = re.sub(r"\r\n|\x1b\[[0-9;]*m", "", shown)
        assert left.isprintable(), listing


def on_a_terminal(*args: str) -> str:
    main, side = os.openpty()
    environ = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-m", "cli", *args], env=environ, stdout=side)
    os.close(side)
    shown = b""
    with contextlib.suppress(OSError):  # what Linux raises at the end
        while part := os.read(main, 65_536):
            shown += part
    os.close(main)
    assert process.wait() == 0
    return shown.decode()


@pytest.mark.parametrize("text", [*(f"{sign}1+1" for sign in "=+-@\t\r\n"), "'quoted", "plain", ""])
def test_csv_cells_are_no_formulas(tmp_path: Path, text: str) -> None:
    fill(tmp_path / "e.db", [event(a_contact(text), NOW)])
    out = dtconn("readings", "--from", tmp_path / "e.db", "--csv").stdout
    [row] = csv.DictReader(io.StringIO(out, newline=""))
    assert not row["text"].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert row["text"].removeprefix("'") == text


def test_csv_numbers_stay_numbers(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", [event(OWN["number, -1.5E-3"], NOW)])
    [row] = csv.DictReader(io.StringIO(dtconn("readings", "--from", tmp_path / "e.db", "--csv").stdout))
    assert row["value"] == "-0.0015"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGPIPE")
def test_broken_pipe_is_not_an_error(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", (event(ONE.body("touch", NOW), NOW) for _ in range(1000)))
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "events", "--csv", "--limit", "0", "--from", str(tmp_path / "e.db")],
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
def test_time_formats(text: str, time: str) -> None:
    assert parse_time(text, datetime(2026, 1, 31, 12, tzinfo=UTC)) == datetime.fromisoformat(time)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has this device")
@pytest.mark.parametrize("args", [("events",), ("events", "--csv"), ("readings", "--json"), ("latest",), ("tail",)])
def test_full_disk_is_one_sentence(database: Path, args: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "cli", *args, "--from", str(database)]
        found = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr == "The output cannot be written: No space left on device.\n"
