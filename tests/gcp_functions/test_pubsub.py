"""Pub/Sub: messages, ordering and limits.

Against Google's emulator; a server of the tests gives the answers that the emulator cannot.
"""

import time
from typing import Any

import pytest

from core.event import Event
from core.receiver import DEADLINE
from core.service.attempts import ATTEMPT
from gcp_functions.pubsub import PubSubQueue
from gcp_functions.service import connect
from tests.gcp_functions.google_events import PING, base64, through
from tests.support import google
from tests.support.deliveries import body
from tests.support.events import (
    ATTRIBUTES,
    DEVICE,
    POLLEN,
    POLLEN_ATTRIBUTES,
    PROJECT,
    cause_of,
    event,
    hashed,
    soon,
)
from tests.support.google import Emulator, PubSub
from tests.support.loopback import Reply, in_turn, loopback, success
from tests.support.proxy import Mode


def published(server: Emulator, topic: PubSub, one: Event, is_ordered: bool = False) -> dict[str, Any]:
    """Send an event to an empty topic, and return its message as Pub/Sub delivers it."""
    PubSubQueue(connect("", server.host), topic.topic, is_ordered).send(one, soon())
    subscription = topic.topic.replace("/topics/", "/subscriptions/")
    answer = google.call(server.host, "POST", f"{subscription}:pull", {"maxMessages": 10, "returnImmediately": True})
    [received] = answer["receivedMessages"]
    message: dict[str, Any] = received["message"]
    assert message.pop("messageId")
    assert message.pop("publishTime")
    return message


def test_message_has_the_body_and_the_fields_of_the_event(pubsub: Emulator, topic: PubSub) -> None:
    assert published(pubsub, topic, event(body())) == {
        "data": base64(body()),
        "attributes": {
            **ATTRIBUTES,
            "parsed": "true",
        },
    }


def test_missing_fields_are_left_out_of_the_message(pubsub: Emulator, topic: PubSub) -> None:
    """They are not empty attributes."""
    assert published(pubsub, topic, event(POLLEN)) == {
        "data": base64(POLLEN),
        "attributes": {
            **POLLEN_ATTRIBUTES,
            "parsed": "false",
        },
    }


def test_ping_without_device_is_a_message(pubsub: Emulator, topic: PubSub) -> None:
    assert published(pubsub, topic, event(PING)) == {
        "data": base64(PING),
        "attributes": {
            "key": hashed(PING),
            "eventId": "cpbg96qngr7ai7ldarrg",
            "eventType": "ping",
            "projectId": PROJECT,
            "timestamp": "2024-05-29T10:34:03.970415Z",
            "receivedAt": "2026-11-21T09:00:00.123456Z",
            "signedBy": "unknown",
            "parsed": "true",
        },
    }


def test_empty_body_is_a_message_without_data(pubsub: Emulator, topic: PubSub) -> None:
    """Pub/Sub requires data or an attribute; the key is one."""
    message = published(pubsub, topic, event(b""))
    assert message.get("data", "") == ""
    assert message["attributes"] == {
        "key": hashed(b""),
        "receivedAt": "2026-11-21T09:00:00.123456Z",
        "signedBy": "unknown",
        "parsed": "false",
    }


@pytest.mark.parametrize(("content", "key"), [(body(), DEVICE), (POLLEN, "-"), (PING, "-")])
def test_ordering_key_is_the_device(pubsub: Emulator, topic: PubSub, content: bytes, key: str) -> None:
    assert published(pubsub, topic, event(content), is_ordered=True)["orderingKey"] == key


LONGEST = "x" * 256
LONGEST_ID = body(
    eventId=LONGEST, eventType=LONGEST, targetName=f"projects/{LONGEST}/devices/{LONGEST}", metadata=None
).replace(DEVICE.encode(), ("ø" * 256).encode())


def test_longest_fields_fit_pubsub_limits(pubsub: Emulator, topic: PubSub) -> None:
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
def test_answer_without_a_message_id_is_not_acknowledged(answer: Reply) -> None:
    with loopback(in_turn(answer)) as server:
        assert cause_of(PubSubQueue(connect("", server.host), "projects/p/topics/t").send, event())
        assert [call.path for call in server.calls] == ["/v1/projects/p/topics/t:publish"]


def test_missing_topic_is_reported_and_used_once_created(pubsub: Emulator, topic: PubSub) -> None:
    queue, one = PubSubQueue(connect("", pubsub.host), topic.topic), event()
    topic.delete_topic()
    assert cause_of(queue.send, one) == "NOT_FOUND"
    topic.create()
    queue.send(one, soon())
    assert [message["body"] for message in topic.messages()] == [one.body]


def test_ordering_key_is_not_blocked_after_a_failure(pubsub: Emulator, topic: PubSub, proxy: Any) -> None:
    """Google's client pauses an ordering key after a failure until it is resumed."""
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
        assert time.monotonic() - started < ATTEMPT
    messages = topic.messages()
    assert [message["body"] for message in messages] == [one.body for one in (before, *after)]
    assert {message["orderingKey"] for message in messages} == {DEVICE}
