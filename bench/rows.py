"""What a put and a query cost once 1,000 to 10 million events are stored, in SQLite and in Postgres."""

import asyncio
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg

from bench import database
from bench.reading import QUERIES, Sqlite, Stored, event, events, milliseconds
from bench.report import Section, number
from bench.rounds import median
from core.event import Event
from heroku.postgres import _INSERT, PostgresStore, _row
from tests.support.postgres import execute

_FIRST = 1_000
_AT_ONCE = 200
# New events for a put, at most; a tenth of what is stored if that is fewer.
_MOST_PUTS = 2_000
# Held in memory while both databases are filled.
_CHUNK = 10_000
_ASKED = ("the newest 20 events", "`latest` of one device", "`readings` of one device in the last hour")


class Postgres:
    """Heroku's database; see `bench.reading.Stored`."""

    name = "Postgres"

    def __init__(self, url: str) -> None:
        self.source = url
        self._runner = asyncio.Runner()
        self._connection = self._runner.run(asyncpg.connect(url))

    def fill(self, events: Iterator[Event]) -> None:
        """Store ``events``; see `bench.reading.Stored`."""
        self._runner.run(self._connection.executemany(_INSERT, [_row(event) for event in events]))

    def ask(self, query: str, *arguments: str) -> int:
        """Count a query's rows; see `bench.reading.Stored`."""
        for argument in arguments:  # text and times alike
            query = query.replace("?", f"'{argument}'", 1)
        return len(self._runner.run(self._connection.fetch(query)))

    def store(self) -> PostgresStore:
        """Return the receiver's store for it."""
        return PostgresStore(self.source)

    def close(self) -> None:
        """Disconnect."""
        self._runner.run(self._connection.close())
        self._runner.close()


def measure(url: str, folder: Path, rounds: int, most: int) -> Section:
    """Fill both databases up to ``most`` events, and measure at each power of ten."""
    database.empty(url)
    (folder / "rows").mkdir()
    databases: tuple[Stored, ...] = (Sqlite(folder / "rows"), Postgres(url))
    table, count, waiting = [], _FIRST, events(most)
    stored = 0
    while count <= most:
        while chunk := list(islice(waiting, min(_CHUNK, count - stored))):
            stored += len(chunk)
            for one in databases:
                one.fill(iter(chunk))
        execute(url, "VACUUM ANALYZE events")
        print(f"growth: {stored:,} events stored", file=sys.stderr)
        table.append([f"{count:,}", *(cell for one in databases for cell in _cells(one, count, rounds))])
        count *= 10
    for one in databases:
        one.close()
    header = [
        "rows",
        *(f"{one.name}: {what}" for one in databases for what in ("a put, us", *(f"{name}, ms" for name in _ASKED))),
    ]
    notes = (
        "Five types of events, of which a temperature has three samples, by a thousand sensors over five days.",
        f"A put: the time for one of up to {_MOST_PUTS:,} new events, {_AT_ONCE} at a time, by the store alone.",
        "A query is fetched whole.",
        "Figures are medians over the rounds.",
    )
    return Section("growth: rows", header, table, notes)


def _cells(one: Stored, count: int, rounds: int) -> list[str]:
    asked = []
    for name in _ASKED:
        one.ask(QUERIES[name][0], *QUERIES[name][1])  # once untimed: the first one reads from the disk
        asked.append(number(median(milliseconds(one, *QUERIES[name]) for _ in range(5 * rounds)), 2))
    puts = min(_MOST_PUTS, count // 10)
    return [number(median(_microseconds_of_put(one, puts) for _ in range(rounds)), 0), *asked]


def _microseconds_of_put(one: Stored, count: int) -> float:
    waiting = iter([event(datetime.now(UTC)) for _ in range(count)])

    async def put_in_turn(store: Any) -> None:
        for each in waiting:
            await store.put(each, time.monotonic() + 60)

    async def run() -> float:
        store = one.store()
        await store.open()
        started = time.perf_counter()
        await asyncio.gather(*(put_in_turn(store) for _ in range(_AT_ONCE)))
        took = time.perf_counter() - started
        await store.close()
        return took / count * 1e6

    return asyncio.run(run())
