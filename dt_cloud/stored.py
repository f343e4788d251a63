"""Whether what was delivered is in the receiver's store, where that is a file on this machine."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

from core.event import event_key
from dt_cloud.clock import Clock
from dt_cloud.database import Database

# Of `events.delivery` in schema.sql.
DELIVERED = 1
STORED = 2
_EVERY = 0.5
_AT_ONCE = 2_000
# Real seconds after which what is still not there is missing: a receiver stores before it answers.
_GRACE = 2.0
_STORED, _TWICE = "stored", "stored twice"


class StoredCheck:
    """Looks for each delivered event in the receiver's database, without ever writing to it.

    Args:
        database: Knows what was delivered.
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
                # Not there yet, or just being moved: the page says that it cannot be read.
                self._is_readable = False

    def check(self) -> None:
        """Look for what was delivered and not yet found.

        Raises:
            sqlite3.Error: The store cannot be read.
        """
        rows = self._database.execute(
            "SELECT id, event FROM events WHERE delivery = ? AND id > ? ORDER BY id LIMIT ?",
            DELIVERED,
            self._last,
            _AT_ONCE,
        ).fetchall()
        # Round and round: what is missing must not keep what comes after it from being found.
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
        """Return how many delivered events are stored, are stored twice, and are missing."""
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
