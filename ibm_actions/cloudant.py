"""Events in Cloudant."""

import base64
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.event import Event, reread, rfc3339
from core.store import Outcome, StoreUnavailable
from ibm_actions.rest import Service, cause_of

# What a partition can be called, of what devices' ids are made of:
# https://cloud.ibm.com/docs/Cloudant?topic=Cloudant-database-partitioning
_ID = re.compile("(?!_)[A-Za-z0-9_-]{1,256}").fullmatch
# JSON has six characters for each of the former, and a document at most 1 MiB
# (https://cloud.ibm.com/docs/Cloudant?topic=Cloudant-limits); not all versions of CouchDB take the latter.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]").search
# In the place of the month.
UNDATED = "undated"


class CloudantStore:
    """One document per event, put only if there is none: its partition the device, its id ``device:timestamp_key``.

    Durable: 201 means that a quorum of the nodes has the document. 202 means that fewer have it: `StoreUnavailable`,
    and DT's next delivery then finds it (https://cloud.ibm.com/docs/Cloudant?topic=Cloudant-documents).
    Unique: by the document's id and its database, which follow from the body alone, for as long as the database lives.
    There is one database per month of event time, made when its first event comes: Cloudant has no time to live, and a
    deleted document leaves a trace for ever, so that months are deleted whole. A device's history is one partition in
    the order of time, whatever part of it is asked for.
    Answers: 409 means that there is such a document, be it by an attempt of this very call whose answer was lost. It
    is read back, which takes a quorum too, and compared. Everything else is `StoreUnavailable` with CouchDB's word,
    after another try if the service was busy (429, 5xx) or the network failed.

    A body that is no UTF-8, or has control characters, goes as base64, and ``encoding`` says so.

    Args:
        cloudant: The instance.
        prefix: What the names of the databases begin with: ``events`` makes ``events-2026-11``.
    """

    def __init__(self, cloudant: Service, prefix: str) -> None:
        self._cloudant = cloudant
        self._prefix = prefix

    def put(self, event: Event, deadline: float) -> Outcome:
        """Put ``event`` unless it is there; see `core.store.Store`."""
        database = f"/{self._prefix}-{rfc3339(event.timestamp)[:7] if event.timestamp else UNDATED}"
        path = f"{database}/{document_id(event)}"
        document = _document(event)
        status, answer = self._cloudant.call("PUT", path, deadline, document)
        if status == 404:
            self._create(database, deadline)
            status, answer = self._cloudant.call("PUT", path, deadline, document)
        if status == 201 and answer.get("rev"):
            return Outcome.STORED
        if status == 409:
            return self._compare(path, document, event, deadline)
        raise StoreUnavailable("202: no quorum" if status == 202 else cause_of(status, answer))

    def _create(self, database: str, deadline: float) -> None:
        status, answer = self._cloudant.call("PUT", f"{database}?partitioned=true", deadline)
        # 412: another was faster. 202: not all nodes know of it yet, and the document's own quorum decides.
        if status not in (201, 202, 412):
            raise StoreUnavailable(f"no database: {cause_of(status, answer)}")

    def _compare(self, path: str, document: Mapping[str, Any], event: Event, deadline: float) -> Outcome:
        status, found = self._cloudant.call("GET", path, deadline)
        if status != 200 or found.get("key") != event.key or type(found.get("body")) is not str:
            raise StoreUnavailable(f"409, and read back: {cause_of(status, found)}")
        if (found["body"], found.get("encoding")) != (document["body"], document.get("encoding")):
            # The same event, by its ids and its time; the labels of its device may have changed since.
            event.note = "differs from what is stored"
        return Outcome.DUPLICATE


def document_id(event: Event) -> str:
    """Return the id of an event's document: what is before the first colon is its partition."""
    device = event.device_id if event.device_id and _ID(event.device_id) else "-"
    return f"{device}:{rfc3339(event.timestamp)}_{event.key}" if event.timestamp else f"{device}:{event.key}"


def read_document(document: Mapping[str, Any]) -> Event:
    """Return the event that a document holds.

    Raises:
        KeyError, TypeError, ValueError: It holds none.
    """
    body: str = document["body"]
    is_base64 = document.get("encoding") == "base64"
    return reread(
        base64.b64decode(body) if is_base64 else body.encode(), datetime.fromisoformat(document["receivedAt"])
    )


def _document(event: Event) -> dict[str, Any]:
    document: dict[str, Any] = {**event.attributes(), "parsed": event.parsed}
    try:
        text = event.body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if _UNFIT(text):
        return document | {"body": base64.b64encode(event.body).decode(), "encoding": "base64"}
    return document | {"body": text}
