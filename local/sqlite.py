"""Events in a local SQLite database."""

import asyncio
import contextlib
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from core.environment import SettingsError
from core.event import Event, rfc3339
from core.stores.contract import Outcome, StoreUnavailableError
from core.stores.grouped import GroupedStore, RowsRefusedError
from local.database import TIMEOUT, Database, Row
from local.files import Fate

T = TypeVar("T")

# Events between two checkpoints: 4 to 40 MB of log, depending on the size of groups.
_CHECKPOINT = 2_000
# Events kept in memory while readers delay a checkpoint: about 10 MB.
_MAX_UNSAVED = 10_000
# Seconds without an event until the log is emptied into the file. A file that replaces it after that has no stale log
# beside it, which the next program would use.
_REST = 1.0
# Seconds for the check of a file when it is opened: enough for about 1 GB.
_CHECK = 1.0
# Attempts: a file may be replaced again during the check.
_ATTEMPTS = 3
# Seconds for which a new file must be unchanged, and the maximum wait for that.
_STILL = 0.2
_MAX_WAIT = 1.0


_ADVICE = {
    "log_without_database": (
        "{database} does not exist, but its log {database}-wal does, and has acknowledged events. Move the database "
        "back, or move the log beside the moved database, with that database's name and -wal."
    ),
    "foreign_tables": ("{database} has tables of another program. Set DT_DATABASE to another file, which is created."),
    "SQLITE_NOTADB": "{database} is not an SQLite database. Set DT_DATABASE to another file, which is created.",
    "SQLITE_CORRUPT": (
        "{database} is damaged. Move it away together with {database}-wal, and recover what can be read: "
        "sqlite3 MOVED .recover"
    ),
}
_OTHER_ADVICE = "{database} cannot be opened ({reason}). Set DT_DATABASE to a file in a folder of yours."


