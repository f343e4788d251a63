"""Reads a queue of the receiver on AWS: the receiver's own, or that of the pipe from its table.

Credentials and endpoint: see `readers.aws`. The region is the one in the queue's URL, or else the configured one.
"""

import base64
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any

from core.event import Event
from readers import ReaderError
from readers.aws import client, reading
from readers.contract import Reader
from readers.query import Query
from readers.rows import foreign, stored

_NEEDS = "sqs:ReceiveMessage and sqs:ChangeMessageVisibility"
# Seconds for which SQS hides a received message from consumers, unless it is given back before.
_HIDDEN = 300
# Seconds for receiving; the rest is for giving back.
_RECEIVING = 240
# Seconds to wait for a message. Any wait asks all of SQS's servers, so an empty answer means an empty queue.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
_WAIT = 1
# Receive calls in a row that return only messages sent after the first call: a queue may never be empty.
_LATE = 3
_BATCH = 10
_REGION = re.compile(r"https://sqs(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws|api)\.").match
_COUNTED = (
    "SQS gives out messages and takes them back: consumers do not see them until all are read, and each reading counts "
    "as a delivery, of which the queue's redrive policy allows only so many (10 in the template) before a message "
    "becomes a dead letter."
)


class SqsReader(Reader):
    """Receives messages, gives all of them back, also after an error or an interrupt, and deletes none.

    If it is killed, the messages are visible again after 5 minutes.

    Args:
        sqs: boto3's client; the reader closes it.
        url: The queue.
    """

    is_queue = True
    receiving = _COUNTED

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url
        self._thread = ThreadPoolExecutor(1)

    def close(self) -> None:
        """Close the connections."""
        self._thread.shutdown()
        self._sqs.close()

    def matching(self, query: Query) -> Iterator[Event]:
        """Yield the events, after all messages are visible to consumers again."""
        handles: dict[str, str] = {}
        try:
            found = self._received(query, handles)
        finally:
            self._give_back(list(handles.values()))
        return iter(found)

    def _received(self, query: Query, handles: dict[str, str]) -> list[Event]:
        """Return events, and add the receipt handle of each message to ``handles``, by message id."""
        found: list[Event] = []
        deadline = time.monotonic() + _RECEIVING
        begin, late = None, 0
        while late < _LATE and (not query.limit or len(found) < query.limit):
            if time.monotonic() > deadline:
                raise ReaderError(
                    f"The queue has more messages than could be received in {_RECEIVING // 60} minutes. "
                    "Read fewer with --limit, or process them with `python -m aws_lambda.worker`."
                )
            call = self._thread.submit(self._receive)
            try:
                answer = call.result()
            except KeyboardInterrupt:
                # SQS hides the messages of this call too: wait for their receipt handles.
                handles |= _handles(call.result().get("Messages", ()))
                raise
            messages = answer.get("Messages")
            if not messages:
                break
            # SQS may deliver a message twice. Only its last receipt handle is valid.
            new = [message for message in messages if message["MessageId"] not in handles]
            handles |= _handles(messages)
            found += filter(query.matches, map(event_of, new))
            begin = begin or parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
            late = late + 1 if all(_sent(message) > begin + 1 for message in messages) else 0
        return found

    def _receive(self) -> dict[str, Any]:
        with reading(f"the queue {self._url}", _NEEDS):
            answer: dict[str, Any] = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_BATCH,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["SentTimestamp"],
                VisibilityTimeout=_HIDDEN,
                WaitTimeSeconds=_WAIT,
            )
        return answer

    def _give_back(self, handles: list[str]) -> None:
        failed: list[Mapping[str, Any]] = []
        try:
            for first in range(0, len(handles), _BATCH):
                entries = [
                    {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                    for number, handle in enumerate(handles[first : first + _BATCH])
                ]
                with reading(f"the queue {self._url}", _NEEDS):
                    answer = self._sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
                failed += answer.get("Failed", ())
            if failed:
                raise ReaderError(f"SQS answers {failed[0]['Code']}.")
        except ReaderError as error:
            raise ReaderError(
                f"{error} Messages could not be given back; consumers see them again within {_HIDDEN // 60} minutes."
            ) from None


class SqsFifoReader(SqsReader):
    """Reads a FIFO queue, which gives the next messages of a device only after the first are done with."""

    receiving = f"{_COUNTED} Of a FIFO queue only the next few events of each device can be seen."


def event_of(message: Mapping[str, Any]) -> Event:
    """Return the event in a message, which the receiver sent, or the pipe; `readers.rows.foreign` in any other.

    Args:
        message: As boto3 returns it, with all message attributes.
    """
    text = message["Body"]
    attributes = {name: value.get("StringValue") for name, value in message.get("MessageAttributes", {}).items()}
    try:
        if "key" in attributes:
            body = base64.b64decode(text) if attributes.get("encoding") == "base64" else text.encode()
        else:
            # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-input-transformation.html
            attributes = json.loads(text)
            body = base64.b64decode(attributes["bodyBase64"])
        return stored(attributes["key"], body, attributes.get("receivedAt"), attributes.get("signedBy"))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return foreign(message["MessageId"], text.encode(errors="replace"))


def region_of(url: str) -> str | None:
    """Return the region in the URL of a queue, if there is one."""
    found = _REGION(url)
    return found and found[1]


def _handles(messages: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {message["MessageId"]: message["ReceiptHandle"] for message in messages}


def _sent(message: Mapping[str, Any]) -> float:
    return int(message.get("Attributes", {}).get("SentTimestamp", 0)) / 1000


def open_reader(url: str) -> SqsReader:
    """Open ``sqs:URL``."""
    url = url.partition(":")[2]
    if not url.startswith(("https://", "http://")):
        raise ReaderError(
            "Name the queue by its URL: sqs:https://sqs.REGION.amazonaws.com/ACCOUNT/NAME. The deployment prints it "
            "as `QueueUrl`."
        )
    kind = SqsFifoReader if url.endswith(".fifo") else SqsReader
    return kind(client("sqs", region_of(url)), url)
