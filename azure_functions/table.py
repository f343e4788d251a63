"""Events in Table Storage."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from azure.data.tables import TableClient

from azure_functions.service import call
from core.event import Event, rfc3339
from core.stores.contract import Outcome, StoreUnavailableError

# What a partition's key can be, of what devices' ids are made of:
# https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
_ID = re.compile("[A-Za-z0-9_-]{1,256}").fullmatch
# The largest value of a property, in bytes; an entity may have 1 MiB.
_MAX_PROPERTY = 65_536
# The answer to an insert holds the whole entity, unless it is told not to.
NO_CONTENT = {"response_preference": "return-no-content"}


class TableStore:
    """One entity per event, inserted only if there is none: its partition the device, its row ``timestamp_key``.

    Durable: Insert Entity answers once the entity is written to three disks, or to more zones or regions, as the
    account's redundancy has it (https://learn.microsoft.com/azure/storage/common/storage-redundancy).
    Unique: by partition and row, which follow from the body alone, until the entity is deleted. A device's history is
    one partition in the order of time, whatever part of it is asked for.
    Answers: EntityAlreadyExists means that the event is there, perhaps from an attempt of this same call whose answer
    was lost. Everything else is `StoreUnavailableError` with Azure's code, after another try if the service was busy or
    the network failed.

    A body above 64 KiB is in several properties: ``body``, ``body1`` and so on; DT's measure below 4,000 bytes.

    Args:
        client: The SDK's client of the table.
    """

    def __init__(self, client: TableClient) -> None:
        self._create = client.create_entity

    def put(self, event: Event, deadline: float) -> Outcome:
        """Insert ``event`` unless it is there; see `core.stores.contract.Store`."""
        is_new = insert(self._create, deadline, _entity(event))
        return Outcome.STORED if is_new else Outcome.DUPLICATE


def insert(create_entity: Callable[..., Mapping[str, Any]], deadline: float, entity: Mapping[str, Any]) -> bool:
    """Insert an entity; return False if there is one with these keys already.

    Raises:
        StoreUnavailableError: It is not confirmed, or the answer is not Azure's: it has no tag of the entity.
    """
    answer = call(create_entity, deadline, entity, none_if="EntityAlreadyExists", **NO_CONTENT)
    if answer is None:
        return False
    if not answer.get("etag"):
        raise StoreUnavailableError("no ETag")
    return True


def _entity(event: Event) -> dict[str, Any]:
    # "#", which separates them elsewhere, cannot be in a row's key.
    row = f"{rfc3339(event.timestamp)}_{event.key}" if event.timestamp else event.key
    parts = range(0, max(len(event.body), 1), _MAX_PROPERTY)
    bodies = {f"body{index or ''}": event.body[at : at + _MAX_PROPERTY] for index, at in enumerate(parts)}
    device = event.device_id if event.device_id and _ID(event.device_id) else "-"
    return {"PartitionKey": device, "RowKey": row, **event.attributes(), "parsed": event.parsed, **bodies}
