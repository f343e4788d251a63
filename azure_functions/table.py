"""Events in Table Storage."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from azure.data.tables import TableClient

from azure_functions.service import call
from core.event import Event, rfc3339
from core.stores.contract import Outcome, StoreUnavailableError

# The characters of device ids that a partition key may contain:
# https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
_ID = re.compile("[A-Za-z0-9_-]{1,256}").fullmatch
# The largest value of a property, in bytes; an entity may have 1 MiB.
_MAX_PROPERTY = 65_536
# Without this option, the answer to an insert contains the whole entity.
NO_CONTENT = {"response_preference": "return-no-content"}


class TableStore:
    """One entity per event, inserted only if it does not exist: partition is the device, row is ``timestamp_key``.

    Durable: Insert Entity answers when the entity is written to three disks, zones or regions, by the account's
    redundancy (https://learn.microsoft.com/azure/storage/common/storage-redundancy).
    Unique: by partition and row, which depend only on the body, until the entity is deleted. A device's history is one
    partition in order of time, and any range of it is one query.
    Answers: EntityAlreadyExists means that the event exists, perhaps from an earlier attempt whose answer was lost.
    Everything else is `StoreUnavailableError` with Azure's code, after retries if the service was busy or the network
    failed.

    A body above 64 KiB is split into several properties: ``body``, ``body1`` and so on; DT's have less than 4,000
    bytes.

    Args:
        client: The SDK's client of the table.
    """

    def __init__(self, client: TableClient) -> None:
        self._create = client.create_entity

    def put(self, event: Event, deadline: float) -> Outcome:
        """Insert ``event`` unless it exists; see `core.stores.contract.Store`."""
        is_new = insert(self._create, deadline, _entity(event))
        return Outcome.STORED if is_new else Outcome.DUPLICATE


def insert(create_entity: Callable[..., Mapping[str, Any]], deadline: float, entity: Mapping[str, Any]) -> bool:
    """Insert an entity; return False if its keys exist already.

    Raises:
        StoreUnavailableError: The insert is not confirmed, or the answer has no ETag and so is not from Azure.
    """
    answer = call(create_entity, deadline, entity, none_if="EntityAlreadyExists", **NO_CONTENT)
    if answer is None:
        return False
    if not answer.get("etag"):
        raise StoreUnavailableError("no ETag")
    return True


def _entity(event: Event) -> dict[str, Any]:
    # A row key cannot contain "#", the separator on other platforms.
    row = f"{rfc3339(event.timestamp)}_{event.key}" if event.timestamp else event.key
    parts = range(0, max(len(event.body), 1), _MAX_PROPERTY)
    bodies = {f"body{index or ''}": event.body[at : at + _MAX_PROPERTY] for index, at in enumerate(parts)}
    device = event.device_id if event.device_id and _ID(event.device_id) else "-"
    return {"PartitionKey": device, "RowKey": row, **event.attributes(), "parsed": event.parsed, **bodies}
