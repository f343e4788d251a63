"""What is particular to Pub/Sub and to Firestore: what exactly is written, how it is read, and what each refuses.

Against Google's own emulators, and for answers that they cannot give against a server of our own.
"""

import hashlib
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError

import pytest

from core.dedup import Deduplicated
from core.event import Event, reread
from core.receiver import DEADLINE
from core.store import Outcome, StoreUnavailable
from gcp_functions.firestore import FirestoreStore
from gcp_functions.pubsub import PubSubQueue
from gcp_functions.rest import Service, connect
from gcp_functions.seen_keys import FirestoreSeenKeys, NoSeenKeys
from tests.support import google
from tests.support.deliveries import body, fresh_body
from tests.support.google import Emulator, Firestore, PubSub, emulator
from tests.support.loopback import DROPPED, Call, Reply, google_fault, in_turn, loopback, success
from tests.support.proxy import Mode, Proxy

NOW = datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=UTC)
DEVICE, PROJECT = "emucdd6ef2eu277bo8f52vg", "ccol8iuk9smqiha4e8l0"
KEY = f"cpbg96qngr7ai7ldarrg.temperature.{DEVICE}"
POLLEN = b'{"event":{"eventType":"pollen"}}'
PING = body(eventType="ping", data={}, targetName=f"projects/{PROJECT}").replace(
    f'"deviceId":"{DEVICE}"'.encode(), b'"deviceId":""'
)


def event(content: bytes | None = None) -> Event:
    return reread(fresh_body() if content is None else content, NOW)


def of_device(device: str, **changes: Any) -> Event:
    """Return an event of a device with this id, which has to be as JSON has it."""
    changes = {"targetName": None, "eventId": None} | changes
    one = event(body(**changes).replace(f'"deviceId":"{DEVICE}"'.encode(), f'"deviceId":"{device}"'.encode()))
    assert device in one.body.decode()
    return one


def soon() -> float:
    return time.monotonic() + DEADLINE


def hashed(content: bytes) -> str:
    return "h." + hashlib.sha256(content).hexdigest()


def cause_of(put: Callable[[Event, float], object], one: Event) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        put(one, soon())
    return caught.value.cause


@pytest.fixture
def proxy() -> Iterator[Callable[[Emulator], Proxy]]:
    """Return what puts a proxy before an emulator."""
    proxies: list[Proxy] = []

    def before(server: Emulator) -> Proxy:
        proxies.append(Proxy(server.port))
        return proxies[-1]

    yield before
    for each in proxies:
        each.close()


def through(proxy: Proxy) -> Service:
    return connect("", f"127.0.0.1:{proxy.port}")


# Pub/Sub.


@pytest.fixture
def topic(pubsub: Emulator) -> PubSub:
    return PubSub(pubsub.host)


def published(server: Emulator, topic: PubSub, one: Event, is_ordered: bool = False) -> dict[str, Any]:
    """Send an event to a topic that is empty, and return its message as Pub/Sub delivers it."""
    PubSubQueue(connect("", server.host), topic.topic, is_ordered).send(one, soon())
    subscription = topic.topic.replace("/topics/", "/subscriptions/")
    answer = google.call(server.host, "POST", f"{subscription}:pull", {"maxMessages": 10, "returnImmediately": True})
    [received] = answer["receivedMessages"]
    message: dict[str, Any] = received["message"]
    assert message.pop("messageId")
    assert message.pop("publishTime")
    return message


def base64(content: bytes) -> str:
    return b64encode(content).decode()


def test_a_message_is_the_body_beside_the_fields_of_its_event(pubsub: Emulator, topic: PubSub) -> None:
    assert published(pubsub, topic, event(body())) == {
        "data": base64(body()),
        "attributes": {
            "key": KEY,
            "eventId": "cpbg96qngr7ai7ldarrg",
            "eventType": "temperature",
            "deviceId": DEVICE,
            "projectId": PROJECT,
            "timestamp": "2024-05-29T10:34:03.970415Z",
            "receivedAt": "2026-11-21T09:00:00.123456Z",
            "parsed": "true",
        },
    }


def test_what_an_event_lacks_its_message_lacks(pubsub: Emulator, topic: PubSub) -> None:
    """An empty attribute would be one that is there."""
    assert published(pubsub, topic, event(POLLEN)) == {
        "data": base64(POLLEN),
        "attributes": {
            "key": hashed(POLLEN),
            "eventType": "pollen",
            "receivedAt": "2026-11-21T09:00:00.123456Z",
            "parsed": "false",
        },
    }


