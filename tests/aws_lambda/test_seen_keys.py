"""The keys that were seen, in DynamoDB beside SQS: how they are kept, and sending without them."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from aws_lambda.seen_keys import DynamoDbSeenKeys
from aws_lambda.sqs import SqsQueue
from core.receiver import DEADLINE
from core.stores.contract import Outcome
from core.stores.dedup import Deduplicated
from tests.support.aws import (
    SEEN_KEYS,
    create_queue,
    create_table,
    messages,
)
from tests.support.events import event, soon
from tests.support.loopback import in_turn, loopback, success
from tests.support.moto import MotoServer, moto_server

ABSENT = "never-created"


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


@pytest.mark.long
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
