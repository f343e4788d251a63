"""Whether the files of a database are still the ones that were opened."""

import contextlib
import enum
import os
from pathlib import Path

_LOG_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")  # https://www.sqlite.org/walformat.html


class Fate(enum.Enum):
    """What happened to the files since they were last looked at."""

    SAME = "same"
    WRITTEN = "written"
    SPOILED = "spoiled"
    MOVED = "moved"


class DatabaseFiles:
    """A database file, its log (``-wal``) and the index of the log (``-shm``), while a connection has them open.

    A connection keeps to the files that it opened, whatever is done to their names, and SQLite does not look again.
    The database file itself is only ever looked at by name: closing a descriptor of it would drop SQLite's locks
    (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).

    Args:
        path: The database file. A connection has it open, and its log.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # SQLite puts them beside the file that a symbolic link leads to.
        real = os.path.realpath(path)
        self._beside = (f"{real}-wal", f"{real}-shm")
        self._log = open(self._beside[0], "r+b", buffering=0)  # noqa: SIM115 - close() closes it
        found = os.stat(path)
        self._identity = _identity(found)
        self._identities_beside = [_identity(os.stat(name)) for name in self._beside]
        self._content = (found.st_size, found.st_mtime_ns)

    def fate(self) -> Fate:
        """Return what happened, by one look at each file.

        Returns:
            `Fate.MOVED`: the path leads to another file or to none. `Fate.SPOILED`: the log or its index was deleted,
            replaced or truncated. `Fate.WRITTEN`: the database file was written to since `remember`.
        """
        try:
            found = os.stat(self._path)
        except OSError:
            return Fate.MOVED
        if _identity(found) != self._identity:
            return Fate.MOVED
        try:
            beside = [_identity(os.stat(name)) for name in self._beside]
        except OSError:
            return Fate.SPOILED
        if beside != self._identities_beside or not self._has_log():
            return Fate.SPOILED
        return Fate.SAME if (found.st_size, found.st_mtime_ns) == self._content else Fate.WRITTEN

    def remember(self) -> None:
        """Take what is in the database file now for what belongs there."""
        with contextlib.suppress(OSError):
            found = os.stat(self._path)
            if _identity(found) == self._identity:
                self._content = (found.st_size, found.st_mtime_ns)

    def lost_only_names(self) -> bool:
        """Whether the log was deleted and all else is as it was, so that the open log still belongs to the file."""
        found = os.stat(self._path)
        return (
            self._has_log()
            and not os.path.exists(self._beside[0])
            and (found.st_size, found.st_mtime_ns) == self._content
        )

    def discard_log(self) -> None:
        """Empty the log, which is no longer of this database: SQLite would copy it there on closing."""
        self._log.truncate(0)

    def delete_log(self) -> None:
        """Delete log and index where they still are, so that no other database takes them for its own."""
        for name, identity in zip(self._beside, self._identities_beside, strict=True):
            with contextlib.suppress(OSError):
                if _identity(os.stat(name)) == identity:
                    os.unlink(name)

    def close(self) -> None:
        """Look no more."""
        self._log.close()

    def _has_log(self) -> bool:
        """Whether the log begins as one; zeros are what a write leaves before it in a file that was truncated."""
        self._log.seek(0)
        return self._log.read(4) in (b"", *_LOG_MAGIC)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
