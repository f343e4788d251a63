"""Documents and databases in Cloudant, written and read back. PouchDB's server stands in for Cloudant."""

import base64
import json
import os
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from core.environment import Environment
from core.event import Event
from core.stores.contract import Outcome
from ibm_actions.cloudant import CloudantStore, document_id
from ibm_actions.wiring import build_store
from readers.ibm import event_of
from tests.ibm_actions.cloudant_calls import delivered, put
from tests.support.couchdb import CouchDb, Events
from tests.support.deliveries import body
from tests.support.events import ATTRIBUTES, DEVICE, KEY, POLLEN, POLLEN_ATTRIBUTES, TIME, event, hashed


def of_device(device: str, **changes: Any) -> Event:
    """Return an event of a device with this id."""
    content = json.loads(body(**{"targetName": None, "eventId": None} | changes))
    content["metadata"]["deviceId"] = device
    return event(json.dumps(content).encode())


@pytest.fixture
def there(couchdb: CouchDb) -> Events:
    return Events(couchdb)


@pytest.fixture
def store(couchdb: CouchDb, there: Events) -> CloudantStore:
    address = f"http://user:password@127.0.0.1:{couchdb.port}"
    return build_store(Environment({"DT_CLOUDANT": address, "DT_DATABASE_PREFIX": there.prefix}))


def rows(server: CouchDb, path: str) -> list[dict[str, Any]]:
    """Return the raw documents of a database, or of a part of it."""
    with urllib.request.urlopen(f"{server.url}/{path}/_all_docs?include_docs=true", timeout=30) as answer:
        return [row["doc"] for row in json.load(answer)["rows"]]


def only(server: CouchDb, there: Events) -> tuple[str, dict[str, Any]]:
    """Return what follows the prefix in the name of the only database, and the only document in it."""
    [database] = there.databases()
    [document] = rows(server, database)
    assert document.pop("_rev").startswith("1-")
    return database.removeprefix(f"{there.prefix}-"), document


# The document.


def test_document_fields(couchdb: CouchDb, there: Events, store: CloudantStore) -> None:
    assert put(store, event(body())) == Outcome.STORED
    database, document = only(couchdb, there)
    assert database == "2024"
    assert document == {
        "_id": f"{DEVICE}:{TIME}_{KEY}",
        **ATTRIBUTES,
        "parsed": True,
        "body": body().decode(),
    }


def test_missing_fields_are_left_out_of_the_document(couchdb: CouchDb, there: Events, store: CloudantStore) -> None:
    assert put(store, event(POLLEN)) == Outcome.STORED
    database, document = only(couchdb, there)
    assert database == "undated"
    assert document == {
        "_id": f"-:{hashed(POLLEN)}",
        **POLLEN_ATTRIBUTES,
        "parsed": False,
        "body": POLLEN.decode(),
    }


YEARS = {
    "2026-12-31T23:59:59.999999Z": "2026",
    "2027-01-01T00:00:00Z": "2027",
    "2027-01-01T00:59:59+01:00": "2026",
    "2026-12-31T23:30:00-01:00": "2027",
    "2026-12-31T23:59:59.999999999Z": "2026",
    "2024-02-29T12:00:00Z": "2024",
    "2041-12-31T23:59:59Z": "2041",
    # None of these eats a database.
    "2023-12-31T23:59:59Z": "undated",
    "2042-01-01T00:00:00Z": "undated",
    "1970-01-01T00:00:00Z": "undated",
    "2070-01-01T00:00:00Z": "undated",
    "0001-01-01T00:00:00Z": "undated",
    "9999-12-31T23:59:59.999999Z": "undated",
    # In UTC there is no such time.
    "0001-01-01T00:00:00+00:01": "undated",
    "9999-12-31T23:59:59-00:01": "undated",
    "2026-11-01T00:00:00": "undated",
    "yesterday": "undated",
    "": "undated",
}


