"""Reads the stream of a DynamoDB table, which has what was written in the last 24 hours."""

from collections.abc import Iterator
from typing import Any

from readers.aws import reading

_NEEDS = "dynamodb:DescribeStream, dynamodb:GetShardIterator and dynamodb:GetRecords"
# By shard, the iterator to continue with; None at the end of a closed shard.
Marks = dict[str, str | None]


class MarksLostError(Exception):
    """An iterator has expired, 15 minutes after AWS gave it out, or its records are deleted."""


class Stream:
    """The shards of one stream.

    Args:
        streams: boto3's client for DynamoDB Streams.
        arn: The stream, with new images.
        name: The table.
    """

    def __init__(self, streams: Any, arn: str, name: str) -> None:
        self._streams = streams
        self._arn = arn
        self._what = f"the stream of the table {name}"

    def close(self) -> None:
        """Close the connections."""
        self._streams.close()

    def latest(self) -> Marks:
        """Return the marks after everything that is in the stream now."""
        return {shard: self._iterator(shard, "LATEST") if is_open else None for shard, is_open in self._shards()}

    def read(self, marks: Marks) -> Iterator[list[dict[str, Any]]]:
        """Yield the items that were inserted after ``marks``, and update ``marks``.

        Raises:
            MarksLostError: The stream cannot continue there.
        """
        for shard, _ in self._shards():
            if shard not in marks:
                # It began after the marks.
                marks[shard] = self._iterator(shard, "TRIM_HORIZON")
            while iterator := marks[shard]:
                answer = self._records(iterator)
                marks[shard] = answer.get("NextShardIterator")
                # Not what expires, which is a REMOVE.
                yield [one["dynamodb"]["NewImage"] for one in answer["Records"] if one["eventName"] == "INSERT"]
                if not answer["Records"]:
                    break

    def _records(self, iterator: str) -> dict[str, Any]:
        errors = self._streams.exceptions
        with reading(self._what, _NEEDS):
            try:
                answer: dict[str, Any] = self._streams.get_records(ShardIterator=iterator)
            except (errors.ExpiredIteratorException, errors.TrimmedDataAccessException):
                raise MarksLostError from None
        return answer

    def _shards(self) -> Iterator[tuple[str, bool]]:
        """Yield each shard, and whether it is open."""
        more: dict[str, str] = {}
        while True:
            with reading(self._what, _NEEDS):
                found = self._streams.describe_stream(StreamArn=self._arn, **more)["StreamDescription"]
            for shard in found["Shards"]:
                yield shard["ShardId"], "EndingSequenceNumber" not in shard["SequenceNumberRange"]
            if not found.get("LastEvaluatedShardId"):
                return
            more = {"ExclusiveStartShardId": found["LastEvaluatedShardId"]}

    def _iterator(self, shard: str, kind: str) -> str:
        with reading(self._what, _NEEDS):
            answer = self._streams.get_shard_iterator(StreamArn=self._arn, ShardId=shard, ShardIteratorType=kind)
        return str(answer["ShardIterator"])
