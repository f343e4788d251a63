"""Events in a queue of Azure Storage."""

import base64
import gzip
import json
import re
from xml.sax.saxutils import escape

from azure_functions.service import Service
from core.event import Event
from core.stores.contract import StoreUnavailableError

# https://learn.microsoft.com/azure/storage/queues/scalability-targets
_MAX_MESSAGE = 65_536
_HEADERS = {"Content-Type": "application/xml", "Accept": "application/xml"}
# All of it, because only its end shows that nothing is missing.
_QUEUED = re.compile(rb".*<MessageId>[^<]+</MessageId>.*</QueueMessagesList>\s*", re.DOTALL).fullmatch


class StorageQueue:
    """One message per event: a JSON object with the event's fields and its body.

    Durable: Put Message answers when the message is written to three disks, zones or regions, by the account's
    redundancy (https://learn.microsoft.com/azure/storage/common/storage-redundancy).
    Unique: only with `core.stores.dedup.Deduplicated`; each message carries its event's key.
    Answers: everything except created is `StoreUnavailableError` with Azure's code, after retries if the service was
    busy or the network failed.

    ``body`` is the text that DT signed. A body that is not UTF-8 is base64, and one that is too large is compressed
    first; ``encoding`` is then ``base64`` or ``gzip+base64``. A body that is still too large fails: 48 KiB that cannot
    be compressed; DT's events have less than 4 KB. A message stays until it is deleted; the default would be 7 days.

    Args:
        service: The service of queues.
        queue: The queue's name.
    """

    def __init__(self, service: Service, queue: str) -> None:
        self._service = service
        # Without this time to live, a message is deleted after 7 days.
        self._path = f"/{queue}/messages?messagettl=-1"

    def send(self, event: Event, deadline: float) -> None:
        """Send ``event``; see `core.stores.contract.Queue`."""
        body = f"<QueueMessage><MessageText>{escape(_message(event))}</MessageText></QueueMessage>".encode()
        answer = self._service.call("POST", self._path, deadline, body, _HEADERS)
        if answer is None or answer.status != 201 or not _QUEUED(answer.data):
            raise StoreUnavailableError("no MessageId")


def _message(event: Event) -> str:
    fields: dict[str, object] = event.attributes() | {"parsed": event.parsed}
    try:
        message = json.dumps(fields | {"body": event.body.decode()})
    except UnicodeDecodeError:
        message = json.dumps(fields | {"encoding": "base64", "body": _base64(event.body)})
    if len(message) > _MAX_MESSAGE:
        packed = _base64(gzip.compress(event.body, mtime=0))
        message = json.dumps(fields | {"encoding": "gzip+base64", "body": packed})
    if len(message) > _MAX_MESSAGE:
        raise StoreUnavailableError("too large for a queue of Azure Storage")
    return message


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
