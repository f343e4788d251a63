"""Events in Table Storage."""

import base64
import json
import re
from collections.abc import Mapping
from urllib.parse import quote

from azure_functions.service import Service
from core.event import Event, rfc3339
from core.stores.contract import Outcome, StoreUnavailableError

# The characters of device ids that a partition key may contain:
# https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
_ID = re.compile("[A-Za-z0-9_-]{1,256}").fullmatch
# The largest value of a property, in bytes; an entity may have 1 MiB.
_MAX_PROPERTY = 65_536
_JSON = {"Accept": "application/json;odata=minimalmetadata", "DataServiceVersion": "3.0"}
# Without the preference, the answer to an insert contains the whole entity.
_INSERT = {**_JSON, "Content-Type": "application/json", "Prefer": "return-no-content"}


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
        table: The table of events.
    """

    def __init__(self, table: "Table") -> None:
        self._table = table

    def put(self, event: Event, deadline: float) -> Outcome:
        """Insert ``event`` unless it exists; see `core.stores.contract.Store`."""
        return Outcome.STORED if self._table.insert(_entity(event), deadline) else Outcome.DUPLICATE


class Table:
    """A table of Azure Storage.

    Args:
        service: The service of tables.
        name: The table's name.
    """

    def __init__(self, service: Service, name: str) -> None:
        self._service = service
        self._path = f"/{name}"

    def insert(self, entity: Mapping[str, object], deadline: float) -> bool:
        """Insert an entity; return False if its keys exist already.

        Raises:
            StoreUnavailableError: The insert is not confirmed, or the answer has no ETag and so is not from Azure.
        """
        body = json.dumps(entity).encode()
        answer = self._service.call("POST", self._path, deadline, body, _INSERT, "EntityAlreadyExists")
        if answer is None:
            return False
        if not answer.headers.get("ETag"):
            raise StoreUnavailableError("no ETag")
        return True

    def contains(self, partition: str, deadline: float) -> bool:
        """Return whether the entity with this partition key and an empty row key exists; errors as above."""
        key = quote(partition.replace("'", "''"), safe="")
        path = f"{self._path}(PartitionKey='{key}',RowKey='')?$select=PartitionKey"
        answer = self._service.call("GET", path, deadline, None, _JSON, "ResourceNotFound")
        if answer is None:
            return False
        try:
            found = json.loads(answer.data)
        except (ValueError, RecursionError):
            raise StoreUnavailableError("no entity") from None
        return type(found) is dict and found.get("PartitionKey") == partition


def _entity(event: Event) -> dict[str, object]:
    # A row key cannot contain "#", the separator on other platforms.
    row = f"{rfc3339(event.timestamp)}_{event.key}" if event.timestamp else event.key
    device = event.device_id if event.device_id and _ID(event.device_id) else "-"
    entity: dict[str, object] = {"PartitionKey": device, "RowKey": row, **event.attributes(), "parsed": event.parsed}
    for index, at in enumerate(range(0, max(len(event.body), 1), _MAX_PROPERTY)):
        name = f"body{index or ''}"
        entity[name] = base64.b64encode(event.body[at : at + _MAX_PROPERTY]).decode()
        entity[f"{name}@odata.type"] = "Edm.Binary"
    return entity
