"""The DynamoDB store: what is written, what it costs, and which answers it refuses.

moto stands in for DynamoDB, and a server of the tests for answers that it does not give.
"""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aws_lambda.dynamodb import DynamoDbStore
from core.event import Event
from core.stores.contract import Outcome
from tests.support.aws import (
    EVENTS_KEYS,
    create_table,
    items,
)
from tests.support.deliveries import FIXTURES, body, needs_fixtures
from tests.support.events import DEVICE, KEY, POLLEN, PROJECT, cause_of, event, hashed, soon
from tests.support.loopback import DROPPED, Call, Reply, fault, in_turn, loopback
from tests.support.moto import MotoServer

ABSENT = "never-created"
EPOCH = 1_795_251_600  # `NOW` in whole seconds


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
