"""The SQS queue: what is sent, and which answers it refuses.

fauxqs stands in for SQS, and a server of the tests for answers that it does not give. moto differs from SQS in two ways
that matter here: it accepts every character, and it forgets the deduplication ids of a FIFO queue. fauxqs differs in
one: it refuses characters beyond U+FFFF.
"""

import base64
import hashlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from aws_lambda.sqs import SqsQueue
from core.event import Event
from tests.support.aws import (
    create_queue,
    messages,
    sqs_client,
)
from tests.support.deliveries import body
from tests.support.events import ATTRIBUTES, DEVICE, KEY, POLLEN, cause_of, event, soon
from tests.support.loopback import Call, Reply, in_turn, loopback, success
from tests.support.moto import MotoServer

ABSENT = "never-created"


@pytest.fixture
def sqs(fauxqs: str, aws: Any) -> Any:
    return aws(fauxqs)("sqs")


def is_sent_as(sqs: Any, content: bytes) -> tuple[str, str | None]:
    """Send an event to a new queue, and return the message's text and its ``encoding`` attribute."""
    queue = create_queue(sqs)
    SqsQueue(sqs, queue).send(event(content), soon())
    [message] = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"]
    encoding = message["MessageAttributes"].get("encoding", {}).get("StringValue")
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    [again] = messages(sqs, queue)
    assert again["body"] == content
    return message["Body"], encoding


AS_IT_IS = {
    "ordinary": body(),
    "white space": b" {}\t\r\n",
    "the edges of what XML has": "\x20\x7f\x85\ud7ff\ue000\ufdd0\ufffd".encode(),
    "one line end": b"\n",
    "looks like base64": b"e30=",
}
AS_BASE64 = {
    "NUL": b'{"a":"\0"}',
    "U+0001": b"\x01",
    "vertical tab": b"{}\x0b",
    "U+001F": b"\x1f",
    "U+FFFE": '{"a":"\ufffe"}'.encode(),
    "U+FFFF": "\uffff".encode(),
    "lone surrogate": b"\xed\xa0\x80",
    "not UTF-8": b"\xff\xfe{}",
    "UTF-16": body().decode().encode("utf-16"),
    "every byte": bytes(range(256)),
}


@pytest.mark.parametrize("content", AS_IT_IS.values(), ids=AS_IT_IS.keys())
def test_valid_text_body_is_sent_unchanged(sqs: Any, content: bytes) -> None:
    assert is_sent_as(sqs, content) == (content.decode(), None)


@pytest.mark.parametrize("content", AS_BASE64.values(), ids=AS_BASE64.keys())
def test_invalid_text_body_is_sent_as_base64(sqs: Any, content: bytes) -> None:
    assert is_sent_as(sqs, content) == (base64.b64encode(content).decode(), "base64")


def test_empty_body_is_sent_as_base64(sqs: Any) -> None:
    assert is_sent_as(sqs, b"") == ("\n", "base64")


def test_characters_beyond_the_basic_plane_are_sent_unchanged(moto: MotoServer, aws: Any) -> None:
    """Against moto: fauxqs takes each for two surrogates, and refuses them."""
    content = body(eventId="\U00010000😀\U0010ffff")
    assert is_sent_as(aws(moto.url)("sqs"), content) == (content.decode(), None)


@pytest.mark.parametrize("content", ["", *AS_BASE64.values()], ids=["empty", *AS_BASE64.keys()])
def test_sqs_refuses_invalid_text(sqs: Any, content: bytes | str) -> None:
    """Otherwise the tests above would prove nothing."""
    text = content if isinstance(content, str) else content.decode("utf-8", "surrogateescape")
    with pytest.raises(ClientError, match=r"InvalidMessageContents|MissingParameter"):
        sqs.send_message(QueueUrl=create_queue(sqs), MessageBody=text)


def test_message_attributes_are_the_fields_of_the_event(sqs: Any) -> None:
    queue = create_queue(sqs)
    SqsQueue(sqs, queue).send(event(body()), soon())
    SqsQueue(sqs, queue).send(event(POLLEN), soon())
    found = {message["key"]: message for message in messages(sqs, queue)}
    assert found.pop(KEY) == {
        **ATTRIBUTES,
        "parsed": True,
        "body": body(),
    }
    [other] = found.values()
    assert other.keys() == {"key", "eventType", "receivedAt", "signedBy", "parsed", "body"}
    assert other["parsed"] is False


