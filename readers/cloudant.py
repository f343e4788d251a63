"""Reads the databases of IBM Cloud's receiver: one for each period of event time.

Credentials, the first that is there:

- a user and its password in the URL, percent-encoded;
- ``DT_CLOUDANT_API_KEY``, as for the receiver, and ``DT_IAM_URL``;
- those of IBM's SDK: ``CLOUDANT_APIKEY``, or ``CLOUDANT_USERNAME`` and ``CLOUDANT_PASSWORD``, or any other
  ``CLOUDANT_AUTH_TYPE``: https://github.com/IBM/cloudant-python-sdk#authentication-with-environment-variables

The role Reader is enough.
"""

import base64
import heapq
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import count, groupby
from typing import Any
from urllib.parse import unquote

import requests
from ibm_cloud_sdk_core import ApiException
from ibm_cloud_sdk_core.authenticators import Authenticator, BasicAuthenticator, IAMAuthenticator
from ibm_cloud_sdk_core.get_authenticator import get_authenticator_from_environment
from ibmcloudant.cloudant_v1 import CloudantV1

from core.environment import is_secure_url
from core.event import Event, rfc3339
from readers import ReaderError
from readers.contract import BATCH, Batch, Reader
from readers.query import Query, event_time, newest_first
from readers.rows import foreign, stored

_URL = re.compile(r"cloudant:(https?)://(?:([^\s/?#@:]+):([^\s/?#@]*)@)?([^\s/?#@]+)/([a-z][a-z0-9_-]*)/?").fullmatch
# The characters of device ids that are partitions; the events of all other devices are in "-".
_PARTITION = re.compile("(?!_)[A-Za-z0-9_-]{1,256}").fullmatch
# To connect, and between two bytes of an answer; in seconds.
_TIMEOUTS = (5.0, 10.0)
_TRIES = 2
# Cloudant counts by the second, so a busy instance has room again soon.
_BUSY_TRIES = 20
_BUSY_SECONDS = 1.0
# Documents of a partition at a time: Cloudant answers 2,000 at most.
_PAGE = 200
# Of all partitions. Each request is one global query, whatever it returns.
_GLOBAL_PAGE = 1000
_READS = "an instance has 20 reads a second (Lite), or 100 and more"
# What the receiver calls its databases, after the prefix.
_NAME = re.compile(r"\d{4}(-(0[1-9]|1[0-2]|q[1-4]))?|undated").fullmatch
_UNDATED = "undated"
# Events of other years are in the undated database, or in any if there was no room for that one.
_YEARS = range(2024, 2042)

# The SDK logs TLS failures with a traceback, and `ReaderError` says the same.
logging.getLogger("ibm-cloud-sdk-core").addHandler(logging.NullHandler())

Row = Mapping[str, Any]


