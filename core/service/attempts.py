"""Retries of a service call: only if a retry may help, and never past the deadline."""

import random
import time
from collections.abc import Iterator

CONNECT_TIMEOUT = 1.0
READ_TIMEOUT = 2.0
# Seconds for one attempt.
ATTEMPT = CONNECT_TIMEOUT + READ_TIMEOUT
ATTEMPTS = 3


def attempts(deadline: float) -> Iterator[None]:
    """Yield before each attempt, up to `ATTEMPTS`; none begins less than `ATTEMPT` seconds before the deadline.

    Random pauses of up to 0.2 and 0.4 s precede the second and the third attempt, so that callers that were throttled
    together do not retry together. A caller that needs no retry leaves the loop.

    Args:
        deadline: ``time.monotonic()`` seconds.
    """
    for pause in pauses(deadline):
        if pause:
            time.sleep(pause)
        yield


def pauses(deadline: float) -> Iterator[float]:
    """Yield the seconds to wait before each attempt of `attempts`; the caller waits."""
    for number in range(ATTEMPTS):
        pause = random.uniform(0, 0.1 * 2**number) if number else 0.0  # noqa: S311
        if time.monotonic() + pause + ATTEMPT > deadline:
            return
        yield pause
