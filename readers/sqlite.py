"""Reads the database of the local receiver."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from core.event import Event, rfc3339
from core.text import printable
from readers import ReaderError
from readers.contract import BATCH, Batch, Reader
from readers.query import Query
from readers.rows import stored
from readers.seen import newest_sign
from readers.sql import TIME, newest, select


class SqliteReader(Reader):
    """Reads the file with a connection that cannot write, also while the receiver writes.

    Args:
        path: The file.
    """

    poll_seconds = 0.5

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.stat()
        except PermissionError:
            raise ReaderError(f"You may not look into {path.parent}. Run this as the receiver's user.") from None
        except OSError:
            raise ReaderError(
                f"There is no database at {path} yet. Start the receiver with `make run`, and send it an event with "
                "`make send`."
            ) from None
        self._open()

    def _open(self) -> None:
        with self._reading():
            self._connection = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)
            self._file = _identity(self._path)
        try:
            self._there = [row[1] for row in self._rows("PRAGMA table_info(events)", ())]
            if not self._there:
                raise self._error("no such table: events")
        except ReaderError:
            self.close()
            raise
        # A lone surrogate is valid JSON, but not UTF-8: it must not end a listing.
        self._connection.text_factory = lambda data: data.decode("utf-8", "replace")

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def matching(self, query: Query) -> Iterator[Event]:
        """Yield the events; the newest ones are read from the index."""
        return self._events(newest(query, self._there, lambda _: "?"))

    def latest(self, query: Query) -> Iterator[Event]:
        """Yield the newest events, found by the view ``latest``, which knows no earlier ones."""
        if query.until:
            return super().latest(query)
        is_of_device = " WHERE device_id = ?" if query.device_id else ""
        keys = f"SELECT key FROM latest{is_of_device}"  # noqa: S608 - constants
        found = self._events((f"{select(self._there)} WHERE key IN ({keys})", [query.device_id] * bool(is_of_device)))
        return filter(query.matches, found)

    def last_signs(self, query: Query) -> Iterator[Event]:
        """Yield the events; each device's are read from its newest on, as far back as needed."""
        if query.device_id is not None:
            yield from super().last_signs(query)
            return
        newest = f"SELECT device_id, max({TIME}) FROM events WHERE device_id IS NOT NULL GROUP BY 1"  # noqa: S608
        of_device = f"{select(self._there)} WHERE device_id = ? AND {TIME} <= ? ORDER BY {TIME} DESC"
        for place in self._rows(newest, ()):
            yield from filter(query.matches, newest_sign(self._events((of_device, place))))

    def arrived(self, since: datetime | None) -> Iterator[Event]:
        """Yield what arrived, in the order in which it was stored here: a copy has that of its own."""
        where = " WHERE received_at >= ?" if since else ""
        return self._events((f"{select(self._there)}{where} ORDER BY rowid", [rfc3339(since)] if since else []))

    def end(self) -> str:
        """Return the row id and the key of the last insert."""
        last = f"{select(self._there, 'rowid')} ORDER BY rowid DESC LIMIT 1"
        return next((f"{row} {key}" for row, key, *_ in self._rows(last, ())), "")

    def follow(self, position: str | None = None) -> Iterator[Batch]:
        """Yield what arrived, by row id, which grows with each insert.

        The file may be another one since: moved away, restored, or vacuumed, which gives new row ids. If the row of the
        position is not there, everything is yielded.
        """
        if _identity(self._path) not in (None, self._file):
            self.close()
            self._open()
        row, _, key = (position or "").partition(" ")
        number = int(row) if row.isdecimal() else 0
        if not any(
            str(found) == key
            for _, found, *_ in self._rows(f"{select(self._there, 'rowid')} WHERE rowid = ?", [number])
        ):
            number = 0
        statement = f"{select(self._there, 'rowid')} WHERE rowid > ? ORDER BY rowid LIMIT {BATCH}"
        while rows := list(self._rows(statement, [number])):
            number, key = rows[-1][:2]
            yield Batch([stored(*values) for _, *values in rows], f"{number} {key}")

    def _events(self, statement: tuple[str, list[Any]]) -> Iterator[Event]:
        return (stored(*values) for values in self._rows(*statement))

    def _rows(self, statement: str, arguments: Iterable[Any]) -> Iterator[Any]:
        with self._reading():
            # Not `yield from`: it would close the cursor, which fails after `close`.
            for row in self._connection.execute(statement, tuple(arguments)):  # noqa: UP028
                yield row

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError:  # SQLite quotes what is damaged
            raise self._error("database disk image is malformed") from None
        except sqlite3.Error as error:
            raise self._error(printable(str(error))) from None

    def _error(self, reason: str) -> ReaderError:
        if "readonly" in reason:
            return ReaderError(
                f"Cannot read events from {self._path}: SQLite writes an index beside a database, and you may not. Run "
                "this as the receiver's user, or read a copy, which that user makes by `dtconn backup FILE`."
            )
        return ReaderError(
            f"Cannot read events from {self._path}: {reason}. Is it the file that the receiver's DT_DATABASE names?"
        )


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from the one that replaces it; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_reader(url: str) -> SqliteReader:
    """Open ``sqlite:PATH``."""
    return SqliteReader(Path(url.partition(":")[2]))
