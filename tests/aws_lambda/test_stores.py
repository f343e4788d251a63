"""The DynamoDB and SQS stores: what is written, what it costs, and what each refuses.

moto stands in for DynamoDB, fauxqs for SQS, and a server of the tests for answers that neither gives. moto differs from
SQS in two ways that matter here: it accepts every character, and it forgets the deduplication ids of a FIFO queue.
fauxqs differs in one: it refuses characters beyond U+FFFF.
"""

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from aws_lambda.dynamodb import DynamoDbStore
from aws_lambda.seen_keys import DynamoDbSeenKeys
from aws_lambda.service import client
from aws_lambda.sqs import SqsQueue
from core.event import Event
from core.receiver import DEADLINE
from core.stores.contract import Outcome
from core.stores.dedup import Deduplicated
from tests.support.aws import (
    EVENTS_KEYS,
    SEEN_KEYS,
    create_queue,
    create_table,
    environment,
    items,
    messages,
    sqs_client,
)
from tests.support.deliveries import FIXTURES, body, needs_fixtures
from tests.support.events import ATTRIBUTES, DEVICE, KEY, POLLEN, PROJECT, cause_of, event, hashed, soon
from tests.support.loopback import DROPPED, Call, Reply, fault, in_turn, loopback, success
from tests.support.moto import MotoServer, moto_server

EPOCH = 1_795_251_600  # the same, in whole seconds
ABSENT = "never-created"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable[[str], Any]]:
    """Return a factory of clients, as the function makes them, for the server at an address."""

    def at(url: str) -> Callable[[str], Any]:
        for name, value in environment(url).items():
            monkeypatch.setenv(name, value)
        return client

    return at


# DynamoDB.


@pytest.fixture
def dynamodb(moto: MotoServer, aws: Any) -> Any:
    return aws(moto.url)("dynamodb")


@pytest.fixture
def table(moto: MotoServer) -> str:
    return create_table(moto.client("dynamodb"), EVENTS_KEYS)


def stored(dynamodb: Any, table: str, one: Event, keep_days: int = 30) -> dict[str, Any]:
    """Put an event into an empty table, and return its item as DynamoDB has it."""
    assert DynamoDbStore(dynamodb, table, keep_days).put(one, soon()) == Outcome.STORED
    [item] = dynamodb.scan(TableName=table, ConsistentRead=True)["Items"]
    return dict(item)


def test_item_attributes(dynamodb: Any, table: str) -> None:
    one = event(body())
    assert stored(dynamodb, table, one) == {
        "device": {"S": DEVICE},
        "timestampKey": {"S": f"2024-05-29T10:34:03.970415Z#{KEY}"},
        "key": {"S": KEY},
        "eventId": {"S": "cpbg96qngr7ai7ldarrg"},
        "eventType": {"S": "temperature"},
        "deviceId": {"S": DEVICE},
        "projectId": {"S": PROJECT},
        "timestamp": {"S": "2024-05-29T10:34:03.970415Z"},
        "receivedAt": {"S": "2026-11-21T09:00:00.123456Z"},
        "signedBy": {"S": "unknown"},
        "parsed": {"BOOL": True},
        "body": {"B": one.body},
        "expiresAt": {"N": str(EPOCH + 30 * 86_400)},
    }


def test_item_without_expiry(dynamodb: Any, table: str) -> None:
    assert "expiresAt" not in stored(dynamodb, table, event(), keep_days=0)


def test_missing_fields_are_left_out_of_the_item(dynamodb: Any, table: str) -> None:
    assert stored(dynamodb, table, event(POLLEN), keep_days=0) == {
        "device": {"S": "-"},
        "timestampKey": {"S": f"-#{hashed(POLLEN)}"},
        "key": {"S": hashed(POLLEN)},
        "eventType": {"S": "pollen"},
        "receivedAt": {"S": "2026-11-21T09:00:00.123456Z"},
        "signedBy": {"S": "unknown"},
        "parsed": {"BOOL": False},
        "body": {"B": POLLEN},
    }


def test_ping_without_device_has_partition_key_dash(dynamodb: Any, table: str) -> None:
    ping = {"eventType": "ping", "data": {}, "targetName": f"projects/{PROJECT}"}
    one = event(body(**ping).replace(f'"deviceId":"{DEVICE}"'.encode(), b'"deviceId":""'))
    item = stored(dynamodb, table, one)
    assert item["device"] == {"S": "-"}
    assert item["timestampKey"] == {"S": f"2024-05-29T10:34:03.970415Z#{one.key}"}
    assert "deviceId" not in item
    assert (item["projectId"], item["parsed"]) == ({"S": PROJECT}, {"BOOL": True})


