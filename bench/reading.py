"""The cost of queries and puts with a thousand and with a million events of a thousand sensors."""

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from bench import ROOT, Options
from bench.report import Section, number
from bench.rounds import RATIOS, median, paired_ratio
from core.event import Event, parse_stored, rfc3339
from dt_cloud.bodies import Device
from local.database import Database
from local.sqlite import SqliteStore, row
from readers.contract import Reader
from readers.query import Query
from readers.readings import newest_readings
from readers.sources import open_reader

_FEW, _MANY = 1_000, 1_000_000
_PERIOD = timedelta(days=5)
_NOW = datetime.now(UTC)
# Mostly a temperature sensor's events, at about their real rates, and a few of another sensor's.
_TYPES = {"temperature": 45, "networkStatus": 45, "co2": 5, "touch": 4, "batteryStatus": 1}
_AT_ONCE = 200
_PUTS = 4_000
_HEADER = ("What", "at 1,000 events", "at 1,000,000", "ratio")


class Stored(Protocol):
    """A receiver's database. To add another, write a class like `Sqlite` and add it to `DATABASES`."""

    name: str

    def __init__(self, folder: Path) -> None: ...

    def fill(self, events: Iterator[Event]) -> None:
        """Store ``events`` in an empty database, in the fastest way with the same result as the receiver's."""

    def ask(self, query: str, *arguments: str) -> int:
        """Fetch all rows of a query, whose parameters are ``?``, and return their number."""

    @property
    def source(self) -> str:
        """The URL for its reader."""

    def store(self) -> Any:
        """Return the receiver's store for it, with `open`, `put` and `close`."""

    def close(self) -> None:
        """Stop what was started for it."""


class Sqlite:
    """The local receiver's database, in a file for the bench."""

    name = "SQLite"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "events.db"

    def fill(self, events: Iterator[Event]) -> None:
        """Store ``events``; see `Stored`."""
        database = Database(self._path)
        database.build_index()
        while rows := [row(event) for event in islice(events, 10_000)]:
            database.insert(rows)
            database.checkpoint()
        database.close()

    def ask(self, query: str, *arguments: str) -> int:
        """Count a query's rows, on a separate connection; see `Stored`."""
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as connection:
            return len(connection.execute(query, arguments).fetchall())

    @property
    def source(self) -> str:
        """The URL for its reader."""
        return f"sqlite:{self._path}"

    def store(self) -> SqliteStore:
        """Return the receiver's store for it."""
        return SqliteStore(self._path)

    def close(self) -> None:
        """Nothing was started."""


DATABASES: tuple[Callable[[Path], Any], ...] = (Sqlite,)

_DEVICES = [Device(f"emucdd6ef2eu277bo8f{number:04}", "ccol8iuk9smqiha4e8l0", samples=3) for number in range(1000)]
_HOUR_AGO = rfc3339(_NOW - timedelta(hours=1))
QUERIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "`latest`": ("SELECT * FROM latest", ()),
    "`latest` of one device": ("SELECT * FROM latest WHERE device_id = ?", (_DEVICES[0].device_id,)),
    "the newest 20 events": ("SELECT * FROM events ORDER BY coalesce(timestamp, received_at) DESC, key LIMIT 20", ()),
    "`readings` of the last hour": ("SELECT * FROM readings WHERE event_time >= ?", (_HOUR_AGO,)),
    "`readings` of one device in the last hour": (
        "SELECT * FROM readings WHERE device_id = ? AND event_time >= ?",
        (_DEVICES[0].device_id, _HOUR_AGO),
    ),
    "all events of one device": (
        "SELECT * FROM events WHERE device_id = ? ORDER BY coalesce(timestamp, received_at) DESC",
        (_DEVICES[0].device_id,),
    ),
}
_HOUR = Query(since=_NOW - timedelta(hours=1))
_READS: dict[str, Callable[[Reader], Iterator[object]]] = {
    "`dtconn latest`": lambda reader: reader.latest(Query()),
    "`dtconn events`": lambda reader: reader.events(Query(limit=20)),
    "`dtconn readings`": lambda reader: newest_readings(reader, Query(limit=20)),
    "`dtconn readings --since 1h --limit 0`": lambda reader: newest_readings(reader, _HOUR),
}