@pytest.mark.parametrize(("timestamp", "year"), YEARS.items())
def test_database_is_the_year_of_the_event_in_utc(
    timestamp: str, year: str, couchdb: CouchDb, there: Events, store: CloudantStore
) -> None:
    one = event(body(timestamp=timestamp))
    assert [put(store, one), put(store, one)] == [Outcome.STORED, Outcome.DUPLICATE]
    found, document = only(couchdb, there)
    assert found == year
    assert document["_id"] == (f"{DEVICE}:{document['timestamp']}_{KEY}" if one.timestamp else f"{DEVICE}:{KEY}")
    assert event_of(document) == one


def test_retry_in_the_next_year_is_a_duplicate(there: Events, store: CloudantStore) -> None:
    content = body(timestamp="2026-12-31T23:59:59.999999Z")
    times = [datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)]
    assert [put(store, event(content, time)) for time in times] == [Outcome.STORED, Outcome.DUPLICATE]
    assert there.databases() == [f"{there.prefix}-2026"]
    [document] = there.documents()
    assert document["receivedAt"] == "2026-12-31T23:59:59.000000Z"


# The partition.


@pytest.mark.parametrize("device", ["-", "A-z_0", "a_", "0", "x" * 256, DEVICE])
def test_each_device_has_a_partition(device: str, couchdb: CouchDb, there: Events, store: CloudantStore) -> None:
    assert put(store, of_device(device)) == Outcome.STORED
    [database] = there.databases()
    [document] = rows(couchdb, f"{database}/_partition/{device}")
    assert document["deviceId"] == device
    assert document["_id"].startswith(f"{device}:{TIME}_")


@pytest.mark.parametrize(
    "device",
    [
        "_",
        "_design",
        "_local",
        "a:b",
        "a/b",
        "a\\b",
        "a b",
        "a%2Fb",
        "a?b",
        "a#b",
        "a&b",
        ".",
        "a.b",
        "ø",
        "温",
        '"',
        "x" * 257,
        "a\n",
        "",
    ],
)
def test_invalid_partition_key_falls_back_to_dash(
    device: str, couchdb: CouchDb, there: Events, store: CloudantStore
) -> None:
    one = of_device(device)
    assert [put(store, one), put(store, one)] == [Outcome.STORED, Outcome.DUPLICATE]
    [database] = there.databases()
    [document] = rows(couchdb, f"{database}/_partition/-")
    assert document["_id"].startswith("-:")
    # An id that is empty, longer than 256 or unprintable is None for every store.
    assert document.get("deviceId") == one.device_id == (device if device not in ("", "a\n", "x" * 257) else None)
    assert event_of(document).body == one.body


def test_longest_device_id_and_key_are_stored(there: Events, store: CloudantStore) -> None:
    long = event(body(eventId="-" * 92))
    assert len(long.key) == 128
    device = of_device("x" * 256)
    assert len(document_id(device)) == 256 + 1 + 27 + 1 + 66
    assert [put(store, long), put(store, device)] == [Outcome.STORED] * 2
    assert {document["_id"] for document in there.documents()} == {document_id(long), document_id(device)}


def test_two_events_of_the_same_device_and_time_are_both_stored(there: Events, store: CloudantStore) -> None:
    for identifier in ("one", "two"):
        assert put(store, event(body(eventId=identifier))) == Outcome.STORED
    assert {document["_id"] for document in there.documents()} == {
        f"{DEVICE}:{TIME}_{identifier}.temperature.{DEVICE}" for identifier in ("one", "two")
    }


# The body.

