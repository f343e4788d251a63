"""Firestore: documents, queries and conflicts.

Against Google's emulator; a server of the tests gives the answers that the emulator cannot.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError

import pytest

from core.stores.contract import Outcome
from gcp_functions.firestore import FirestoreStore
from gcp_functions.seen_keys import FirestoreSeenKeys
from gcp_functions.service import connect
from tests.gcp_functions.google_calls import html
from tests.gcp_functions.google_events import NO_DOCUMENT, PING, base64, of_device
from tests.support import google
from tests.support.deliveries import body
from tests.support.events import DEVICE, KEY, POLLEN, PROJECT, cause_of, event, hashed, soon
from tests.support.google import Emulator, Firestore
from tests.support.loopback import DROPPED, Call, Reply, google_fault, in_turn, loopback


def document(server: Emulator, database: Firestore, device: str, key: str) -> dict[str, Any]:
    """Return the fields of a document as Firestore has them."""
    path = f"{database.database}/documents/devices/{device}/events/e.{key}"
    found: dict[str, Any] = google.call(server.host, "GET", path)
    assert found["name"] == path
    return dict(found.get("fields", {}))


def paths(database: Firestore) -> list[str]:
    return [each["path"] for each in database.documents()]


def test_document_fields(firestore: Emulator, database: Firestore) -> None:
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


def test_missing_fields_are_left_out_of_the_document(firestore: Emulator, database: Firestore, store: Any) -> None:
    """A document without expiry has no ``expiresAt``."""
    assert store.put(event(POLLEN), soon()) == Outcome.STORED
    assert document(firestore, database, "-", hashed(POLLEN)) == {
        "key": {"stringValue": hashed(POLLEN)},
        "eventType": {"stringValue": "pollen"},
        "receivedAt": {"timestampValue": "2026-11-21T09:00:00.123456Z"},
        "signedBy": {"stringValue": "unknown"},
        "parsed": {"booleanValue": False},
        "body": {"bytesValue": base64(POLLEN)},
    }


def test_ping_without_device_falls_back_to_dash(firestore: Emulator, database: Firestore, store: Any) -> None:
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
def test_invalid_document_id_falls_back_to_dash(
    device: str, firestore: Emulator, database: Firestore, store: Any
) -> None:
    one = of_device(device)
    assert [store.put(one, soon()), store.put(one, soon())] == [Outcome.STORED, Outcome.DUPLICATE]
    fields = document(firestore, database, "-", one.key)
    assert len(paths(database)) == 1
    # An id longer than 256 characters is None for every store.
    assert fields.get("deviceId") == ({"stringValue": device} if len(device) <= 256 else None)
    assert fields["body"] == {"bytesValue": base64(one.body)}


@pytest.mark.parametrize("device", ["x" * 128, "-", "_x_", "x__", "A-z_0"])
def test_device_id_is_the_document_id(device: str, database: Firestore, store: Any) -> None:
    one = of_device(device)
    assert store.put(one, soon()) == Outcome.STORED
    assert paths(database) == [f"devices/{device}/events/e.{one.key}"]


def test_reserved_document_id_is_escaped(firestore: Emulator, database: Firestore, store: Any) -> None:
    one = of_device("b__", eventId="__a")
    assert one.key == "__a.temperature.b__"
    assert [store.put(one, soon()), store.put(one, soon())] == [Outcome.STORED, Outcome.DUPLICATE]
    keys = FirestoreSeenKeys(connect("", firestore.host), database.database, 0)
    keys.mark(one.key, soon())
    assert keys.contains(one.key, soon()) is True
    # Firestore refuses it unescaped, or the test above would prove nothing.
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


def test_device_history_and_newest_event_are_one_query_each(
    firestore: Emulator, database: Firestore, store: Any
) -> None:
    """By one field of one collection, which Firestore indexes by default; to the microsecond."""
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


def test_document_is_never_overwritten() -> None:
    """The server stores the first document and drops the connection; the retry finds it there."""
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
def test_invalid_answer_is_not_acknowledged(answer: Reply) -> None:
    """A proxy between us and Google might answer so."""
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
def test_conflict_of_another_kind_is_not_a_duplicate(reply: Reply) -> None:
    with loopback(in_turn(reply)) as server:
        assert cause_of(FirestoreStore(connect("", server.host), "projects/p/databases/d", 0).put, event())
