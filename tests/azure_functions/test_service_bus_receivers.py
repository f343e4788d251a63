"""The stand-in for Service Bus, and the real SDK as a receiver of it: locks, outcomes, dead letters."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusReceivedMessage, ServiceBusReceiver, exceptions

from tests.support.service_bus import ServiceBus, service_bus

LOCK = 2.0
WAIT = 10


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[ServiceBus]:
    with service_bus(tmp_path, "events", lock=LOCK, deliveries=3) as bus:
        yield bus


@contextmanager
def receiving(bus: ServiceBus, sub_queue: str | None = None) -> Iterator[ServiceBusReceiver]:
    with (
        ServiceBusClient.from_connection_string(bus.connection_string, retry_total=0) as client,
        client.get_queue_receiver("events", sub_queue=sub_queue) as receiver,
    ):
        yield receiver


def receive(receiver: ServiceBusReceiver, wait: float = WAIT, count: int = 10) -> list[ServiceBusReceivedMessage]:
    return list(receiver.receive_messages(max_message_count=count, max_wait_time=wait))


def ids(messages: list[ServiceBusReceivedMessage]) -> list[str | None]:
    return [message.message_id for message in messages]


def test_message_is_received_as_it_was_sent(bus: ServiceBus) -> None:
    bus.send(b"\xff{}", "one", {"text": "å", "yes": True, "number": 7})
    with receiving(bus) as receiver:
        [message] = receive(receiver)
        assert b"".join(message.body) == b"\xff{}"
        assert message.message_id == "one"
        assert message.application_properties == {b"text": "å".encode(), b"yes": True, b"number": 7}
        assert message.sequence_number == 1
        assert message.locked_until_utc
        assert 0 < message.locked_until_utc.timestamp() - time.time() <= LOCK


def test_locked_message_is_for_nobody_else_until_the_lock_ends(bus: ServiceBus) -> None:
    for name in ("one", "two"):
        bus.send(b"{}", name)
    with receiving(bus) as first, receiving(bus) as second:
        # With credit for more, the SDK would receive the second one again, and release it.
        messages = receive(first, count=2)
        assert ids(messages) == ["one", "two"]
        first.complete_message(messages[0])
        begun = time.monotonic()
        [again] = receive(second)
        assert time.monotonic() - begun > LOCK / 2
        assert (again.message_id, again.delivery_count) == ("two", 1)
        with pytest.raises(exceptions.MessageLockLostError):
            first.complete_message(messages[1])
        second.complete_message(again)
    assert bus.outcomes() == [("one", "accepted"), ("two", "modified"), ("two", "accepted")]


def test_lost_lock_is_refused_by_the_server(bus: ServiceBus, monkeypatch: pytest.MonkeyPatch) -> None:
    bus.send(b"{}", "one")
    with receiving(bus) as receiver:
        [message] = receive(receiver)
        time.sleep(LOCK + 0.2)
        # The SDK would not ask.
        monkeypatch.setattr(type(message), "_lock_expired", False)
        with pytest.raises(exceptions.ServiceBusError):
            receiver.complete_message(message)
    assert ("one", "accepted") not in bus.outcomes()


def test_lock_is_renewed(bus: ServiceBus) -> None:
    bus.send(b"{}", "one")
    with receiving(bus) as receiver:
        [message] = receive(receiver)
        for _ in range(2):
            time.sleep(LOCK * 0.6)
            receiver.renew_message_lock(message)
        receiver.complete_message(message)
    assert bus.outcomes() == [("one", "accepted")]


def test_message_that_is_abandoned_too_often_is_a_dead_letter(bus: ServiceBus) -> None:
    for name in ("one", "two"):
        bus.send(b"{}", name)
    with receiving(bus) as receiver:
        for count in (0, 1, 2):
            message = receive(receiver)[0]
            assert (message.message_id, message.delivery_count or 0) == ("one", count)
            receiver.abandon_message(message)
    with receiving(bus, "deadletter") as receiver:
        assert ids(receive(receiver)) == ["one"]


def test_dead_letter_by_the_consumer(bus: ServiceBus) -> None:
    bus.send(b"{}", "one")
    with receiving(bus) as receiver:
        receiver.dead_letter_message(receive(receiver)[0], reason="the test wants it")
        assert not receive(receiver, 1)
    with receiving(bus, "deadletter") as receiver:
        receiver.complete_message(receive(receiver)[0])
        assert not receive(receiver, 1)


def test_message_that_came_too_late_is_released_at_the_end(bus: ServiceBus) -> None:
    """The SDK drains the link that it closes: no delivery is counted."""
    with receiving(bus) as receiver:
        assert not receive(receiver, 1)
        bus.send(b"{}", "one")
        time.sleep(0.2)
    with receiving(bus) as receiver:
        [message] = receive(receiver)
        assert not message.delivery_count
    assert ("one", "modified") not in bus.outcomes()


def test_what_became_of_a_message_outlives_a_kill(bus: ServiceBus) -> None:
    for name in ("one", "two", "three"):
        bus.send(b"{}", name)
    with receiving(bus) as receiver:
        first, second, _ = receive(receiver)
        receiver.complete_message(first)
        receiver.abandon_message(second)
        bus.kill()
    bus.start()
    with receiving(bus) as receiver:
        assert [(each.message_id, each.delivery_count or 0) for each in receive(receiver)] == [("two", 1), ("three", 0)]


def test_peeked_messages_have_their_counts(bus: ServiceBus) -> None:
    for name in ("one", "two"):
        bus.send(b"{}", name)
    with receiving(bus) as receiver:
        receiver.abandon_message(receive(receiver)[0])
        peeked = receiver.peek_messages(10, sequence_number=1)
        assert [(each.message_id, each.delivery_count or 0) for each in peeked] == [("one", 1), ("two", 0)]
        assert ids(receiver.peek_messages(10, sequence_number=2)) == ["two"]
        assert not receiver.peek_messages(10, sequence_number=3)
