"""Fixtures of this adapter's tests."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.environment import Environment
from core.event import Event
from core.receiver import DEADLINE
from core.stores.contract import Outcome
from ibm_actions.wiring import build_store
from tests.support.couchdb import CouchDb, Events
from tests.support.deliveries import SECRET
from tests.support.proxy import Mode, Proxy

Put = Callable[..., None]


@pytest.fixture
def events(couchdb: CouchDb) -> Events:
    """New databases for each test."""
    return Events(couchdb)


@pytest.fixture
def proxy(couchdb: CouchDb) -> Iterator[Proxy]:
    """A proxy between the receiver and Cloudant."""
    proxy = Proxy(couchdb.port)
    yield proxy
    # A frozen proxy would keep its connections.
    proxy.set(Mode.PASS)
    proxy.close()


@pytest.fixture
def environ(proxy: Proxy, events: Events) -> dict[str, str]:
    """The settings of a receiver that stores in ``events`` through ``proxy``, in many databases."""
    return {
        "DT_SIGNATURE_SECRET": SECRET,
        "DT_CLOUDANT": f"http://user:password@127.0.0.1:{proxy.port}",
        "DT_DATABASE_PREFIX": events.prefix,
        "DT_DATABASE_PERIOD": "month",
    }


@pytest.fixture
def put(environ: dict[str, str]) -> Put:
    """Store events, as the receiver does, eight at a time."""
    store = build_store(Environment(environ))

    def put(*some: Event) -> None:
        with ThreadPoolExecutor(8) as threads:
            found = threads.map(lambda each: store.put(each, time.monotonic() + DEADLINE), some)
            assert set(found) == {Outcome.STORED}

    return put
