"""The outcomes of all events for each connector. Counts never decrease."""

from collections import Counter
from typing import Any

from dt_cloud.database import Database

PUBLISHED = "published"
DELIVERED = "delivered"
EXPIRED = "expired"
DROPPED = "dropped"
# Filtered out by the connector: not published to it.
FILTERED = "filtered"


class Ledger:
    """Counts outcomes by connector and event type.

    With the number waiting, which the queues know: published = delivered + waiting + expired + dropped.

    Args:
        database: Stores the counts.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        rows = database.execute("SELECT connector_id, event_type, outcome, number FROM counts")
        self._counts: Counter[tuple[str, str, str]] = Counter({tuple(row[:3]): row[3] for row in rows})
        # Counts of the open transaction.
        self._added: Counter[tuple[str, str, str]] = Counter()
        database.listeners.append(self._end)

    def add(self, connector_id: str, event_type: str, outcome: str) -> None:
        """Count an event in the transaction of its outcome, which must end with `write`."""
        self._added[connector_id, event_type, outcome] += 1

    def write(self) -> None:
        """Store the counts of the open transaction."""
        rows = [(*names, self._counts[names] + number) for names, number in self._added.items()]
        self._database.executemany("INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?)", rows)

    def _end(self, is_committed: bool) -> None:
        if is_committed:
            self._counts.update(self._added)
        self._added.clear()

    def connectors(self) -> set[str]:
        """Return the ids of all connectors that events were counted for, also of deleted ones."""
        return {connector for connector, _, _ in self._counts}

    def document(self, waiting: int, connector_id: str | None = None) -> dict[str, Any]:
        """Return the totals, of one connector or of all, and the lost events by type.

        Args:
            waiting: The number of waiting deliveries.
            connector_id: Only this connector.
        """
        totals = dict.fromkeys((PUBLISHED, DELIVERED, EXPIRED, DROPPED, FILTERED), 0) | {"waiting": waiting}
        lost: dict[str, Counter[str]] = {EXPIRED: Counter(), DROPPED: Counter()}
        for (connector, event_type, outcome), number in self._counts.items():
            if connector_id in (None, connector):
                totals[outcome] += number
                if outcome in lost:
                    lost[outcome][event_type] += number
        return totals | {"lostByType": {outcome: dict(counts) for outcome, counts in lost.items() if counts}}
