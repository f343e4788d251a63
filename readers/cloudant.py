"""Reads the databases of IBM Cloud's receiver: one for each period of event time.

Credentials are those of `readers.ibm`. The role Reader is enough.
"""

import heapq
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from urllib.parse import unquote

from core.environment import is_secure_url
from core.event import Event, rfc3339
from readers import ReaderError
from readers.contract import BATCH, Batch, Reader
from readers.ibm import Instance, authenticator, event_of, events_of, select
from readers.query import Query, event_time, newest_first, newest_of_each

_URL = re.compile(r"cloudant:(https?)://(?:([^\s/?#@:]+):([^\s/?#@]*)@)?([^\s/?#@]+)/([a-z][a-z0-9_-]*)/?").fullmatch
# The characters of device ids that are partitions; the events of all other devices are in "-".
_PARTITION = re.compile("(?!_)[A-Za-z0-9_-]{1,256}").fullmatch
# Documents of a partition at a time: Cloudant answers 2,000 at most.
_PAGE = 200
# Of all partitions. Each request is one global query, whatever it returns.
_GLOBAL_PAGE = 1000
_READS = "an instance has 20 reads a second (Lite), or 100 and more"

Row = Mapping[str, Any]


class CloudantReader(Reader):
    """Reads by partition if a device is asked for, which takes reads; otherwise by global queries.

    Args:
        instance: The instance.
        prefix: What the names of the databases begin with.
    """

    poll_seconds = 5.0

    def __init__(self, instance: Instance, prefix: str) -> None:
        self._instance = instance
        self._client = instance.client
        self._prefix = prefix

    def close(self) -> None:
        """Close the connections."""
        self._instance.close()

    def matching(self, query: Query) -> Iterator[Event]:
        """Yield the events: of a device by ranges of its ids, else of whole databases, sorted here."""
        if query.device_id is None:
            return newest_first(filter(query.matches, self._all(self._selected(query))), query.limit)
        return self._of_device(query.device_id, query)

    def cost(self, query: Query) -> str | None:
        """Return the global queries without a device; with one, the reads if types or labels are left out here."""
        if query.device_id is not None:
            return self._device_cost() if query.event_types or query.labels else None
        names = self._selected(query)
        return f"{_full_cost(names, self._count(names))} With a device, it reads only that device's events."

    def latest(self, query: Query) -> Iterator[Event]:
        """Yield the newest events; all are read, and only the newest are kept in memory."""
        found = self._of_device(query.device_id, query) if query.device_id else self._all(self._selected(query))
        return newest_of_each(found, query)

    def latest_cost(self, query: Query) -> str | None:
        """Return the global queries without a device, the reads with one."""
        names = self._selected(query)
        return self._device_cost() if query.device_id else _full_cost(names, self._count(names))

    def arrived(self, since: datetime | None) -> Iterator[Event]:
        """Yield what arrived, in no order: Cloudant has no index of it."""
        return (event for event in self._all(self._names()) if since is None or event.received_at >= since)

    def arrived_cost(self, since: datetime | None) -> str | None:  # noqa: ARG002
        """Return the global queries."""
        names = self._names()
        return _full_cost(names, self._count(names))

    def follow_cost(self, position: str | None) -> str | None:
        """Return what reading everything costs; from a position, only what changed since is read."""
        return None if position else self.arrived_cost(None)

    def end(self) -> str:
        """Return the last change of each database, as JSON."""
        return json.dumps({name: self._instance.information(name, "update_seq") for name in self._names()})

    def follow(self, position: str | None = None) -> Iterator[Batch]:
        """Yield what changed in each database since; Cloudant may report an event again.

        IBM's documentation does not say in which class of requests the changes are.
        """
        places: dict[str, Any] = json.loads(position) if position else {}
        for name in self._names():
            while True:
                options = {"since": places.get(name, "0"), "limit": BATCH, "include_docs": True}
                found = self._instance.ask("last_seq", self._client.post_changes, name, **options)
                places[name] = found["last_seq"]
                if not found["results"]:
                    break
                documents = [change.get("doc") for change in found["results"]]
                yield Batch(events_of(documents), json.dumps(places))

    def _of_device(self, device: str, query: Query) -> Iterator[Event]:
        """Yield the events of a device, newest first; from each database only what is in the time."""
        partition = device if _PARTITION(device) else "-"
        high = rfc3339(query.until) if query.until else "9\ufff0"
        low = rfc3339(query.since) if query.since else ""
        is_exact = query.limit and not query.event_types and not query.labels
        page = min(query.limit + 1, _PAGE) if is_exact else _PAGE
        streams = []
        for name in self._selected(query):
            streams.append(self._timed(name, partition, high, low, page))
            # Without a time of their own, events have ids that begin with a letter.
            streams.append(self._untimed(name, partition))
        merged = heapq.merge(*streams, key=lambda pair: pair[0], reverse=True)
        for _, same in groupby(merged, key=lambda pair: pair[0]):
            yield from sorted((event for _, event in same), key=lambda event: event.key)

    def _timed(self, name: str, partition: str, high: str, low: str, page: int) -> Iterator[tuple[str, Event]]:
        for row in self._partition(name, partition, high, low, page):
            # The time that the receiver read when it stored the event.
            yield row["id"].partition(":")[2].partition("_")[0], event_of(row["doc"])

    def _untimed(self, name: str, partition: str) -> Iterator[tuple[str, Event]]:
        found = [event_of(row["doc"]) for row in self._partition(name, partition, "\ufff0", ":", _PAGE)]
        yield from sorted(((rfc3339(event_time(event)), event) for event in found), key=lambda pair: pair[0])[::-1]

    def _partition(self, name: str, partition: str, high: str, low: str, page: int) -> Iterator[Row]:
        """Yield the rows between two ids, backwards. The first page is small: it may not be needed."""
        start, skip, limit = f"{partition}:{high}", 0, 1
        while True:
            found = self._instance.ask(
                "rows",
                self._client.post_partition_all_docs,
                name,
                partition,
                descending=True,
                include_docs=True,
                limit=limit,
                skip=skip,
                start_key=start,
                end_key=f"{partition}:{low}",
            )["rows"]
            yield from (row for row in found if row["doc"])
            if len(found) < limit:
                return
            start, skip, limit = found[-1]["id"], 1, page

    def _all(self, names: Sequence[str]) -> Iterator[Event]:
        for name in names:
            start, skip = "", 0
            while True:
                options = {"limit": _GLOBAL_PAGE, "skip": skip, "start_key": start, "include_docs": True}
                rows = self._instance.ask("rows", self._client.post_all_docs, name, **options)["rows"]
                yield from events_of([row["doc"] for row in rows])
                if len(rows) < _GLOBAL_PAGE:
                    break
                start, skip = rows[-1]["id"], 1

    def _names(self) -> list[str]:
        return self._selected(Query())

    def _selected(self, query: Query) -> list[str]:
        """List the databases that may have events of the time of a query."""
        names = self._instance.names(self._prefix)
        if not names:
            raise ReaderError(
                f"There are no databases {self._prefix}-... at this address. The URL must end with the receiver's "
                "DT_DATABASE_PREFIX; the receiver creates the databases with its first events."
            )
        return [f"{self._prefix}-{name}" for name in select(names, query.since, query.until)]

    def _count(self, names: Sequence[str]) -> int:
        return sum(self._instance.information(name, "doc_count") for name in names)

    def _device_cost(self) -> str:
        return f"Reads every event of the device in this time, and each is one of Cloudant's reads; {_READS}."


def _full_cost(names: Sequence[str], documents: int) -> str:
    queries = documents // _GLOBAL_PAGE + len(names)
    return (
        f"Reads all {documents:,} documents of {', '.join(names)}, by about {queries:,} of Cloudant's global queries; "
        "an instance has 5 a second, or more."
    )


def open_reader(url: str) -> CloudantReader:
    """Open ``cloudant:https://HOST/NAME``, where the name is the prefix of the databases. Nothing is read yet.

    Raises:
        ReaderError: The URL is invalid, or there are no credentials.
    """
    found = _URL(url.strip())
    scheme, user, password, host, prefix = found.groups() if found else ("", None, None, "", "")
    address = f"{scheme}://{host}"
    # Without TLS only for an Apache CouchDB in a private network; those have a user.
    if not found or not (user or is_secure_url(address)):
        raise ReaderError("The URL must be such as cloudant:https://INSTANCE.cloudantnosqldb.appdomain.cloud/events.")
    login = authenticator(unquote(user or ""), unquote(password or ""), host)
    return CloudantReader(Instance(address, login), prefix)