def size(item: dict[str, dict[str, Any]]) -> int:
    """Count the bytes of an item as DynamoDB does.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    total = 0
    for name, attribute in item.items():
        [(kind, value)] = attribute.items()
        total += len(name.encode())
        match kind:
            case "S":
                total += len(value.encode())
            case "B":
                total += len(value)
            case "N":
                total += (len(value.strip("0")) + 1) // 2 + 1
            case "BOOL":
                total += 1
            case _:
                raise AssertionError(kind)
    return total


def test_event_costs_one_write_unit(dynamodb: Any, table: str) -> None:
    """A unit is 1 KB; one byte more would double the price of every event."""
    assert size(stored(dynamodb, table, event(body()))) <= 1024


@needs_fixtures
def test_captured_temperature_costs_one_write_unit(dynamodb: Any, table: str) -> None:
    content = (FIXTURES / "bodies" / "temperature.json").read_bytes()
    assert size(stored(dynamodb, table, event(content))) <= 1024


def test_device_history_is_one_query_ordered_by_time(dynamodb: Any, table: str) -> None:
    store = DynamoDbStore(dynamodb, table, 0)
    start = datetime(2024, 5, 29, 23, 59, 59, 999_998, tzinfo=UTC)
    times = [start + timedelta(microseconds=step) for step in (3, 0, 2_000_000, 1, 2)]
    for time_ in times:
        written = time_.isoformat().replace("+00:00", "Z")
        assert store.put(event(body(eventId=written.replace(":", "-"), timestamp=written)), soon()) == Outcome.STORED
    other = body(metadata=None).replace(DEVICE.encode(), b"another")
    assert store.put(event(other), soon()) == Outcome.STORED
    found = dynamodb.query(
        TableName=table,
        KeyConditionExpression="device = :device",
        ExpressionAttributeValues={":device": {"S": DEVICE}},
    )["Items"]
    assert [datetime.fromisoformat(item["timestamp"]["S"]) for item in found] == sorted(times)
    between = dynamodb.query(
        TableName=table,
        KeyConditionExpression="device = :device AND timestampKey >= :since",
        ExpressionAttributeValues={":device": {"S": DEVICE}, ":since": {"S": "2024-05-30"}},
    )["Items"]
    assert [item["timestamp"]["S"] for item in between] == [
        "2024-05-30T00:00:00.000000Z",
        "2024-05-30T00:00:00.000001Z",
        "2024-05-30T00:00:01.999998Z",
    ]


def test_lost_answer_is_not_stored_twice(aws: Any) -> None:
    """The server stores the first item and drops the connection; the retry finds it there."""
    table: dict[tuple[str, str], Any] = {}

    def answering(call: Call) -> Reply | None:
        item = call.parameters["Item"]
        key = (item["device"]["S"], item["timestampKey"]["S"])
        assert call.operation == "PutItem"
        assert call.parameters["ConditionExpression"] == "attribute_not_exists(device)"
        if key in table:
            return fault("ConditionalCheckFailedException", message="The conditional request failed")
        table[key] = item
        return DROPPED

    one = event()
    with loopback(answering) as server:
        dynamodb = aws(server.url)("dynamodb")
        assert DynamoDbStore(dynamodb, "t", 30).put(one, soon()) == Outcome.DUPLICATE
        assert len(server.calls) == 2
        dynamodb.close()
    [item] = table.values()
    assert base64.b64decode(item["body"]["B"]) == one.body


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (Reply(200, b"{}", {"x-amzn-RequestId": ""}), "no RequestId"),
        (Reply(200, b"", {"x-amzn-RequestId": ""}), "no RequestId"),
        (Reply(409, b"<p>ConditionalCheckFailedException", {"Content-Type": "text/html"}), "409"),
        (fault("TransactionConflictException"), "TransactionConflictException"),
    ],
)
def test_answer_of_a_middlebox_is_neither_stored_nor_duplicate(reply: Reply, cause: str, aws: Any) -> None:
    with loopback(in_turn(reply)) as server:
        dynamodb = aws(server.url)("dynamodb")
        assert cause_of(DynamoDbStore(dynamodb, "t", 30).put, event()) == cause
        dynamodb.close()


def test_missing_table_is_reported_and_used_once_created(moto: MotoServer, dynamodb: Any) -> None:
    store, one, name = DynamoDbStore(dynamodb, f"{ABSENT}-events", 30), event(), f"{ABSENT}-events"
    assert cause_of(store.put, one) == "ResourceNotFoundException"
    create_table(moto.client("dynamodb"), EVENTS_KEYS, name)
    assert store.put(one, soon()) == Outcome.STORED
    assert [item["body"] for item in items(dynamodb, name)] == [one.body]


# SQS.


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


# The keys that were seen.


@pytest.fixture
def seen(moto: MotoServer) -> str:
    return create_table(moto.client("dynamodb"), SEEN_KEYS)


def test_marked_key_is_seen(dynamodb: Any, seen: str) -> None:
    keys = DynamoDbSeenKeys(dynamodb, seen, 30)
    assert keys.contains("a.b.c", soon()) is False
    before = int(time.time())
    keys.mark("a.b.c", soon())
    keys.mark("a.b.c", soon())
    assert keys.contains("a.b.c", soon()) is True
    assert keys.contains("a.b.d", soon()) is False
    [item] = dynamodb.scan(TableName=seen)["Items"]
    assert item.keys() == {"key", "expiresAt"}
    assert item["key"] == {"S": "a.b.c"}
    assert before <= int(item["expiresAt"]["N"]) - 30 * 86_400 <= time.time()


def test_seen_key_without_expiry(dynamodb: Any, seen: str) -> None:
    DynamoDbSeenKeys(dynamodb, seen, 0).mark("a.b.c", soon())
    assert dynamodb.scan(TableName=seen)["Items"] == [{"key": {"S": "a.b.c"}}]


def test_seen_key_is_read_consistently(aws: Any) -> None:
    """Otherwise an immediate duplicate could be sent too; no server here has the delay that would show it."""
    with loopback(in_turn(success())) as server:
        dynamodb = aws(server.url)("dynamodb")
        assert DynamoDbSeenKeys(dynamodb, "t", 0).contains("a.b.c", soon()) is False
        dynamodb.close()
        [call] = server.calls
    assert call.operation == "GetItem"
    assert call.parameters == {"TableName": "t", "Key": {"key": {"S": "a.b.c"}}, "ConsistentRead": True}


@pytest.mark.parametrize("item", [None, {}, {"expiresAt": {"N": "1"}}, {"key": {"S": "a.b.d"}}])
def test_other_item_is_not_a_seen_key(item: object, aws: Any) -> None:
    with loopback(in_turn(success(Item=item))) as server:
        dynamodb = aws(server.url)("dynamodb")
        assert DynamoDbSeenKeys(dynamodb, "t", 0).contains("a.b.c", soon()) is False
        dynamodb.close()


@pytest.fixture
def queue(moto: MotoServer) -> str:
    return create_queue(moto.client("sqs"))


def test_missing_table_of_seen_keys_is_reported_and_the_event_is_sent(moto: MotoServer, aws: Any, queue: str) -> None:
    make, name = aws(moto.url), f"{ABSENT}-keys"
    sqs, dynamodb = make("sqs"), make("dynamodb")
    store = Deduplicated(SqsQueue(sqs, queue), DynamoDbSeenKeys(dynamodb, name, 30))
    one = event()
    outcome = store.put(one, soon())
    assert outcome == Outcome.STORED
    missing = "ResourceNotFoundException"
    assert outcome.note == f"look-up failed: {missing}, mark failed: {missing}"
    create_table(moto.client("dynamodb"), SEEN_KEYS, name)
    again = event(one.body)
    outcomes = [store.put(again, soon()), store.put(again, soon())]
    assert [(outcome.name, outcome.note) for outcome in outcomes] == [("stored", None), ("duplicate", None)]
    assert [message["body"] for message in messages(sqs, queue)] == [one.body] * 2


@pytest.fixture
def frozen(moto: MotoServer) -> Iterator[str]:
    """The address of a server that accepts requests and answers none."""
    with moto_server() as server:
        server.freeze()
        yield server.url


def test_timeout_of_seen_keys_still_sends_the_event_in_time(
    moto: MotoServer, frozen: str, aws: Any, queue: str
) -> None:
    dynamodb, sqs = aws(frozen)("dynamodb"), aws(moto.url)("sqs")
    store = Deduplicated(SqsQueue(sqs, queue), DynamoDbSeenKeys(dynamodb, "t", 30))
    one = event()
    started = time.monotonic()
    outcome = store.put(one, started + DEADLINE)
    assert outcome == Outcome.STORED
    assert time.monotonic() - started < DEADLINE
    assert outcome.note == "look-up failed: ReadTimeoutError, mark failed: ReadTimeoutError"
    assert [message["body"] for message in messages(sqs, queue)] == [one.body]
