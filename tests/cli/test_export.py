"""``dtconn export``: complete files, in days that later runs leave alone."""

import csv
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet
import pytest

from core.event import rfc3339
from tests.cli.stored import NOW, ONE, SOME_EVENTS, dtconn, event, fill, objects

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


def test_day_that_was_not_over_is_written_again(tmp_path: Path) -> None:
    source, lake = tmp_path / "e.db", tmp_path / "lake"
    fill(source, [event(ONE.body("co2", NOW), TODAY - DAY)])
    export(source, lake, "--partition", "day", "--rows", "events")
    [path] = lake.glob("*.csv")
    written = (TODAY - timedelta(hours=1)).timestamp()
    os.utime(path, (written, written))
    fill(source, [event(ONE.body("touch", NOW), TODAY - timedelta(minutes=30))])
    export(source, lake, "--partition", "day", "--rows", "events")
    assert path.read_text().count("\n") == 3


def test_day_that_ended_during_its_export_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The export reads what was there when it began, and takes until the day is long over."""
    source, lake = tmp_path / "e.db", tmp_path / "lake"
    fill(source, [event(ONE.body("co2", NOW), TODAY - timedelta(hours=1))])
    with monkeypatch.context() as patch:
        patch.setattr("cli.export.clock.time", lambda: (TODAY - timedelta(minutes=1)).timestamp())
        export(source, lake, "--partition", "day", "--rows", "events")
    fill(source, [event(ONE.body("touch", NOW), TODAY - timedelta(seconds=30))])
    export(source, lake, "--partition", "day", "--rows", "events")
    [path] = lake.glob("*.csv")
    assert path.read_text().count("\n") == 3


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
