"""Reads the Firestore database of the receiver on Google Cloud.

Credentials: see `readers.gcp`. The role is Cloud Datastore Viewer (``roles/datastore.viewer``).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from heapq import merge
from itertools import groupby, islice
from typing import Any, ClassVar

from google.api_core.exceptions import FailedPrecondition, GoogleAPICallError
from google.cloud.firestore import Client, FieldFilter

from core.event import Event
from readers import ReaderError
from readers.contract import Reader
from readers.gcp import TIMEOUT, asked, reading
from readers.query import Query, event_time, newest_first, newest_of_each
from readers.rows import foreign, stored
from readers.seen import newest_sign, newest_signs

_URL = re.compile(r"firestore:(projects/([^/\s]+)/databases/(\(default\)|[a-z][a-z0-9-]{2,61}[a-z0-9]))").fullmatch
_ROLE = "roles/datastore.viewer"
# The device ids that the receiver uses as document ids. The events of all others share a document.
_ID = re.compile("(?!__)[A-Za-z0-9_-]{1,128}").fullmatch
_SHARED = "-"
_DESCENDING = "DESCENDING"
# Documents of the first call, and of a later one at most: whoever reads on may want few.
_FIRST = 20
_PAGE = 1000
# https://cloud.google.com/firestore/docs/query-data/queries#query_limitations
_MAX_TYPES = 30
_THREADS = 16
_PRICE = 0.03
_PRICED = f"at {_PRICE} US$ per 100,000 reads in Iowa (https://cloud.google.com/firestore/pricing)"


class FirestoreReader(Reader):
    """Reads events from indexes, newest first: those of a device from its collection, others from the group of all.

    An event without a timestamp is not in an index by timestamp. It could not be parsed, so it is found among those, by
    its arrival. A document without both times, which the receiver never writes, is only in a listing of everything.

    Args:
        client: Google's client; the reader closes it.
        database: Its full name.
    """

    is_in_order = True
    # Each look reads what arrived in the last minutes again: `readers.contract.OVERLAP`.
    poll_seconds: ClassVar[float | None] = 10.0

    def __init__(self, client: Client, database: str) -> None:
        self._client = client
        self._name = f"the Firestore database {database}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def matching(self, query: Query) -> Iterator[Event]:
        """Yield the events; they are sorted in memory only if everything is wanted."""
        if query == Query():
            return newest_first(self._scan(), 0)
        return self._newest(self._events(query.device_id), query)

    def cost(self, query: Query) -> str | None:
        """Return what a query reads for conditions that no index has."""
        if query.labels:
            return self._cost_of(query, "labels")
        if len(query.event_types) > _MAX_TYPES:
            return self._cost_of(query, "types")
        return self._cost_of(query, "devices") if self._is_shared(query.device_id) else None

    def latest(self, query: Query) -> Iterator[Event]:
        """Yield the newest events, found from type to type of each device."""
        return newest_first(self._of_each(query, partial(self._latest_of, replace(query, limit=0))), 0)

    def latest_cost(self, query: Query) -> str | None:
        """Return what `latest` reads beside the events that it yields."""
        if query.device_id is None and not query.labels:
            return f"Firestore reads two documents more for each device than it returns events, {_PRICED}."
        return self.cost(query)

    def last_signs(self, query: Query) -> Iterator[Event]:
        """Yield the events; each device's are read from its newest on, as far back as needed."""
        return filter(query.matches, self._of_each(query, self._signs_of))

    def last_signs_cost(self, query: Query) -> str | None:
        """Return what `last_signs` reads of each device, or of all that share a document."""
        if query.device_id is None:
            return f"Firestore reads three documents of each device, or more, {_PRICED}."
        return self._cost_of(query, "devices") if self._is_shared(query.device_id) else None

    def arrived(self, since: datetime | None) -> Iterator[Event]:
        """Yield what arrived, oldest first, read from an index."""
        events = self._events(None).order_by("receivedAt")
        return map(_event, self._read(_from(events, "receivedAt", since)))

    def _events(self, device: str | None) -> Any:
        """Return the collection of a device's events, or the group of all of them."""
        if device is None:
            return self._client.collection_group("events")
        return self._client.collection("devices", device if _ID(device) else _SHARED, "events")

    @staticmethod
    def _is_shared(device: str | None) -> bool:
        return device is not None and (device == _SHARED or not _ID(device))

    def _newest(self, events: Any, query: Query) -> Iterator[Event]:
        untimed = (each for each in self._unparsed(events, query) if "timestamp" not in each.to_dict())
        merged = merge(self._timed(events, query), map(_event, untimed), key=event_time, reverse=True)
        # Firestore gives events of one time by descending key.
        for _, group in groupby(merged, event_time):
            yield from sorted(group, key=lambda event: event.key)

    def _timed(self, events: Any, query: Query) -> Iterator[Event]:
        found = _between(_of_types(events, query).order_by("timestamp", direction=_DESCENDING), "timestamp", query)
        # One more than is wanted shows whether the last one has others of its time.
        return map(_event, self._read(found, query.limit and query.limit + 1))

    def _unparsed(self, events: Any, query: Query) -> Iterator[Any]:
        found = _is_unparsed(events).order_by("receivedAt", direction=_DESCENDING)
        return self._read(_between(found, "receivedAt", query), query.limit)

    def _scan(self) -> Iterator[Event]:
        return map(_event, self._read(self._events(None).order_by("__name__")))

    def _read(self, query: Any, limit: int = 0) -> Iterator[Any]:
        """Yield documents, from as many calls as are asked for."""
        size = min(limit or _FIRST, _PAGE)
        while True:
            page = self._asked(partial(_documents, query.limit(size)))
            yield from page
            if len(page) < size:
                return
            query = query.start_after(page[-1])
            size = min(2 * size, _PAGE)

    def _asked(self, call: Callable[[], Any]) -> Any:
        return asked(call, self._name, _ROLE)

    def _devices(self) -> list[str]:
        """Return the ids of all documents below which there are events."""
        devices = self._client.collection("devices")
        return [found.id for found in self._asked(lambda: list(devices.list_documents(retry=None, timeout=TIMEOUT)))]

    def _of_each(self, query: Query, read: Callable[[str], Iterable[Event]]) -> list[Event]:
        """Return the events that ``read`` finds for each device of a query."""
        devices = self._devices() if query.device_id is None else [query.device_id]
        pool = ThreadPoolExecutor(_THREADS)
        try:
            return [event for events in pool.map(read, devices) for event in events]
        finally:
            pool.shutdown(cancel_futures=True)

    def _signs_of(self, device: str) -> list[Event]:
        # The limit is how many documents are read at first.
        events = self._newest(self._events(device), Query(limit=1))
        return list((newest_signs if self._is_shared(device) else newest_sign)(events))

    def _latest_of(self, query: Query, device: str) -> list[Event]:
        events = self._events(device)
        if self._is_shared(device):
            return list(newest_of_each(self._newest(events, query.widened()), query))
        found: list[Event] = []
        by_type = events.order_by("eventType").order_by("timestamp", direction=_DESCENDING).limit(1)
        page = self._asked(partial(_documents, by_type))
        while page:
            kind = page[0].get("eventType")
            event = _event(page[0])
            if not query.event_types or kind in query.event_types:
                wide = replace(query.widened(), event_types=[kind])
                newest = [event]
                if not event.parsed or not wide.matches(event):
                    others = self._timed(events, wide)
                    newest = list(islice((other for other in others if other.parsed), 1))
                found += filter(query.matches, newest)
            # No time is the last one in descending order, so this goes on with the next type.
            after = by_type.start_after({"eventType": kind, "timestamp": None})
            page = self._asked(partial(_documents, after))
        return found

    def _cost_of(self, query: Query, what: str) -> str:
        events = self._events(query.device_id).order_by("timestamp", direction=_DESCENDING)
        counted = _between(events, "timestamp", query)
        return f"Firestore also reads events of other {what}: {self._up_to(counted)}, {_PRICED}."

    def _up_to(self, query: Any) -> str:
        """Return how many documents match; to count them costs a read per 1,000."""
        try:
            [[counted]] = query.count().get(retry=None, timeout=TIMEOUT)
        except GoogleAPICallError:
            return "more than can be counted in time"
        number = int(counted.value)
        return f"up to {number:,} documents in all, or {number * _PRICE / 1e5:.4f} US$"


