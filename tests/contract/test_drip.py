"""Dripping peers: a byte a second resets a socket's timeout each time, but not the deadline.

All waits run in parallel.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.receiver import DEADLINE
from core.stores.contract import AsyncStore, Outcome, StoreUnavailableError
from core.verify.jwks import PublishedKeys
from tests.contract.store import Harness, fresh_event
from tests.contract.stores import FETCHES, STORES
from tests.support.held import held, let_go
from tests.support.loopback import in_turn, loopback, success
from tests.support.proxy import Mode, Proxy

# Events at once. More would wait for the processor, and not for the service.
AT_ONCE = 4


def soon() -> float:
    return time.monotonic() + DEADLINE


async def fill(store: AsyncStore) -> None:
    """Put this many concurrent events that are refused, which fills the store's pool."""
    assert set(await asyncio.gather(*(store.put(fresh_event(), soon()) for _ in range(AT_ONCE)))) == {Outcome.STORED}


async def is_refused_in_time(store: AsyncStore) -> None:
    """Assert that this many events are refused in time."""
    started = time.monotonic()
    puts = (store.put(fresh_event(), started + DEADLINE) for _ in range(AT_ONCE))
    found = await asyncio.gather(*puts, return_exceptions=True)
    assert {type(each) for each in found} == {StoreUnavailableError}
    assert time.monotonic() - started < DEADLINE


async def build(harness: Harness) -> AsyncStore:
    store = harness.build()
    await store.open()
    return store


@pytest.mark.long
def test_dripping_service_times_out_every_store(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    async def run() -> None:
        for store in stores:
            await fill(store)
        before = held()
        for begin, _ in faults:
            begin()
        await asyncio.gather(*map(is_refused_in_time, stores))
        for _, end in faults:
            end()
        for store in stores:
            await fill(store)
        # How many threads and connections there were at once is chance. One for each attempt would be twice as many.
        assert await let_go(before, AT_ONCE * len(stores))
        for store in stores:
            await store.close()

    faults, stores = [], []
    with ExitStack() as stack, asyncio.Runner() as runner:
        for name in (name for name, entry in STORES.items() if "drip" in entry.faults):
            folder = tmp_path / name
            folder.mkdir()
            harness = stack.enter_context(STORES[name].factory(folder, request))
            faults.append(harness.faults["drip"])
            # Now, because the next one may set the environment otherwise.
            stores.append(runner.run(build(harness)))
        runner.run(run())


@pytest.mark.long
def test_dripping_service_times_out_every_key_secret_and_token_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(fetch: Callable[[], object]) -> float:
        started = time.monotonic()
        try:
            fetch()
        except StoreUnavailableError:
            pass
        return time.monotonic() - started

    with loopback(in_turn(success())) as server:
        proxy = Proxy(server.server_port)
        proxy.set(Mode.DRIP)
        url = f"http://127.0.0.1:{proxy.port}"
        cases: dict[str, Callable[[], object]] = {"JWKS": PublishedKeys(url).refresh}
        for fetches in FETCHES:
            cases |= fetches(url, monkeypatch)
        before = held()
        with ThreadPoolExecutor(len(cases)) as threads:
            took = dict(zip(cases, threads.map(seconds, cases.values()), strict=True))
        # Each met the drip, and none was delayed by it beyond its bound, for which DT has 2 s more.
        assert {name: each for name, each in took.items() if not 1.5 < each < DEADLINE + 0.5} == {}
        proxy.close()
        assert asyncio.run(let_go(before))
