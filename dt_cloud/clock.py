"""The cloud's time, which may run faster than the machine's, stand still, or jump ahead."""

import time
from datetime import UTC, datetime

from dt_cloud.database import Database

MAX_SPEED = 100_000.0
_KEPT = "clock"
# The last of the seconds that DT's ids can hold, in 2106.
_END = float(2**32 - 1)


class Clock:
    """Seconds since the epoch on the cloud's clock.

    Waits, lives, windows and heartbeats are measured on it. Deadlines, latencies and signatures are in real time,
    because the receiver's clock is.

    Args:
        database: Keeps the time, so that it never runs back: a queue that was 11 hours old still is after a restart.
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
        """Return how many real seconds it takes until a time; infinite while paused, unless that time has come."""
        left = until - self.now()
        # A jump to a time may end a rounding error before it.
        if left < 1e-6:
            return 0.0
        return float("inf") if self._is_paused else left / self._speed

    def set_speed(self, speed: float) -> None:
        """Run ``speed`` times as fast from now on, at most `MAX_SPEED`."""
        self._rebase()
        self._speed = min(max(speed, 0.001), MAX_SPEED)

    def pause(self) -> None:
        """Stand still."""
        self._rebase()
        self._is_paused = True

    def resume(self) -> None:
        """Run on."""
        self._rebase()
        self._is_paused = False

    def jump(self, seconds: float) -> None:
        """Be ``seconds`` later at once; a clock never goes back."""
        self._rebase()
        self._base = min(self._base + max(0.0, seconds), _END)
        self.keep()

    def keep(self) -> None:
        """Write the time down."""
        self._database.set_meta(_KEPT, self.now())

    def _rebase(self) -> None:
        self._base, self._since = self.now(), time.monotonic()
        self.keep()
