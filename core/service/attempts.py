"""How often a service is called for one event: again where that may help, never past the deadline."""

import random
import time
from collections.abc import AsyncIterator, Iterator

CONNECT_TIMEOUT = 1.0
READ_TIMEOUT = 2.0
# What one attempt may take, in seconds.
ATTEMPT = CONNECT_TIMEOUT + READ_TIMEOUT
ATTEMPTS = 3


def attempts(deadline: float) -> Iterator[None]:
    """Yield before each attempt, up to `ATTEMPTS`, none of which begins less than `ATTEMPT` before the deadline.

    The second and the third come after a pause of up to 0.2 and 0.4 s, at random, so that those who were throttled
    together do not come again together. A caller that needs no other attempt leaves the loop.

    Args:
        deadline: ``time.monotonic()`` seconds.
    """
    for pause in pauses(deadline):
        if pause:
            time.sleep(pause)
        yield


async def async_attempts(deadline: float) -> AsyncIterator[None]:
    """Yield as `attempts` does, for an event loop."""
    for pause in pauses(deadline):
        if pause:
            import asyncio  # here, because a cold start that has no event loop should not wait for it

            await asyncio.sleep(pause)
        yield


def pauses(deadline: float) -> Iterator[float]:
    """Yield the seconds to wait before each attempt, as `attempts` does; for callers that wait in their own way."""
    for number in range(ATTEMPTS):
        pause = random.uniform(0, 0.1 * 2**number) if number else 0.0  # noqa: S311
        if time.monotonic() + pause + ATTEMPT > deadline:
            return
        yield pause
