"""``dtconn tail``: events as they are stored."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from cli.reading import _arriving
from readers.query import Query
from readers.sources import open_reader
from tests.cli.stored import NOW, ONE, OTHER, ROOT, Databases, event, fill, filled
from tests.support.postgres import Postgres


def tail(*args: str) -> "subprocess.Popen[str]":
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "tail", *args], env=environ, stdout=subprocess.PIPE, text=True
    )


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.read() == ""
    assert process.wait(30) == 0
    process.stdout.close()


def test_newest_events_and_then_what_arrives_once(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    fill(path, (event(ONE.body("touch", NOW - timedelta(minutes=n)), NOW) for n in (1, 3, 2)))
    process = tail("--from", str(path), "--limit", "2", "--json")
    times = [json.loads(line(process))["timestamp"] for _ in range(2)]
    assert times == sorted(times)
    # It arrives now, although it is older than the others.
    late = event(OTHER.body("co2", NOW - timedelta(days=3)), NOW)
    fill(path, [late])
    assert json.loads(line(process))["key"] == late.key
    end(process)


def test_only_what_matches_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    fill(path, [event(ONE.body("touch", NOW), NOW)])
    process = tail("--from", str(path), "--device", OTHER.device_id)
    time.sleep(1)
    fill(path, [event(ONE.body("touch", NOW + timedelta(seconds=1)), NOW), event(OTHER.body("co2", NOW), NOW)])
    assert f"co2  {OTHER.device_id}  Kjølerom 1  " in line(process)
    end(process)


def test_postgres_gives_each_event_once(postgres: Postgres) -> None:
    """It reads a few minutes before its position again."""
    url = filled(postgres, [event(ONE.body("touch", NOW), NOW)])
    process = tail("--from", url, "--json")
    assert json.loads(line(process))["eventType"] == "touch"
    time.sleep(3)
    end(process)


def test_more_events_than_it_remembers_are_shown_once(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads a few minutes again at each look, however much arrived in them."""
    monkeypatch.setattr("cli.reading._MAX_KNOWN", 3)
    url = filled(postgres, (event(ONE.body("touch", NOW - timedelta(seconds=n)), NOW) for n in range(8)))
    with open_reader(url) as reader:
        monkeypatch.setattr(type(reader), "poll_seconds", 0.01)
        looks = _arriving(reader, Query(limit=8))
        assert [len(next(looks)) for _ in range(4)] == [8, 0, 0, 0]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_terminal_shows_a_live_table(databases: Databases) -> None:
    database = databases([event(ONE.body("co2", NOW), NOW)])
    main, side = os.openpty()
    environ = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "160", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-m", "cli", "tail", "--from", database], env=environ, stdout=side)
    os.close(side)
    shown = b""
    while b" ppm" not in shown:
        shown += os.read(main, 65_536)
    assert ONE.device_id.encode() in shown
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    os.close(main)
