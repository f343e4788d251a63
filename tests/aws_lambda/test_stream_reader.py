"""Following a table by its stream.

moto stands in for DynamoDB and its streams, with one shard that never closes; a server of the tests gives other shards,
and the errors.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aws_lambda.dynamodb import DynamoDbStore
from core.event import Event
from readers import ReaderError
from readers.contract import Batch, Reader
from readers.sources import open_reader
from tests.aws_lambda.reading import before, timed
from tests.support.aws import EVENTS_KEYS, create_table
from tests.support.events import event, soon
from tests.support.loopback import Call, Reply, fault, loopback, success
from tests.support.moto import MotoServer


@pytest.fixture
def table(moto: MotoServer, dynamodb: Any) -> str:
    name = create_table(moto.client("dynamodb"), EVENTS_KEYS)
    dynamodb.update_table(TableName=name, StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"})
    return name


def put(dynamodb: Any, table: str, *events: Event) -> None:
    for one in events:
        DynamoDbStore(dynamodb, table, 0).put(one, soon())


def ids(batches: Iterable[Batch]) -> list[str | None]:
    return [one.event_id for batch in batches for one in batch.events]


def look(reader: Reader, position: str) -> tuple[list[str | None], str]:
    """Follow once; return the events' ids and the position after them."""
    batches = list(reader.follow(position))
    return ids(batches), batches[-1].position


def test_stream_gives_what_arrives_without_a_scan(moto: MotoServer, dynamodb: Any, table: str, aws: Any) -> None:
    put(dynamodb, table, timed(1), timed(2))
    with loopback(before(moto, lambda call: None)) as server:
        aws(server.url)
        with open_reader(f"dynamodb:{table}") as reader:
            assert reader.poll_seconds == 2.0
            end = reader.end()
            assert look(reader, end)[0] == []
            late = timed(9)
            put(dynamodb, table, late)
            found, position = look(reader, end)
            assert found == ["e9"]
            # The same position again gives the same.
            assert look(reader, end)[0] == ["e9"]
            found, position = look(reader, position)
            assert found == []
            put(dynamodb, table, timed(10))
            dynamodb.delete_item(
                TableName=table, Key={"device": {"S": late.device_id}, "timestampKey": {"S": _sort_key(late)}}
            )
            assert look(reader, position)[0] == ["e10"]
        assert {call.operation for call in server.calls} == {
            *("DescribeTable", "DescribeStream", "GetShardIterator", "GetRecords")
        }


def _sort_key(one: Event) -> str:
    return f"{one.attributes()['timestamp']}#{one.key}"


def test_event_of_the_stream_is_as_it_was_stored(dynamodb: Any, table: str) -> None:
    one = event()
    with open_reader(f"dynamodb:{table}") as reader:
        end = reader.end()
        put(dynamodb, table, one)
        assert [found for batch in reader.follow(end) for found in batch.events] == [one]


def test_position_of_another_process_costs_a_scan(dynamodb: Any, table: str) -> None:
    with open_reader(f"dynamodb:{table}") as reader:
        position = reader.end()
    # It arrives now, as the watermark of a scan is a time of arrival.
    put(dynamodb, table, event(received_at=datetime.now(UTC)))
    with open_reader(f"dynamodb:{table}") as reader:
        found, _ = look(reader, position)
        assert len(found) == 1


@pytest.mark.parametrize("code", ["ExpiredIteratorException", "TrimmedDataAccessException"])
def test_lost_place_costs_a_scan_and_then_the_stream_goes_on(
    moto: MotoServer, dynamodb: Any, table: str, aws: Any, code: str
) -> None:
    lost = [True]

    def losing(call: Call) -> Reply | None:
        return fault(code) if call.operation == "GetRecords" and lost.pop() else None

    with loopback(before(moto, losing)) as server:
        aws(server.url)
        with open_reader(f"dynamodb:{table}") as reader:
            end = reader.end()
            put(dynamodb, table, event(received_at=datetime.now(UTC)))
            found, position = look(reader, end)
            assert len(found) == 1
            lost += [False] * 9
            put(dynamodb, table, timed(1))
            assert look(reader, position)[0] == ["e1"]
        assert [call.operation for call in server.calls].count("Scan") == 1


