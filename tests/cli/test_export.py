"""``dtconn export``: complete files, in days that later runs leave alone."""

import csv
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet
import pytest

from cli.spool import Spool
from core.event import Event, rfc3339
from dt_cloud.bodies import Device
from tests.cli.stored import NOW, ONE, ROOT, SOME_EVENTS, dtconn, event, fill, objects

DAY = timedelta(days=1)
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)


def export(source: Path, to: Path, *args: str) -> str:
    found = dtconn("export", "--from", source, "--to", to, *args)
    assert found.exit_code == 0, found.output
    return found.stdout


@pytest.mark.parametrize("rows", ["events", "readings"])
def test_formats_have_the_same_rows(database: Path, tmp_path: Path, rows: str) -> None:
    for name in ("csv", "jsonl", "parquet"):
        export(database, tmp_path / f"e.{name}", "--format", name, "--rows", rows)
    expected = sorted(objects("--from", str(database), "--limit", "0", command=rows), key=repr)
    lines = (tmp_path / "e.jsonl").read_text().splitlines()
    assert sorted(map(json.loads, lines), key=repr) == expected
    table = pyarrow.parquet.read_table(tmp_path / "e.parquet").to_pylist()
    texts = ({name: rfc3339(v) if isinstance(v, datetime) else v for name, v in row.items()} for row in table)
    assert sorted(texts, key=repr) == expected
    with (tmp_path / "e.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(expected)
    assert not list(tmp_path.glob("*.part"))


def test_parquet_has_types(database: Path, tmp_path: Path) -> None:
    export(database, tmp_path / "e.parquet", "--format", "parquet")
    types = {field.name: str(field.type) for field in pyarrow.parquet.read_schema(tmp_path / "e.parquet")}
    assert (types["value"], types["text"], types["isBackfilled"]) == ("double", "string", "bool")
    assert types["time"] == types["receivedAt"] == "timestamp[us, tz=UTC]"


def test_filters(database: Path, tmp_path: Path) -> None:
    assert export(database, tmp_path / "e.csv", "--type", "co2", "--device", ONE.device_id).startswith("1 readings")
    assert export(database, tmp_path / "e.csv", "--label", "name=none").startswith("0 readings")


def test_days_that_are_over_are_written_once(tmp_path: Path) -> None:
    source, lake = tmp_path / "e.db", tmp_path / "lake"
    days = [TODAY - 3 * DAY, TODAY - DAY, TODAY]
    # The time of arrival decides, not that of the event.
    fill(source, (event(ONE.body("co2", TODAY - 9 * DAY), day) for day in days))
    export(source, lake, "--partition", "day", "--rows", "events")
    names = [f"events-{day:%Y-%m-%d}.csv" for day in days]
    assert sorted(path.name for path in lake.glob("*.csv")) == names
    before = {name: (lake / name).stat().st_mtime_ns for name in names}
    fill(source, [event(ONE.body("touch", NOW), TODAY)])
    export(source, lake, "--partition", "day", "--rows", "events")
    assert {name for name in names if (lake / name).stat().st_mtime_ns == before[name]} == set(names[:2])
    assert (lake / names[2]).read_text().count("\n") == 3


def lake_of(folder: Path) -> list[tuple[str, str]]:
    """Return the name of the file and the key of each row of an export of events."""
    found = []
    for path in folder.glob("events-*"):
        if path.suffix == ".parquet":
            rows = pyarrow.parquet.read_table(path).to_pylist()
        elif path.suffix == ".csv":
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
        else:
            rows = [json.loads(line) for line in path.read_text().splitlines()]
        found += [(path.stem, row["key"].removeprefix("'" if path.suffix == ".csv" else "")) for row in rows]
    return sorted(found)


def days_of(events: Iterable[Event]) -> list[tuple[str, str]]:
    return sorted((f"events-{each.received_at:%Y-%m-%d}", each.key) for each in events)


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_each_day_is_complete_whatever_the_order_and_however_late(tmp_path: Path, file_format: str) -> None:
    """As in a copy of several stores: each is in an order of its own, and one is copied later."""
    source, lake = tmp_path / "e.db", tmp_path / "lake"
    # A key that is a formula, in a file that is read again.
    devices = [Device(name, "p") for name in ("=one", "two", "'three")]
    events = [
        replace(event(device.body("co2", NOW), TODAY - days * DAY), key=f"{device.device_id}-{days}")
        for device in devices
        for days in (4, 2, 0)
    ]
    for part in (events[:6], events[6:], []):
        fill(source, part)
        said = export(source, lake, "--partition", "day", "--rows", "events", "--format", file_format)
        assert said == f"{lake} is up to date: 3 days, and {len(part)} events are new.\n"
    assert lake_of(lake) == days_of(events)


def test_killed_export_is_completed_by_the_next(tmp_path: Path) -> None:
    source, lake = tmp_path / "e.db", tmp_path / "lake"
    events = [event(Device(f"d{n}", "p").body("touch", NOW), TODAY - n % 9 * DAY) for n in range(10_000)]
    fill(source, events)
    command = [sys.executable, "-m", "cli", "export", "--from", str(source), "--to", str(lake), "--partition", "day"]
    process = subprocess.Popen([*command, "--rows", "events"], cwd=ROOT, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None and not list(lake.glob("events-*.csv")):
        time.sleep(0.001)
    process.kill()
    process.wait()
    (lake / f"events-{TODAY:%Y-%m-%d}.csv.1.part").write_text("what a killed export leaves")
    export(source, lake, "--partition", "day", "--rows", "events")
    assert lake_of(lake) == days_of(events)
    assert not list(lake.glob("*.part"))


def test_second_export_into_a_folder_is_refused_meanwhile(database: Path, tmp_path: Path) -> None:
    with Spool(tmp_path / "export.db"):
        found = dtconn("export", "--from", database, "--to", tmp_path, "--partition", "day")
    assert found.exit_code == 1
    assert found.stderr == f"Another export is writing to {tmp_path}.\n"
    export(database, tmp_path, "--partition", "day")


def test_other_files_in_the_folder_do_not_matter(database: Path, tmp_path: Path) -> None:
    others = ("readings-old.csv", "readings-2026-11-27 (1).csv")
    for name in others:
        (tmp_path / name).write_text("of the user")
    said = export(database, tmp_path, "--partition", "day")
    days = len(list(tmp_path.glob("readings-*.csv"))) - len(others)
    assert said.startswith(f"{tmp_path} is up to date: {days} days, ")
    assert all((tmp_path / name).read_text() == "of the user" for name in others)


def test_file_of_a_day_that_is_no_export_is_named(database: Path, tmp_path: Path) -> None:
    (tmp_path / f"readings-{NOW:%Y-%m-%d}.csv").write_text("date;value\n1;2\n")
    found = dtconn("export", "--from", database, "--to", tmp_path, "--partition", "day")
    assert found.exit_code == 1
    assert found.stderr.endswith(f"readings-{NOW:%Y-%m-%d}.csv is not a file of this export. Move it away.\n")


def test_folder_needs_a_partition(database: Path, tmp_path: Path) -> None:
    found = dtconn("export", "--from", database, "--to", tmp_path)
    assert found.exit_code == 2
    assert found.stderr == f"{tmp_path} is a folder. Name a file, or add --partition day.\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit for files")
@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("partition", [(), ("--partition", "day")])
def test_full_disk_is_one_sentence_and_leaves_no_part(tmp_path: Path, file_format: str, partition: list[str]) -> None:
    fill(tmp_path / "e.db", (event(Device(f"d{n}", "p").body("touch", NOW), NOW) for n in range(300)))
    with closing(sqlite3.connect(tmp_path / "e.db")) as connection:
        # Otherwise reading it makes a file that is larger than the limit.
        connection.execute("PRAGMA journal_mode = DELETE")
    folder = tmp_path / "lake"
    folder.mkdir()
    to = folder if partition else folder / f"e.{file_format}"
    command = [sys.executable, "-m", "cli", "export", "--from", tmp_path / "e.db", "--to", to, "--format", file_format]
    limited = ["sh", "-c", 'ulimit -f 4; exec "$@"', "sh", *map(str, command), *partition]
    found = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 1
    assert "cannot be written" in found.stderr
    assert not [path for path in folder.iterdir() if not path.name.startswith("export.")]


def test_rows_of_somebody_else_are_counted(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "e.db")) as connection:
        connection.execute("CREATE TABLE events (id, name)")
        connection.execute("INSERT INTO events VALUES (1, 'party')")
        connection.commit()
    for to, *more in ((tmp_path / "e.csv",), (tmp_path / "lake", "--partition", "day")):
        said = export(tmp_path / "e.db", to, *map(str, more))
        assert said.endswith("; 1 rows were not written by the receiver, and not exported.\n")


