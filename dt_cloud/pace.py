"""The speed of the cloud's clock: as requested, but no faster than deliveries keep up."""

import asyncio
import time

from dt_cloud.cloud import Cloud


class Pace:
    """Runs the clock at the requested speed, slower if deliveries do not keep up, and measures the real speed.

    Args:
        cloud: The cloud.
        wanted: The requested seconds per real second; None for as fast as deliveries keep up.
    """

    # Deliveries per second that leave CPU for the receiver on the same two cores.
    TARGET = 300.0
    FASTEST = 3_600.0
    EVERY = 1.0

    def __init__(self, cloud: Cloud, wanted: float | None = 1.0) -> None:
        self.cloud = cloud
        self.wanted = wanted
        self.factor = cloud.clock.speed
        self._attempts = 0
        cloud.deliverer.listeners.append(self._count)

    def set(self, wanted: float | None) -> None:
        """Change the requested speed."""
        self.wanted = wanted
        if wanted is not None:
            self.cloud.clock.set_speed(wanted)
        self.cloud.deliverer.wake()

    def _count(self, _attempt: object) -> None:
        self._attempts += 1

    async def run(self) -> None:
        """Until cancelled."""
        clock = self.cloud.clock
        while True:
            began, since, self._attempts = clock.now(), time.monotonic(), 0
            await asyncio.sleep(self.EVERY)
            seconds = time.monotonic() - since
            self.factor = (clock.now() - began) / seconds
            if clock.speed:
                self._adjust(clock.speed, self._attempts / seconds)

    def _adjust(self, speed: float, rate: float) -> None:
        most = self.FASTEST if self.wanted is None else self.wanted
        if self.cloud.deliverer.is_behind():
            faster = max(min(1.0, most), speed / 2)
        elif self.wanted is None:
            faster = speed * min(2.0, self.TARGET / max(rate, 1.0))
        else:
            faster = speed * 2
        if (faster := min(most, faster)) != speed:
            self.cloud.clock.set_speed(faster)
            self.cloud.deliverer.wake()