class UnindexedFirestoreReader(FirestoreReader):
    """Reads a database without the indexes that Terraform makes: whatever is not of one device is a scan of it all."""

    is_in_order = False
    poll_seconds = None

    def matching(self, query: Query) -> Iterator[Event]:
        """Yield the events; without a device they are sorted in memory, where only ``limit`` are kept."""
        if query.device_id is None:
            return newest_first(filter(query.matches, self._scan()), query.limit)
        return super().matching(query)

    def cost(self, query: Query) -> str | None:
        """Return what a scan costs, or a query that reads events of other types or labels."""
        if query.device_id is None:
            return self._scan_cost()
        return self._cost_of(query, "types") if query.event_types else super().cost(query)

    def latest(self, query: Query) -> Iterator[Event]:
        """Yield the newest events, found among all events of the device, or of the database."""
        events = self._scan() if query.device_id is None else super().matching(query.widened())
        return newest_of_each(events, query)

    def latest_cost(self, query: Query) -> str | None:
        """Return what reading all events costs, of the device or of the database."""
        return self._scan_cost() if query.device_id is None else self._cost_of(query, "times")

    def arrived(self, since: datetime | None) -> Iterator[Event]:
        """Yield what arrived, in no order, found by a scan."""
        return (event for event in self._scan() if since is None or event.received_at >= since)

    def arrived_cost(self, since: datetime | None) -> str | None:  # noqa: ARG002
        """Return what the scan costs."""
        return self._scan_cost()

    def _timed(self, events: Any, query: Query) -> Iterator[Event]:
        return super()._timed(events, replace(query, event_types=()))

    def _unparsed(self, events: Any, query: Query) -> Iterator[Any]:  # noqa: ARG002
        found = list(self._read(_is_unparsed(events).order_by("__name__")))
        return iter(sorted(found, key=lambda each: event_time(_event(each)), reverse=True))

    def _scan_cost(self) -> str:
        return (
            f"Firestore reads the whole database: {self._up_to(self._events(None))}, {_PRICED}. `terraform apply` in "
            "gcp_functions/terraform makes the indexes that save this."
        )


