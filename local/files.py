"""Detects whether a database's files are still the ones that were opened."""

import contextlib
import enum
import os
import shutil
import time
from pathlib import Path

# A file's identity, independent of its name: device and inode.
Identity = tuple[int, int]

_LOG_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")  # https://www.sqlite.org/walformat.html


class Fate(enum.Enum):
    """What happened to the files since the last check."""

    SAME = "same"
    WRITTEN = "written"
    SPOILED = "spoiled"
    MOVED = "moved"


class DatabaseFiles:
    """A database file, its log (``-wal``) and the index of the log (``-shm``), while a connection has them open.

    A connection keeps the files that it opened, even if they are renamed, and SQLite does not check again. On Linux,
    the descriptor of the database file is opened with O_PATH. Closing any other kind would drop SQLite's locks
    (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_), so
    elsewhere `close` must follow the connection's.

    Args:
        path: The database file. A connection must have it and its log open.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        # SQLite creates them beside the target of a symbolic link.
        real = os.path.realpath(path)
        self._log_path, self._index_path = f"{real}-wal", f"{real}-shm"
        self._log = open(self._log_path, "r+b", buffering=0)  # noqa: SIM115 - close() closes it
        self._file = os.open(path, getattr(os, "O_PATH", os.O_RDONLY))
        self._known = self._look()

    def fate(self) -> Fate:
        """Return what happened, with one check of each file.

        Returns:
            `Fate.MOVED`: the path leads to another file or to none. `Fate.SPOILED`: the log or its index was deleted,
            replaced or truncated. `Fate.WRITTEN`: the database file was written to since `remember`.
        """
        try:
            found = self._look()
        except OSError:
            return Fate.SPOILED if self._is_there(self._path, self._known[0]) else Fate.MOVED
        if found == self._known:
            return Fate.SAME if self._has_log() else Fate.SPOILED
        if found[0] != self._known[0]:
            return Fate.MOVED
        return Fate.WRITTEN if found[2:] == self._known[2:] and self._has_log() else Fate.SPOILED

    def remember(self) -> None:
        """Record the current state of the database file as expected."""
        with contextlib.suppress(OSError):
            found = self._look()
            if found[0] == self._known[0]:
                self._known = (*found[:2], *self._known[2:])

    def _look(self) -> tuple[Identity, tuple[int, int], Identity, Identity]:
        """Return the file's identity, its last change, and the identities of its log and index."""
        found, log, index = os.stat(self._path), os.stat(self._log_path), os.stat(self._index_path)
        return (
            (found.st_dev, found.st_ino),
            (found.st_size, found.st_mtime_ns),
            (log.st_dev, log.st_ino),
            (index.st_dev, index.st_ino),
        )

    def has_name(self) -> bool:
        """Return whether the database file still has a name: a move to another disk copies and deletes it."""
        return os.fstat(self._file).st_nlink > 0

    def is_log_empty(self) -> bool:
        """Return whether the log is empty; a reader may keep rows in it that are already in the file."""
        return os.fstat(self._log.fileno()).st_size == 0

    def has_its_log(self) -> bool:
        """Return whether the open log still belongs to the file in place, regardless of its name and index."""
        found = os.stat(self._path)
        is_as_it_was = (found.st_size, found.st_mtime_ns) == self._known[1]
        is_elsewhere = os.path.exists(self._log_path) and not self._is_there(self._log_path, self._known[2])
        return is_as_it_was and self._has_log() and not is_elsewhere

    def restore_log(self) -> None:
        """Restore a deleted log: without it, the file may contain a partial checkpoint."""
        if not os.path.exists(self._log_path):
            self._log.seek(0)
            with open(self._log_path, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as copy:
                shutil.copyfileobj(self._log, copy)
                copy.flush()
                os.fsync(copy.fileno())

    def discard_log(self) -> None:
        """Empty the log, which no longer belongs to this database: SQLite would copy it there on closing."""
        self._log.truncate(0)

    def delete_log(self) -> None:
        """Delete log and index at their old names, so that no other database uses them."""
        for name, identity in zip((self._log_path, self._index_path), self._known[2:], strict=True):
            if self._is_there(name, identity):
                os.unlink(name)

    def set_log_aside(self) -> str | None:
        """Rename a moved file's log, and return its new name; None if it is missing."""
        if not self._is_there(self._log_path, self._known[2]):
            return None
        name = f"{self._log_path}.{time.strftime('%Y%m%dT%H%M%S')}"
        os.rename(self._log_path, name)
        if self._is_there(self._index_path, self._known[3]):
            os.unlink(self._index_path)
        return name

    def close(self) -> None:
        """Release the descriptors, after the connection is closed."""
        self._log.close()
        os.close(self._file)

    def _has_log(self) -> bool:
        """Return whether the log has a valid header; after a truncation, a write leaves zeros before its position."""
        self._log.seek(0)
        return self._log.read(4) in (b"", *_LOG_MAGIC)

    def _is_there(self, name: str, identity: Identity) -> bool:
        try:
            found = os.stat(name)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == identity
