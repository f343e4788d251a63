"""The outcomes of deliveries, committed together with the ledger."""

import asyncio
import json
import sqlite3
import sys
from typing import Any

from dt_cloud import ledger
from dt_cloud.attempt import Attempt
from dt_cloud.clock import Clock
from dt_cloud.connectors import Connectors
from dt_cloud.database import Database
from dt_cloud.ledger import Ledger
from dt_cloud.metrics import Metrics

# The number of finished deliveries that are kept for the page.
KEPT = 10_000
_PRUNE_EVERY = 1_000
# Real seconds for which the outcomes of attempts share a commit. After a kill they are attempted again.
_COMMIT_EVERY = 0.02
# Real seconds until a failed commit is repeated.
_AGAIN = 1.0


class Outcomes:
    """Keeps the outcomes of attempts until they are committed.

    Args:
        database: Stores the deliveries.
        clock: The cloud's clock.
        connectors: Their failures are stored in the same commit.
        books: Counts outcomes.
        metrics: Counts attempts.
    """

    def __init__(
        self, database: Database, clock: Clock, connectors: Connectors, books: Ledger, metrics: Metrics
    ) -> None:
        self._database = database
        self._clock = clock
        self._connectors = connectors
        self._ledger = books
        self._metrics = metrics
        # Uncommitted attempts; and how many of them, the first ones, are in the open transaction.
        self._attempts: list[Attempt] = []
        self._in_transaction = 0
        self._timer: asyncio.TimerHandle | None = None
        self._finished = 0
        database.listeners.append(self._end)

    def add(self, attempt: Attempt) -> None:
        """Take an outcome, to be stored soon."""
        self._attempts.append(attempt)
        self._write_in(_COMMIT_EVERY)

    def has(self, delivery: int) -> bool:
        """Return whether a delivery has an uncommitted attempt."""
        return any(each.delivery.id == delivery for each in self._attempts)

    def finished(self, connector_id: str | None = None) -> int:
        """Return the number of finished deliveries that are not in the ledger yet."""
        return sum(
            each.state != "waiting" and connector_id in (None, each.delivery.connector_id) for each in self._attempts
        )

    def write(self) -> None:
        """Write all outcomes.

        Raises:
            sqlite3.Error: They cannot be stored now; nothing is lost.
        """
        attempts = self._attempts[self._in_transaction :]
        finished = [each for each in attempts if each.state != "waiting"]
        with self._database.transaction():
            self._in_transaction = len(self._attempts)
            self._write_attempts(attempts)
            for each in finished:
                self._ledger.add(each.delivery.connector_id, each.delivery.event_type, each.state)
            self._ledger.write()
            self._metrics.write(self._clock.now())
            self._clock.keep()
            self._prune(len(finished))

    def give_up(self, connector_id: str, deliveries: list[int], state: str) -> None:
        """Finish deliveries that will not be attempted again.

        Raises:
            sqlite3.Error: As `write`.
        """
        if not deliveries:
            return
        with self._database.transaction():
            self.write()
            for number in deliveries:
                event_type = self._database.value("SELECT event_type FROM deliveries WHERE id = ?", number)
                self._ledger.add(connector_id, event_type, state)
                self._database.execute("UPDATE deliveries SET state = ? WHERE id = ?", state, number)
            self._ledger.write()
            self._prune(len(deliveries))

    def close(self) -> None:
        """Store the remaining outcomes."""
        if self._timer:
            self._timer.cancel()
        try:
            self.write()
        except sqlite3.Error as error:
            self._complain(error)

    def _write_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._write_later)

    def _write_later(self) -> None:
        self._timer = None
        try:
            self.write()
        except sqlite3.Error as error:
            self._complain(error)
            self._write_in(_AGAIN)

    def _complain(self, error: sqlite3.Error) -> None:
        # A restart attempts them all again.
        print(
            f"The outcomes of {len(self._attempts)} attempts cannot be written: {error}.", file=sys.stderr, flush=True
        )

    def _end(self, is_committed: bool) -> None:
        if is_committed:
            del self._attempts[: self._in_transaction]
        self._in_transaction = 0

    def _write_attempts(self, attempts: list[Attempt]) -> None:
        self._database.executemany(
            "UPDATE deliveries SET state = ?, due = ?, attempts = ?, signature = ? WHERE id = ?",
            [
                (each.state, each.due, each.delivery.attempts, each.delivery.signature, each.delivery.id)
                for each in attempts
            ],
        )
        self._database.executemany(
            "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    each.delivery.id, each.delivery.attempts, each.started, each.sent, each.answer.seconds,
                    each.answer.status, each.note, json.dumps(each.headers), each.answer.body,
                )
                for each in attempts
            ],
        )  # fmt: skip
        self._database.executemany(
            "UPDATE connectors SET failing_since = ?, failures = ? WHERE connector_id = ?",
            [
                (connector.failing_since, connector.failures, connector.connector_id)
                for connector_id in {each.delivery.connector_id for each in attempts}
                if (connector := self._connectors.get(connector_id))
            ],
        )
        self._database.executemany(
            "UPDATE events SET delivery = 1, delivered_at = ? WHERE id = ? AND delivery = 0",
            [(self._clock.now(), each.delivery.event) for each in attempts if each.state == ledger.DELIVERED],
        )

    def _prune(self, finished: int) -> None:
        self._finished += finished
        if self._finished < _PRUNE_EVERY:
            return
        self._finished = 0
        last: Any = self._database.value(
            "SELECT id FROM deliveries WHERE state != 'waiting' ORDER BY id DESC LIMIT 1 OFFSET ?", KEPT
        )
        if last is not None:
            self._database.execute(
                "DELETE FROM attempts WHERE delivery_id IN "
                "(SELECT id FROM deliveries WHERE state != 'waiting' AND id <= ?)",
                last,
            )
            self._database.execute("DELETE FROM deliveries WHERE state != 'waiting' AND id <= ?", last)
