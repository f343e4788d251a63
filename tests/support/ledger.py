"""The ledger of a load: deliveries, answers, and the events that must be stored."""

import threading
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.support.numbered import number_of, numbered

# Signs and sends a body, and returns the answer's status.
Post = Callable[[bytes], int]
# Seconds until an unacknowledged delivery is sent again, and the maximum number that wait for it.
PAUSE = 0.2
WAITING = 256


@dataclass
class Period:
    """A period with one fault, and the outcomes of the attempts that began in it.

    Attributes:
        fault: The fault's name, or an empty text.
        is_overwritten: Whether a user's action deletes the events acknowledged in it.
        statuses: The number of answers by status; None is a broken connection or a missing answer.
        slowest: The time of the slowest answer, in seconds.
        acknowledged: The deliveries whose last 200 is in this period.
        lost: Those of them that are missing in the store.
        twice: Those of them that are stored more than once in one store.
        waiting: The unanswered attempts.
    """

    fault: str
    is_overwritten: bool = False
    statuses: Counter[int | None] = field(default_factory=Counter)
    slowest: float = 0.0
    acknowledged: int = 0
    lost: int = 0
    twice: int = 0
    waiting: int = 0


class Ledger:
    """Assigns numbers to deliveries, and stores four bytes for each; thread-safe.

    Args:
        limit: The maximum number of deliveries.
        duplicates: One in this many deliveries is sent twice on purpose; 0: none.

    Attributes:
        allowed: How many may be sent so far.
        sent: How many were sent at least once.
        periods: The periods so far; the last is the current one.
        altered: The number of stored bodies that were not sent.
    """

    def __init__(self, limit: int, duplicates: int = 0) -> None:
        self.allowed = limit
        self.sent = 0
        self.periods = [Period("")]
        self.altered = 0
        self._duplicates = duplicates
        self._acknowledged = bytearray(limit)
        self._period = array("H", bytes(2 * limit))
        self._stored = bytearray(limit)
        self._again: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    @property
    def acknowledged(self) -> int:
        """Return the number of deliveries answered 200."""
        return len(self._acknowledged) - self._acknowledged.count(0)

    @property
    def statuses(self) -> Counter[int | None]:
        """Return the number of answers by status."""
        return sum((period.statuses for period in self.periods), Counter())

    def begin(self, fault: str, is_overwritten: bool = False) -> None:
        """Begin a period."""
        with self._lock:
            self.periods.append(Period(fault, is_overwritten))

    def attempt(self, post: Post) -> bool:
        """Send a due retry or a new delivery; return whether there was one, and it was acknowledged."""
        with self._lock:
            number = self._next()
            if number is None:
                return False
            self.periods[-1].waiting += 1
            place = len(self.periods) - 1
        return self._send(number, post, place)

    def take(self, count: int) -> range:
        """Return new numbers for `send`, as many as are allowed."""
        with self._lock:
            first = self.sent
            self.sent = min(first + count, self.allowed)
            return range(first, self.sent)

    def send(self, number: int, post: Post) -> bool:
        """Send a delivery; return whether it was acknowledged. If not, `attempt` sends it again."""
        with self._lock:
            self.periods[-1].waiting += 1
            place = len(self.periods) - 1
        return self._send(number, post, place)

    def _send(self, number: int, post: Post, place: int) -> bool:
        period, started = self.periods[place], time.monotonic()
        try:
            status: int | None = post(numbered(number))
        except Exception:  # the receiver is dead, dies, or sends an invalid answer
            status = None
        ended = time.monotonic()
        with self._lock:
            period.waiting -= 1
            period.statuses[status] += 1
            period.slowest = max(period.slowest, ended - started)
            if status == 200:
                self._acknowledged[number] = 1
                self._period[number] = max(self._period[number], place)
            else:
                self._again.append((ended + PAUSE, number))
        return status == 200

    def _next(self) -> int | None:
        if self._again and self._again[0][0] <= time.monotonic():
            return self._again.popleft()[1]
        if self.sent >= self.allowed or len(self._again) >= WAITING:
            return None
        number = self.sent
        self.sent += 1
        if self._duplicates and number % self._duplicates == 0:
            self._again.appendleft((0.0, number))
        return number

    @property
    def is_settled(self) -> bool:
        """Return whether every delivery was sent and acknowledged."""
        with self._lock:
            return self.sent >= self.allowed and not self._again and not any(each.waiting for each in self.periods)

    def wait_for_earlier(self) -> None:
        """Return when everything that was sent in earlier periods is answered."""
        while any(period.waiting for period in self.periods[:-1]):
            time.sleep(0.01)

    def count(self, stored: Iterable[bytes]) -> None:
        """Count the bodies in one store."""
        seen = bytearray(len(self._stored))
        for content in stored:
            number = number_of(content)
            if number is None or number >= self.sent:
                self.altered += 1
                continue
            if seen[number]:
                self.periods[self._period[number]].twice += 1
            seen[number] = self._stored[number] = 1

    def close(self) -> None:
        """Find the lost events, after all stores are counted."""
        for number in range(self.sent):
            if self._acknowledged[number]:
                period = self.periods[self._period[number]]
                period.acknowledged += 1
                period.lost += not self._stored[number] and not period.is_overwritten
