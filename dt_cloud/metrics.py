"""A connector's successes, errors and latency of the last three hours, for ``:metrics``."""

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from dt_cloud.database import Database

WINDOW = 3 * 3600.0
# Latencies are stored with an accuracy of 5 %: three hours of 500 attempts a second are five million.
_STEP = math.log(1.05)
_LEAST = 0.001


@dataclass(slots=True)
class _Minute:
    successes: int = 0
    errors: int = 0
    latencies: Counter[int] = field(default_factory=Counter)


class Metrics:
    """Counts attempts per minute of the cloud's clock.

    Args:
        database: Stores them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._minutes: dict[str, dict[int, _Minute]] = defaultdict(dict)
        self._changed: set[tuple[str, int]] = set()
        self._oldest = 0
        for connector, minute, successes, errors, latencies in database.execute(
            "SELECT * FROM minutes WHERE connector_id IN (SELECT connector_id FROM connectors)"
        ):
            counts = Counter({int(each): number for each, number in json.loads(latencies).items()})
            self._minutes[connector][minute] = _Minute(successes, errors, counts)

    def add(self, connector_id: str, now: float, is_success: bool, seconds: float) -> None:
        """Count an attempt that took ``seconds`` and ended at ``now``."""
        minute = self._minutes[connector_id].setdefault(int(now // 60), _Minute())
        if is_success:
            minute.successes += 1
        else:
            minute.errors += 1
        minute.latencies[math.ceil(math.log(max(seconds, _LEAST)) / _STEP)] += 1
        self._changed.add((connector_id, int(now // 60)))

    def write(self, now: float) -> None:
        """Store the changes, and delete what is older than the window; within a transaction."""
        rows = [
            (connector_id, minute, each.successes, each.errors, json.dumps(each.latencies))
            for connector_id, minute in self._changed
            if (each := self._minutes[connector_id].get(minute))
        ]
        self._database.executemany("INSERT OR REPLACE INTO minutes VALUES (?, ?, ?, ?, ?)", rows)
        self._changed.clear()
        oldest = int((now - WINDOW) // 60)
        if oldest == self._oldest:
            return
        self._oldest = oldest
        for minutes in self._minutes.values():
            while minutes and (first := next(iter(minutes))) < oldest:
                del minutes[first]
        self._database.execute("DELETE FROM minutes WHERE minute < ?", oldest)

    def forget(self, connector_id: str) -> None:
        """Forget a connector that is gone."""
        self._database.execute("DELETE FROM minutes WHERE connector_id = ?", connector_id)
        self._minutes.pop(connector_id, None)
        self._changed = {each for each in self._changed if each[0] != connector_id}

    def document(self, connector_id: str, now: float) -> dict[str, object]:
        """Return the metrics as DT's API does."""
        since = (now - WINDOW) // 60
        minutes = [each for minute, each in self._minutes[connector_id].items() if minute >= since]
        latencies: Counter[int] = Counter()
        for each in minutes:
            latencies.update(each.latencies)
        return {
            "successCount": sum(each.successes for each in minutes),
            "errorCount": sum(each.errors for each in minutes),
            "latency99p": f"{_percentile(latencies, 0.99):.3f}s",
        }


def _percentile(latencies: Counter[int], share: float) -> float:
    """Return the latency that ``share`` of the attempts did not exceed, in seconds; 0 without an attempt."""
    left = share * latencies.total()
    for each, number in sorted(latencies.items()):
        left -= number
        if left <= 0:
            return math.exp(each * _STEP)
    return 0.0
