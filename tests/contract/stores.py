"""Every store, under the conditions that it will meet. A new one joins by adding its factory to `STORES`.

A factory is a context manager that gives a `Harness`; the faults beside it are those that the store can meet at all:
an embedded database, say, loses no answer.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.store import AsyncStore
from heroku.postgres import PostgresStore
from local.sqlite import SqliteStore
from tests.support.postgres import Postgres, execute
from tests.support.proxy import Mode, Proxy

Row = dict[str, Any]
Faults = dict[str, tuple[Callable[[], object], Callable[[], object]]]
COLUMNS = ("key", "event_id", "event_type", "device_id", "project_id", "timestamp", "received_at", "parsed", "body")


@dataclass
class Harness:
    """One store, and the hands on what is behind it.

    Attributes:
        build: Makes a store; inside a running loop.
        rows: Reads all that is stored, past the store, by names of `COLUMNS`.
        faults: For each fault that this store can meet: what begins it, and what ends it.
    """

    build: Callable[[], AsyncStore]
    rows: Callable[[], list[Row]]
    faults: Faults = field(default_factory=dict)


Factory = Callable[[Path, pytest.FixtureRequest], AbstractContextManager[Harness]]


@contextmanager
def sqlite(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    path = folder / "var" / "events.db"
    path.parent.mkdir()
    # Another program at the same file.
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    trigger = (
        "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN new.event_id = 'poison' "
        "BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )

    def rows() -> list[Row]:
        connection = sqlite3.connect(path)
        found = connection.execute(f"SELECT {','.join(COLUMNS)} FROM events ORDER BY rowid").fetchall()
        connection.close()
        return [dict(zip(COLUMNS, row, strict=True)) for row in found]

    faults: Faults = {
        "silent": (lambda: other.execute("BEGIN IMMEDIATE"), lambda: other.execute("ROLLBACK")),
        "unavailable": (lambda: _in_the_way(path), lambda: _out_of_the_way(path)),
        "row": (lambda: other.execute(trigger), lambda: other.execute("DROP TRIGGER refuse")),
    }
    yield Harness(lambda: SqliteStore(path), rows, faults)
    other.close()


def _in_the_way(path: Path) -> None:
    path.rename(path.with_suffix(".kept"))
    path.mkdir()


def _out_of_the_way(path: Path) -> None:
    path.rmdir()
    path.with_suffix(".kept").rename(path)


@contextmanager
def postgres(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: Postgres = request.getfixturevalue("postgres")
    url = server.create_database()
    proxy = Proxy(server.port)

    def begin_refusing(condition: str, code: str) -> None:
        execute(
            url,
            f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {condition} "
            f"RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END $$",
        )
        execute(url, "CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()")

    def end_refusing() -> None:
        execute(url, "DROP FUNCTION refuse CASCADE")

    def rows() -> list[Row]:
        return [dict(row) for row in execute(url, f"SELECT {','.join(COLUMNS)} FROM events ORDER BY received_at")]

    def passes() -> None:
        proxy.set(Mode.PASS)

    def speaks() -> None:
        # What it swallowed cannot be made up for: those connections end.
        proxy.set(Mode.REFUSE)
        passes()

    poison = "IF new.event_id IS DISTINCT FROM 'poison' THEN RETURN new; END IF;"
    faults: Faults = {
        "unavailable": (lambda: proxy.set(Mode.REFUSE), passes),
        "silent": (lambda: proxy.set(Mode.SILENT), speaks),
        "throttled": (lambda: begin_refusing("", "53300"), end_refusing),
        "lost answer": (lambda: proxy.set(Mode.LOSE_ANSWER), passes),
        "row": (lambda: begin_refusing(poison, "23514"), end_refusing),
    }
    try:
        yield Harness(lambda: PostgresStore(url.replace(str(server.port), str(proxy.port))), rows, faults)
    finally:
        proxy.close()


# unavailable: cannot be reached. silent: takes the request and says nothing. throttled: says that it has no room.
# lost answer: stores, and then the connection drops. row: refuses the event with the id "poison".
STORES: dict[str, tuple[Factory, set[str]]] = {
    "sqlite": (sqlite, {"unavailable", "silent", "row"}),
    "postgres": (postgres, {"unavailable", "silent", "throttled", "lost answer", "row"}),
}


def meeting(*faults: str) -> pytest.MarkDecorator:
    """Run a test for each store and each of these faults that it can meet."""
    pairs = [(store, fault) for store, (_, met) in STORES.items() for fault in faults if fault in met]
    return pytest.mark.parametrize(("harness", "fault"), pairs, indirect=["harness"])
