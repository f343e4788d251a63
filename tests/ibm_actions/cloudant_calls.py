"""Scripted answers of Cloudant and IAM, and helpers that deliver events to them."""

import io
import json
import time
from typing import Any

import pytest

from core.event import Event
from core.log import Log
from core.receiver import DEADLINE, Receiver
from core.settings import Settings
from core.stores.contract import Outcome, StoreUnavailableError
from ibm_actions.cloudant import CloudantStore
from ibm_actions.databases import Databases
from ibm_actions.service import FixedLogin, Service
from tests.support.deliveries import SECRET, delivery
from tests.support.events import event, soon
from tests.support.loopback import Answering, Loopback, Reply, assert_no_leak, in_turn

# Of the event that `tests.support.deliveries.body` gives.
# What no error and no line of the log may show.
HIDDEN = "the-words-that-nobody-may-see"
BASIC = f"Basic {HIDDEN}"


def said(status: int, word: str) -> Reply:
    """Return an error as CouchDB sends it."""
    return Reply(status, json.dumps({"error": word, "reason": HIDDEN}).encode())


def page(status: int, **headers: str) -> Reply:
    """Return an HTML answer, which Cloudant never sends."""
    return Reply(status, f"<p>{HIDDEN}".encode(), {"Content-Type": "text/html", **headers})


def written(status: int = 201) -> Reply:
    """Return the answer to a stored document: 201, or 202 without a quorum."""
    return Reply(status, b'{"ok":true,"id":"d:1","rev":"1-0"}')


def made(status: int = 201) -> Reply:
    """Return the answer to a created database."""
    return Reply(status, b'{"ok":true}')


def service(server: Loopback) -> Service:
    """Return a service that calls the server as Cloudant."""
    return Service(server.url, FixedLogin(BASIC))


def listed(answering: Answering, *names: str) -> Answering:
    """Answer the list of databases, and everything else by ``answering``."""
    there = Reply(200, json.dumps(names).encode())
    return lambda call: there if call.path.startswith("/_all_dbs?") else answering(call)


def on(cloudant: Service) -> CloudantStore:
    """Return a store on an instance."""
    return CloudantStore(cloudant, Databases(cloudant, "events"))


def store(server: Loopback) -> CloudantStore:
    """Return a store that already knows of the database of `body` and `fresh_body`."""
    there = on(service(server))
    answering, server.answering = server.answering, listed(in_turn(written()), "events-2024")
    there.put(event(), soon())
    server.answering = answering
    server.calls.clear()
    return there


def refused(store: CloudantStore, event: Event, seconds: float = DEADLINE) -> str:
    """Assert that an event is refused in time, and that the error has only its cause; return the cause."""
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        store.put(event, started + seconds)
    assert time.monotonic() - started < seconds
    assert_no_leak(caught.value, HIDDEN)
    assert_no_leak(caught.value, event.body.decode(errors="replace") or HIDDEN)
    return caught.value.reason


def delivered(store: CloudantStore, content: bytes) -> tuple[int, dict[str, Any]]:
    """Deliver a body to a receiver with this store; return the status and the line of the log."""
    stream = io.StringIO()
    answer = Receiver(Settings.load({"DT_SIGNATURE_SECRET": SECRET}), store, Log(stream)).handle(delivery(content))
    [line] = stream.getvalue().splitlines()
    assert HIDDEN not in line
    return answer.status, json.loads(line)


def put(store: CloudantStore, event: Event) -> Outcome:
    """Put an event with the deadline of a delivery."""
    return store.put(event, soon())
