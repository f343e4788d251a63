"""The stand-in for Service Bus, and what the real SDK does with each of its answers.

Some of the SDK's behaviour is poor, and our code works around it. These tests show when a new version changes it.
"""

import gc
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusSender, TransportType, exceptions

from tests.support.service_bus import ServiceBus, service_bus

# Seconds for a send that gets its answer, also on a busy machine, and for one that gets none.
AMPLE, SHORT = 20, 1
# The SDK may exceed its timeout: it checks the clock after 0.2 s without data.
LATE = 2
_numbers = count()

# The SDK leaves the socket of a failed connection to the garbage collector.
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _nothing_open_is_left_to_other_tests() -> Iterator[None]:
    logging.disable()  # a record would keep the exception, which keeps the socket
    yield
    logging.disable(logging.NOTSET)
    gc.collect()


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[ServiceBus]:
    with service_bus(tmp_path) as bus:
        yield bus


def _sender(bus: ServiceBus, queue: str = "events") -> ServiceBusSender:
    # keep_alive is an option of the sender: given to the client it has no effect.
    return ServiceBusClient.from_connection_string(bus.connection_string, retry_total=0).get_queue_sender(
        queue, keep_alive=0
    )


def _send(sender: ServiceBusSender, identifier: str = "", timeout: float = AMPLE) -> type[BaseException] | None:
    """Send a message, and return the type of the exception, in time."""
    begun = time.monotonic()
    try:
        sender.send_messages(ServiceBusMessage(b"{}", message_id=identifier or f"m{next(_numbers)}"), timeout=timeout)
    except Exception as error:
        return type(error)
    finally:
        assert time.monotonic() - begun < timeout + LATE
    return None


def test_message_is_stored_as_sent(bus: ServiceBus) -> None:
    sender = _sender(bus)
    properties: dict[str | bytes, Any] = {"text": "å", "number": -5, "real": 1.5, "yes": True, "none": None}
    message = ServiceBusMessage(
        b"\xff\0{}",
        message_id="one",
        application_properties=properties,
        content_type="application/json",
        session_id="s",
        partition_key="s",
        time_to_live=timedelta(days=14),
    )
    sender.send_messages(message, timeout=AMPLE)
    assert _send(sender, "two") is None
    first, second = bus.messages()
    assert first == {
        **properties,
        "queue": "events",
        "messageId": "one",
        "contentType": "application/json",
        "sessionId": "s",
        "partitionKey": "s",
        "ttl": 14 * 86_400,
        "body": b"\xff\0{}",
    }
    assert second["messageId"] == "two"
    assert second["contentType"] is second["sessionId"] is second["partitionKey"] is second["ttl"] is None
    sender.close()


def test_duplicate_message_is_accepted_and_not_stored(bus: ServiceBus) -> None:
    sender, other = _sender(bus), _sender(bus, "other")
    assert [_send(each, "one") for each in (sender, sender, other)] == [None, None, None]
    assert [(each["queue"], each["messageId"]) for each in bus.messages()] == [("events", "one"), ("other", "one")]
    other.close()
    bus.kill()
    bus.start()
    # The connection is gone: one failure, and the same sender connects again.
    assert _send(sender, "one") is exceptions.ServiceBusConnectionError
    assert _send(sender, "one") is None
    assert len(bus.messages()) == 2
    sender.close()


# What the SDK raises on a link that was open, and whether the message was stored.
MODES = {
    "busy": (exceptions.ServiceBusServerBusyError, False),
    "quota": (exceptions.ServiceBusQuotaExceededError, False),
    "unauthorized": (exceptions.ServiceBusAuthorizationError, False),
    "disabled": (exceptions.MessagingEntityDisabledError, False),
    "size": (exceptions.MessageSizeExceededError, False),
    "internal": (exceptions.ServiceBusError, False),
    "silent": (exceptions.OperationTimeoutError, False),
    "slow": (exceptions.OperationTimeoutError, True),
    "lost": (exceptions.ServiceBusConnectionError, True),
    "detach": (exceptions.ServiceBusConnectionError, False),
    "close": (exceptions.ServiceBusConnectionError, False),
    "denied": (exceptions.ServiceBusConnectionError, False),
    "mute": (None, True),
}


def _timeout(expected: type[Exception] | None) -> float:
    return SHORT if expected is exceptions.OperationTimeoutError else AMPLE


@pytest.mark.parametrize("mode", MODES)
def test_sdk_exception_of_each_fault(bus: ServiceBus, mode: str) -> None:
    sender = _sender(bus)
    assert _send(sender) is None
    bus.set(mode)
    expected, is_stored = MODES[mode]
    assert _send(sender, timeout=_timeout(expected)) is expected
    assert (len(bus.messages()) == 2) is is_stored
    bus.set("normal")
    assert _send(sender) is None
    sender.close()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("denied", exceptions.ServiceBusAuthenticationError), ("mute", exceptions.OperationTimeoutError)],
)
def test_send_fails_without_an_accepted_token(bus: ServiceBus, mode: str, expected: type[Exception]) -> None:
    sender = _sender(bus)
    bus.set(mode)
    assert _send(sender, timeout=_timeout(expected)) is expected
    bus.set("normal")
    assert _send(sender) is None
    sender.close()