class CloudantReader(Reader):
    """Reads by partition if a device is asked for, which takes reads; otherwise by global queries.

    Args:
        client: The instance.
        prefix: What the names of the databases begin with.
    """

    poll_seconds = 5.0

    def __init__(self, client: CloudantV1, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def close(self) -> None:
        """Close the connections."""
        self._client.get_http_client().close()

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
        documents = self._count(names)
        if query == Query(limit=query.limit) and (not query.limit or query.limit * 1.1 >= documents):
            return None
        return f"{_full_cost(names, documents)} With a device, it reads only that device's events."

    def latest(self, query: Query) -> Iterator[Event]:
        """Yield the newest events; all are read, and only the newest are kept in memory."""
        newest = dict[tuple[str | None, str | None], Event]()
        names = self._selected(query)
        for event in self._of_device(query.device_id, query) if query.device_id else self._all(names):
            place = event.device_id, event.event_type
            if event.parsed and query.matches(event):
                newest[place] = max(newest.get(place, event), event, key=event_time)
        return iter(newest.values())

    def latest_cost(self, query: Query) -> str | None:
        """Return the global queries without a device, the reads with one."""
        names = self._selected(query)
        return self._device_cost() if query.device_id else _full_cost(names, self._count(names))

    def arrived(self, since: datetime | None) -> Iterator[Event]:
        """Yield what arrived, in no order: Cloudant has no index of it."""
        return (event for event in self._all(self._names()) if since is None or event.received_at >= since)

    def arrived_cost(self, since: datetime | None) -> str | None:
        """Return the global queries; None without a time, because all events are returned."""
        names = self._names()
        return _full_cost(names, self._count(names)) if since else None

    def end(self) -> str:
        """Return the last change of each database, as JSON."""
        return json.dumps({name: self._information(name, "update_seq") for name in self._names()})

    def follow(self, position: str | None = None) -> Iterator[Batch]:
        """Yield what changed in each database since; Cloudant may report an event again.

        IBM's documentation does not say in which class of requests the changes are.
        """
        places: dict[str, Any] = json.loads(position) if position else {}
        for name in self._names():
            while True:
                options = {"since": places.get(name, "0"), "limit": BATCH, "include_docs": True}
                found = self._ask("last_seq", self._client.post_changes, name, **options)
                places[name] = found["last_seq"]
                if not found["results"]:
                    break
                documents = [change["doc"] for change in found["results"] if change.get("doc")]
                yield Batch(_events(documents), json.dumps(places))

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
            yield row["id"].partition(":")[2].partition("_")[0], _event(row["doc"])

    def _untimed(self, name: str, partition: str) -> Iterator[tuple[str, Event]]:
        found = [_event(row["doc"]) for row in self._partition(name, partition, "\ufff0", ":", _PAGE)]
        yield from sorted(((rfc3339(event_time(event)), event) for event in found), key=lambda pair: pair[0])[::-1]

    def _partition(self, name: str, partition: str, high: str, low: str, page: int) -> Iterator[Row]:
        """Yield the rows between two ids, backwards. The first page is small: it may not be needed."""
        start, skip, limit = f"{partition}:{high}", 0, 1
        while True:
            found = self._ask(
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
            yield from found
            if len(found) < limit:
                return
            start, skip, limit = found[-1]["id"], 1, page

    def _all(self, names: Sequence[str]) -> Iterator[Event]:
        for name in names:
            start, skip = "", 0
            while True:
                options = {"limit": _GLOBAL_PAGE, "skip": skip, "start_key": start, "include_docs": True}
                rows = self._ask("rows", self._client.post_all_docs, name, **options)["rows"]
                yield from _events([row["doc"] for row in rows])
                if len(rows) < _GLOBAL_PAGE:
                    break
                start, skip = rows[-1]["id"], 1

    def _names(self) -> list[str]:
        """List the databases in order of time, the undated one last."""
        first = f"{self._prefix}-"
        bounds = {"start_key": json.dumps(first), "end_key": json.dumps(f"{first}\ufff0", ensure_ascii=False)}
        found = (str(name).removeprefix(first) for name in self._ask("", self._client.get_all_dbs, **bounds))
        names = sorted(filter(_NAME, found), key=lambda name: _months(name)[::-1])
        if not names:
            raise ReaderError(
                f"There are no databases {first}... at this address. The URL must end with the receiver's "
                "DT_DATABASE_PREFIX; the receiver creates the databases with its first events."
            )
        return [first + name for name in names]

    def _selected(self, query: Query) -> list[str]:
        first = f"{self._prefix}-"
        return [first + name for name in _select([name.removeprefix(first) for name in self._names()], query)]

    def _count(self, names: Sequence[str]) -> int:
        return sum(self._information(name, "doc_count") for name in names)

    def _information(self, name: str, what: str) -> Any:
        return self._ask(what, self._client.get_database_information, name)[what]

    def _device_cost(self) -> str:
        return f"Reads every event of the device in this time, and each is one of Cloudant's reads; {_READS}."

    def _ask(self, needed: str, call: Callable[..., Any], *arguments: str, **options: Any) -> Any:
        """Call the SDK; retry once if Cloudant does not answer, and more often if it is busy.

        Args:
            needed: The name of a value that the answer has; empty if the answer is a list.
            call: A method of the SDK.
            arguments: Its arguments.
            options: Its options.
        """
        for attempt in count(1):
            self._log_in()
            try:
                found = call(*arguments, **options).get_result()
            except ApiException as error:
                status = error.status_code
                if status == 429 and attempt < _BUSY_TRIES:
                    time.sleep(_BUSY_SECONDS)
                elif status < 500 or attempt >= _TRIES:
                    raise ReaderError(_SENTENCES.get(status, f"Cloudant answers HTTP {status}. {_LATER}")) from None
            except requests.RequestException as error:
                if attempt >= _TRIES:
                    # Only the class: the text has the URL.
                    raise ReaderError(
                        f"Cloudant does not answer: {type(error).__name__}. Check the host in the URL."
                    ) from None
            else:
                if needed in found if isinstance(found, dict) else isinstance(found, list) and not needed:
                    return found
                raise ReaderError("What answers there is not Cloudant. Check the host in the URL.")
        raise AssertionError

    def _log_in(self) -> None:
        """Fetch a token if there is none; once, because the SDK waits for a minute before it asks IAM again."""
        try:
            self._client.get_authenticator().authenticate({"headers": {}})
        except (ApiException, requests.RequestException) as error:
            raise ReaderError(
                f"IAM gives no token: {type(error).__name__}. Is the API key in DT_CLOUDANT_API_KEY or CLOUDANT_APIKEY "
                "valid, and can IAM be reached from here?"
            ) from None


_LATER = "Try again later."
_NO_RIGHTS = "Cloudant refuses these credentials. Use an API key that has the role Reader on this instance."
_SENTENCES = {
    401: _NO_RIGHTS,
    403: _NO_RIGHTS,
    404: f"A database has been deleted. {_LATER}",
    429: f"Cloudant is busy: increase the capacity of the instance, or ask for less. {_LATER}",
}


def _full_cost(names: Sequence[str], documents: int) -> str:
    queries = documents // _GLOBAL_PAGE + len(names)
    return (
        f"Reads all {documents:,} documents of {', '.join(names)}, by about {queries:,} of Cloudant's global queries; "
        "an instance has 5 a second, or more."
    )


def _events(documents: Sequence[Mapping[str, Any]]) -> list[Event]:
    """Return the events in documents, without deleted ones and those of indexes."""
    are_data = (one for one in documents if not one.get("_deleted") and not one["_id"].startswith("_design/"))
    return [_event(document) for document in are_data]


def _event(document: Mapping[str, Any]) -> Event:
    key, body = document.get("key"), document.get("body")
    if not isinstance(key, str) or not isinstance(body, str):
        return foreign(document["_id"])
    try:
        content = base64.b64decode(body, validate=True) if document.get("encoding") == "base64" else body.encode()
    except ValueError:
        return foreign(document["_id"])
    return stored(key, content, document.get("receivedAt"), document.get("signedBy"))


def _select(names: list[str], query: Query) -> list[str]:
    """Return the databases that may have events of the time of a query.

    If there was no room for a database, its events are in the last one before, or in the first of all.
    """
    since, until = query.since, query.until
    if since is None or since.year not in _YEARS or (until and until.year not in _YEARS):
        return names
    first, last = f"{since:%Y-%m}", f"{until:%Y-%m}" if until else _UNDATED
    before = [name for name in names if _months(name)[1] < first]
    chosen = {*(before[-1:] or names[:1]), _UNDATED}
    return [name for name in names if name in chosen or (_months(name)[0] <= last and _months(name)[1] >= first)]


def _months(name: str) -> tuple[str, str]:
    """Return the first and the last month of a database; the undated one follows them all."""
    year, _, part = name.partition("-")
    if part.startswith("q"):
        return f"{year}-{3 * int(part[1]) - 2:02}", f"{year}-{3 * int(part[1]):02}"
    return (name, name) if part or name == _UNDATED else (f"{year}-01", f"{year}-12")


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
    client = CloudantV1(_authenticator(user, password))
    client.set_service_url(address)
    client.set_http_config({"timeout": _TIMEOUTS})
    return CloudantReader(client, prefix)


def _authenticator(user: str | None, password: str | None) -> Authenticator:
    try:
        if user:
            return BasicAuthenticator(unquote(user), unquote(password or ""))
        if key := os.environ.get("DT_CLOUDANT_API_KEY"):
            return IAMAuthenticator(key, url=os.environ.get("DT_IAM_URL"))
        if (user := os.environ.get("CLOUDANT_USERNAME")) and not os.environ.get("CLOUDANT_AUTH_TYPE"):
            return BasicAuthenticator(user, os.environ.get("CLOUDANT_PASSWORD"))
        found = get_authenticator_from_environment("CLOUDANT")
    except ValueError:
        found = None
    if not found:
        raise ReaderError(
            "There are no credentials for Cloudant, or not all of them. Set CLOUDANT_APIKEY to an API key that has the "
            "role Reader on the instance."
        )
    return found
