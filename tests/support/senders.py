"""Loads during kills of a receiver and outages of its store, and their required outcome."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event

from tests.support.ledger import Ledger
from tests.support.load import Load, Server, posting
from tests.support.processes import Program

SENDERS = 4
# How often a receiver is killed in each test.
KILLS = int(os.environ.get("KILLS") or 8)
# Duration of a store's outage, in seconds.
AWAY = 4.0
# More deliveries than any of these tests sends.
LIMIT = 200_000


@contextmanager
def sending(server: Callable[[], Server]) -> Iterator[Ledger]:
    """Send to the current server during the block."""
    ledger = Ledger(LIMIT)
    load = Load(ledger, posting(server), SENDERS)
    load.start()
    try:
        yield ledger
    finally:
        load.stop()


def kill_often(
    start: Callable[[], AbstractContextManager[Program]],
    kill: Callable[[Program], object],
    times: int = KILLS,
) -> Ledger:
    """Send to a program that is killed at random moments and restarted; return the ledger at the end.

    Args:
        start: Yields the ready program.
        kill: Kills it.
        times: The number of kills; every other one comes after something was stored.
    """
    programs: list[Program] = []
    begun = Event()

    def current() -> Program:
        begun.wait()
        return programs[-1]

    with sending(current) as ledger:
        try:
            for number in range(times):
                with start() as program:
                    programs.append(program)
                    begun.set()
                    if number % 2:
                        wait_for(ledger, ledger.acknowledged + 1)
                    time.sleep(random.uniform(0.0, 0.3))
                    kill(program)
                    program.process.wait()
        finally:
            begun.set()
    return ledger


def store_outage(ledger: Ledger, goes: Callable[[], object], comes: Callable[[], object]) -> None:
    """Cause a store outage under load; assert that nothing is acknowledged meanwhile, and that the load recovers."""
    wait_for(ledger, 50)
    goes()
    time.sleep(0.2)  # count what was answered already
    before = ledger.acknowledged
    time.sleep(AWAY)
    assert ledger.acknowledged == before
    comes()
    wait_for(ledger, before + 50)


def wait_for(ledger: Ledger, count: int) -> None:
    """Wait until this many events are acknowledged."""
    deadline = time.monotonic() + 60
    while ledger.acknowledged < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def outcome(ledger: Ledger, stored: list[bytes]) -> tuple[int, int]:
    """Return the numbers of acknowledged events and of duplicates; assert that no event is missing."""
    ledger.count(stored)
    ledger.close()
    assert sum(period.lost for period in ledger.periods) == 0
    assert ledger.altered == 0
    assert ledger.statuses.keys() <= {200, 503, None}
    return ledger.acknowledged, sum(period.twice for period in ledger.periods)