def test_shards_that_close_and_begin_are_read_to_their_end(aws: Any) -> None:
    """Two pages of shards: a closed one, an open one that closes, and later its child."""
    keys = [{"AttributeName": name, "KeyType": kind} for name, kind in EVENTS_KEYS.items()]
    table = {
        "KeySchema": keys,
        "ItemCount": 0,
        "TableSizeBytes": 0,
        "LatestStreamArn": "arn:aws:dynamodb:eu-north-1:123456789012:table/t/stream/now",
    }
    table["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    closed: dict[str, Any] = {"SequenceNumberRange": {"StartingSequenceNumber": "1", "EndingSequenceNumber": "2"}}
    is_open: dict[str, Any] = {"SequenceNumberRange": {"StartingSequenceNumber": "1"}}
    shards = [
        {"ShardId": "shardId-0000000000000000000-old", **closed},
        {"ShardId": "shardId-0000000000000000000-parent", **is_open},
    ]
    left = {"shardId-0000000000000000000-parent": ["p1", "p2"], "shardId-0000000000000000000-child": ["c1"]}

    def answering(call: Call) -> Reply:
        match call.operation:
            case "DescribeTable":
                return success(Table=table)
            case "DescribeStream":
                first = call.parameters.get("ExclusiveStartShardId")
                number = 1 + next((n for n, shard in enumerate(shards) if shard["ShardId"] == first), -1)
                more = {"LastEvaluatedShardId": shards[number]["ShardId"]} if number + 1 < len(shards) else {}
                return success(StreamDescription={"Shards": shards[number : number + 1], **more})
            case "GetShardIterator":
                return success(ShardIterator=f"{call.parameters['ShardId']} {call.parameters['ShardIteratorType']}")
            case "GetRecords":
                shard = call.parameters["ShardIterator"].split()[0]
                images = [{"key": {"S": left[shard].pop(0)}, "timestampKey": {"S": "t"}}] if left[shard] else []
                records = [{"eventName": "INSERT", "dynamodb": {"NewImage": image}} for image in images]
                # The parent ends with its last record.
                ends = shard == "shardId-0000000000000000000-parent" and not left[shard]
                return success(Records=records, **({} if ends else {"NextShardIterator": f"{shard} next"}))
        raise AssertionError(call.operation)

    def keys_of(position: str) -> tuple[list[str], str]:
        batches = list(reader.follow(position))
        return [one.key for batch in batches for one in batch.events], batches[-1].position

    with loopback(answering) as server:
        aws(server.url)
        with open_reader("dynamodb:t") as reader:
            position = reader.end()
            shards.append({"ShardId": "shardId-0000000000000000000-child", **is_open})
            found, position = keys_of(position)
            assert found == ["p1", "p2", "c1"]
            assert keys_of(position)[0] == []
    asked = [call.parameters for call in server.calls if call.operation == "GetShardIterator"]
    assert [(one["ShardId"], one["ShardIteratorType"]) for one in asked] == [
        ("shardId-0000000000000000000-parent", "LATEST"),
        ("shardId-0000000000000000000-child", "TRIM_HORIZON"),
    ]


def test_stream_that_may_not_be_read_is_one_sentence(moto: MotoServer, table: str, aws: Any) -> None:
    def denying(call: Call) -> Reply | None:
        return fault("AccessDeniedException") if call.operation == "DescribeStream" else None

    with loopback(before(moto, denying)) as server:
        aws(server.url)
        with open_reader(f"dynamodb:{table}") as reader, pytest.raises(ReaderError) as caught:
            reader.end()
    assert str(caught.value) == (
        f"AWS denies reading the stream of the table {table}: AccessDeniedException. Log in to the right account; you "
        "need dynamodb:DescribeStream, dynamodb:GetShardIterator and dynamodb:GetRecords."
    )


def test_table_without_a_stream_cannot_be_followed(moto: MotoServer, dynamodb: Any) -> None:
    name = create_table(moto.client("dynamodb"), EVENTS_KEYS)
    with open_reader(f"dynamodb:{name}") as reader:
        assert reader.poll_seconds is None
        end = reader.end()
        put(dynamodb, name, event(received_at=datetime.now(UTC) - timedelta(seconds=1)))
        assert len(look(reader, end)[0]) == 1
