"""Events in an SQLite database of your own."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from core.event import Event, rfc3339
from core.grouped import GroupedStore, RowsRefused
from core.store import Outcome, StoreUnavailable

T = TypeVar("T")

_SCHEMA = Path(__file__).with_name("schema.sql")
# Raised with each change of schema.sql.
_VERSION = 1
# Within the deadline there is room for a write that waits this long and for the next group's.
_TIMEOUT = 2.0

_INSERT = """
INSERT INTO events (key, event_id, event_type, device_id, project_id, timestamp, received_at, parsed, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING
"""


class SqliteStore(GroupedStore):
    """One row per event; concurrent deliveries share one transaction.

    Durable: with journal_mode=WAL and synchronous=FULL, COMMIT returns after the log is synced to the disk
    (https://www.sqlite.org/pragma.html#pragma_synchronous); on macOS, fullfsync makes that the disk and not its cache.
    Unique: ``key`` is the primary key, for as long as the database lives; a second copy changes nothing.
    Answers: any error rolls the whole group back. A full disk, a lock held by another program, or a damaged file is
    `StoreUnavailable` with SQLite's own name for it, and the next group opens the database anew.

    Args:
        path: The database file; it and its folder are made when they are not there.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        # SQLite waits for the disk, so it does that on a thread of its own: one, since it has one writer anyway.
        self._thread = ThreadPoolExecutor(1, "sqlite")

    async def open(self) -> None:
        """Open the database now rather than at the first event.

        Raises:
            StoreUnavailable: It cannot be opened.
        """
        await self._call(self._opened, _TIMEOUT)

    async def close(self) -> None:
        """Write what waits, and close the database."""
        await self.drain()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def write(self, events: Sequence[Event], deadline: float) -> list[Outcome]:
        """Commit ``events`` in one transaction; see `core.grouped.GroupedStore`."""
        return await self._call(lambda: self._insert(events), min(deadline - time.monotonic(), 2 * _TIMEOUT))

    async def _call(self, function: Callable[[], T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except TimeoutError:
            raise StoreUnavailable("timeout") from None

    def _insert(self, events: Sequence[Event]) -> list[Outcome]:
        connection = self._opened()
        try:
            connection.execute("BEGIN IMMEDIATE")
            counts = [connection.execute(_INSERT, _row(event)).rowcount for event in events]
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._close()  # which rolls back
            raise _translated(error) from None
        return [Outcome.STORED if count else Outcome.DUPLICATE for count in counts]

    def _opened(self) -> sqlite3.Connection:
        # A file that was deleted or replaced under us would take events and lose them without an error.
        if self._connection and not self._is_same_file():
            self._close()
        if not self._connection:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = _connect(self._path)
                self._inode = self._path.stat().st_ino
            except OSError as error:
                raise StoreUnavailable(type(error).__name__) from None
            except sqlite3.Error as error:
                raise StoreUnavailable(_name(error)) from None
        return self._connection

    def _is_same_file(self) -> bool:
        try:
            return os.stat(self._path).st_ino == self._inode
        except OSError:
            return False

    def _close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_TIMEOUT, isolation_level=None)
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "fullfsync=ON", "checkpoint_fullfsync=ON"):
            connection.execute(f"PRAGMA {pragma}")
        if connection.execute("PRAGMA user_version").fetchone() != (_VERSION,):
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA.read_text()}; PRAGMA user_version={_VERSION}; COMMIT")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _row(event: Event) -> tuple[object, ...]:
    return (
        event.key,
        event.event_id,
        event.event_type,
        event.device_id,
        event.project_id,
        rfc3339(event.timestamp) if event.timestamp else None,
        rfc3339(event.received_at),
        event.parsed,
        event.body,
    )


def _translated(error: sqlite3.Error) -> Exception:
    """Tell a row that is refused from a database that cannot be written."""
    if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError):
        return RowsRefused(_name(error))
    return StoreUnavailable(_name(error))


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or type(error).__name__
