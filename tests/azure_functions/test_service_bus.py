"""The Service Bus store: messages, retries and answers.

Our AMQP server answers; test_service_bus_peer.py has what the SDK makes of the same answers.
"""

import asyncio
import gzip
import os
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from azure_functions.service_bus import ServiceBusStore
from core.event import Event
from core.stores.contract import Outcome
from tests.azure_functions.service_bus_store import Connect, cause_of, put, run
from tests.support.deliveries import body
from tests.support.events import ATTRIBUTES, KEY, POLLEN, POLLEN_ATTRIBUTES, event
from tests.support.service_bus import ServiceBus, service_bus

pytestmark = pytest.mark.usefixtures("no_pauses")


# What is sent.


def sent(bus: ServiceBus, connect: Connect, one: Event) -> dict[str, Any]:
    async def work(store: ServiceBusStore) -> None:
        assert await put(store, one) == Outcome.STORED

    run(connect, work)
    [message] = bus._lines(".jsonl")
    return message


def base64(content: bytes) -> str:
    return b64encode(content).decode()


def test_message_has_the_body_and_the_fields_of_the_event(bus: ServiceBus, connect: Connect) -> None:
    """It has no expiry, session or partition."""
    assert sent(bus, connect, event(body())) == {
        "queue": "events",
        "messageId": KEY,
        "contentType": "application/json",
        "sessionId": None,
        "partitionKey": None,
        "ttl": None,
        "properties": {
            **ATTRIBUTES,
            "parsed": True,
        },
        "body": base64(body()),
    }


def test_missing_fields_are_left_out_of_the_message(bus: ServiceBus, connect: Connect) -> None:
    one = event(POLLEN)
    message = sent(bus, connect, one)
    assert message["messageId"] == one.key
    assert message["properties"] == {
        **POLLEN_ATTRIBUTES,
        "parsed": False,
    }


def test_body_of_the_maximum_size_is_sent_unchanged(bus: ServiceBus, connect: Connect) -> None:
    content = os.urandom(200_000)
    message = sent(bus, connect, event(content))
    assert message["body"] == base64(content)
    assert "encoding" not in message["properties"]


def test_body_above_the_limit_is_compressed(bus: ServiceBus, connect: Connect) -> None:
    content = body(padding="x" * 199_999)
    message = sent(bus, connect, event(content))
    packed = gzip.compress(content, mtime=0)
    assert message["properties"]["encoding"] == "gzip"
    assert message["body"] == base64(packed)
    # The same bytes each time, whatever the clock says.
    assert packed[4:8] == bytes(4)


def test_body_one_byte_above_the_limit_is_compressed(bus: ServiceBus, connect: Connect) -> None:
    message = sent(bus, connect, event(b"x" * 200_001))
    assert message["properties"]["encoding"] == "gzip"
    [stored] = bus.messages()
    assert stored["body"] == b"x" * 200_001


# What becomes of each answer.

# Why another attempt is not made.
FINAL = {
    "quota": "amqp:resource-limit-exceeded",
    "unauthorized": "amqp:unauthorized-access",
    "disabled": "com.microsoft:entity-disabled",
    "size": "amqp:link:message-size-exceeded",
}


@pytest.mark.parametrize("mode", FINAL)
def test_permanent_failure_is_not_retried(bus: ServiceBus, connect: Connect, mode: str) -> None:
    """The message is not sent again, though the broker would accept it. The connection is kept."""

    async def work(store: ServiceBusStore) -> None:
        assert await put(store) == Outcome.STORED
        bus.set(mode, times=1)  # whoever asks again is told yes
        one = event()
        assert await cause_of(store, one) == FINAL[mode]
        assert (len(bus.messages()), len(bus.tokens())) == (1, 1)
        assert await put(store, one) == Outcome.STORED

    run(connect, work)
    assert connect.count == 1


def test_refused_login_is_not_retried(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        bus.set("denied")
        assert await cause_of(store) == "token refused: 401"
        assert len(bus.tokens()) == 1
        bus.set("normal")
        assert await put(store) == Outcome.STORED

    run(connect, work)


def test_missing_queue_is_not_retried(tmp_path: Path) -> None:
    with service_bus(tmp_path, "others") as bus:

        async def work(store: ServiceBusStore) -> None:
            assert await cause_of(store) == "amqp:not-found"
            assert len(bus.tokens()) == 1

        run(Connect(bus), work)


# Why another attempt is made, and the connections that three attempts use.
PASSING = {
    "busy": ("com.microsoft:server-busy", 1),
    "internal": ("com.microsoft:internal-error", 1),
    "bare": ("com.microsoft:server-busy", 1),
    "released": ("released", 1),
    "detach": ("amqp:link:detach-forced", 3),
    "close": ("amqp:connection:forced", 3),
}


@pytest.mark.parametrize("mode", PASSING)
def test_transient_failure_is_retried_three_times(bus: ServiceBus, connect: Connect, mode: str) -> None:
    cause, connections = PASSING[mode]

    async def work(store: ServiceBusStore) -> None:
        assert await put(store) == Outcome.STORED
        one = event()
        bus.set(mode, times=3)
        assert await cause_of(store, one) == cause
        assert (len(bus.messages()), connect.count) == (1, connections)
        assert await put(store, one) == Outcome.STORED

    run(connect, work)


def test_open_connection_that_is_no_longer_allowed_is_retried(bus: ServiceBus, connect: Connect) -> None:
    """The broker detaches a link whose token has expired: a new one may help."""

    async def work(store: ServiceBusStore) -> None:
        assert await put(store) == Outcome.STORED
        bus.set("denied", times=1)
        assert await put(store) == Outcome.STORED

    run(connect, work)
    assert connect.count == 2


def test_success_at_the_third_attempt(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        bus.set("busy", times=2)
        assert await put(store) == Outcome.STORED

    run(connect, work)
    assert len(bus.messages()) == 1


def test_lost_answer_is_not_stored_twice(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        bus.set("lost", times=2)
        assert await put(store) == Outcome.STORED
        assert len(bus.tokens()) == 3

    run(connect, work)
    assert len(bus.messages()) == 1


def test_connection_refused_is_retried_three_times(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        assert await put(store) == Outcome.STORED
        bus.kill()
        started = time.monotonic()
        assert await cause_of(store) == "ConnectionRefusedError"
        assert time.monotonic() - started < 6
        # One that was open, and two that were not.
        assert connect.count == 3
        await asyncio.to_thread(bus.start)
        assert await put(store) == Outcome.STORED

    run(connect, work)


def test_no_attempt_starts_without_time_before_the_deadline(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        assert await cause_of(store, seconds=2.9) == "deadline"
        assert bus.tokens() == []
        assert await put(store) == Outcome.STORED

    run(connect, work)