class SqliteStore(GroupedStore):
    """One row per event; concurrent deliveries share one transaction.

    Durable: with journal_mode=WAL and synchronous=FULL, COMMIT returns after the log is synced to disk
    (https://www.sqlite.org/pragma.html#pragma_synchronous); on macOS, fullfsync makes that the disk and not its cache.
    Before the answer the files are checked: if they are not the connection's files any more, the events are written to
    the database that is now in place, with those that may have been only in the log
    (docs/decisions/0023-sqlite-file.md).
    Unique: ``key`` is the primary key, as long as the database exists; a duplicate changes nothing.
    Answers: any error rolls the whole group back. A full disk, a lock held by another program, or a damaged file is
    `StoreUnavailableError` with SQLite's name of the error.

    Args:
        path: The database file; it is created if missing, and its folder when the store is first opened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._database: Database | None = None
        # The folder of the database when it was last opened; None before.
        self._folder: tuple[int, int] | None = None
        # Committed rows that no checkpoint has copied into the file; and whether they may be missing there.
        self._unsaved: deque[Row] = deque(maxlen=_MAX_UNSAVED)
        self._is_behind = False
        # Rows of a database that was moved while a reader had it open, and the path of its log.
        self._taken: list[Row] = []
        self._log_aside: str | None = None
        self._since_checkpoint = 0
        # Whether the log was emptied since the last event, and the timer that empties it.
        self._has_rested = False
        self._resting: asyncio.TimerHandle | None = None
        # Whether the next event must report that the files were moved or replaced.
        self._has_moved = False
        # The permissions of the file, which a replacement gets too.
        self._mode = 0o600
        # SQLite blocks on the disk, so it runs on a separate thread: one, because it allows only one writer.
        self._thread = ThreadPoolExecutor(1, "sqlite")

    async def open(self) -> None:
        """Open the database now rather than at the first event.

        Raises:
            core.environment.SettingsError: The database cannot be opened.
        """
        try:
            await self._call(self._opened, TIMEOUT)
        except StoreUnavailableError as error:
            advice = _ADVICE.get(error.reason, _OTHER_ADVICE)
            raise SettingsError([advice.format(database=self._path, reason=error.reason)]) from None

    async def close(self) -> None:
        """Write waiting events, and close the database."""
        await self.drain()
        if self._resting:
            self._resting.cancel()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def write(self, events: Sequence[Event], deadline: float) -> list[Outcome]:
        """Commit ``events`` in one transaction; see `core.stores.grouped.GroupedStore`."""
        rows = [row(event) for event in events]
        outcomes = await self._call(lambda: self._write(rows), min(deadline - time.monotonic(), 2 * TIMEOUT))
        if self._has_moved:
            self._has_moved = False
            outcomes[0] = outcomes[0].noting(
                "the database was moved, replaced or deleted: stored in the file that is now at its path",
                self._log_aside
                and f"its log could not be emptied: put the log beside the moved file: {self._log_aside}",
            )
            self._log_aside = None
        self._rest()
        return outcomes

    def _rest(self) -> None:
        """Empty the log after a time without events; retry if a reader blocks it."""
        if self._resting:
            self._resting.cancel()
        loop = asyncio.get_running_loop()

        def empty_log() -> None:
            if not self._empty_log():
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(self._rest)

        self._resting = loop.call_later(_REST, self._thread.submit, empty_log)

    async def _call(self, function: Callable[[], T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except TimeoutError:
            raise StoreUnavailableError("timeout") from None

    def _write(self, rows: Sequence[Row]) -> list[Outcome]:
        is_new = [False] * len(rows)
        for attempt in range(_ATTEMPTS):
            database = self._opened()
            if self._has_rested:
                self._has_rested = False
                if not self._is_in_place(database):
                    continue
            if self._since_checkpoint >= _CHECKPOINT and not self._checkpointed(database):
                continue
            error = None
            try:
                inserted = database.insert(rows, [*self._taken, *self._unsaved] if self._is_behind else ())
                # An event that an earlier attempt stored was new then.
                is_new = [one or other for one, other in zip(is_new, inserted, strict=True)]
            except sqlite3.Error as failure:
                error = failure
            if not self._is_in_place(database):
                continue
            if error is None:
                self._is_behind = False
                self._unsaved.extend(self._taken)
                self._taken = []
                self._unsaved.extend(rows)
                self._since_checkpoint += len(rows)
                return [Outcome.STORED if new else Outcome.DUPLICATE for new in is_new]
            # A statement fails with SQLITE_ERROR in a restored database of the first version.
            if attempt or _name(error) != "SQLITE_ERROR" or not self._migrated(database):
                raise _translated(error) from None
        raise StoreUnavailableError("replaced")

    def _empty_log(self) -> bool:
        """Empty the log; return whether nothing is left to do."""
        if not self._database or self._has_rested:
            return True
        with contextlib.suppress(StoreUnavailableError):
            database = self._database
            self._has_rested = self._checkpointed(database, "TRUNCATE") and database.files.is_log_empty()
        return self._has_rested or self._database is None

    def _checkpointed(self, database: Database, mode: str = "PASSIVE") -> bool:
        """Make a checkpoint; return whether the files are in place before and after it."""
        self._since_checkpoint = 0
        # If the file is being overwritten, a checkpoint would mix pages of two databases.
        if not self._is_in_place(database):
            return False
        is_complete = False
        # If it fails now, for example on a full disk, the next one may succeed.
        with contextlib.suppress(sqlite3.Error):
            is_complete = database.checkpoint(mode)
        if not self._is_in_place(database):
            return False
        if is_complete:
            self._unsaved.clear()
            database.confirm()
        return True

    def _migrated(self, database: Database) -> bool:
        with contextlib.suppress(sqlite3.Error):
            database.apply_schema()
            self._thread.submit(self._build_index)
            return True
        return False

    def _is_in_place(self, database: Database) -> bool:
        """Return whether the files are still the connection's; if not, close it."""
        fate = database.fate(self._unsaved)
        if fate is Fate.SAME:
            return True
        try:
            left = database.leave(fate)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailableError(type(error).__name__) from None
        self._database = None
        self._has_moved = True
        self._log_aside = left.log or self._log_aside
        self._taken += left.rows
        if left.is_complete and not _has_content(self._path):
            # All rows are in the moved file.
            self._unsaved.clear()
        self._is_behind = True
        return False

    def _opened(self) -> Database:
        if self._database is None:
            try:
                self._prepare()
                database = Database(self._path)
                self._mode = self._path.stat().st_mode & 0o777
            except OSError as error:
                raise StoreUnavailableError(type(error).__name__) from None
            except UnicodeDecodeError:  # SQLite quotes what is damaged
                raise StoreUnavailableError("SQLITE_CORRUPT") from None
            except sqlite3.Error as error:
                raise StoreUnavailableError(_name(error)) from None
            if not database.is_sound(_CHECK):
                database.close()
                raise StoreUnavailableError("SQLITE_CORRUPT")
            self._database = database
            self._thread.submit(self._build_index)
        return self._database

    def _prepare(self) -> None:
        """Create the folder at the start; later, open only existing files.

        An empty folder may be an unmounted mount point: a new database there would be hidden after the mount.
        """
        is_first = self._folder is None
        folder = Path(os.path.realpath(self._path)).parent
        if is_first:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        identity = found.st_dev, found.st_ino
        if not _has_content(self._path):
            if identity != (self._folder or identity) and not self._path.exists():
                raise StoreUnavailableError("database_missing")
            # SQLite would delete it: https://www.sqlite.org/tempfiles.html#write_ahead_log_wal_files
            if _has_content(Path(f"{os.path.realpath(self._path)}-wal")):
                raise StoreUnavailableError("log_without_database")
        if not is_first and self._path.exists():
            # Also for an empty file: a copy over a file begins by emptying it.
            self._wait_until_still()
            # A copy is usually readable by everybody; only the owner can change that.
            with contextlib.suppress(PermissionError):
                self._path.chmod(self._mode)
        self._folder = identity

    def _wait_until_still(self) -> None:
        """Return when a new file is no longer being written, for example by a copy."""
        end = time.monotonic() + _MAX_WAIT
        while 0 <= time.time() - self._path.stat().st_mtime < _STILL:
            if time.monotonic() > end:
                raise StoreUnavailableError("being_replaced")
            time.sleep(0.02)

    def _build_index(self) -> None:
        # Everything works without it, but slowly; the next start retries.
        with contextlib.suppress(sqlite3.Error):
            if self._database:
                self._database.build_index()

    def _close(self) -> None:
        with contextlib.suppress(StoreUnavailableError):
            if self._database:
                self._is_in_place(self._database)
            if self._is_behind:
                self._write([])
        if self._database:
            self._database.close()
            self._database = None


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def row(event: Event) -> Row:
    """Return the columns of ``event`` in the order that `Database.insert` takes."""
    return (
        event.key,
        event.event_id,
        event.event_type,
        event.device_id,
        event.project_id,
        rfc3339(event.timestamp) if event.timestamp else None,
        rfc3339(event.received_at),
        event.signed_by,
        event.parsed,
        event.body,
    )


def _translated(error: sqlite3.Error) -> Exception:
    """Return the error for a refused row, or for a database that cannot be written."""
    if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError):
        return RowsRefusedError(_name(error))
    return StoreUnavailableError(_name(error))


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or type(error).__name__