BODIES = {
    "DT's own": (body(), False),
    "as DT wrote it": (b' {"event" : {}, "a": 1e2, "a": 1.0}\r\n\t', False),
    "many bytes to a character": ("å 温 \U0001f321 \u0085 \u2028 \ufffd \ufeff \ufffc \U0010fffd".encode(), False),
    "escapes": (rb'{"a":"\u0000 \ud800 \" \\ \n"}', False),
    "DEL": (b"\x7f", False),
    "empty": (b"", False),
    "256 KiB that double as JSON": (b'"' * 262_144, False),
    "not UTF-8": (b"\xff\xfe\x00\x80", True),
    "half a character": (b"\xe6\xb8", True),
    "a surrogate": (b"\xed\xa0\x80", True),
    "NUL": (b'{"event":{"eventId":"a\x00b"}}', True),
    "a control character": (b"\x1f", True),
    "bell and backspace": (b"\x07\x08", True),
    "vertical tab": (b"\x0b", True),
    "form feed": (b"\x0c", True),
    "shift out": (b"\x0e", True),
    "U+FFFE": ("a\ufffe".encode(), True),
    "U+FFFF": ("a\uffff".encode(), True),
    "256 KiB that are six times as many as JSON": (b"\x01" * 262_144, True),
    "256 KiB of anything": (os.urandom(262_144), True),
}


@pytest.mark.parametrize(("content", "is_base64"), BODIES.values(), ids=BODIES.keys())
def test_body_is_read_back_unchanged(
    content: bytes, is_base64: bool, couchdb: CouchDb, there: Events, store: CloudantStore
) -> None:
    one = event(content)
    outcomes = [put(store, one), put(store, one)]
    assert outcomes == [Outcome.STORED, Outcome.DUPLICATE]
    assert [outcome.note for outcome in outcomes] == [None, None]
    _, document = only(couchdb, there)
    expected = (base64.b64encode(content).decode(), "base64") if is_base64 else (content.decode(), None)
    assert (document["body"], document.get("encoding")) == expected
    # The fields are parsed from the body again, and are the same.
    assert event_of(document) == one
    # A document with its revisions is at most 1 MiB.
    assert len(json.dumps(document, ensure_ascii=False).encode()) < 700_000


# The same key again.


def test_duplicate_key_with_another_body_is_logged(there: Events, store: CloudantStore) -> None:
    one, other = body(), body(data={"temperature": {"value": 28}})
    status, line = delivered(store, one)
    assert (status, line["outcome"], line["severity"]) == (200, "stored", "INFO")
    status, line = delivered(store, one)
    assert (status, line["outcome"], line["severity"], "note" in line) == (200, "duplicate", "INFO", False)
    status, line = delivered(store, other)
    assert (status, line["outcome"], line["severity"]) == (200, "duplicate", "WARNING")
    assert line["note"] == "differs from what is stored"
    [document] = there.documents()
    assert document["body"] == one


def test_text_that_equals_the_base64_of_another_body_differs(store: CloudantStore) -> None:
    one, other = event(b"DA=="), event(b"\x0c")
    other.key = one.key
    outcomes = [put(store, one), put(store, other)]
    assert outcomes == [Outcome.STORED, Outcome.DUPLICATE]
    assert [outcome.note for outcome in outcomes] == [None, "differs from what is stored"]


# The database.


def test_first_event_creates_the_database_under_concurrency(
    couchdb: CouchDb, there: Events, store: CloudantStore
) -> None:
    events = [event() for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(lambda one: put(store, one), events)) == [Outcome.STORED] * 20
    [database] = there.databases()
    assert database == f"{there.prefix}-2024"
    # It has partitions, or this would be refused.
    assert len(rows(couchdb, f"{database}/_partition/{DEVICE}")) == 20
    assert {document["key"] for document in there.documents()} == {one.key for one in events}


def test_deleted_database_is_created_again(couchdb: CouchDb, there: Events, store: CloudantStore) -> None:
    """Old databases are deleted while the receiver runs."""
    one = event()
    assert [put(store, one), put(store, one)] == [Outcome.STORED, Outcome.DUPLICATE]
    [database] = there.databases()
    request = urllib.request.Request(f"{couchdb.url}/{quote(database)}", method="DELETE")
    urllib.request.urlopen(request, timeout=30).close()
    assert there.databases() == []
    assert [put(store, one), put(store, one)] == [Outcome.STORED, Outcome.DUPLICATE]
    assert [document["body"] for document in there.documents()] == [one.body]
    assert len(rows(couchdb, f"{database}/_partition/{DEVICE}")) == 1
