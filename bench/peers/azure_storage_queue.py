"""A message by azure-storage-queue, between a look-up and an insert by azure-data-tables."""

import os

from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import TableClient
from azure.storage.queue import QueueClient

from bench.peers.signed import verified

_queue = QueueClient.from_connection_string(os.environ["DT_STORAGE"], "events")
_seen = TableClient.from_connection_string(os.environ["DT_STORAGE"], "seenKeys")


def handle(token: str, body: bytes) -> None:
    """Send one delivery, unless it was sent before."""
    key = verified(token, body)["event"]["eventId"]
    try:
        _seen.get_entity(key, "")
    except ResourceNotFoundError:
        _queue.send_message(body.decode())
        _seen.create_entity({"PartitionKey": key, "RowKey": ""})