def test_a_ping_which_no_device_sends_is_a_message(pubsub: Emulator, topic: PubSub) -> None:
    assert published(pubsub, topic, event(PING)) == {
        "data": base64(PING),
        "attributes": {
            "key": hashed(PING),
            "eventId": "cpbg96qngr7ai7ldarrg",
            "eventType": "ping",
            "projectId": PROJECT,
            "timestamp": "2024-05-29T10:34:03.970415Z",
            "receivedAt": "2026-11-21T09:00:00.123456Z",
            "parsed": "true",
        },
    }


def test_an_empty_body_is_a_message_without_data(pubsub: Emulator, topic: PubSub) -> None:
    """Pub/Sub takes no message that has neither data nor attributes; the key is one."""
    message = published(pubsub, topic, event(b""))
    assert message.get("data", "") == ""
    assert message["attributes"] == {
        "key": hashed(b""),
        "receivedAt": "2026-11-21T09:00:00.123456Z",
        "parsed": "false",
    }


@pytest.mark.parametrize(("content", "key"), [(body(), DEVICE), (POLLEN, "-"), (PING, "-")])
def test_messages_are_ordered_by_device_where_that_is_asked_for(
    pubsub: Emulator, topic: PubSub, content: bytes, key: str
) -> None:
    assert published(pubsub, topic, event(content), is_ordered=True)["orderingKey"] == key


LONGEST = "x" * 256
LONGEST_ID = body(
    eventId=LONGEST, eventType=LONGEST, targetName=f"projects/{LONGEST}/devices/{LONGEST}", metadata=None
).replace(DEVICE.encode(), ("ø" * 256).encode())


def test_the_longest_fields_are_within_what_pubsub_takes(pubsub: Emulator, topic: PubSub) -> None:
    """An attribute has up to 1,024 bytes, and so has an ordering key: https://cloud.google.com/pubsub/quotas."""
    one = event(LONGEST_ID)
    attributes = published(pubsub, topic, one, is_ordered=True)["attributes"]
    assert attributes["deviceId"] == "ø" * 256
    assert all(len(value.encode()) <= 1024 for value in attributes.values())


@pytest.mark.parametrize(
    "answer",
    [success(), success(messageIds=[]), success(messageIds=None), Reply(200, b"[]"), Reply(200, b'"messageIds"')],
    ids=["nothing", "none", "null", "a list", "a text"],
)
def test_what_has_no_id_is_not_acknowledged(answer: Reply) -> None:
    with loopback(in_turn(answer)) as server:
        assert cause_of(PubSubQueue(connect("", server.host), "projects/p/topics/t").send, event())
        assert [call.path for call in server.calls] == ["/v1/projects/p/topics/t:publish"]


def test_a_topic_that_is_not_there_is_said_and_found_once_it_is(pubsub: Emulator, topic: PubSub) -> None:
    queue, one = PubSubQueue(connect("", pubsub.host), topic.topic), event()
    topic.delete_topic()
    assert cause_of(queue.send, one) == "NOT_FOUND"
    topic.create()
    queue.send(one, soon())
    assert [message["body"] for message in topic.messages()] == [one.body]


def test_a_device_whose_events_failed_is_not_poisoned(pubsub: Emulator, topic: PubSub, proxy: Any) -> None:
    """Google's own client holds a key back after a failure, until it is told to go on."""
    between = proxy(pubsub)
    queue = PubSubQueue(through(between), topic.topic, is_ordered=True)
    before, failed, after = event(), [event() for _ in range(5)], [event() for _ in range(10)]
    queue.send(before, soon())
    between.set(Mode.REFUSE)
    for one in failed:
        assert cause_of(queue.send, one)
    between.set(Mode.PASS)
    for one in after:
        started = time.monotonic()
        queue.send(one, started + DEADLINE)
        assert time.monotonic() - started < 1
    messages = topic.messages()
    assert [message["body"] for message in messages] == [one.body for one in (before, *after)]
    assert {message["orderingKey"] for message in messages} == {DEVICE}


# Firestore.


@pytest.fixture
def database(firestore: Emulator) -> Firestore:
    return Firestore(firestore.host)


@pytest.fixture
def store(firestore: Emulator, database: Firestore) -> FirestoreStore:
    return FirestoreStore(connect("", firestore.host), database.database, 0)


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
    assert store.put(event(body()), soon()) is Outcome.STORED
    assert paths(database) == [f"devices/{DEVICE}/events/e.{KEY}"]
    assert document(firestore, database, DEVICE, KEY) == {
        "key": {"stringValue": KEY},
        "eventId": {"stringValue": "cpbg96qngr7ai7ldarrg"},
        "eventType": {"stringValue": "temperature"},
        "deviceId": {"stringValue": DEVICE},
        "projectId": {"stringValue": PROJECT},
        "timestamp": {"timestampValue": "2024-05-29T10:34:03.970415Z"},
        "receivedAt": {"timestampValue": "2026-11-21T09:00:00.123456Z"},
        "parsed": {"booleanValue": True},
        "body": {"bytesValue": base64(body())},
        "expiresAt": {"timestampValue": "2026-12-21T09:00:00.123456Z"},
    }


