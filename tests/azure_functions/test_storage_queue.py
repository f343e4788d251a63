"""The Azure Storage queue: messages, encoding and the size limit.

Against Azurite, Microsoft's emulator; a server of the tests gives the answers that Azurite cannot.
"""

import base64
import gzip
import json
import os
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.storage.queue import QueueClient

from azure_functions.service import connect
from azure_functions.storage_queue import StorageQueue
from core.event import Event
from core.receiver import DEADLINE
from core.stores.contract import StoreUnavailableError
from tests.support.azurite import Azurite, Storage, connection_string
from tests.support.deliveries import body
from tests.support.events import ATTRIBUTES, POLLEN, POLLEN_ATTRIBUTES, event, soon
from tests.support.loopback import Reply, in_turn, loopback

LIMIT = 65_536


def cause_of(queue: StorageQueue, one: Event | None = None, seconds: float = DEADLINE) -> str:
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        queue.send(one or event(), started + seconds)
    assert time.monotonic() - started < DEADLINE
    return caught.value.reason


@pytest.fixture
def there(azurite: Azurite) -> Storage:
    return Storage(azurite)


def client(server: Azurite, name: str) -> QueueClient:
    """Return the SDK's client, which reads."""
    return QueueClient.from_connection_string(connection_string(server.queue_port, 0), name)


def connected(port: int, name: str) -> StorageQueue:
    return StorageQueue(connect(connection_string(port, 0), "queue", None), name)


@pytest.fixture
def queue(azurite: Azurite, there: Storage) -> StorageQueue:
    return connected(azurite.queue_port, there.queue)


@pytest.fixture
def message(azurite: Azurite, there: Storage, queue: StorageQueue) -> Any:
    """Send an event to the empty queue, and return its message."""

    def message(one: Event) -> Any:
        queue.send(one, soon())
        [peeked] = client(azurite, there.queue).peek_messages(max_messages=32)
        return peeked

    return message


def test_message_is_json_with_the_body_and_the_fields_of_the_event(message: Any) -> None:
    """As ASCII JSON: the message is text in XML."""
    content = message(event(body())).content
    assert content.isascii()
    assert json.loads(content) == {
        **ATTRIBUTES,
        "parsed": True,
        "body": body().decode(),
    }


def test_missing_fields_are_left_out_of_the_message(message: Any) -> None:
    one = event(POLLEN)
    assert json.loads(message(one).content) == {
        **POLLEN_ATTRIBUTES,
        "parsed": False,
        "body": POLLEN.decode(),
    }


def test_message_never_expires_and_is_visible_at_once(message: Any) -> None:
    assert message(event()).expires_on == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_binary_body_is_base64(message: Any) -> None:
    found = json.loads(message(event(b"\xff\xfe\0\x80")).content)
    assert (found["encoding"], found["body"]) == ("base64", base64.b64encode(b"\xff\xfe\0\x80").decode())


SPOILT = {
    "XML": "<QueueMessage>&amp;]]><![CDATA[",
    "escaped XML": "&lt;",
    "control characters": "\0\1\b\x0b\x1f\x7f\x85\u2028\ufffe\uffff",
    "white space": " \t\r\n leading",
    "beyond ASCII": "\U0001f321 °C å",
    "JSON": '"\\',
}


@pytest.mark.parametrize("text", SPOILT.values(), ids=SPOILT.keys())
def test_text_that_xml_cannot_hold_survives(text: str, message: Any) -> None:
    found = json.loads(message(event(text.encode())).content)
    assert "encoding" not in found
    assert found["body"] == text


# Sizes.


def envelope(content: bytes) -> int:
    """Return the length of what is around a body."""
    one = event(content)
    return len(json.dumps({**one.attributes(), "parsed": False, "body": ""}))


def test_message_of_the_maximum_size_is_sent_unchanged(message: Any) -> None:
    content = b"x" * (LIMIT - envelope(b"x"))
    found = message(event(content)).content
    assert len(found) == LIMIT
    assert "encoding" not in json.loads(found)


def test_message_one_byte_above_the_limit_is_compressed(message: Any) -> None:
    content = b"x" * (LIMIT - envelope(b"x") + 1)
    found = json.loads(message(event(content)).content)
    assert found["encoding"] == "gzip+base64"
    packed = base64.b64decode(found["body"])
    assert packed == gzip.compress(content, mtime=0)
    assert packed[4:8] == bytes(4)


def test_size_limit_counts_json_escapes(message: Any) -> None:
    """A character of two bytes takes six in ASCII."""
    content = ("å" * 20_000).encode()
    assert len(content) < LIMIT
    assert json.loads(message(event(content)).content)["encoding"] == "gzip+base64"


def test_too_large_message_is_refused_and_not_sent(there: Storage) -> None:
    with loopback(in_turn(Reply(500))) as server:
        refusing = connected(server.server_port, "events")
        assert cause_of(refusing, event(os.urandom(49_200))) == "too large for a queue of Azure Storage"
        assert server.calls == []


def test_incompressible_body_of_48_kib_fits(message: Any) -> None:
    content = os.urandom(48_800)
    found = json.loads(message(event(content)).content)
    assert found["encoding"] == "base64"
    assert base64.b64decode(found["body"]) == content


# Answers.


@pytest.fixture
def answered() -> Any:
    """Send to a server that answers this; return the cause and the calls."""

    def answered(reply: Reply | None, seconds: float = DEADLINE) -> tuple[str, list[Any]]:
        with loopback(in_turn(reply)) as server:
            return cause_of(connected(server.server_port, "events"), seconds=seconds), server.calls

    return answered


def xml(content: str) -> Reply:
    return Reply(201, f"<?xml version='1.0'?>{content}".encode(), {"Content-Type": "application/xml"})


@pytest.mark.parametrize(
    "reply",
    [
        Reply(201, b""),
        Reply(201, b"{}"),
        Reply(201, b'{"MessageId":"m"}'),
        Reply(200, b"<html>log in</html>", {"Content-Type": "text/html"}),
        xml("<a/>"),
        xml("<QueueMessagesList/>"),
        xml("<QueueMessagesList><QueueMessage/></QueueMessagesList>"),
        xml("<QueueMessagesList><QueueMessage><MessageId/></QueueMessage></QueueMessagesList>"),
        xml("<QueueMessagesList><QueueMessage><MessageId>m</MessageId>"),
        Reply(204, b""),
    ],
)
def test_answer_without_a_message_id_is_not_acknowledged(reply: Reply, answered: Any) -> None:
    """A proxy between us and Azure might answer so."""
    assert answered(reply)[0]


def test_put_message_request_sets_only_the_ttl(answered: Any) -> None:
    _, [call] = answered(Reply(403))
    assert call.method == "POST"
    assert call.path == "/devstoreaccount1/events/messages?messagettl=-1"


def test_missing_queue_is_reported_and_used_once_created(azurite: Azurite) -> None:
    name = f"q{os.urandom(8).hex()}"
    queue = connected(azurite.queue_port, name)
    assert cause_of(queue) == "QueueNotFound"
    client(azurite, name).create_queue()
    queue.send(event(), soon())


# Azurite away, and back. What it had is of no matter here: killed early it loses its queues and tables.
