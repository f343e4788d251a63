"""The local receiver: faults of a database file on a user's machine."""

import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from tests.campaign.campaign import Target
from tests.campaign.receiver import Receiver
from tests.support.deliveries import SECRET
from tests.support.ledger import Ledger
from tests.support.load import head

# Deliveries whose second half never arrives.
HALVES = 300


class _Files:
    """The database, and the earlier ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self.place = folder / "var"
        self.path = self.place / "events.db"
        self.kept: list[Path] = []

    def new(self) -> Path:
        """Return an unused path outside the receiver's folder."""
        self._count += 1
        return self._folder / f"kept-{self._count}.db"

    def keep(self) -> None:
        """Move the database away, as ``mv`` does: without its -wal."""
        self.kept.append(self.new())
        self.path.rename(self.kept[-1])

    def back_up(self) -> Path:
        """Return a backup, made in SQLite's way: https://www.sqlite.org/backup.html."""
        backup = self.new()
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(backup)) as copy:
            source.backup(copy)
        return backup

    def stores(self) -> Iterator[Iterator[bytes]]:
        """Read every database."""
        for path in (self.path, *self.kept):
            yield _bodies(path)

    @contextmanager
    def overwriting(self, ledger: Ledger) -> Iterator[None]:
        """Count the stored events before the user overwrites the file; events acknowledged until then may be lost."""
        period = ledger.periods[-1]
        period.is_overwritten = True
        ledger.wait_for_earlier()
        ledger.count(_bodies(self.path))
        yield
        ledger.begin(period.fault)


def _bodies(path: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        for (body,) in connection.execute("SELECT body FROM events"):
            yield body


@contextmanager
def local(folder: Path) -> Iterator[Target]:
    """Yield ``python -m local``, with access to its file and its log."""
    files = _Files(folder)
    receiver = Receiver("local", {"DT_SIGNATURE_SECRET": SECRET, "DT_DATABASE": str(files.path)}, folder)

    def replaced(_: Ledger) -> None:
        backup = files.back_up()
        time.sleep(0.5)
        files.keep()
        backup.rename(files.path)

    def restored(ledger: Ledger) -> None:
        with files.overwriting(ledger):
            backup = files.back_up()
            time.sleep(0.5)
            backup.replace(files.path)

    def copied_over(ledger: Ledger) -> None:
        with files.overwriting(ledger):
            backup = files.back_up()
            time.sleep(0.5)
            shutil.copyfile(backup, files.path)

    def truncated(ledger: Ledger) -> None:
        with files.overwriting(ledger):
            os.truncate(files.path, 0)

    def deleted(ledger: Ledger) -> None:
        with files.overwriting(ledger):
            files.path.unlink()

    def wal_deleted(_: Ledger) -> None:
        files.path.with_name("events.db-wal").unlink()

    def locked(_: Ledger) -> None:
        with closing(sqlite3.connect(files.path, isolation_level=None, timeout=30)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(5)
            other.execute("ROLLBACK")

    def unmounted(_: Ledger) -> None:
        """Another folder replaces it for a while, as under the mount point of a disk."""
        disk, below = files.new(), files.new()
        files.place.rename(disk)
        files.place.mkdir()
        time.sleep(3)
        files.place.rename(below)
        disk.rename(files.place)
        if (below / files.path.name).exists():
            files.kept.append(below / files.path.name)

    def folder_away(_: Ledger) -> None:
        away = files.new()
        files.place.rename(away)
        time.sleep(3)
        try:
            away.rename(files.place)
        except OSError:  # the receiver has wrongly created another
            files.kept.append(away / files.path.name)
            raise

    def log_unread(_: Ledger) -> None:
        receiver.leave_log()
        time.sleep(10)
        receiver.read_log()

    def half_sent(_: Ledger) -> None:
        half = head(b"", 200_000) + bytes(100_000)
        with ExitStack() as stack:
            for _count in range(HALVES):
                with suppress(OSError):  # refusing a body at once is correct
                    connection = stack.enter_context(socket.create_connection(("127.0.0.1", receiver.port)))
                    connection.setblocking(False)
                    connection.send(half)
            time.sleep(5)

    def renew() -> None:
        away = files.new()
        files.place.rename(away)
        files.kept.append(away / files.path.name)
        receiver.restart()

    faults = {
        "file moved away": lambda _: files.keep(),
        "file moved away, backup in its place": replaced,
        "backup moved over it": restored,
        "backup copied over it": copied_over,
        "file truncated": truncated,
        "file deleted": deleted,
        "-wal deleted": wal_deleted,
        "locked by another program": locked,
        "folder away": folder_away,
        "disk unmounted": unmounted,
        "log not read": log_unread,
        "half-sent bodies": half_sent,
        "receiver killed": lambda _: receiver.restart(),
    }
    try:
        yield Target(receiver.connect, files.stores, faults, renew)
    finally:
        receiver.close()
