"""What is particular to Firestore: what exactly is written, how it is read, and what it refuses.

Against Google's own emulator, and for answers that it cannot give against a server of our own.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError

import pytest

from core.stores.contract import Outcome
from gcp_functions.firestore import FirestoreStore
from gcp_functions.seen_keys import FirestoreSeenKeys
from gcp_functions.service import connect
from tests.gcp_functions.google_calls import html
from tests.gcp_functions.google_events import (
    DEVICE,
    KEY,
    NO_DOCUMENT,
    PING,
    POLLEN,
    PROJECT,
    base64,
    cause_of,
    event,
    hashed,
    of_device,
    soon,
    through,
)
from tests.support import google
from tests.support.deliveries import body
from tests.support.google import Emulator, Firestore, emulator
from tests.support.loopback import DROPPED, Call, Reply, google_fault, in_turn, loopback
from tests.support.proxy import Mode


def document(server: Emulator, database: Firestore, device: str, key: str) -> dict[str, Any]:
    """Return the fields of a document as Firestore has them."""
    path = f"{database.database}/documents/devices/{device}/events/e.{key}"
    found: dict[str, Any] = google.call(server.host, "GET", path)
    assert found["name"] == path
    return dict(found.get("fields", {}))


def paths(database: Firestore) -> list[str]:
    return [each["path"] for each in database.documents()]


def test_a_document_is_the_event_and_nothing_more(firestore: Emulator, database: Firestore) -> None:
    store = FirestoreStore(connect("", firestore.host), database.database, 30)
    assert store.put(event(body()), soon()) == Outcome.STORED
    assert paths(database) == [f"devices/{DEVICE}/events/e.{KEY}"]
    assert document(firestore, database, DEVICE, KEY) == {
        "key": {"stringValue": KEY},
        "eventId": {"stringValue": "cpbg96qngr7ai7ldarrg"},
        "eventType": {"stringValue": "temperature"},
        "deviceId": {"stringValue": DEVICE},
        "projectId": {"stringValue": PROJECT},
        "timestamp": {"timestampValue": "2024-05-29T10:34:03.970415Z"},
        "receivedAt": {"timestampValue": "2026-11-21T09:00:00.123456Z"},
        "signedBy": {"stringValue": "unknown"},
        "parsed": {"booleanValue": True},
        "body": {"bytesValue": base64(body())},
        "expiresAt": {"timestampValue": "2026-12-21T09:00:00.123456Z"},
    }


def test_what_an_event_lacks_its_document_lacks(firestore: Emulator, database: Firestore, store: Any) -> None:
    """And one that is kept for ever has no end."""
    assert store.put(event(POLLEN), soon()) == Outcome.STORED
    assert document(firestore, database, "-", hashed(POLLEN)) == {
        "key": {"stringValue": hashed(POLLEN)},
        "eventType": {"stringValue": "pollen"},
        "receivedAt": {"timestampValue": "2026-11-21T09:00:00.123456Z"},
        "signedBy": {"stringValue": "unknown"},
        "parsed": {"booleanValue": False},
        "body": {"bytesValue": base64(POLLEN)},
    }


def test_a_ping_which_no_device_sends_is_with_those_of_none(
    firestore: Emulator, database: Firestore, store: Any
) -> None:
    one = event(PING)
    assert store.put(one, soon()) == Outcome.STORED
    fields = document(firestore, database, "-", one.key)
    assert "deviceId" not in fields
    assert (fields["projectId"], fields["parsed"]) == ({"stringValue": PROJECT}, {"booleanValue": True})


@pytest.mark.parametrize(
    "device",
    ["a/b", "/", ".", "..", "__x__", "__", "ø", "温度", "a b", "a?b", "a#b", "a%2Fb", "x" * 129, "x" * 200, "x" * 300],
    ids=lambda device: device[:8] + str(len(device)),
)
def test_a_device_whose_id_is_none_for_a_document_is_with_those_of_none(
    device: str, firestore: Emulator, database: Firestore, store: Any
) -> None:
    one = of_device(device)
    assert [store.put(one, soon()), store.put(one, soon())] == [Outcome.STORED, Outcome.DUPLICATE]
    fields = document(firestore, database, "-", one.key)
    assert len(paths(database)) == 1
    # Longer than 256 it is none for any store.
    assert fields.get("deviceId") == ({"stringValue": device} if len(device) <= 256 else None)
    assert fields["body"] == {"bytesValue": base64(one.body)}


@pytest.mark.parametrize("device", ["x" * 128, "-", "_x_", "x__", "A-z_0"])
def test_a_device_whose_id_can_be_a_documents_has_its_own(device: str, database: Firestore, store: Any) -> None:
    one = of_device(device)
    assert store.put(one, soon()) == Outcome.STORED
    assert paths(database) == [f"devices/{device}/events/e.{one.key}"]


def test_a_key_that_would_be_firestores_own_name_is_stored(
    firestore: Emulator, database: Firestore, store: Any
) -> None:
    one = of_device("b__", eventId="__a")
    assert one.key == "__a.temperature.b__"
    assert [store.put(one, soon()), store.put(one, soon())] == [Outcome.STORED, Outcome.DUPLICATE]
    keys = FirestoreSeenKeys(connect("", firestore.host), database.database, 0)
    keys.mark(one.key, soon())
    assert keys.contains(one.key, soon()) is True
    # As it is, it would be refused, or else the above would show nothing.
    with pytest.raises(HTTPError) as caught:
        google.call(firestore.host, "POST", f"{database.database}/documents/devices?documentId={one.key}", {})
    caught.value.close()
    assert caught.value.code == 400
    assert paths(database) == [f"devices/b__/events/e.{one.key}"]


def query(server: Emulator, database: Firestore, **structured: Any) -> list[datetime]:
    """Run a query on the events of the device, and return the timestamps that it finds."""
    parent = f"{database.database}/documents/devices/{DEVICE}"
    statement = {"from": [{"collectionId": "events"}], **structured}
    rows = google.call(server.host, "POST", f"{parent}:runQuery", {"structuredQuery": statement})
    found = [row["document"]["fields"]["timestamp"]["timestampValue"] for row in rows if "document" in row]
    return [datetime.fromisoformat(each) for each in found]


def test_a_devices_history_and_its_newest_event_are_one_query_each(
    firestore: Emulator, database: Firestore, store: Any
) -> None:
    """By one field of one collection, for which Firestore has an index by itself; to the microsecond."""
    start = datetime(2024, 5, 29, 23, 59, 59, 999_998, tzinfo=UTC)
    times = [start + timedelta(microseconds=step) for step in (3, 0, 2_000_000, 1, 2)]
    for one in times:
        written = one.isoformat().replace("+00:00", "Z")
        content = body(eventId=written.replace(":", "-").replace(".", "-"), timestamp=written)
        assert store.put(event(content), soon()) == Outcome.STORED
    later = "2030-01-01T00:00:00Z"
    assert store.put(of_device("another", timestamp=later), soon()) == Outcome.STORED
    by_time = {"field": {"fieldPath": "timestamp"}}
    assert query(firestore, database, orderBy=[by_time]) == sorted(times)
    assert query(firestore, database, orderBy=[by_time | {"direction": "DESCENDING"}], limit=1) == [max(times)]
    since = {
        "fieldFilter": by_time | {"op": "GREATER_THAN_OR_EQUAL", "value": {"timestampValue": "2024-05-30T00:00:00Z"}}
    }
    assert query(firestore, database, where=since, orderBy=[by_time]) == sorted(times)[2:]


def test_lost_answer_is_not_stored_twice(firestore: Emulator, database: Firestore, proxy: Any) -> None:
    between = proxy(firestore)
    store = FirestoreStore(through(between), database.database, 0)
    first, one = event(), event()
    assert store.put(first, soon()) == Outcome.STORED
    between.set(Mode.LOSE_ANSWER)
    assert store.put(one, soon()) == Outcome.DUPLICATE
    assert sorted(each["body"] for each in database.documents()) == sorted([first.body, one.body])


def test_a_document_is_created_and_never_written_over() -> None:
    """The server stores the first and drops the connection; to the second attempt it is there already."""
    documents: dict[str, Any] = {}

    def answering(call: Call) -> Reply | None:
        assert call.method == "POST"
        if call.path in documents:
            return google_fault(409, "ALREADY_EXISTS", "Document already exists: " + call.path)
        documents[call.path] = call.parameters
        return DROPPED

    one, database = event(), "projects/p/databases/d"
    with loopback(answering) as server:
        assert FirestoreStore(connect("", server.host), database, 30).put(one, soon()) == Outcome.DUPLICATE
        assert len(server.calls) == 2
    [(path, stored)] = documents.items()
    # The mask has Firestore answer without the fields, of which the body is one.
    documents_of = f"/v1/{database}/documents/devices/{DEVICE}/events"
    assert path == f"{documents_of}?documentId=e.{one.key}&mask.fieldPaths=__name__"
    assert stored["fields"]["body"] == {"bytesValue": base64(one.body)}


@pytest.mark.parametrize("answer", NO_DOCUMENT, ids=lambda reply: reply.content.decode() or "nothing")
def test_what_is_no_document_is_not_acknowledged(answer: Reply) -> None:
    """As something between us and Google might answer."""
    with loopback(in_turn(answer)) as server:
        assert cause_of(FirestoreStore(connect("", server.host), "projects/p/databases/d", 0).put, event())


@pytest.mark.parametrize(
    "reply",
    [
        html(409),
        Reply(409, b'{"error":{"status":"ALREADY_EXISTS"}}'),
        google_fault(409, "ABORTED"),
        Reply(500, google_fault(409, "ALREADY_EXISTS").content),
    ],
)
def test_a_conflict_that_is_none_of_firestores_is_no_duplicate(reply: Reply) -> None:
    with loopback(in_turn(reply)) as server:
        assert cause_of(FirestoreStore(connect("", server.host), "projects/p/databases/d", 0).put, event())


def test_firestore_away_then_back_is_found_by_the_same_store() -> None:
    with emulator("firestore") as server:
        database = Firestore(server.host)
        store, one = FirestoreStore(connect("", server.host), database.database, 0), event()
        assert store.put(event(), soon()) == Outcome.STORED
        server.kill()
        started = time.monotonic()
        assert cause_of(store.put, one) == "NewConnectionError"
        assert time.monotonic() - started < 2
        server.start()
        assert [store.put(one, soon()), store.put(one, soon())] == [Outcome.STORED, Outcome.DUPLICATE]
        assert [each["body"] for each in database.documents()] == [one.body]
