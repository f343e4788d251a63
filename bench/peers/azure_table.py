"""An insert by azure-data-tables."""

import os

from azure.core.exceptions import ResourceExistsError
from azure.data.tables import TableClient

from bench.peers.signed import verified

_table = TableClient.from_connection_string(os.environ["DT_STORAGE"], "events")


def handle(token: str, body: bytes) -> None:
    """Store one delivery."""
    document = verified(token, body)
    keys = {"PartitionKey": document["metadata"]["deviceId"], "RowKey": document["event"]["eventId"]}
    try:
        _table.create_entity({**keys, "body": body})
    except ResourceExistsError:
        pass