def test_what_an_event_lacks_its_document_lacks(firestore: Emulator, database: Firestore, store: Any) -> None:
    """And one that is kept for ever has no end."""
    assert store.put(event(POLLEN), soon()) is Outcome.STORED
    assert document(firestore, database, "-", hashed(POLLEN)) == {
        "key": {"stringValue": hashed(POLLEN)},
        "eventType": {"stringValue": "pollen"},
        "receivedAt": {"timestampValue": "2026-11-21T09:00:00.123456Z"},
        "parsed": {"booleanValue": False},
        "body": {"bytesValue": base64(POLLEN)},
    }


def test_a_ping_which_no_device_sends_is_with_those_of_none(
    firestore: Emulator, database: Firestore, store: Any
) -> None:
    one = event(PING)
    assert store.put(one, soon()) is Outcome.STORED
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
    assert store.put(one, soon()) is Outcome.STORED
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
        assert store.put(event(content), soon()) is Outcome.STORED
    later = "2030-01-01T00:00:00Z"
    assert store.put(of_device("another", timestamp=later), soon()) is Outcome.STORED
    by_time = {"field": {"fieldPath": "timestamp"}}
    assert query(firestore, database, orderBy=[by_time]) == sorted(times)
    assert query(firestore, database, orderBy=[by_time | {"direction": "DESCENDING"}], limit=1) == [max(times)]
    since = {
        "fieldFilter": by_time | {"op": "GREATER_THAN_OR_EQUAL", "value": {"timestampValue": "2024-05-30T00:00:00Z"}}
    }
    assert query(firestore, database, where=since, orderBy=[by_time]) == sorted(times)[2:]


def test_what_was_stored_when_the_answer_was_lost_is_not_stored_twice(
    firestore: Emulator, database: Firestore, proxy: Any
) -> None:
    between = proxy(firestore)
    store = FirestoreStore(through(between), database.database, 0)
    first, one = event(), event()
    assert store.put(first, soon()) is Outcome.STORED
    between.set(Mode.LOSE_ANSWER)
    assert store.put(one, soon()) is Outcome.DUPLICATE
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
        assert FirestoreStore(connect("", server.host), database, 30).put(one, soon()) is Outcome.DUPLICATE
        assert len(server.calls) == 2
    [(path, stored)] = documents.items()
    # The mask has Firestore answer without the fields, of which the body is one.
    documents_of = f"/v1/{database}/documents/devices/{DEVICE}/events"
    assert path == f"{documents_of}?documentId=e.{one.key}&mask.fieldPaths=__name__"
    assert stored["fields"]["body"] == {"bytesValue": base64(one.body)}


NO_DOCUMENT = [Reply(200, content) for content in (b"[]", b"{}", b'"name"', b"null", b"<p>", b"")]


@pytest.mark.parametrize("answer", NO_DOCUMENT, ids=lambda reply: reply.content.decode() or "nothing")
def test_what_is_no_document_is_not_acknowledged(answer: Reply) -> None:
    """As something between us and Google might answer."""
    with loopback(in_turn(answer)) as server:
        assert cause_of(FirestoreStore(connect("", server.host), "projects/p/databases/d", 0).put, event())


def test_firestore_away_then_back_is_found_by_the_same_store() -> None:
    with emulator("firestore") as server:
        database = Firestore(server.host)
        store, one = FirestoreStore(connect("", server.host), database.database, 0), event()
        assert store.put(event(), soon()) is Outcome.STORED
        server.kill()
        started = time.monotonic()
        assert cause_of(store.put, one) == "NewConnectionError"
        assert time.monotonic() - started < 2
        server.start()
        assert [store.put(one, soon()), store.put(one, soon())] == [Outcome.STORED, Outcome.DUPLICATE]
        assert [each["body"] for each in database.documents()] == [one.body]


def test_pubsub_away_then_back_is_found_by_the_same_queue() -> None:
    with emulator("pubsub") as server:
        topic = PubSub(server.host)
        queue, one = PubSubQueue(connect("", server.host), topic.topic), event()
        queue.send(event(), soon())
        server.kill()
        started = time.monotonic()
        assert cause_of(queue.send, one) == "NewConnectionError"
        assert time.monotonic() - started < 2
        server.start()
        assert cause_of(queue.send, one) == "NOT_FOUND"
        topic.create()
        queue.send(one, soon())
        assert [message["body"] for message in topic.messages()] == [one.body]


# The keys that were seen.


def seen(server: Emulator, database: Firestore, keep_days: int = 30) -> FirestoreSeenKeys:
    return FirestoreSeenKeys(connect("", server.host), database.database, keep_days)


