"""Reads the queue of the receiver in Azure Storage.

Credentials: see `readers.azure`. The role is Storage Queue Data Reader.
"""

import base64
import json
import re
from collections.abc import Iterator

from azure.storage.queue import LinearRetry, QueueClient, QueueMessage

from core.event import Event
from readers.azure import OPTIONS, reading, storage_credential, storage_place, unzipped
from readers.contract import Reader
from readers.query import Query
from readers.rows import foreign, stored

_ROLE = "Storage Queue Data Reader"
_NAME = re.compile("[a-z0-9](-?[a-z0-9]){2,62}").fullmatch
# https://learn.microsoft.com/rest/api/storageservices/peek-messages
_MAX_PEEKED = 32


class StorageQueueReader(Reader):
    """Peeks the next 32 messages, which is all that Azure Storage shows of a queue without receiving them.

    Peeked messages stay visible to consumers, and their delivery counts stay as they are.

    Args:
        client: The SDK's client of the queue; the reader closes it.
    """

    is_queue = True

    def __init__(self, client: QueueClient) -> None:
        self._client = client

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def matching(self, query: Query) -> Iterator[Event]:  # noqa: ARG002 - a queue has no conditions
        """Yield the events of the next 32 messages."""
        with reading(f"the queue {self._client.queue_name}", _ROLE):
            messages = self._client.peek_messages(max_messages=_MAX_PEEKED)
        yield from map(event_of, messages)

    def cost(self, query: Query) -> str | None:  # noqa: ARG002
        """Return which messages are not shown, if there are more than 32."""
        with reading(f"the queue {self._client.queue_name}", _ROLE):
            count = self._client.get_queue_properties().approximate_message_count or 0
        if count <= _MAX_PEEKED:
            return None
        return (
            f"Azure Storage shows only the next {_MAX_PEEKED} messages of a queue without receiving them; this one has "
            f"some {count:,}."
        )


def event_of(message: QueueMessage) -> Event:
    """Return the event in a message; `readers.rows.foreign` if the receiver did not send it."""
    text = str(message.content)
    try:
        fields = json.loads(text)
        return stored(fields["key"], _body(fields), fields.get("receivedAt"), fields.get("signedBy"))
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return foreign(message.id, text.encode(errors="replace"))


def _body(fields: dict[str, str]) -> bytes:
    match fields.get("encoding"):
        case None:
            return fields["body"].encode()
        case "base64":
            return base64.b64decode(fields["body"], validate=True)
        case "gzip+base64":
            return unzipped(base64.b64decode(fields["body"], validate=True))
        case _:
            raise ValueError("unknown encoding")


def open_reader(url: str) -> StorageQueueReader:
    """Open ``storage-queue:https://ACCOUNT.queue.core.windows.net/QUEUE``."""
    place = storage_place(url, _NAME)
    with reading(f"the queue {place.name}", _ROLE):
        client = QueueClient(
            place.endpoint,
            place.name,
            credential=storage_credential(place),
            retry_policy=LinearRetry(backoff=1, retry_total=1),
            **OPTIONS,
        )
    return StorageQueueReader(client)
