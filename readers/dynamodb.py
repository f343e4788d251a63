"""Reads the table of the receiver on AWS.

Credentials, region and endpoint: see `readers.aws`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from heapq import merge
from itertools import groupby
from typing import Any

from core.event import Event, read_time, rfc3339
from readers import ReaderError
from readers.aws import client, reading
from readers.contract import Batch, Reader
from readers.dynamodb_stream import Marks, MarksLostError, Stream
from readers.query import Query, event_time, newest_first, newest_of_each
from readers.rows import foreign, stored

_KEYS = {"device": "HASH", "timestampKey": "RANGE"}
_NEEDS = "dynamodb:DescribeTable, dynamodb:Query and dynamodb:Scan"
# The sort key of an event without a time begins with "-"; all others begin with a digit, and ":" follows "9".
_TIMED, _UNTIMED = ("0", ":"), ("-", ".")
# US$ for a million read units in us-east-1, on demand. https://aws.amazon.com/dynamodb/pricing/on-demand/
_PRICE = 0.125
_PRICED = "in us-east-1 (https://aws.amazon.com/dynamodb/pricing/on-demand/)"
# A unit reads 4 kB, or twice that if the read may miss the last second.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
_SCANNED = 8192
_POSITIONS = 10
_IMAGES = ("NEW_IMAGE", "NEW_AND_OLD_IMAGES")


class DynamoDbReader(Reader):
    """Reads a device's events by a query, newest first, and everything else by a scan of the whole table.

    Args:
        dynamodb: boto3's client; the reader closes it.
        name: The table.
        table: What DescribeTable says about it.
    """

    def __init__(self, dynamodb: Any, name: str, table: dict[str, Any]) -> None:
        self._dynamodb = dynamodb
        self._name = name
        self._table = table
        self._items, self._bytes = table["ItemCount"], table["TableSizeBytes"]

    def close(self) -> None:
        """Close the connections."""
        self._dynamodb.close()

    def place(self) -> str:
        """Return the table's ARN, which has region and account, and when it was made: it may have been made again."""
        return f"{self._table['TableArn']} {rfc3339(self._table['CreationDateTime'].astimezone(UTC))}"

    def matching(self, query: Query) -> Iterator[Event]:
        """Yield the events; those of one device are read in their order, others are sorted in memory."""
        if query.device_id is None:
            return newest_first(filter(query.matches, self._scan(_conditions(query))), query.limit)
        return self._of_device(query)

    def cost(self, query: Query) -> str | None:
        """Return what a scan costs, or a query that reads events of other types or labels."""
        if query.device_id is None:
            return self._scan_cost()
        if not query.event_types and not query.labels:
            return None
        return (
            "DynamoDB reads and bills also the device's events of other types and labels, some 4 to a read unit, at "
            f"{_PRICE} US$ a million units {_PRICED}."
        )

    def latest(self, query: Query) -> Iterator[Event]:
        """Yield the newest events, found among all events of the device, or of the table."""
        if query.device_id is not None:
            return super().latest(query)
        return newest_of_each(self._scan(_conditions(query)), query)

    def latest_cost(self, query: Query) -> str | None:
        """Return what `latest` costs: it reads every event of the device, or of the table."""
        if query.device_id is None:
            return self._scan_cost()
        return (
            f"DynamoDB reads and bills all events of the device, some 4 to a read unit, at {_PRICE} US$ a million "
            f"units {_PRICED}; a start time makes them fewer."
        )

    def arrived(self, since: datetime | None) -> Iterator[Event]:
        """Yield what arrived, in no order: DynamoDB has no index by arrival, so this is a scan."""
        condition = ("receivedAt >= :since", {":since": rfc3339(since)}) if since else ("", {})
        return self._scan([condition] if since else [])

    def arrived_cost(self, since: datetime | None) -> str | None:  # noqa: ARG002
        """Return what the scan costs."""
        return self._scan_cost()

    def _scan_cost(self) -> str:
        units = -(-self._bytes // _SCANNED)
        return (
            f"DynamoDB reads and bills the whole table, {self._items:,} items and {self._bytes / 1e6:,.1f} MB by its "
            f"count of the last six hours: {units:,} read units or {units * _PRICE / 1e6:.4f} US$, at {_PRICE} US$ a "
            f"million units {_PRICED}."
        )

    def _of_device(self, query: Query) -> Iterator[Event]:
        if not query.device_id:  # a key cannot be empty
            return
        since = rfc3339(query.since) if query.since else _TIMED[0]
        until = rfc3339(query.until) if query.until else _TIMED[1]
        if since > until:
            return
        timed = self._query(query, since, until)
        # Few: only what DT signed without a time.
        untimed = sorted(self._query(replace(query, limit=0), *_UNTIMED), key=event_time, reverse=True)
        # Events of one time come by descending key.
        for _, events in groupby(merge(timed, untimed, key=event_time, reverse=True), event_time):
            yield from sorted(events, key=lambda event: event.key)

    def _query(self, query: Query, first: str, last: str) -> Iterator[Event]:
        parameters = _parameters([_types(query)] if query.event_types else [])
        parameters["ExpressionAttributeValues"] |= {
            ":device": {"S": query.device_id},
            ":first": {"S": first},
            ":last": {"S": last},
        }
        return self._pages(
            self._dynamodb.query,
            # One more than is wanted shows whether the last one has others of its time.
            query.limit and query.limit + 1,
            KeyConditionExpression="device = :device AND timestampKey BETWEEN :first AND :last",
            ScanIndexForward=False,
            # Includes what was stored a moment ago, at twice a low price.
            ConsistentRead=True,
            **parameters,
        )

    def _scan(self, conditions: list[tuple[str, dict[str, str]]]) -> Iterator[Event]:
        parameters = _parameters(conditions)
        if not conditions:
            del parameters["ExpressionAttributeValues"]
        return self._pages(self._dynamodb.scan, 0, **parameters)

    def _pages(self, operation: Callable[..., dict[str, Any]], limit: int, **parameters: Any) -> Iterator[Event]:
        while True:
            if limit:
                parameters["Limit"] = limit
            with reading(f"the table {self._name}", _NEEDS):
                page = operation(TableName=self._name, **parameters)
            yield from map(_event, page["Items"])
            if not page.get("LastEvaluatedKey"):
                return
            parameters["ExclusiveStartKey"] = page["LastEvaluatedKey"]
            # A filter may leave little of each page.
            limit *= 2


class FollowingDynamoDbReader(DynamoDbReader):
    """Follows the table by its stream, within one process; a position of another process costs a scan.

    Args:
        dynamodb: As for `DynamoDbReader`; so are ``name`` and ``table``.
        name: The table.
        table: What DescribeTable says about it.
        stream: The stream; the reader closes it.
    """

    poll_seconds = 2.0

    def __init__(self, dynamodb: Any, name: str, table: dict[str, Any], stream: Stream) -> None:
        super().__init__(dynamodb, name, table)
        self._stream = stream
        # By position: the last ones, because a caller may repeat one.
        self._marks: dict[str, Marks] = {}

    def close(self) -> None:
        """Close the connections."""
        self._stream.close()
        super().close()

    def end(self) -> str:
        """Return the position after everything that is stored now."""
        return self._remembered(super().end(), self._stream.latest())

    def follow(self, position: str | None = None) -> Iterator[Batch]:
        """Yield what the stream has since a position of this reader; otherwise, what a scan finds."""
        if not position or position not in self._marks:
            yield from super().follow(position)
            return
        marks = dict(self._marks[position])
        following = super().end()
        try:
            for items in self._stream.read(marks):
                if items:
                    yield Batch([_event(item) for item in items], position)
            yield Batch((), self._remembered(following, marks))
        except MarksLostError:
            following = self.end()
            for batch in super().follow(position):
                yield Batch(batch.events, position)
            yield Batch((), following)

    def _remembered(self, position: str, marks: Marks) -> str:
        self._marks[position] = marks
        self._marks = dict(list(self._marks.items())[-_POSITIONS:])
        return position


def _types(query: Query) -> tuple[str, dict[str, str]]:
    names = {f":type{number}": name for number, name in enumerate(query.event_types)}
    return f"eventType IN ({', '.join(names)})", names


def _conditions(query: Query) -> list[tuple[str, dict[str, str]]]:
    """Return conditions on items, as expressions and their values, that every event of a query meets.

    They save transfer and time, but no read units. Events without a time are left to the query.
    """
    conditions = [_types(query)] if query.event_types else []
    if query.since:
        conditions.append(
            ("(attribute_not_exists(#timestamp) OR #timestamp >= :since)", {":since": rfc3339(query.since)})
        )
    if query.until:
        conditions.append(
            ("(attribute_not_exists(#timestamp) OR #timestamp < :until)", {":until": rfc3339(query.until)})
        )
    return conditions


def _parameters(conditions: list[tuple[str, dict[str, str]]]) -> dict[str, Any]:
    # "key" and "timestamp" are reserved words, and a name that no expression uses is an error.
    names = {"#key": "key"}
    expression = " AND ".join(text for text, _ in conditions)
    if "#timestamp" in expression:
        names["#timestamp"] = "timestamp"
    parameters: dict[str, Any] = {
        "ProjectionExpression": "#key, body, receivedAt, signedBy, timestampKey",
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": {name: {"S": value} for _, values in conditions for name, value in values.items()},
    }
    return parameters | ({"FilterExpression": expression} if expression else {})


def _event(item: dict[str, dict[str, Any]]) -> Event:
    def value(name: str, kind: str = "S") -> Any:
        return item.get(name, {}).get(kind)

    if value("key") is None:
        return foreign(value("timestampKey"), value("body", "B") or b"", read_time(value("receivedAt")))
    return stored(value("key"), value("body", "B"), value("receivedAt"), value("signedBy"))


def open_reader(url: str) -> DynamoDbReader:
    """Open ``dynamodb:TABLE``."""
    name = url.partition(":")[2].strip("/")
    dynamodb = client("dynamodb")
    try:
        with reading(f"the table {name}", _NEEDS):
            table = dynamodb.describe_table(TableName=name)["Table"]
        if {key["AttributeName"]: key["KeyType"] for key in table["KeySchema"]} != _KEYS:
            raise ReaderError(
                f"The table {name} is not the receiver's table of events. The deployment prints its name as `Table`."
            )
        if table.get("StreamSpecification", {}).get("StreamViewType") in _IMAGES:
            stream = Stream(client("dynamodbstreams"), table["LatestStreamArn"], name)
            return FollowingDynamoDbReader(dynamodb, name, table, stream)
        return DynamoDbReader(dynamodb, name, table)
    except BaseException:
        dynamodb.close()
        raise
