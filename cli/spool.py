"""The events of an export by day that are not in their files yet."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from cli import CommandError
from core.event import Event, rfc3339
from core.text import printable
from readers.rows import stored

# One row at most in `position`. The index finds what a day has, and takes an event once that the store gives again.
_SCHEMA = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
BEGIN EXCLUSIVE;
CREATE TABLE IF NOT EXISTS position (position TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS waiting (
    day TEXT NOT NULL, key TEXT NOT NULL, received_at TEXT NOT NULL, signed_by TEXT, body BLOB NOT NULL,
    UNIQUE (day, key)
);
COMMIT;
"""


class Spool:
    """Sorts events by their day of arrival on disk: a store gives them in its own order. A context manager.

    It is an SQLite file in the folder of the export, with the store's position after the events that it has got, so an
    interrupted export goes on where it was. One process at a time has it.

    Args:
        path: The file; created if missing.

    Raises:
        CommandError: By every method, too: another export has the file, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._errors():
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            with self._errors():
                self._connection.executescript(_SCHEMA)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def position(self) -> str | None:
        """The position after everything that was added; None at the beginning."""
        return next((str(value) for (value,) in self._rows("SELECT position FROM position")), None)

    def add(self, events: Iterable[Event], position: str) -> None:
        """Keep events for their days, and the position after them."""
        rows = [
            (event.received_at.date().isoformat(), event.key, rfc3339(event.received_at), event.signed_by, event.body)
            for event in events
        ]
        with self._errors(), self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT OR IGNORE INTO waiting VALUES (?, ?, ?, ?, ?)", rows)
            self._connection.execute("DELETE FROM position")
            self._connection.execute("INSERT INTO position VALUES (?)", (position,))

    def days(self) -> list[str]:
        """Return the days that have events, such as ``2026-01-31``."""
        return [day for (day,) in self._rows("SELECT DISTINCT day FROM waiting ORDER BY day")]

    def drop(self, day: str, keys: Iterable[str]) -> None:
        """Forget the events of a day that have these keys."""
        with self._errors(), self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany("DELETE FROM waiting WHERE day = ? AND key = ?", ((day, key) for key in keys))

    def events(self, day: str) -> Iterator[Event]:
        """Yield the events of a day, oldest arrival first."""
        columns = "SELECT key, body, received_at, signed_by FROM waiting"
        for row in self._rows(f"{columns} WHERE day = ? ORDER BY received_at, key", day):
            yield stored(*row)

    def finish(self, day: str) -> None:
        """Forget the events of a day, which are in its file now."""
        list(self._rows("DELETE FROM waiting WHERE day = ?", day))

    def shrink(self) -> None:
        """Give the space of events that are gone back to the disk."""
        list(self._rows("VACUUM"))

    def _rows(self, statement: str, *arguments: str) -> Iterator[Any]:
        with self._errors():
            yield from self._connection.execute(statement, arguments)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise CommandError(f"Another export is writing to {self._path.parent}.") from None
            raise CommandError(f"{self._path} cannot be written: {printable(str(error))}.") from None