def sent(aws: Any, one: Event, url: str = "http://127.0.0.1/1/q") -> dict[str, Any]:
    """Return the parameters of the SendMessage of an event, as they cross the wire."""
    with loopback(_honest) as server:
        sqs = aws(server.url)("sqs")
        SqsQueue(sqs, url).send(one, soon())
        sqs.close()
        [call] = server.calls
    assert call.operation == "SendMessage"
    parameters: dict[str, Any] = call.parameters
    return parameters


def _honest(call: Call) -> Reply:
    return success(MessageId="m", MD5OfMessageBody=hashlib.md5(call.parameters["MessageBody"].encode()).hexdigest())


def test_message_has_at_most_ten_attributes(aws: Any) -> None:
    """SQS delivers at most ten to Lambda and Pipes."""
    one = event(body().replace(b"lab", "\ufffe".encode()))
    assert one.parsed
    attributes = sent(aws, one)["MessageAttributes"]
    fields = {"key", "eventId", "eventType", "deviceId", "projectId", "timestamp", "receivedAt", "signedBy", "parsed"}
    assert attributes.keys() == fields | {"encoding"}
    assert len(attributes) <= 10
    assert {attribute["DataType"] for attribute in attributes.values()} == {"String"}
    assert all(attribute["StringValue"] for attribute in attributes.values())


@pytest.mark.parametrize(
    "answer",
    [
        success(MessageId="m", MD5OfMessageBody=hashlib.md5(b"another body").hexdigest()),
        success(MessageId="m", MD5OfMessageBody=""),
        success(MessageId="m"),
        success(),
    ],
    ids=["another", "empty", "missing", "nothing at all"],
)
def test_md5_mismatch_is_not_acknowledged(aws: Any, answer: Reply) -> None:
    with loopback(in_turn(answer)) as server:
        sqs = aws(server.url)("sqs")
        assert cause_of(SqsQueue(sqs, "http://127.0.0.1/1/q").send, event()) == "MD5OfMessageBody"
        sqs.close()


@pytest.mark.parametrize(
    ("device", "group"),
    [
        (DEVICE, DEVICE),
        ("x" * 128, "x" * 128),
        ("a!~", "a!~"),
        ("", "-"),
        ("x" * 129, "-"),
        ("ø", "-"),
        ("a b", "-"),
    ],
)
def test_fifo_group_id_and_deduplication_id(aws: Any, sqs: Any, device: str, group: str) -> None:
    content = body(targetName=None).replace(f'"deviceId":"{DEVICE}"'.encode(), f'"deviceId":"{device}"'.encode())
    one = event(content)
    assert one.device_id == (device or None)
    queue = create_queue(sqs, fifo=True)
    SqsQueue(sqs, queue).send(one, soon())
    assert [message["body"] for message in messages(sqs, queue)] == [content]
    parameters = sent(aws, one, queue)
    assert (parameters["MessageDeduplicationId"], parameters["MessageGroupId"]) == (one.key, group)


def test_standard_queue_has_no_group_id_or_deduplication_id(aws: Any) -> None:
    parameters = sent(aws, event())
    assert parameters.keys() == {"QueueUrl", "MessageBody", "MessageAttributes"}


def test_fifo_queue_drops_a_duplicate_within_five_minutes(sqs: Any) -> None:
    """Without a table of seen keys. moto would deliver both."""
    queue = create_queue(sqs, fifo=True)
    first, other = event(), event()
    for one in (first, first, other, first):
        SqsQueue(sqs, queue).send(one, soon())
    assert [message["body"] for message in messages(sqs, queue)] == [first.body, other.body]


@pytest.mark.parametrize("server", ["moto", "fauxqs"])
def test_missing_queue_is_reported_and_used_once_created(server: str, request: pytest.FixtureRequest, aws: Any) -> None:
    found = request.getfixturevalue(server)
    url = found.url if isinstance(found, MotoServer) else found
    sqs = aws(url)("sqs")
    there = create_queue(sqs_client(url))
    name = f"{ABSENT}-{server}"
    queue = SqsQueue(sqs, f"{there.rpartition('/')[0]}/{name}")
    one = event()
    assert cause_of(queue.send, one) == "AWS.SimpleQueueService.NonExistentQueue"
    created = sqs_client(url).create_queue(QueueName=name)["QueueUrl"]
    queue.send(one, soon())
    assert [message["body"] for message in messages(sqs, created)] == [one.body]