def test_folder_of_another_export_is_refused(database: Path, tmp_path: Path) -> None:
    export(database, tmp_path / "lake", "--partition", "day")
    found = dtconn("export", "--from", database, "--to", tmp_path / "lake", "--partition", "day", "--type", "co2")
    assert found.exit_code == 2
    assert "export.json" in found.stderr


def test_failed_export_leaves_no_file(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", SOME_EVENTS)
    data = bytearray((tmp_path / "e.db").read_bytes())
    data[4096 : 12 * 4096] = os.urandom(11 * 4096)
    (tmp_path / "e.db").write_bytes(data)
    found = dtconn("export", "--from", tmp_path / "e.db", "--to", tmp_path / "out.csv")
    assert found.exit_code == 1
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("args", [("--format", "xlsx"), ("--partition", "month"), ("--rows", "devices")])
def test_unknown_choice_exits_2(database: Path, tmp_path: Path, args: tuple[str, ...]) -> None:
    assert dtconn("export", "--from", database, "--to", tmp_path / "e", *args).exit_code == 2


def test_file_that_cannot_be_written_is_one_sentence(database: Path, tmp_path: Path) -> None:
    found = dtconn("export", "--from", database, "--to", tmp_path / "none" / "e.csv")
    assert found.exit_code == 1
    assert found.stderr.endswith("e.csv cannot be written: No such file or directory.\n")


def test_time_of_arrival_is_in_utc(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", [event(ONE.body("co2", NOW), datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC))])
    export(tmp_path / "e.db", tmp_path / "lake", "--partition", "day")
    assert (tmp_path / "lake" / "readings-2026-01-31.csv").exists()
