"""Events in a queue of Azure Storage."""

import base64
import gzip
import json

from azure.storage.queue import QueueClient

from azure_functions.service import call
from core.event import Event
from core.stores.contract import StoreUnavailableError

# https://learn.microsoft.com/azure/storage/queues/scalability-targets
_MAX_MESSAGE = 65_536


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
        client: The SDK's client of the queue.
    """

    def __init__(self, client: QueueClient) -> None:
        self._send = client.send_message

    def send(self, event: Event, deadline: float) -> None:
        """Send ``event``; see `core.stores.contract.Queue`."""
        sent = call(self._send, deadline, _message(event), time_to_live=-1)
        if sent is None or not sent.id:
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
