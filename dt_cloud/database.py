"""The cloud's SQLite database. Only one process uses it, on one thread: the event loop's."""

import contextlib
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from dt_cloud import CloudError

# Of schema.sql. A database of another version is refused, not migrated: its content is simulated.
VERSION = 1
# "DTc", to recognize another program's database.
_APPLICATION_ID = 0x44546301
# Bytes of the log, after which it is copied into the file: what SQLite does by default.
_MAX_LOG = 4_000_000


class Database:
    """A connection whose commits survive a kill of the process.

    synchronous=NORMAL with a write-ahead log: a commit has been written to the operating system when it returns, so a
    killed process loses nothing; a power cut may lose the last seconds (https://www.sqlite.org/pragma.html#pragma_synchronous).

    After each commit it looks whether the file and its log are still where they were, and the file as it was: the log
    is copied into it only here. If they are not, what was committed would be lost with the process, and must not be
    acknowledged.

    Attributes:
        listeners: Called after each transaction with whether it was committed.
        on_lost: Called with a sentence when the file or its log was moved, replaced,
            overwritten or deleted; ends the process.

    Args:
        path: The file; created, readable only to its owner, if missing.

    Raises:
        CloudError: It cannot be opened, is in use, or is of another version.
    """

    def __init__(self, path: Path) -> None:
        self.listeners: list[Callable[[bool], None]] = []
        self.on_lost: Callable[[str], NoReturn] = sys.exit
        self._after_commit: list[Callable[[], object]] = []
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=1.0, cached_statements=256)
            self._open(path)
            # SQLite has its log beside the target of a symbolic link.
            self._paths = (str(path.absolute()), f"{path.resolve()}-wal")
            self._files, self._content = self._look()
        except (OSError, sqlite3.Error) as error:
            raise CloudError(f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}.") from None

    def _open(self, path: Path) -> None:
        # Another process would deliver the same queue. The lock lasts until this connection is closed.
        self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        try:
            # Setting the journal mode writes to the file, which may be another program's: check first.
            found = self.value("PRAGMA application_id"), self.value("PRAGMA user_version")
            is_empty = self.value("SELECT count(*) FROM sqlite_master") == 0
            if not is_empty and found != (_APPLICATION_ID, VERSION):
                raise CloudError(f"{path} is not a database of this version of dt_cloud. Nothing in it was changed.")
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA wal_autocheckpoint=0")
            # This takes the lock, which setting the mode may not.
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY":
                raise
            raise CloudError(f"{path} is in use: is `make cloud` or `make demo` running in another terminal?") from None
        self._connection.execute("PRAGMA foreign_keys=OFF")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        if is_empty:
            schema = (Path(__file__).parent / "schema.sql").read_text(encoding="utf-8")
            pragmas = f"PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={VERSION};"
            self._connection.executescript(f"BEGIN; {schema} {pragmas} COMMIT;")
        # Not in schema.sql, since earlier databases of this version lack it.
        self._connection.execute(
            "CREATE INDEX IF NOT EXISTS events_of_type ON events (device_id, event_type, timestamp DESC, id DESC)"
        )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything done inside, or nothing. Inside another transaction it is part of that one."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._after_commit.clear()
            for listen in self.listeners:
                listen(False)
            raise
        self._check()
        for listen in self.listeners:
            listen(True)
        after, self._after_commit = self._after_commit, []
        for act in after:
            act()

    def after_commit(self, act: Callable[[], object]) -> None:
        """Call a function after the open transaction's commit, never after a rollback; at once, if none is open.

        This keeps the state in memory consistent with the database, also when the disk is full.
        """
        if self._connection.in_transaction:
            self._after_commit.append(act)
        else:
            act()

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        """Run one statement."""
        cursor = self._connection.execute(statement, values)
        # It is -1 for what only reads.
        if cursor.rowcount >= 0 and not self._connection.in_transaction:
            self._check()
        return cursor

    def executemany(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """Run one statement for each of ``rows``."""
        self._connection.executemany(statement, rows)

    def value(self, query: str, *values: Any) -> Any:
        """Return the first column of the first row; None if there is no row."""
        row = self._connection.execute(query, values).fetchone()
        return row and row[0]

    def meta(self, name: str, default: Any = None) -> Any:
        """Return the value stored under ``name``."""
        found = self.value("SELECT value FROM meta WHERE name = ?", name)
        return default if found is None else found

    def set_meta(self, name: str, value: Any) -> None:
        """Store ``value`` under ``name``."""
        self.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", name, value)

    def _look(self) -> tuple[list[tuple[int, int]], tuple[int, int]]:
        """Return the identities of the file and its log, and the last change of the file."""
        file, log = map(os.stat, self._paths)
        self._log_size = log.st_size
        return [(file.st_dev, file.st_ino), (log.st_dev, log.st_ino)], (file.st_size, file.st_mtime_ns)

    def _check(self) -> None:
        is_there = False
        try:
            files, content = self._look()
            is_there = files == self._files
            if is_there and content == self._content:
                if self._log_size > _MAX_LOG:
                    self._checkpoint()
                return
            if is_there:
                # It was overwritten: with this log, the next start would mix both.
                os.truncate(self._paths[1], 0)
        except OSError:
            pass
        if not is_there:
            # So that a file that was moved without its log is whole, and no log is left for the next file in its place.
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.on_lost(
            f"{self._paths[0]} or its log was moved, replaced, overwritten or deleted, so the cloud ends: "
            "what is accepted now would be lost. Start it again; a missing file is created."
        )

    def _checkpoint(self) -> None:
        # Not possible while a query is read, or on a full disk: the next commit tries again.
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with contextlib.suppress(OSError):
            self._content = self._look()[1]

    def close(self) -> None:
        """Write the log into the file, and close it."""
        self._connection.close()