def _documents(query: Any) -> list[Any]:
    return list(query.stream(retry=None, timeout=TIMEOUT))


def _of_types(events: Any, query: Query) -> Any:
    if not query.event_types or len(query.event_types) > _MAX_TYPES:
        return events
    return events.where(filter=FieldFilter("eventType", "in", list(query.event_types)))


def _is_unparsed(events: Any) -> Any:
    return events.where(filter=FieldFilter("parsed", "==", False))


def _from(events: Any, field: str, since: datetime | None) -> Any:
    return events.where(filter=FieldFilter(field, ">=", since)) if since else events


def _between(events: Any, field: str, query: Query) -> Any:
    events = _from(events, field, query.since)
    return events.where(filter=FieldFilter(field, "<", query.until)) if query.until else events


def _event(document: Any) -> Event:
    fields = document.to_dict()
    key, body, arrival = (fields.get(name) for name in ("key", "body", "receivedAt"))
    if not isinstance(key, str):
        return foreign(document.reference.path, body if isinstance(body, bytes) else b"")
    return stored(key, body, arrival, fields.get("signedBy"))


def open_reader(url: str) -> FirestoreReader:
    """Open ``firestore:projects/PROJECT/databases/DATABASE``; this reads one document."""
    found = _URL(url.rstrip("/"))
    if not found:
        raise ReaderError(
            "Name the database so: firestore:projects/PROJECT/databases/DATABASE. The deployment prints it as `source`."
        )
    name, project, database = found.groups()
    with reading(f"the Firestore database {name}", _ROLE):
        client = Client(project=project, database=database)
    reader = FirestoreReader(client, name)
    try:
        newest = client.collection_group("events").order_by("timestamp", direction=_DESCENDING).limit(1)

        def has_indexes() -> bool:
            try:
                _documents(newest)
            except FailedPrecondition:
                return False
            return True

        is_indexed = asked(has_indexes, f"the Firestore database {name}", _ROLE)
        return reader if is_indexed else UnindexedFirestoreReader(client, name)
    except BaseException:
        reader.close()
        raise
