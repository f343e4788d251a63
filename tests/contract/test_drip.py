"""A peer that sends a byte a second: each time-out of a socket begins anew with each byte, and the deadline does not.

Everything that waits does so at the same time.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from aws_lambda.seen_keys import DynamoDbSeenKeys
from aws_lambda.service import client
from aws_lambda.sqs import SqsQueue
from aws_lambda.wiring import build_receiver as build_lambda
from azure_functions.identity import managed_identity
from azure_functions.service import call
from core.environment import Environment
from core.event import Event, parse_stored
from core.receiver import DEADLINE
from core.stores.contract import AsyncStore, Outcome, StoreUnavailableError
from core.stores.dedup import Deduplicated
from core.verify.jwks import PublishedKeys
from gcp_functions.identity import application_default
from gcp_functions.service import Service
from ibm_actions.wiring import build_store as build_cloudant
from tests.contract.stores import STORES, Harness
from tests.contract.test_stores import NOW
from tests.support.aws import environment
from tests.support.deliveries import delivery, fresh_body
from tests.support.held import held, let_go
from tests.support.loopback import in_turn, loopback, success
from tests.support.proxy import Mode, Proxy

# Events at once. More would wait for the processor, and not for the service.
AT_ONCE = 4


def event() -> Event:
    return parse_stored(fresh_body(), NOW)


def soon() -> float:
    return time.monotonic() + DEADLINE


async def fill(store: AsyncStore) -> None:
    """Put as many events at once as will be refused: whatever a store keeps for so many is there then."""
    assert set(await asyncio.gather(*(store.put(event(), soon()) for _ in range(AT_ONCE)))) == {Outcome.STORED}


async def is_refused_in_time(store: AsyncStore) -> None:
    """Put as many in vain."""
    started = time.monotonic()
    puts = (store.put(event(), started + DEADLINE) for _ in range(AT_ONCE))
    found = await asyncio.gather(*puts, return_exceptions=True)
    assert {type(each) for each in found} == {StoreUnavailableError}
    assert time.monotonic() - started < DEADLINE


async def build(harness: Harness) -> AsyncStore:
    store = harness.build()
    await store.open()
    return store


def test_no_store_waits_for_a_service_that_drips(tmp_path: Path, request: pytest.FixtureRequest) -> None:
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


def deliver(receive: Callable[..., object]) -> None:
    assert receive(delivery(fresh_body())).status == 503  # type: ignore[attr-defined]


def fetches(url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], object]]:
    """Return what fetches a key, a secret or a token, and those calls that one event takes several of."""
    host = url.partition("//")[2]
    aws = environment(url) | {"DT_SIGNATURE_SECRET_ID": "s", "DT_TABLE": "t"}
    azure = {"IDENTITY_ENDPOINT": f"{url}/msi/token", "IDENTITY_HEADER": "h"}
    google = {"GCE_METADATA_IP": host, "HOME": "/nowhere", "NO_PROXY": "*"}
    for name, value in {**aws, **azure, **google}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", host)
    service = Service(url, application_default)
    identity = managed_identity("of this test alone")
    ibm = build_cloudant(Environment({"DT_CLOUDANT": url, "DT_CLOUDANT_API_KEY": "k", "DT_IAM_URL": url}))
    queue = Deduplicated(SqsQueue(client("sqs"), f"{url}/q"), DynamoDbSeenKeys(client("dynamodb"), "t", 0))
    secret = build_lambda(aws)
    return {
        "secret": lambda: deliver(secret.handle),
        "metadata server": lambda: service.call("POST", "/", soon(), {}),
        "managed identity": lambda: call(identity.get_token, soon(), "https://storage.azure.com/.default"),
        "IAM": lambda: ibm.put(event(), soon()),
        "look-up and sending": lambda: queue.put(event(), soon()),
        "JWKS": PublishedKeys(url).refresh,
    }


def test_no_key_secret_or_token_is_waited_for_when_it_drips(monkeypatch: pytest.MonkeyPatch) -> None:
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
        cases = fetches(f"http://127.0.0.1:{proxy.port}", monkeypatch)
        before = held()
        with ThreadPoolExecutor(len(cases)) as threads:
            took = dict(zip(cases, threads.map(seconds, cases.values()), strict=True))
        # Each met it, and none was held up by it.
        assert {name for name, each in took.items() if not 1.5 < each < DEADLINE} == set(), took
        proxy.close()
        assert asyncio.run(let_go(before))