def test_fault_for_some_messages_only(bus: ServiceBus) -> None:
    sender = _sender(bus)
    bus.set("busy", times=2)
    assert [_send(sender) for _ in range(3)] == [exceptions.ServiceBusServerBusyError] * 2 + [None]
    bus.set("slow", seconds=0.1)
    assert _send(sender) is None
    sender.close()


def test_unknown_queue_is_not_found(tmp_path: Path) -> None:
    with service_bus(tmp_path, "events", "other/one") as bus:
        for queue, outcome in (("events", None), ("other/one", None), ("no", exceptions.MessagingEntityNotFoundError)):
            sender = _sender(bus, queue)
            assert _send(sender) is outcome
            sender.close()


def test_frozen_peer_answers_once_thawed(bus: ServiceBus) -> None:
    sender = _sender(bus)
    assert _send(sender) is None
    bus.freeze()
    assert _send(sender, timeout=SHORT) is exceptions.OperationTimeoutError
    begun = time.monotonic()
    sender.close()
    assert time.monotonic() - begun < LATE
    assert len(bus.messages()) == 1
    bus.thaw()
    fresh = _sender(bus)
    assert _send(fresh) is None
    assert len(bus.messages()) == 3
    fresh.close()


@pytest.mark.parametrize("by", ["connection", "link"])
def test_idle_connection_fails_once(tmp_path: Path, by: str) -> None:
    with service_bus(tmp_path, idle=2) as bus:
        sender = _sender(bus)
        assert _send(sender) is None
        if by == "link":
            bus.set("evict")
        else:
            time.sleep(3)
        assert issubclass(_send(sender) or object, exceptions.ServiceBusError)
        assert _send(sender) is None
        assert len(bus.messages()) == 2
        sender.close()


class Credential:
    """An identity whose tokens last for so many seconds."""

    def __init__(self, lifetime: float = 3600) -> None:
        self._lifetime = lifetime

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken("header.claims.signature", int(time.time() + self._lifetime))


def _identified(bus: ServiceBus, credential: Credential) -> ServiceBusSender:
    client = ServiceBusClient(
        "tests.servicebus.windows.net",
        credential,
        custom_endpoint_address=f"sb://{bus.namespace}",
        transport_type=TransportType.Amqp,
        connection_verify=str(bus.certificate),
        retry_total=0,
    )
    return client.get_queue_sender("events", keep_alive=0)


def test_managed_identity_uses_tls_and_a_jwt(tmp_path: Path) -> None:
    with service_bus(tmp_path, tls=True) as bus:
        sender = _identified(bus, Credential())
        assert _send(sender) is None
        audience = "sb://tests.servicebus.windows.net/events"
        assert bus.tokens() == [{"type": "jwt", "audience": audience, "token": "header.claims.signature"}]
        assert len(bus.messages()) == 1
        sender.close()


def test_expired_token_of_an_idle_connection_fails_once(tmp_path: Path) -> None:
    with service_bus(tmp_path, tls=True) as bus:
        sender = _identified(bus, Credential(lifetime=4))
        assert _send(sender) is None
        time.sleep(4.1)
        # With a custom endpoint it is a connection error, otherwise an authentication error.
        assert _send(sender) is exceptions.ServiceBusConnectionError
        assert _send(sender) is None
        sender.close()


def _waits(sender: ServiceBusSender, threads: ThreadPoolExecutor) -> Future[Any]:
    """Send a message, and return its state well after the SDK's timeout."""
    sent = threads.submit(_send, sender, "waiting", SHORT)
    with pytest.raises(TimeoutError):
        sent.result(SHORT + LATE + 0.1)
    return sent


@pytest.mark.parametrize("tls", [False, True])
def test_sdk_has_no_connect_timeout(tmp_path: Path, tls: bool) -> None:
    with service_bus(tmp_path, tls=tls) as bus, ThreadPoolExecutor(1) as threads:
        sender = _identified(bus, Credential()) if tls else _sender(bus)
        bus.freeze()
        sent = _waits(sender, threads)
        bus.kill()
        assert isinstance(sent.exception(AMPLE), AssertionError)


@pytest.mark.parametrize("mode", ["bare", "released"])
def test_sdk_has_no_timeout_for_an_unknown_answer(bus: ServiceBus, mode: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        sender = _sender(bus)
        assert _send(sender) is None
        bus.set(mode)
        sent = _waits(sender, threads)
        bus.kill()
        assert isinstance(sent.exception(AMPLE), AssertionError)
        sender.close()
