"""Cloudant under contract."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.environment import Environment
from core.receiver import DEADLINE
from ibm_actions.wiring import build_store
from tests.contract.store import CLOUD_FAULTS, Entry, Harness, Waiting, fresh_event, http_answer, proxy_faults, row
from tests.ibm_actions.faults import CAUSES
from tests.support.couchdb import CouchDb, Events
from tests.support.proxy import Proxy


@contextmanager
def cloudant(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: CouchDb = request.getfixturevalue("couchdb")
    proxy, there = Proxy(server.port), Events(server)
    settings = {"DT_CLOUDANT": f"http://user:password@127.0.0.1:{proxy.port}", "DT_DATABASE_PREFIX": there.prefix}

    def answer(status: int, word: str) -> bytes:
        return http_answer(status, {"error": word, "reason": "no"})

    throttled, denied = answer(429, "too_many_requests"), answer(403, "forbidden")
    accepted = http_answer(202, {"ok": True, "id": "x", "rev": "1-x"})
    faults = proxy_faults(proxy, throttled, denied)
    faults["no quorum"] = proxy_faults(proxy, accepted, b"")["throttled"]
    try:
        yield Harness(
            lambda: Waiting(build_store(Environment(settings))),
            lambda: [row(each) for each in there.documents()],
            faults,
            source=f"cloudant:{settings['DT_CLOUDANT']}/{there.prefix}",
            put_foreign=lambda: there.put({"_id": "-:note", "text": "theirs"}),
        )
    finally:
        proxy.close()


def fetches(url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], object]]:
    """Return the call that fetches a token from an IAM at ``url``."""
    store = build_store(Environment({"DT_CLOUDANT": url, "DT_CLOUDANT_API_KEY": "k", "DT_IAM_URL": url}))
    return {"IAM": lambda: store.put(fresh_event(), time.monotonic() + DEADLINE)}


STORES = {"cloudant": Entry(cloudant, CLOUD_FAULTS | {"no quorum"}, causes=CAUSES, is_readable=True)}
