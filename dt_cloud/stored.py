"""Checks that delivered events are in the receiver's store, if that is a file on this machine."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

from core.event import event_key
from dt_cloud.clock import Clock
from dt_cloud.database import Database

# Values of `events.delivery` in schema.sql.
DELIVERED = 1
STORED = 2
_EVERY = 0.5
_AT_ONCE = 2_000
# Real seconds after which an event that is not found counts as missing: a receiver stores before it answers.
_GRACE = 2.0
_STORED, _TWICE = "stored", "stored twice"


class StoredCheck:
    """Looks up each delivered event in the receiver's database, read-only.

    Args:
        database: Has the delivered events.
        clock: Dates it.
        path: The receiver's SQLite file.
    """

    def __init__(self, database: Database, clock: Clock, path: Path) -> None:
        self._database = database
        self._clock = clock
        self._path = path
        self._is_readable = False
        self._last = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_EVERY)
            try:
                self._is_readable = True
                self.check()
            except sqlite3.Error:
                # The file does not exist yet, or is being moved: the page reports it as unreadable.
                self._is_readable = False

    def check(self) -> None:
        """Look for delivered events that were not found yet.

        Raises:
            sqlite3.Error: The store cannot be read.
        """
        rows = self._database.execute(
            "SELECT id, event FROM events WHERE delivery = ? AND id > ? ORDER BY id LIMIT ?",
            DELIVERED,
            self._last,
            _AT_ONCE,
        ).fetchall()
        # In turns, so that missing events do not block the check of later ones.
        self._last = rows[-1][0] if len(rows) == _AT_ONCE else 0
        if not rows:
            return
        found, twice = [], 0
        with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, timeout=1.0)) as store:
            for number, text in rows:
                (count,) = store.execute("SELECT count(*) FROM events WHERE key = ?", (_key(text),)).fetchone()
                if count:
                    found.append((STORED, number))
                    twice += count - 1
        with self._database.transaction():
            self._database.executemany("UPDATE events SET delivery = ? WHERE id = ?", found)
            self._database.set_meta(_STORED, self._database.meta(_STORED, 0) + len(found))
            self._database.set_meta(_TWICE, self._database.meta(_TWICE, 0) + twice)

    def document(self) -> dict[str, int | bool]:
        """Return the numbers of delivered events that are stored, stored twice, and missing."""
        since = self._clock.now() - _GRACE * max(1.0, self._clock.speed)
        missing = self._database.value(
            "SELECT count(*) FROM events WHERE delivery = ? AND delivered_at < ?", DELIVERED, since
        )
        return {
            "isReadable": self._is_readable,
            "stored": self._database.meta(_STORED, 0),
            "storedTwice": self._database.meta(_TWICE, 0),
            "missing": missing,
        }


def _key(text: str) -> str:
    event = json.loads(text)
    return event_key(event["eventId"], event["eventType"], event["targetName"].rpartition("/")[2], b"")
