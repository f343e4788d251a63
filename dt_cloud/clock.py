"""The cloud's clock, which can run faster than the machine's, stop, or jump ahead."""

import time
from datetime import UTC, datetime

from dt_cloud.database import Database

MAX_SPEED = 100_000.0
_KEPT = "clock"
# The last second that DT's ids can represent, in 2106.
_END = float(2**32 - 1)


class Clock:
    """Seconds since the epoch on the cloud's clock.

    Delays, lives, windows and heartbeats use this clock. Deadlines, latencies and signatures use real time, because
    the receiver does.

    Args:
        database: Stores the time, so that it never runs back: a queue that was 11 hours old still is after a restart.
        speed: How many seconds pass in one real second.
    """

    def __init__(self, database: Database, speed: float = 1.0) -> None:
        self._database = database
        self._speed = speed
        self._is_paused = False
        self._base: float = max(time.time(), database.meta(_KEPT, 0.0))
        self._since = time.monotonic()

    def now(self) -> float:
        """Return the time."""
        return self._base if self._is_paused else min(self._base + (time.monotonic() - self._since) * self._speed, _END)

    def datetime(self) -> datetime:
        """Return the time in UTC."""
        return datetime.fromtimestamp(self.now(), UTC)

    @property
    def speed(self) -> float:
        """How many seconds pass in one real second; 0 while paused."""
        return 0.0 if self._is_paused else self._speed

    def real_seconds(self, until: float) -> float:
        """Return the real seconds until a time; infinite while paused, unless the time has passed."""
        left = until - self.now()
        # A jump may end slightly before the time, because of rounding.
        if left < 1e-6:
            return 0.0
        return float("inf") if self._is_paused else left / self._speed

    def set_speed(self, speed: float) -> None:
        """Run ``speed`` times as fast as real time from now on, at most `MAX_SPEED`."""
        self._rebase()
        self._speed = min(max(speed, 0.001), MAX_SPEED)

    def pause(self) -> None:
        """Stop the clock."""
        self._rebase()
        self._is_paused = True

    def resume(self) -> None:
        """Continue after `pause`."""
        self._rebase()
        self._is_paused = False

    def jump(self, seconds: float) -> None:
        """Jump ahead by ``seconds``, never back."""
        self._rebase()
        self._base = min(self._base + max(0.0, seconds), _END)
        self.keep()

    def keep(self) -> None:
        """Store the time."""
        self._database.set_meta(_KEPT, self.now())

    def _rebase(self) -> None:
        self._base, self._since = self.now(), time.monotonic()
        self.keep()
