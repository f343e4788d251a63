"""Network faults, caused by the proxies between a receiver and its store."""

import time
from collections.abc import Sequence

from tests.campaign.campaign import Fault
from tests.support.proxy import Mode, Proxy

# The durations of faults, in seconds; without answers, longer than an answer may take.
_SECONDS = {"refuse": 4, "silent": 10, "slow": 7, "drip": 10}
# The number of lost answers, and the seconds between them.
_LOST, _APART = 20, 0.2


def network(proxies: Sequence[Proxy], throttled: bytes = b"") -> dict[str, Fault]:
    """Return the faults of these proxies.

    Args:
        proxies: The proxies, which all have the fault at once.
        throttled: The service's HTTP answer when it throttles; none if it does not use HTTP.
    """

    def behave(mode: Mode) -> None:
        for proxy in proxies:
            proxy.set(mode)

    def during(mode: Mode, seconds: float) -> None:
        behave(mode)
        time.sleep(seconds)
        behave(Mode.REFUSE)  # close the connections whose bytes were dropped
        behave(Mode.PASS)

    def throttle() -> None:
        for proxy in proxies:
            proxy.canned = throttled
        during(Mode.CANNED, 4)

    def lose() -> None:
        for _ in range(_LOST):
            behave(Mode.LOSE_ANSWER)
            time.sleep(_APART)
        behave(Mode.PASS)

    faults: dict[str, Fault] = {
        f"store's network: {mode.value}": lambda _, mode=mode: during(mode, _SECONDS[mode.value])  # type: ignore[misc]
        for mode in Mode
        if mode.value in _SECONDS
    }
    faults["store's network: answers lost"] = lambda _: lose()
    if throttled:
        faults["store throttled"] = lambda _: throttle()
    return faults