def test_a_key_is_there_once_it_is_marked(firestore: Emulator, database: Firestore) -> None:
    keys = seen(firestore, database)
    assert keys.contains("a.b.c", soon()) is False
    before = datetime.now(UTC)
    keys.mark("a.b.c", soon())
    keys.mark("a.b.c", soon())
    assert keys.contains("a.b.c", soon()) is True
    assert keys.contains("a.b.d", soon()) is False
    [found] = database.documents("seenKeys")
    assert found.keys() == {"path", "expiresAt"}
    assert found["path"] == "seenKeys/e.a.b.c"
    expires = datetime.fromisoformat(found["expiresAt"]) - timedelta(days=30)
    assert before <= expires <= datetime.now(UTC)


def test_a_key_that_is_marked_again_is_not_written_over(firestore: Emulator, database: Firestore) -> None:
    """So the function needs no permission to change what there is."""
    seen(firestore, database, 1).mark("a.b.c", soon())
    seen(firestore, database, 2).mark("a.b.c", soon())
    [found] = database.documents("seenKeys")
    assert datetime.fromisoformat(found["expiresAt"]) < datetime.now(UTC) + timedelta(days=1)


def test_a_key_that_is_kept_for_ever_has_no_end(firestore: Emulator, database: Firestore) -> None:
    seen(firestore, database, 0).mark("a.b.c", soon())
    assert database.documents("seenKeys") == [{"path": "seenKeys/e.a.b.c"}]


def test_without_seen_keys_each_delivery_is_sent(pubsub: Emulator, topic: PubSub) -> None:
    store = Deduplicated(PubSubQueue(connect("", pubsub.host), topic.topic), NoSeenKeys())
    one = event()
    assert [store.put(one, soon()), store.put(one, soon())] == [Outcome.STORED] * 2
    messages = topic.messages()
    assert [message["body"] for message in messages] == [one.body] * 2
    assert {message["key"] for message in messages} == {one.key}
    assert one.note is None


def test_without_the_database_of_keys_it_is_sent_and_said(pubsub: Emulator, topic: PubSub) -> None:
    """A database that is not there answers as a key that is not: NOT_FOUND. Only the mark can tell."""
    one = event()
    with loopback(in_turn(google_fault(404, "NOT_FOUND", "The database does not exist"))) as server:
        keys = FirestoreSeenKeys(connect("", server.host), "projects/p/databases/d", 30)
        assert Deduplicated(PubSubQueue(connect("", pubsub.host), topic.topic), keys).put(one, soon()) is Outcome.STORED
        assert [call.method for call in server.calls] == ["GET", "POST"]
    assert one.note == "mark failed: NOT_FOUND"
    assert [message["body"] for message in topic.messages()] == [one.body]


def test_without_leave_to_read_the_keys_it_is_sent_and_said(pubsub: Emulator, topic: PubSub) -> None:
    one = event()
    with loopback(in_turn(google_fault(403, "PERMISSION_DENIED"))) as server:
        keys = FirestoreSeenKeys(connect("", server.host), "projects/p/databases/d", 30)
        assert Deduplicated(PubSubQueue(connect("", pubsub.host), topic.topic), keys).put(one, soon()) is Outcome.STORED
    assert one.note == "look-up failed: PERMISSION_DENIED, mark failed: PERMISSION_DENIED"
    assert [message["body"] for message in topic.messages()] == [one.body]


@pytest.mark.parametrize("answer", NO_DOCUMENT, ids=lambda reply: reply.content.decode() or "nothing")
def test_what_is_no_document_is_no_key_that_was_seen(answer: Reply) -> None:
    """Or else the event would be acknowledged, and nowhere."""
    with loopback(in_turn(answer)) as server:
        keys = FirestoreSeenKeys(connect("", server.host), "projects/p/databases/d", 30)
        with pytest.raises(StoreUnavailable):
            keys.contains("a.b.c", soon())


def test_without_an_answer_from_the_keys_it_is_sent_in_time(pubsub: Emulator, topic: PubSub) -> None:
    with emulator("firestore") as server:
        database = Firestore(server.host)
        store = Deduplicated(PubSubQueue(connect("", pubsub.host), topic.topic), seen(server, database))
        assert store.put(event(), soon()) is Outcome.STORED
        server.freeze()
        one = event()
        started = time.monotonic()
        assert store.put(one, started + DEADLINE) is Outcome.STORED
        assert time.monotonic() - started < DEADLINE
        assert one.note == "look-up failed: ReadTimeoutError, mark failed: ReadTimeoutError"
        assert topic.messages()[-1]["body"] == one.body
        server.thaw()
        again, other = event(), event()
        assert [store.put(again, soon()), store.put(again, soon()), store.put(other, soon())] == [
            Outcome.STORED,
            Outcome.DUPLICATE,
            Outcome.STORED,
        ]
        assert (again.note, other.note) == (None, None)
