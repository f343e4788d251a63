"""The parts of tests/<adapter>/stores.py: a store, and access to the service behind it.

A factory is a context manager that gives a `Harness`; the faults beside it are those that the store can meet at all:
an embedded database, say, loses no answer.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from core.event import Event, parse_stored
from core.stores.contract import AsyncStore, Outcome, Store
from core.stores.threaded import Threaded
from tests.support.deliveries import fresh_body
from tests.support.proxy import Mode, Proxy

Row = dict[str, Any]
Faults = dict[str, tuple[Callable[[], object], Callable[[], object]]]
COLUMNS = (
    "key", "event_id", "event_type", "device_id", "project_id", "timestamp", "received_at", "signed_by", "parsed",
    "body",
)  # fmt: skip


@dataclass
class Harness:
    """One store, and the hands on what is behind it.

    Attributes:
        build: Makes a store; inside a running loop.
        rows: Reads all that is stored, past the store, by names of `COLUMNS`.
        faults: For each fault that this store can meet: what begins it, and what ends it.
        refuses_copies: As in `Entry`; so are ``again`` and ``causes``.
        source: The URL of the store for `readers.sources.open_reader`, if it has a reader.
        put_foreign: Puts a row that the receiver did not write into the store.
    """

    build: Callable[[], AsyncStore]
    rows: Callable[[], list[Row]]
    faults: Faults = field(default_factory=dict)
    refuses_copies: bool = True
    again: Outcome = Outcome.DUPLICATE
    causes: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    put_foreign: Callable[[], object] = lambda: None


Factory = Callable[[Path, pytest.FixtureRequest], AbstractContextManager[Harness]]


@dataclass(frozen=True)
class Entry:
    """One store under contract.

    Attributes:
        factory: Makes its harness.
        faults: The names of those that it can meet.
        is_grouped: Whether it takes many events at a time.
        refuses_copies: Whether the service itself refuses a second copy, however close it follows on the first.
        again: What the store says of a second copy: Service Bus drops one without a word.
        causes: Why an event is refused during a fault, where that is always the same.
        is_readable: Whether its harness has a ``source`` and ``put_foreign``.
        is_queue: Whether its reader has no history.
    """

    factory: Factory
    faults: frozenset[str]
    is_grouped: bool = False
    refuses_copies: bool = True
    again: Outcome = Outcome.DUPLICATE
    causes: Mapping[str, str] = field(default_factory=dict)
    is_readable: bool = False
    is_queue: bool = False


# unavailable: cannot be reached. silent: takes the request and says nothing. slow: answers too late. drip: answers, a
# byte a second. throttled: says that it has no room. denied: says that we may not. lost answer: stores, and then the
# connection drops. row: refuses the event with the id "poison". no quorum: has the event, in too few places.
CLOUD_FAULTS = frozenset({"unavailable", "silent", "slow", "drip", "throttled", "lost answer", "denied"})


class Database(NamedTuple):
    """What makes a store, what asks its database, and the page whose SQL is for it."""

    store: Callable[[], AsyncStore]
    ask: Callable[[str], list[tuple[Any, ...]]]
    page: str


class Waiting(Threaded):
    """A store that waits, on as many threads as the sandboxes that would share the work on Lambda."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, 20)


def http_answer(status: int, document: object = None) -> bytes:
    """Return an HTTP answer as bytes."""
    body = json.dumps(document or {}).encode()
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def proxy_faults(proxy: Proxy, throttled: bytes, denied: bytes) -> Faults:
    """Return the faults of a proxy, and answers for throttling and denied permission, which emulators lack."""

    def passes() -> None:
        proxy.set(Mode.REFUSE)  # close the connections whose bytes were dropped
        proxy.set(Mode.PASS)

    def answers(content: bytes) -> Callable[[], object]:
        def begin() -> None:
            proxy.canned = content
            proxy.set(Mode.CANNED)

        return begin

    return {
        "unavailable": (lambda: proxy.set(Mode.REFUSE), passes),
        "silent": (lambda: proxy.set(Mode.SILENT), passes),
        "slow": (lambda: proxy.set(Mode.SLOW), passes),
        "drip": (lambda: proxy.set(Mode.DRIP), passes),
        "throttled": (answers(throttled), passes),
        "denied": (answers(denied), passes),
        "lost answer": (lambda: proxy.set(Mode.LOSE_ANSWER), passes),
    }


def row(item: Row) -> Row:
    """Give the attributes the names of `COLUMNS`."""
    names = {"eventId": "event_id", "eventType": "event_type", "deviceId": "device_id", "projectId": "project_id"}
    names |= {"receivedAt": "received_at", "signedBy": "signed_by"}
    return dict.fromkeys(COLUMNS) | {names.get(name, name): value for name, value in item.items()}


def fresh_event() -> Event:
    """Return a new event."""
    return parse_stored(fresh_body(), datetime.now(UTC))
