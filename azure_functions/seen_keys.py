"""The keys of sent events, in Table Storage."""

from azure.data.tables import TableClient

from azure_functions.service import call
from azure_functions.table import insert


class TableSeenKeys:
    """One entity per event key: the partition is the key, the row is empty.

    Durable: as in `azure_functions.table.TableStore`. A read sees all earlier writes. Table Storage has no time to
    live: a key takes some 100 bytes until somebody deletes it.

    Args:
        client: The SDK's client of the table.
    """

    def __init__(self, client: TableClient) -> None:
        self._get = client.get_entity
        self._create = client.create_entity

    def contains(self, key: str, deadline: float) -> bool:
        """Return whether ``key`` was marked; see `core.stores.contract.SeenKeys`."""
        entity = call(self._get, deadline, key, "", select=["PartitionKey"], none_if="ResourceNotFound")
        return entity is not None and entity.get("PartitionKey") == key

    def mark(self, key: str, deadline: float) -> None:
        """Remember ``key``; see `core.stores.contract.SeenKeys`."""
        insert(self._create, deadline, {"PartitionKey": key, "RowKey": ""})