def measure(options: Options) -> Section:
    """Fill each database twice, and query each ``options.rounds`` times."""
    rows: list[list[str]] = []
    for database in DATABASES:
        with tempfile.TemporaryDirectory() as folder:
            rows += _measure(database, Path(folder), options.rounds)
    notes = (
        f"{len(_DEVICES):,} sensors over {_PERIOD.days} days; {events.__doc__}",
        "A query is fetched whole, on a connection of its own, in milliseconds; `dtconn` without its start of 0.2 s.",
        f"A put: CPU time of the process for one of {_PUTS:,} new events, {_AT_ONCE} at a time, in microseconds.",
        RATIOS,
    )
    return Section("reading: what a query and a put cost once much is stored", _HEADER, rows, notes)


def _measure(database: Callable[[Path], Any], folder: Path, rounds: int) -> list[list[str]]:
    filled: list[Stored] = []
    for count in (_FEW, _MANY):
        (folder / str(count)).mkdir()
        filled.append(database(folder / str(count)))
        filled[-1].fill(events(count))
        print(f"reading: {filled[-1].name}, {count:,} events stored", file=sys.stderr)
    figures: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for name, (query, arguments) in QUERIES.items():
            few, many = (milliseconds(one, query, arguments) for one in filled)
            figures.setdefault(f"{name}, ms", []).append((few, many))
        for name, read in _READS.items():
            few, many = (_milliseconds_to_read(one, read) for one in filled)
            figures.setdefault(f"{name}, ms", []).append((few, many))
    for _ in range(rounds):
        few, many = (_microseconds_of_cpu(one) for one in filled)
        figures.setdefault("a put, us", []).append((few, many))
    exports = [_export(one, folder / "export.parquet") for one in filled]
    figures["export of readings to Parquet, s"] = [(exports[0][0], exports[1][0])]
    figures["export of readings to Parquet, MiB resident"] = [(exports[0][1], exports[1][1])]
    for one in filled:
        one.close()
    shutil.rmtree(folder, ignore_errors=True)
    return [_cells(f"{filled[0].name}: {name}", values) for name, values in figures.items()]


def _cells(name: str, values: Sequence[tuple[float, float]]) -> list[str]:
    few, many = zip(*values, strict=True)
    return [name, number(median(few), 2), number(median(many), 2), number(paired_ratio(many, few), 2)]


def milliseconds(database: Stored, query: str, arguments: tuple[str, ...]) -> float:
    """Return the time of one query."""
    started = time.perf_counter()
    database.ask(query, *arguments)
    return (time.perf_counter() - started) * 1e3


def _milliseconds_to_read(database: Stored, read: Callable[[Reader], Iterator[object]]) -> float:
    with open_reader(database.source) as reader:
        started = time.perf_counter()
        deque(read(reader), 0)
        return (time.perf_counter() - started) * 1e3


def _export(database: Stored, path: Path) -> tuple[float, float]:
    """Return the seconds and the most memory of ``dtconn export``, in MiB."""
    command = [sys.executable, "-m", "cli", "export", "--from", database.source, "--to", str(path)]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--format", "parquet"], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, _, used = os.wait4(process.pid, 0)
    return time.perf_counter() - started, used.ru_maxrss / 1024


def _microseconds_of_cpu(database: Stored) -> float:
    events = [event(datetime.now(UTC)) for _ in range(_PUTS)]

    async def run() -> float:
        store = database.store()
        await store.open()
        waiting = iter(events)

        async def put_in_turn() -> None:
            for event in waiting:
                await store.put(event, time.monotonic() + 60)

        started = time.process_time()
        await asyncio.gather(*(put_in_turn() for _ in range(_AT_ONCE)))
        spent = time.process_time() - started
        await store.close()
        return spent / _PUTS * 1e6

    return asyncio.run(run())


def events(count: int) -> Iterator[Event]:
    """Yield five types of events; a temperature has three samples."""
    return (event(_NOW - _PERIOD * (1 - index / count)) for index in range(count))


def event(time: datetime) -> Event:
    """Return a new event of that time."""
    event_type = random.choices(list(_TYPES), list(_TYPES.values()))[0]
    return parse_stored(random.choice(_DEVICES).body(event_type, time), time + timedelta(seconds=1.5), "hs256:0")
