"""What only the reader of Pub/Sub has: it gives back what it takes, and acknowledges nothing.

Google's emulator is Pub/Sub, behind a server of the tests that sees the calls and refuses some.
"""

import itertools
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1.types import AcknowledgeRequest, ModifyAckDeadlineRequest, PullRequest, PullResponse

from gcp_functions.pubsub import PubSubQueue
from gcp_functions.service import connect
from readers import ReaderError
from readers.query import Query
from readers.rows import FOREIGN
from readers.sources import open_reader
from tests.gcp_functions.grpc_front import GrpcFront
from tests.gcp_functions.reading import failure, timed
from tests.support.events import soon
from tests.support.google import Emulator, PubSub, emulator

Status = grpc.StatusCode


class _Empty:
    """The empty answer, with the functions that the types of Google's client have."""

    serialize = staticmethod(Empty.SerializeToString)
    deserialize = staticmethod(Empty.FromString)


@pytest.fixture
def front(pubsub: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[GrpcFront]:
    methods = {
        "Pull": (PullRequest, PullResponse),
        "ModifyAckDeadline": (ModifyAckDeadlineRequest, _Empty),
        "Acknowledge": (AcknowledgeRequest, _Empty),
    }
    front = GrpcFront(pubsub.host, "google.pubsub.v1.Subscriber", methods)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", front.host)
    yield front
    front.close()


def publish(server: Emulator, topic: PubSub, count: int) -> list[str]:
    """Publish events, and return their keys."""
    queue = PubSubQueue(connect("", server.host), topic.topic)
    events = [timed(number) for number in range(count)]
    for one in events:
        queue.send(one, soon(30))
    return [one.key for one in events]


def held(front: GrpcFront) -> dict[str, list[int]]:
    """Return the deadlines that were set, in seconds, by acknowledgement id."""
    found: dict[str, list[int]] = {}
    for method, asked in front.calls:
        if method == "ModifyAckDeadline":
            for ack_id in asked.ack_ids:
                found.setdefault(ack_id, []).append(asked.ack_deadline_seconds)
    return found


def test_every_message_is_given_back_and_none_acknowledged(pubsub: Emulator, topic: PubSub, front: GrpcFront) -> None:
    keys = publish(pubsub, topic, 25)
    with open_reader(f"pubsub:{topic.subscription}") as reader:
        assert "counts as a delivery" in (reader.receiving or "")
        assert {one.key for one in reader.events(Query())} == set(keys)
    assert {method for method, _ in front.calls} == {"Pull", "ModifyAckDeadline"}
    assert list(held(front).values()) == [[300, 0]] * 25
    began = time.monotonic()
    assert {message["key"] for message in topic.messages()} == set(keys)
    assert time.monotonic() - began < 10, "the messages were there at once"


def test_no_more_messages_are_taken_than_are_wanted(pubsub: Emulator, topic: PubSub, front: GrpcFront) -> None:
    keys = publish(pubsub, topic, 10)
    with open_reader(f"pubsub:{topic.subscription}") as reader:
        assert len(list(reader.events(Query(limit=3)))) == 3
        assert len(held(front)) == 3
        [found] = reader.events(Query(limit=1, since=timed(0).timestamp))
    assert found.key == keys[0]


def test_messages_are_given_back_after_an_error(pubsub: Emulator, topic: PubSub, front: GrpcFront) -> None:
    keys = publish(pubsub, topic, 5)
    pulls = itertools.count()
    front.fault = lambda method: Status.PERMISSION_DENIED if method == "Pull" and next(pulls) else None
    assert failure(f"pubsub:{topic.subscription}").startswith("Google denies reading the Pub/Sub subscription")
    assert list(held(front).values()) == [[300, 0]] * 5
    assert {message["key"] for message in topic.messages()} == set(keys)


def test_messages_that_cannot_be_given_back_are_spoken_of(pubsub: Emulator, topic: PubSub, front: GrpcFront) -> None:
    publish(pubsub, topic, 1)
    calls = itertools.count()
    front.fault = lambda method: Status.UNAVAILABLE if method == "ModifyAckDeadline" and next(calls) else None
    text = failure(f"pubsub:{topic.subscription}")
    assert text.startswith("Cannot reach Google Cloud to read the Pub/Sub subscription")
    assert text.endswith(" Messages could not be given back; consumers get them within 5 minutes.")


def test_listing_of_a_busy_subscription_ends(pubsub: Emulator, topic: PubSub, front: GrpcFront) -> None:
    keys = publish(pubsub, topic, 5)
    ended = threading.Event()

    def busy() -> None:
        for number in itertools.count(1000):
            if ended.wait(0.3):
                return
            PubSubQueue(connect("", pubsub.host), topic.topic).send(timed(number), soon(30))

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        began = time.monotonic()
        with open_reader(f"pubsub:{topic.subscription}") as reader:
            assert {one.key for one in reader.events(Query())} >= set(keys)
        assert time.monotonic() - began < 60
    finally:
        ended.set()
        thread.join()


def test_subscription_without_an_end_is_given_up(
    pubsub: Emulator, topic: PubSub, front: GrpcFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(pubsub, topic, 1)
    monkeypatch.setattr("readers.pubsub._RECEIVING", -1)
    assert "Read fewer with --limit" in failure(f"pubsub:{topic.subscription}")


def test_messages_of_somebody_else_are_shown(topic: PubSub, front: GrpcFront) -> None:
    topic.publish({"data": "/w=="}, {"attributes": {"a": "b"}}, {"attributes": {"key": "k", "receivedAt": "now"}})
    with open_reader(f"pubsub:{topic.subscription}") as reader:
        found = list(reader.events(Query()))
    assert [one.fault for one in found] == [FOREIGN] * 3
    assert {one.body for one in found} == {b"\xff", b""}


def test_queue_has_no_history(topic: PubSub, front: GrpcFront) -> None:
    with (
        open_reader(f"pubsub:{topic.subscription}") as reader,
        pytest.raises(ReaderError, match="A queue has no history"),
    ):
        reader.arrived(None)


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (Status.PERMISSION_DENIED, "Google denies reading"),
        (Status.UNAUTHENTICATED, "Google does not accept your login"),
        (Status.NOT_FOUND, "Cannot find the Pub/Sub subscription"),
        (Status.FAILED_PRECONDITION, "Google refuses to read"),
        (Status.RESOURCE_EXHAUSTED, "Google cannot read"),
        (Status.UNAVAILABLE, "Cannot reach Google Cloud"),
    ],
)
def test_error_becomes_a_sentence(topic: PubSub, front: GrpcFront, status: grpc.StatusCode, sentence: str) -> None:
    front.fault = lambda _: status
    text = failure(f"pubsub:{topic.subscription}")
    assert text.startswith(sentence)
    assert "secret" not in text
    assert len(front.calls) <= 2


@pytest.mark.long
def test_silent_service_is_no_empty_subscription(monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator("pubsub") as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
        topic = PubSub(server.host)
        server.freeze()
        began = time.monotonic()
        assert failure(f"pubsub:{topic.subscription}").startswith("Cannot reach Google Cloud to read")
        assert time.monotonic() - began < 30
        server.thaw()


def test_missing_subscription_is_a_sentence(front: GrpcFront) -> None:
    assert failure("pubsub:projects/tests/subscriptions/none").startswith("Cannot find the Pub/Sub subscription")


@pytest.mark.parametrize(
    "url", ["pubsub:", "pubsub:events", "pubsub:projects/p/topics/t", "pubsub://p/subscriptions/s"]
)
def test_url_of_another_form_is_a_sentence(url: str) -> None:
    assert failure(url).startswith("Name the subscription so: pubsub:projects/PROJECT/subscriptions/SUBSCRIPTION.")
