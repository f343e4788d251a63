"""``python -m tests.campaign.drip``: events at a steady rate to stores whose services send a byte a second."""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from core.event import Event
from core.receiver import DEADLINE
from core.stores.contract import AsyncStore, Outcome, StoreUnavailableError
from tests.contract.store import Harness
from tests.contract.stores import STORES
from tests.contract.test_stores import event
from tests.support.azurite import azurite
from tests.support.couchdb import couchdb
from tests.support.fauxqs import fauxqs
from tests.support.google import emulator
from tests.support.held import held, let_go
from tests.support.moto import moto_server
from tests.support.postgres import running

NAMES = [name for name, entry in STORES.items() if "drip" in entry.faults]
# The maximum response time, in seconds.
SLOWEST = 8.5
# Concurrent events before and after: as many as a store has threads.
AT_ONCE = 20
SERVERS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "postgres": running,
    "moto": moto_server,
    "fauxqs": fauxqs,
    "azurite": azurite,
    "couchdb": couchdb,
    "pubsub": lambda: emulator("pubsub"),
    "firestore": lambda: emulator("firestore"),
}


class Request:
    """The part of pytest that the stores' factories need: servers, each started when first requested."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._found: dict[str, Any] = {"monkeypatch": stack.enter_context(pytest.MonkeyPatch.context())}

    def getfixturevalue(self, name: str) -> Any:
        """Return a server, or pytest's monkeypatch."""
        if name not in self._found:
            self._found[name] = self._stack.enter_context(SERVERS[name]())
        return self._found[name]


async def put(store: AsyncStore, event: Event) -> tuple[str, float]:
    """Return the outcome or the cause of the refusal, and the duration in seconds."""
    started = time.monotonic()
    try:
        outcome = (await store.put(event, started + DEADLINE)).name
    except StoreUnavailableError as error:
        outcome = error.reason
    return outcome, time.monotonic() - started


async def drip(harness: Harness, rate: int, seconds: int) -> tuple[str, bool]:
    """Put events meanwhile; return a line of the result, and whether it passed."""
    begin, end = harness.faults["drip"]
    store = harness.build()
    await store.open()
    for _ in range(3):
        await asyncio.gather(*(put(store, event()) for _ in range(AT_ONCE)))
    before = held()
    begin()
    started, puts = time.monotonic(), []
    for number in range(rate * seconds):
        await asyncio.sleep(started + number / rate - time.monotonic())
        puts.append(asyncio.create_task(put(store, event())))
    found = await asyncio.gather(*puts)
    end()
    afterwards = await asyncio.gather(*(put(store, event()) for _ in range(AT_ONCE)))
    # The number of connections in a pool varies, up to one per thread; leaking attempts would add more than that.
    is_let_go, (threads, files) = await let_go(before, AT_ONCE), held()
    await store.close()
    causes, slowest = Counter(outcome for outcome, _ in found), max(took for _, took in found)
    line = (
        f"{len(found)} events, slowest {slowest:.2f} s, threads {before[0]} -> {threads}, "
        f"files and sockets {before[1]} -> {files}, {dict(causes)}"
    )
    stored = Outcome.STORED.name
    return line, is_let_go and slowest < SLOWEST and {outcome for outcome, _ in afterwards} == {stored}


def main(arguments: list[str]) -> int:
    """Run the chosen campaigns; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaign.drip",
        description="Put events into stores whose services send a byte a second, and count what is left over.",
        epilog=f"stores: {', '.join(NAMES)}",
    )
    parser.add_argument("stores", nargs="*", metavar="STORE", help="all, if none is named")
    parser.add_argument("--rate", type=int, choices=range(1, 201), metavar="N", default=50, help="events a second (50)")
    parser.add_argument("--seconds", type=int, choices=range(1, 601), metavar="N", default=60, help="for each (60)")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.stores) - set(NAMES):
        parser.error(f"no store is called {', '.join(sorted(unknown))}")
    is_well = True
    # Like Ctrl-C, so that the servers stop too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as servers, tempfile.TemporaryDirectory() as folder:
        request: Any = Request(servers)
        for name in asked.stores or NAMES:
            place = Path(folder, name)
            place.mkdir()
            try:
                with STORES[name].factory(place, request) as harness:
                    line, is_so = asyncio.run(drip(harness, asked.rate, asked.seconds))
            except pytest.skip.Exception as missing:
                line, is_so = f"not run, {missing}", False
            is_well &= is_so
            print(f"{name}: {line}{'' if is_so else ': NOT AS IT SHOULD BE'}", flush=True)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
