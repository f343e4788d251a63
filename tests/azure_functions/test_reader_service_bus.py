"""The reader of Service Bus: peeking changes nothing, pages, strange messages, and its errors.

Against our own stand-in, which follows the protocol: it shows what the real SDK asks for, not what Service Bus does.
"""

import gzip
import time
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient

from azure_functions.service_bus import ServiceBusStore
from core.event import parse_stored
from readers.query import Query
from readers.rows import FOREIGN
from readers.service_bus import ServiceBusReader
from readers.sources import open_reader
from tests.azure_functions.service_bus_store import Connect, put, run
from tests.azure_functions.test_reader_table import fails
from tests.contract.test_readers import NOW, at
from tests.support.proxy import Mode, Proxy
from tests.support.service_bus import ServiceBus

EVENT = {"key": "k", "receivedAt": "2026-11-21T00:00:00Z"}


@pytest.fixture
def source(bus: ServiceBus, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SERVICEBUS_CONNECTION_STR", bus.connection_string)
    return f"servicebus:{bus.namespace}/events"


def test_peeking_counts_and_locks_nothing(bus: ServiceBus, source: str) -> None:
    bus.send(b"{}", "m", EVENT)
    with open_reader(source) as reader:
        for _ in range(3):
            assert [event.key for event in reader.events(Query())] == ["k"]
        with (
            ServiceBusClient.from_connection_string(bus.connection_string) as client,
            client.get_queue_receiver("events") as receiver,
        ):
            [message] = receiver.receive_messages(max_wait_time=5)
            assert not message.delivery_count
            # What is locked is seen, too.
            assert [event.key for event in reader.events(Query())] == ["k"]
            receiver.complete_message(message)
        assert list(reader.events(Query())) == []
    assert bus.outcomes() == [("m", "accepted")]


def test_queue_is_read_page_by_page_in_its_order(connect: Connect, source: str) -> None:
    """The stand-in gives 50 messages at a time."""
    events = [at(hour) for hour in range(120)]

    async def send(store: ServiceBusStore) -> None:
        for event in events:
            await put(store, event)

    run(connect, send)
    with open_reader(source) as reader:
        assert [event.key for event in reader.events(Query())] == [event.key for event in events]
        assert len(list(reader.events(Query(limit=60)))) == 60


def test_cost_is_said_where_more_is_read_than_returned(source: str) -> None:
    with open_reader(source) as reader:
        assert reader.cost(Query()) is reader.cost(Query(limit=20)) is None
        assert "all messages of the queue are read" in (reader.cost(Query(device_id="a")) or "")


def test_dead_letters_are_a_queue_of_their_own(bus: ServiceBus, source: str) -> None:
    bus.send(b"{}", "m", EVENT)
    with (
        ServiceBusClient.from_connection_string(bus.connection_string) as client,
        client.get_queue_receiver("events") as receiver,
    ):
        [message] = receiver.receive_messages(max_wait_time=5)
        receiver.dead_letter_message(message)
    with open_reader(source) as reader:
        assert not list(reader.events(Query()))
    with open_reader(f"{source}/$DeadLetterQueue") as reader:
        assert [event.key for event in reader.events(Query())] == ["k"]


def test_large_body_is_unpacked(connect: Connect, source: str) -> None:
    event = parse_stored(b"x" * 250_000, NOW)

    async def send(store: ServiceBusStore) -> None:
        await put(store, event)

    run(connect, send)
    with open_reader(source) as reader:
        assert [found.body for found in reader.events(Query())] == [event.body]


STRANGE: dict[str, tuple[bytes, dict[Any, Any]]] = {
    "no properties": (b"{}", {}),
    "no time": (b"{}", {"key": "k"}),
    "number for a key": (b"{}", {**EVENT, "key": 7}),
    "number for a time": (b"{}", {**EVENT, "receivedAt": 7}),
    "no gzip": (b"{}", {**EVENT, "encoding": "gzip"}),
    "half of gzip": (gzip.compress(b"{}")[:-4], {**EVENT, "encoding": "gzip"}),
    "a body of 50 MB": (gzip.compress(bytes(50_000_000)), {**EVENT, "encoding": "gzip"}),
}


def test_messages_of_somebody_else_end_no_listing(bus: ServiceBus, source: str) -> None:
    for name, (body, properties) in STRANGE.items():
        bus.send(body, name, properties)
    bus.send(b"{}", "ours", EVENT)
    with open_reader(source) as reader:
        found = list(reader.events(Query()))
    assert [event.fault for event in found] == [FOREIGN] * len(STRANGE) + ["no eventType"]


# Errors.


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("unauthorized", "Azure denies reading the queue events: ServiceBusAuthorizationError"),
        ("denied", "Azure denies reading the queue events: ServiceBusAuthenticationError"),
        ("busy", "Azure cannot read the queue events now: ServiceBusServerBusyError"),
        ("disabled", "Azure cannot read the queue events now: MessagingEntityDisabledError"),
    ],
)
def test_refusal_becomes_one_sentence(bus: ServiceBus, source: str, mode: str, sentence: str) -> None:
    bus.set(mode)
    assert fails(source).startswith(sentence)


def test_missing_queue(source: str) -> None:
    assert fails(f"{source}2").startswith("Cannot find the queue events2.")


@pytest.mark.parametrize("by", ["frozen", "mute", "nobody"])
def test_silent_server_fails_in_time(bus: ServiceBus, source: str, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readers.service_bus._TIMEOUT", 1.5)
    if by == "mute":
        bus.set("mute")
    elif by == "frozen":
        bus.freeze()
    else:
        bus.kill()
    begun = time.monotonic()
    assert fails(source).startswith("Cannot reach the queue events")
    assert time.monotonic() - begun < 8


def test_listing_ends_with_a_sentence_if_the_server_goes(
    bus: ServiceBus, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readers.service_bus._TIMEOUT", 3.0)
    proxy = Proxy(bus.port)
    monkeypatch.setenv("SERVICEBUS_CONNECTION_STR", bus.connection_string.replace(str(bus.port), str(proxy.port)))
    with open_reader(f"servicebus:127.0.0.1:{proxy.port}/events") as reader:
        assert list(reader.events(Query())) == []
        proxy.set(Mode.REFUSE)
        with pytest.raises(Exception, match="Cannot reach the queue events"):
            list(reader.events(Query()))
        proxy.set(Mode.PASS)
        assert list(reader.events(Query())) == []
    proxy.close()


def test_identity_that_has_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVICEBUS_CONNECTION_STR", "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    assert fails("servicebus:tests.servicebus.windows.net/events").startswith("No login at Azure")


def test_connection_string_of_another_namespace_is_not_used(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    assert "No login" in fails("servicebus:other.servicebus.windows.net/events")


@pytest.mark.parametrize("rest", ["", "events", "Endpoint=sb://a.b/;SharedAccessKey=s/events", "u:secret@a.b/events"])
def test_bad_url_is_one_sentence(rest: str) -> None:
    assert fails(f"servicebus:{rest}").startswith("This is not the URL of a store.")


def test_reader_that_read_nothing_closes() -> None:
    ServiceBusReader("tests.servicebus.windows.net", "events").close()
