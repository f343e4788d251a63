"""The keys of sent events, in Table Storage."""

from azure_functions.table import Table


class TableSeenKeys:
    """One entity per event key: the partition is the key, the row is empty.

    Durable: as in `azure_functions.table.TableStore`. A read sees all earlier writes. Table Storage has no time to
    live: a key takes some 100 bytes until somebody deletes it.

    Args:
        table: The table of keys.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def contains(self, key: str, deadline: float) -> bool:
        """Return whether ``key`` was marked; see `core.stores.contract.SeenKeys`."""
        return self._table.contains(key, deadline)

    def mark(self, key: str, deadline: float) -> None:
        """Remember ``key``; see `core.stores.contract.SeenKeys`."""
        self._table.insert({"PartitionKey": key, "RowKey": ""}, deadline)
