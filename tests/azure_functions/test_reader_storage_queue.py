"""The reader of a queue of Azure Storage, which sees no more than 32 messages of it.

Against Azurite, Microsoft's emulator. The contract of readers that is imported here has a test with more messages,
which this store cannot pass; what it asks is asked in portions.
"""

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from azure.storage.queue import QueueClient

from core.event import parse_stored
from readers.query import Query
from readers.rows import FOREIGN
from readers.sources import open_reader
from tests.azure_functions.stores import storage_queue
from tests.azure_functions.test_reader_table import fails
from tests.contract.store import Harness
from tests.contract.test_readers import (
    NOW,
    at,
    put,
    test_error_is_one_sentence_for_a_person,
    test_query_returns_what_matches_newest_first,
    test_reading_changes_nothing,
    test_row_of_somebody_else_is_shown_as_such,
    test_store_that_does_not_exist_is_one_sentence,
)
from tests.support.azurite import KEY, Azurite, connection_string
from tests.support.cases import each_table

__all__ = [
    "test_error_is_one_sentence_for_a_person",
    "test_query_returns_what_matches_newest_first",
    "test_reading_changes_nothing",
    "test_row_of_somebody_else_is_shown_as_such",
    "test_store_that_does_not_exist_is_one_sentence",
]


@pytest.fixture
def harness(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    with storage_queue(tmp_path, request) as harness:
        yield harness


@pytest.fixture
def queue(harness: Harness, azurite: Azurite) -> QueueClient:
    name = harness.source.rpartition("/")[2]
    return QueueClient.from_connection_string(connection_string(azurite.queue_port, 0), name)


@each_table
def test_every_event_comes_back_as_it_was_stored(harness: Harness, queue: QueueClient, cases: dict[str, bytes]) -> None:
    bodies = list(cases.values())
    for portion in (bodies[first : first + 32] for first in range(0, len(bodies), 32)):
        events = put(harness, (parse_stored(content, NOW, "hs256:0") for content in portion))
        with open_reader(harness.source) as reader:
            found = {event.key: event for event in reader.events(Query())}
        assert len(found) == len(portion)
        for event in events:
            assert found[event.key] == replace(event, document=found[event.key].document)
        # Azurite's "clear messages" is not done when it answers.
        for message in queue.receive_messages(messages_per_page=32):
            queue.delete_message(message)


def test_large_body_is_unpacked(harness: Harness) -> None:
    put(harness, [parse_stored(b"x" * 200_000, NOW)])
    with open_reader(harness.source) as reader:
        [event] = reader.events(Query())
    assert event.body == b"x" * 200_000


def test_32_messages_are_seen_and_the_rest_is_said(harness: Harness) -> None:
    put(harness, [at(hour) for hour in range(32)])
    with open_reader(harness.source) as reader:
        assert reader.cost(Query()) is None
        put(harness, [at(hour) for hour in range(40, 48)])
        assert reader.cost(Query()) == (
            "Azure Storage shows only the next 32 messages of a queue without receiving them; this one has some 40."
        )
        found = list(reader.events(Query()))
        assert len(found) == 32
        assert not {event.key for event in found} & {at(hour).key for hour in range(40, 48)}


def test_peeked_messages_stay_visible_and_are_not_counted(harness: Harness, queue: QueueClient) -> None:
    put(harness, [at(1)])
    with open_reader(harness.source) as reader:
        for _ in range(3):
            assert len(list(reader.events(Query()))) == 1
    message = queue.receive_message()
    assert message
    assert message.dequeue_count == 1


STRANGE = {
    "empty": "",
    "text": "hello",
    "half of JSON": "{",
    "list": "[]",
    "deep": "[" * 30_000,
    "no body": '{"key": "k"}',
    "number for a body": '{"key": "k", "body": 7}',
    "number for a key": '{"key": 7, "body": "{}", "receivedAt": "2026-11-21T00:00:00Z"}',
    "no base64": '{"key": "k", "encoding": "base64", "body": "?"}',
    "no gzip": '{"key": "k", "encoding": "gzip+base64", "body": "e30="}',
    "unknown encoding": '{"key": "k", "encoding": "rot13", "body": "e30="}',
    "list for an encoding": '{"key": "k", "encoding": [], "body": "e30="}',
    "Azure's own, of base64": base64.b64encode(b'{"key": "k"}').decode(),
    "a body of 50 MB": json.dumps(
        {"key": "k", "encoding": "gzip+base64", "body": base64.b64encode(gzip.compress(bytes(45_000_000))).decode()}
    ),
}


def test_messages_of_somebody_else_end_no_listing(harness: Harness, queue: QueueClient) -> None:
    for text in STRANGE.values():
        queue.send_message(text)
    put(harness, [at(1)])
    with open_reader(harness.source) as reader:
        found = list(reader.events(Query()))
    assert [event.fault for event in found] == [FOREIGN] * len(STRANGE) + [None]


def test_wrong_key_names_the_role(harness: Harness, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", "d3Jvbmc=")
    assert "Storage Queue Data Reader" in fails(harness.source)
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    assert fails(f"{harness.source}x").startswith("Cannot find the queue")
