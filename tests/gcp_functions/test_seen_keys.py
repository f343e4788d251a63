"""Seen keys in Firestore, beside Pub/Sub; an event is sent also when they are unavailable."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from core.receiver import DEADLINE
from core.stores.contract import Outcome, StoreUnavailableError
from core.stores.dedup import Deduplicated
from gcp_functions.pubsub import PubSubQueue
from gcp_functions.seen_keys import FirestoreSeenKeys, NoSeenKeys
from gcp_functions.service import connect
from tests.gcp_functions.google_events import NO_DOCUMENT
from tests.support.events import event, soon
from tests.support.google import Emulator, Firestore, PubSub, emulator
from tests.support.loopback import Reply, google_fault, in_turn, loopback


def seen(server: Emulator, database: Firestore, keep_days: int = 30) -> FirestoreSeenKeys:
    return FirestoreSeenKeys(connect("", server.host), database.database, keep_days)


def test_marked_key_is_seen(firestore: Emulator, database: Firestore) -> None:
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


def test_marked_key_is_not_overwritten(firestore: Emulator, database: Firestore) -> None:
    """So the function needs no permission to update documents."""
    seen(firestore, database, 1).mark("a.b.c", soon())
    seen(firestore, database, 2).mark("a.b.c", soon())
    [found] = database.documents("seenKeys")
    assert datetime.fromisoformat(found["expiresAt"]) < datetime.now(UTC) + timedelta(days=1)


def test_seen_key_without_expiry(firestore: Emulator, database: Firestore) -> None:
    seen(firestore, database, 0).mark("a.b.c", soon())
    assert database.documents("seenKeys") == [{"path": "seenKeys/e.a.b.c"}]


def test_every_delivery_is_sent_without_seen_keys(pubsub: Emulator, topic: PubSub) -> None:
    store = Deduplicated(PubSubQueue(connect("", pubsub.host), topic.topic), NoSeenKeys())
    one = event()
    outcomes = [store.put(one, soon()), store.put(one, soon())]
    assert [(outcome.name, outcome.note) for outcome in outcomes] == [("stored", None)] * 2
    messages = topic.messages()
    assert [message["body"] for message in messages] == [one.body] * 2
    assert {message["key"] for message in messages} == {one.key}


def test_missing_database_of_seen_keys_is_reported_and_the_event_is_sent(pubsub: Emulator, topic: PubSub) -> None:
    """A missing database answers like a missing key, NOT_FOUND. Only the mark shows the difference."""
    one = event()
    with loopback(in_turn(google_fault(404, "NOT_FOUND", "The database does not exist"))) as server:
        keys = FirestoreSeenKeys(connect("", server.host), "projects/p/databases/d", 30)
        outcome = Deduplicated(PubSubQueue(connect("", pubsub.host), topic.topic), keys).put(one, soon())
        assert outcome == Outcome.STORED
        assert [call.method for call in server.calls] == ["GET", "POST"]
    assert outcome.note == "mark failed: NOT_FOUND"
    assert [message["body"] for message in topic.messages()] == [one.body]


def test_missing_permission_on_seen_keys_is_reported_and_the_event_is_sent(pubsub: Emulator, topic: PubSub) -> None:
    one = event()
    with loopback(in_turn(google_fault(403, "PERMISSION_DENIED"))) as server:
        keys = FirestoreSeenKeys(connect("", server.host), "projects/p/databases/d", 30)
        outcome = Deduplicated(PubSubQueue(connect("", pubsub.host), topic.topic), keys).put(one, soon())
        assert outcome == Outcome.STORED
    assert outcome.note == "look-up failed: PERMISSION_DENIED, mark failed: PERMISSION_DENIED"
    assert [message["body"] for message in topic.messages()] == [one.body]


@pytest.mark.parametrize("answer", NO_DOCUMENT, ids=lambda reply: reply.content.decode() or "nothing")
def test_invalid_answer_is_not_a_seen_key(answer: Reply) -> None:
    """Otherwise the event would be acknowledged and not stored."""
    with loopback(in_turn(answer)) as server:
        keys = FirestoreSeenKeys(connect("", server.host), "projects/p/databases/d", 30)
        with pytest.raises(StoreUnavailableError):
            keys.contains("a.b.c", soon())


@pytest.mark.long
def test_timeout_of_seen_keys_still_sends_the_event_in_time(pubsub: Emulator, topic: PubSub) -> None:
    with emulator("firestore") as server:
        database = Firestore(server.host)
        store = Deduplicated(PubSubQueue(connect("", pubsub.host), topic.topic), seen(server, database))
        assert store.put(event(), soon()) == Outcome.STORED
        server.freeze()
        one = event()
        started = time.monotonic()
        outcome = store.put(one, started + DEADLINE)
        assert outcome == Outcome.STORED
        assert time.monotonic() - started < DEADLINE
        assert outcome.note == "look-up failed: ReadTimeoutError, mark failed: ReadTimeoutError"
        assert topic.messages()[-1]["body"] == one.body
        server.thaw()
        again, other = event(), event()
        outcomes = [store.put(again, soon()), store.put(again, soon()), store.put(other, soon())]
        assert outcomes == [Outcome.STORED, Outcome.DUPLICATE, Outcome.STORED]
        assert [outcome.note for outcome in outcomes] == [None] * 3
