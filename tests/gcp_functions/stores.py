"""Pub/Sub and Firestore under contract."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.receiver import DEADLINE
from core.stores.contract import AsyncStore
from core.stores.dedup import Deduplicated
from gcp_functions.firestore import FirestoreStore
from gcp_functions.identity import application_default
from gcp_functions.pubsub import PubSubQueue
from gcp_functions.seen_keys import FirestoreSeenKeys
from gcp_functions.service import Service, connect
from tests.contract.store import (
    CLOUD_FAULTS,
    Database,
    Entry,
    Faults,
    Harness,
    Row,
    Waiting,
    http_answer,
    proxy_faults,
    row,
)
from tests.gcp_functions.bigquery import BigQuery
from tests.gcp_functions.faults import CAUSES
from tests.support.google import Emulator, Firestore, PubSub
from tests.support.proxy import Proxy


def _google_faults(proxy: Proxy) -> Faults:
    def answer(status: int, code: str) -> bytes:
        return http_answer(status, {"error": {"code": status, "message": "no", "status": code}})

    return proxy_faults(proxy, answer(429, "RESOURCE_EXHAUSTED"), answer(403, "PERMISSION_DENIED"))


@contextmanager
def firestore(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    emulator: Emulator = request.getfixturevalue("firestore")
    proxy = Proxy(emulator.port)
    there = Firestore(emulator.host)

    def build() -> AsyncStore:
        return Waiting(FirestoreStore(connect("", f"127.0.0.1:{proxy.port}"), there.database, 30))

    request.getfixturevalue("monkeypatch").setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{proxy.port}")
    try:
        yield Harness(
            build,
            lambda: [row(each) for each in there.documents()],
            _google_faults(proxy),
            source=f"firestore:{there.database}",
            put_foreign=lambda: there.put("devices/theirs/events/theirs", {"body": {"stringValue": "text"}}),
        )
    finally:
        proxy.close()


@contextmanager
def pubsub(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    """Pub/Sub is behind the proxy; the seen keys are in Firestore, without a fault."""
    emulator: Emulator = request.getfixturevalue("pubsub")
    keys: Emulator = request.getfixturevalue("firestore")
    proxy = Proxy(emulator.port)
    there, database = PubSub(emulator.host), Firestore(keys.host).database
    taken: list[Row] = []

    def build() -> AsyncStore:
        queue = PubSubQueue(connect("", f"127.0.0.1:{proxy.port}"), there.topic)
        return Waiting(Deduplicated(queue, FirestoreSeenKeys(connect("", keys.host), database, 30)))

    def rows() -> list[Row]:
        taken.extend(row(message) for message in there.messages())
        return sorted(taken, key=lambda row: str(row["received_at"]))

    request.getfixturevalue("monkeypatch").setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{proxy.port}")
    try:
        yield Harness(
            build,
            rows,
            _google_faults(proxy),
            source=f"pubsub:{there.subscription}",
            put_foreign=lambda: there.publish({"data": "dGV4dA==", "attributes": {"eventType": "motion"}}),
        )
    finally:
        proxy.close()


@contextmanager
def _view(folder: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    bigquery = BigQuery()
    yield Database(bigquery.store, bigquery.ask, "gcp_functions/README.md")
    bigquery.close()


def fetches(url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], object]]:
    """Return the call that fetches a token from a metadata server at ``url``."""
    host = url.partition("//")[2]
    for name, value in {"GCE_METADATA_IP": host, "HOME": "/nowhere", "NO_PROXY": "*"}.items():
        monkeypatch.setenv(name, value)
    # Both were read from the environment at the import, which may have been in another test.
    monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", host)
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", False)
    service = Service(url, application_default)
    return {"metadata server": lambda: service.call("POST", "/", time.monotonic() + DEADLINE, {})}


STORES = {
    "firestore": Entry(firestore, CLOUD_FAULTS, causes=CAUSES, is_readable=True),
    "pubsub": Entry(pubsub, CLOUD_FAULTS, refuses_copies=False, causes=CAUSES, is_readable=True, is_queue=True),
}
DATABASES = {"bigquery": _view}
