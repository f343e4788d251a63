"""One open SQLite database: its schema, its durability, and closing it after its files were moved or replaced."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.stores.contract import StoreUnavailableError
from core.stores.grouped import RowsRefusedError
from local.files import DatabaseFiles, Fate

Row = tuple[object, ...]

# Seconds that a write waits for another program's lock. The deadline allows this twice.
TIMEOUT = 2.0

_HERE = Path(__file__).parent
# Increase it with each change of schema.sql. `user_version` stays 1: with another number, the first version of this
# receiver, which may still write to the same database, restores its own views and index.
_VERSION = 2

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "fullfsync=ON",
    "checkpoint_fullfsync=ON",
    "wal_autocheckpoint=0",
)

_INSERT = """
INSERT INTO events
(key, event_id, event_type, device_id, project_id, timestamp, received_at, signed_by, parsed, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING
"""


# Those of the first version.
_COLUMNS = {"key", "event_id", "event_type", "device_id", "project_id", "timestamp", "received_at", "parsed", "body"}
_ROWS_AFTER = """
SELECT key, event_id, event_type, device_id, project_id, timestamp, received_at, signed_by, parsed, body
FROM events WHERE rowid > ? ORDER BY rowid LIMIT ?
"""
# The limit of rows that are carried over from a database that was moved while a reader had it open: about 50 MB.
MAX_TAKEN = 50_000


class ForeignTablesError(sqlite3.Error):
    """The file has a table or view ``events`` of another program."""

    sqlite_errorname = "foreign_tables"


@dataclass(frozen=True)
class Left:
    """The state after closing a connection.

    Attributes:
        rows: Rows that may be only in the log.
        log: The new path of a moved file's log, if a reader kept it from being emptied.
        is_complete: Whether the opened file, wherever it is now, has all rows.
    """

    rows: Sequence[Row] = ()
    log: str | None = None
    is_complete: bool = False


class Database:
    """A connection for one thread, and the files that it has open.

    Only `checkpoint` makes checkpoints, so that it is known which rows are in the log and not yet in the file.

    Args:
        path: The file; it is created, readable only by its owner, if missing. Its folder must exist.

    Raises:
        sqlite3.Error: The file cannot be opened.
        OSError: As above.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        self._connection = sqlite3.connect(path, timeout=TIMEOUT, isolation_level=None)
        try:
            # Before the first change of the file.
            columns = {column[1] for column in self._connection.execute("PRAGMA table_info(events)")}
            if columns and not columns >= _COLUMNS:
                raise ForeignTablesError
            for pragma in _PRAGMAS:
                self._connection.execute(f"PRAGMA {pragma}")
            self.apply_schema()
            # The newest row that is certainly in the file.
            self._saved = 0
            if self.checkpoint():
                self.confirm()
            self.files = DatabaseFiles(path)
            # Whether the file may have been written by our own checkpoint.
            self._has_checkpointed = False
            self._others = self._value("PRAGMA data_version")
            # The last known state of the file; none yet if a reader blocks the first checkpoint.
            self._found: tuple[int, int, object] = (0, 0, None)
            with contextlib.suppress(sqlite3.Error):
                self._found = self._in_file()
        except Exception:
            self._connection.close()
            raise

    def apply_schema(self) -> None:
        """Update the tables and views to this version, in one short transaction; see `build_index`."""
        if self._version() == _VERSION:
            return
        real = os.path.realpath(self._path)
        for name in (real, f"{real}-wal", f"{real}-shm"):
            # The permissions of another user's file are not ours to change.
            with contextlib.suppress(OSError):
                os.chmod(name, 0o600)
        with self._transaction():
            if self._version() == _VERSION:
                return  # another receiver was first
            columns = [column[1] for column in self._connection.execute("PRAGMA table_info(events)")]
            if columns and "signed_by" not in columns:
                self._connection.execute("ALTER TABLE events ADD COLUMN signed_by TEXT")
            self._run("schema.sql")
            if self._has("events_of_device"):
                self._run("newest_of_version_1.sql")
            self._connection.execute(f"CREATE VIEW schema_version AS SELECT {_VERSION} AS version")
            self._connection.execute("PRAGMA user_version=1")

    def build_index(self) -> None:
        """Create the index by time if it is missing, as in a database of the first version.

        It blocks all writers: 1.3 s for a million events. If interrupted, it has no effect.

        Raises:
            sqlite3.Error: The index cannot be created now; everything works without it, but slowly.
        """
        if self._has("events_by_time") and not self._has("events_of_device"):
            return
        with self._transaction():
            self._run("indexes.sql")

    def is_sound(self, seconds: float) -> bool:
        """Check the file for at most ``seconds``; return whether no damage was found."""
        end = time.monotonic() + seconds
        self._connection.set_progress_handler(lambda: time.monotonic() > end, 10_000)
        try:
            return bool(self._value("PRAGMA quick_check(1)") == "ok")
        except UnicodeDecodeError:  # SQLite quotes what is damaged
            return False
        except sqlite3.Error as error:
            return error.sqlite_errorname == "SQLITE_INTERRUPT"
        finally:
            self._connection.set_progress_handler(None, 0)

    def insert(self, rows: Sequence[Row], again: Collection[Row] = ()) -> list[bool]:
        """Commit ``rows`` in one transaction.

        Args:
            rows: With values in the order of the columns.
            again: Rows that were committed before, and may be missing.

        Returns:
            For each of ``rows``, whether it was new.

        Raises:
            core.stores.grouped.RowsRefusedError: A row was neither inserted nor present.
            sqlite3.Error: Nothing is committed.
        """
        with self._transaction():
            self._connection.executemany(_INSERT, again)
            if self._connection.executemany(_INSERT, rows).rowcount == len(rows) or not rows:
                return [True] * len(rows)
            # Some exist. Inserting one by one finds them, at a small cost.
            self._connection.execute("ROLLBACK")
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_INSERT, again)
            return [self._insert_one(row) for row in rows]

    def _insert_one(self, row: Row) -> bool:
        if self._connection.execute(_INSERT, row).rowcount:
            return True
        if self._value("SELECT 1 FROM events WHERE key = ?", row[0]) is None:
            raise RowsRefusedError("not_stored")  # a trigger can cause this
        return False

    def checkpoint(self, mode: str = "PASSIVE") -> bool:
        """Copy the log into the file as far as readers allow; return whether it is complete.

        Args:
            mode: See https://www.sqlite.org/pragma.html#pragma_wal_checkpoint.

        Raises:
            sqlite3.Error: It failed; no data is lost.
        """
        self._has_checkpointed = True
        # A reader may take long, and events wait meanwhile.
        self._connection.execute("PRAGMA busy_timeout=100")
        try:
            _, in_log, copied = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        finally:
            self._connection.execute(f"PRAGMA busy_timeout={TIMEOUT * 1000:.0f}")
        is_complete: bool = 0 <= in_log == copied
        return is_complete

    def confirm(self) -> None:
        """Record that all rows are in the file: a checkpoint was complete, and the files are in place."""
        self._saved = self._value("SELECT max(rowid) FROM events") or 0

    def fate(self, rows: Collection[Row]) -> Fate:
        """Return what happened to the files; `Fate.WRITTEN` is resolved first.

        Args:
            rows: Rows that may be only in the log.
        """
        fate = self.files.fate()
        if fate is not Fate.WRITTEN:
            return fate
        if not self._is_checkpoint(rows):
            return Fate.SPOILED
        self._has_checkpointed = False
        self.files.remember()
        return Fate.SAME

    def leave(self, fate: Fate) -> Left:
        """Close the connection to files with this fate.

        Raises:
            StoreUnavailableError: A reader keeps more rows in the log than can be carried over: retry later.
            sqlite3.Error, OSError: The log cannot be preserved; the connection stays open.
        """
        left = self._leave_moved() if fate is Fate.MOVED else Left()
        keeps_log = fate is Fate.SPOILED and self.files.has_its_log()
        if keeps_log:
            # The next connection finds all rows in it.
            self.files.restore_log()
        elif fate is Fate.SPOILED:
            # On a disk that cannot be written, the files stay unchanged.
            with contextlib.suppress(OSError):
                self.files.discard_log()
        self._connection.close()
        with contextlib.suppress(OSError):
            if not keeps_log:
                self.files.delete_log()
        self.files.close()
        return left

    def _leave_moved(self) -> Left:
        is_complete = False
        rows: list[Row] = []
        with contextlib.suppress(sqlite3.Error):
            rows = self._connection.execute(_ROWS_AFTER, (self._saved, MAX_TAKEN + 1)).fetchall()
        with contextlib.suppress(sqlite3.Error):
            is_complete = self.checkpoint("TRUNCATE")
        if is_complete and self.files.has_name():
            return Left(is_complete=True)
        if len(rows) > MAX_TAKEN:
            raise StoreUnavailableError("moved_while_read")
        return Left(rows, None if is_complete else self.files.set_log_aside())

    def close(self) -> None:
        """Close the connection to files that are in place."""
        self._connection.close()
        self.files.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            raise

    def _run(self, script: str) -> None:
        statement = ""
        for line in (_HERE / script).read_text().splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                self._connection.execute(statement)
                statement = ""

    def _version(self) -> int | None:
        if not self._has("schema_version"):
            return None
        version: int = self._value("SELECT version FROM schema_version")
        return version

    def _has(self, name: str) -> bool:
        return self._value("SELECT 1 FROM sqlite_master WHERE name = ?", name) is not None

    def _value(self, query: str, *arguments: object) -> Any:
        found = self._connection.execute(query, arguments).fetchone()
        return found and found[0]

    def _is_checkpoint(self, rows: Collection[Row]) -> bool:
        """Return whether a checkpoint may have written the file, rather than a copy over it."""
        has_others = False
        try:
            # Another connection that commits makes checkpoints too.
            others = self._value("PRAGMA data_version")
            has_others, self._others = others != self._others, others
            found = self._in_file()
            schemas = self._found[0], self._value("PRAGMA schema_version")
            is_known = found[2] in {self._found[2], *(row[0] for row in rows)}
            if found[0] in schemas and (is_known or (has_others and found[1] >= self._found[1])):
                self._found = found
                return True
        except sqlite3.Error as error:
            # If readers allowed only a partial checkpoint, the file cannot be read without the log.
            is_half = getattr(error, "sqlite_errorname", "") in ("SQLITE_CORRUPT", "SQLITE_IOERR_SHORT_READ")
            # Neither can a file that is still being copied.
            return is_half and (has_others or self._has_checkpointed)
        return False

    def _in_file(self) -> tuple[int, int, object]:
        """Return the file's schema version, newest row and key, without its log."""
        uri = f"{self._path.resolve().as_uri()}?immutable=1"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as file:
            row, key = file.execute("SELECT rowid, key FROM events ORDER BY rowid DESC LIMIT 1").fetchone() or (0, None)
            return file.execute("PRAGMA schema_version").fetchone()[0], row, key
