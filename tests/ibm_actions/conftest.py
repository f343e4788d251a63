"""Fixtures of this adapter's tests."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.environment import Environment
from core.event import Event
from core.receiver import DEADLINE
from core.stores.contract import Outcome
from ibm_actions.wiring import build_store
from tests.support.couchdb import CouchDb, Events
from tests.support.deliveries import SECRET
from tests.support.ibmcloud import Desk
from tests.support.proxy import Mode, Proxy

COMMANDS = ("sh", "dash", "bash --posix", "busybox sh", "zsh --emulate sh")
SHELLS = {it.split()[0]: it.split() for it in COMMANDS}
# Each once: sh is one of the others.
FOUND = list({os.path.realpath(path): name for name in SHELLS if (path := shutil.which(name))}.values())

# One is enough while one works on something else.
FIRST, *OTHERS = FOUND
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


@pytest.fixture(params=[FIRST, *(pytest.param(it, marks=pytest.mark.long) for it in OTHERS)])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    """Each installed shell, before a stand-in for the IBM Cloud CLI."""
    return Desk(tmp_path, SHELLS[request.param])
