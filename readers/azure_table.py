"""Reads the table of the receiver on Azure.

Credentials: see `readers.azure`. The role is Storage Table Data Reader.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.data.tables import TableClient

from core.event import Event, read_time, rfc3339
from readers.azure import OPTIONS, reading, storage_credential, storage_place
from readers.contract import Reader
from readers.query import Query, event_time, newest_first, newest_of_each
from readers.rows import foreign, stored

_ROLE = "Storage Table Data Reader"
_NAME = re.compile("[A-Za-z][A-Za-z0-9]{2,62}").fullmatch
# Device ids that are partition keys; all others share the partition "-".
_PARTITION = re.compile("[A-Za-z0-9_-]{1,256}").fullmatch
# The row key of an event with a time begins with its year, and ":" follows "9"; all others begin with their event's
# key.
_TIMED = ("0", ":")
_OLDEST = datetime.min.replace(tzinfo=UTC)
# The first period that is read of a device, and how many events a period should have: an answer has 1,000 at most.
_PERIOD = timedelta(hours=1)
_EVENTS = 1000
# https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination
_BILLED = (
    "a request for each 1,000 events, at 0.04 US$ a million requests "
    "(https://azure.microsoft.com/pricing/details/storage/tables/), and the transfer out of Azure"
)


class AzureTableReader(Reader):
    """Reads a device's events from its partition, and everything else from the whole table.

    Table Storage gives a device's events oldest first, so they are read period by period, newest period first. In
    memory are the events of one period: some 1,000, or after a silence as many as the device sent in twice its length.

    An event that DT signed without a time, and whose id begins with a digit, is not in a listing of a period. DT sends
    none.

    Args:
        client: The SDK's client of the table; the reader closes it.
    """

    def __init__(self, client: TableClient) -> None:
        self._client = client

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def matching(self, query: Query) -> Iterator[Event]:
        """Yield the events; without a device they are sorted in memory, where only ``limit`` are kept."""
        if query.device_id is None:
            return newest_first(filter(query.matches, self._of_all(query)), query.limit)
        return self._of_device(query)

    def cost(self, query: Query) -> str | None:
        """Return what reading the whole table costs, or the events of a device with other labels."""
        if query.device_id is None:
            return _whole_table()
        return _whole_device() if query.labels else None

    def latest(self, query: Query) -> Iterator[Event]:
        """Yield the newest events, found among all events of the device, or of the table."""
        if query.device_id is not None:
            return super().latest(query)
        return newest_of_each(self._of_all(query), query)

    def latest_cost(self, query: Query) -> str | None:
        """Return what reading all events costs, of the device or of the table."""
        return _whole_table() if query.device_id is None else _whole_device()

    def arrived(self, since: datetime | None) -> Iterator[Event]:
        """Yield what arrived, in no order: Table Storage has no index by arrival, so the whole table is read."""
        return self._read([f"receivedAt ge '{rfc3339(since)}'"] if since else [])

    def arrived_cost(self, since: datetime | None) -> str | None:  # noqa: ARG002
        """Return what reading the whole table costs."""
        return _whole_table()

    def _of_all(self, query: Query) -> Iterator[Event]:
        conditions = _of_types(query.event_types)
        if query.since or query.until:
            timed = _between(query.since, query.until)
            conditions.append(f"(RowKey lt '{_TIMED[0]}' or RowKey ge '{_TIMED[1]}' or ({timed}))")
        return self._read(conditions)

    def _of_device(self, query: Query) -> Iterator[Event]:
        device = query.device_id or ""
        conditions = [
            f"PartitionKey eq '{device if _PARTITION(device) else '-'}'",
            f"deviceId eq {_quoted(device)}",
            *_of_types(query.event_types),
        ]
        # Two queries, because Table Storage would read the whole partition for an "or" of them.
        untimed = [
            *self._read([*conditions, f"RowKey lt '{_TIMED[0]}'"]),
            *self._read([*conditions, f"RowKey ge '{_TIMED[1]}'"]),
        ]
        oldest, end = query.since or _OLDEST, query.until
        wanted = min(query.limit or _EVENTS, _EVENTS)
        period = _PERIOD
        while end is None or end > oldest:
            last = end or datetime.now(UTC)
            begin = max(oldest, last - min(period, last - _OLDEST))
            events = [
                *self._read([*conditions, _between(begin, end)]),
                *(event for event in untimed if begin <= event_time(event) and (not end or event_time(event) < end)),
            ]
            yield from newest_first(events, 0)
            if len(events) < wanted / 2:
                period *= 2
            elif len(events) > wanted:
                period /= 2
            end = begin

    def _read(self, conditions: Sequence[str]) -> Iterator[Event]:
        found = self._client.query_entities(" and ".join(conditions)) if conditions else self._client.list_entities()
        entities = iter(found)
        while True:
            with reading(f"the table {self._client.table_name}", _ROLE):
                entity = next(entities, None)
            if entity is None:
                return
            yield _event(entity)


def _between(since: datetime | None, until: datetime | None) -> str:
    first, end = (rfc3339(time) if time else default for time, default in zip((since, until), _TIMED, strict=True))
    return f"RowKey ge '{first}' and RowKey lt '{end}'"


def _of_types(event_types: Sequence[str]) -> list[str]:
    names = " or ".join(f"eventType eq {_quoted(name)}" for name in event_types)
    return [f"({names})"] if names else []


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _event(entity: dict[str, Any]) -> Event:
    # A body is split into body, body1, body2 and so on.
    names = ["body", *(f"body{number}" for number in range(1, len(entity)))]
    parts = []
    for name in names:
        if not isinstance(entity.get(name), bytes):
            break
        parts.append(entity[name])
    body = b"".join(parts) if parts else None
    key = entity.get("key")
    if not isinstance(key, str):
        return foreign(f"{entity['PartitionKey']} {entity['RowKey']}", body or b"", read_time(entity.get("receivedAt")))
    return stored(key, body, entity.get("receivedAt"), entity.get("signedBy"))


def _whole_table() -> str:
    return f"Azure reads the whole table, which takes {_BILLED}."


def _whole_device() -> str:
    return f"Azure reads all events of the device, also of other types and labels, which takes {_BILLED}."


def open_reader(url: str) -> AzureTableReader:
    """Open ``azure-table:https://ACCOUNT.table.core.windows.net/TABLE``."""
    place = storage_place(url, _NAME)
    with reading(f"the table {place.name}", _ROLE):
        client = TableClient(place.endpoint, place.name, credential=storage_credential(place), retry_total=1, **OPTIONS)
    return AzureTableReader(client)
