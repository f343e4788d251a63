"""SQLite under contract."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.sqlite import SqliteStore
from tests.contract.store import COLUMNS, Database, Entry, Faults, Harness, Row


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
    foreign = "INSERT INTO events (key, received_at, parsed, body) VALUES ('theirs', 'today', 1, 7)"
    yield Harness(
        lambda: SqliteStore(path), rows, faults, source=f"sqlite:{path}", put_foreign=lambda: other.execute(foreign)
    )
    other.close()


def _in_the_way(path: Path) -> None:
    path.rename(path.with_suffix(".kept"))
    path.mkdir()


def _out_of_the_way(path: Path) -> None:
    path.rmdir()
    path.with_suffix(".kept").rename(path)


@contextmanager
def _view(folder: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    path = folder / "events.db"

    def ask(statement: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(path)
        rows = connection.execute(statement).fetchall()
        connection.close()
        return rows

    yield Database(lambda: SqliteStore(path), ask, "docs/local.md")


STORES = {
    "sqlite": Entry(
        sqlite,
        frozenset({"unavailable", "silent", "row"}),
        is_grouped=True,
        is_readable=True,
        causes={"silent": "SQLITE_BUSY", "unavailable": "SQLITE_CANTOPEN"},
    )
}
DATABASES = {"sqlite": _view}
