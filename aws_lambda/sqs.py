"""Events in SQS."""

import base64
import hashlib
import re
from typing import Any

from aws_lambda.service import call
from core.event import Event
from core.stores.contract import StoreUnavailableError

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html: the characters that a
# message must not contain (and surrogates, which UTF-8 lacks), and the form of a group id.
_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]").search
_GROUP = re.compile("[!-~]{1,128}").fullmatch


class SqsQueue:
    """One message per event, with the event's body, and its fields as message attributes.

    Durable: SendMessage answers when the message is stored redundantly in several availability zones
    (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-data-protection.html); the MD5 in
    its answer is compared with the message, which botocore does not do.
    Unique: only with `core.stores.dedup.Deduplicated`. A FIFO queue uses the event key as the deduplication id, which
    drops a duplicate within 5 minutes, and delivers each device's events in the order of arrival.
    Answers: as in `aws_lambda.dynamodb.DynamoDbStore`.

    A body that SQS would reject, because it is empty or has a character that XML lacks, is sent as base64, with the
    attribute ``encoding``.

    Args:
        client: boto3's client for SQS.
        url: The queue's URL; for a FIFO queue it ends in ``.fifo``.
    """

    def __init__(self, client: Any, url: str) -> None:
        self._send = client.send_message
        self._url = url
        self._is_fifo = url.endswith(".fifo")

    def send(self, event: Event, deadline: float) -> None:
        """Send ``event``; see `core.stores.contract.Queue`."""
        text, encoding = _message(event.body)
        attributes = event.attributes() | {"parsed": "true" if event.parsed else "false"}
        if encoding:
            attributes["encoding"] = encoding
        parameters: dict[str, Any] = {}
        if self._is_fifo:
            device = event.device_id or "-"
            parameters = {"MessageDeduplicationId": event.key, "MessageGroupId": device if _GROUP(device) else "-"}
        sent = call(
            self._send,
            deadline,
            QueueUrl=self._url,
            MessageBody=text,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
            **parameters,
        )
        if sent.get("MD5OfMessageBody") != hashlib.md5(text.encode(), usedforsecurity=False).hexdigest():
            raise StoreUnavailableError("MD5OfMessageBody")


def _message(body: bytes) -> tuple[str, str | None]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = ""
    if text and not _REFUSED(text):
        return text, None
    # White space is not part of base64, so a line end represents the empty body, which SQS rejects too.
    return base64.b64encode(body).decode() or "\n", "base64"
