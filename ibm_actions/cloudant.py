"""Events in Cloudant."""

import base64
import re
from collections.abc import Mapping
from typing import Any

from core.event import Event, rfc3339
from core.stores.contract import Outcome, StoreUnavailableError
from ibm_actions.capacity import Capacity
from ibm_actions.databases import Databases
from ibm_actions.service import Service, cause_of

# The characters of device ids that a partition may contain:
# https://cloud.ibm.com/docs/Cloudant?topic=Cloudant-database-partitioning
_ID = re.compile("(?!_)[A-Za-z0-9_-]{1,256}").fullmatch
# JSON needs six characters for each control character, and a document has at most 1 MiB
# (https://cloud.ibm.com/docs/Cloudant?topic=Cloudant-limits); some versions of CouchDB reject U+FFFE and U+FFFF.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]").search


class CloudantStore:
    """One document per event, created only if it does not exist; partition: the device, id: ``device:timestamp_key``.

    Durable: 201 means that a quorum of the nodes has the document. 202 means that fewer have it:
    `StoreUnavailableError`; DT's retry then finds it (https://cloud.ibm.com/docs/Cloudant?topic=Cloudant-documents).
    Unique: by the document's id, which depends only on the body, in the one database that `Databases.find` returns for
    all events of its period, as long as that database exists. Cloudant has no time to live, and a deleted document
    leaves a tombstone for ever, so whole databases are deleted. A device's history is one partition in order of time,
    and any range of it is one query. If a deleted document's event arrives again, it is stored again.
    Answers: 409 means that the document exists, perhaps from an earlier attempt whose answer was lost. It is read back,
    which needs a quorum too, and compared. Everything else is `StoreUnavailableError` with CouchDB's error, after
    retries if the service was busy (429, 5xx) or the network failed.

    A body that is not UTF-8, or has control characters, is stored as base64, with ``encoding``.

    Args:
        cloudant: The instance.
        databases: Finds the database of an event.
        capacity: Warns before the limit of databases; None for no warning.
    """

    def __init__(self, cloudant: Service, databases: Databases, capacity: Capacity | None = None) -> None:
        self._cloudant = cloudant
        self._databases = databases
        self._capacity = capacity

    def put(self, event: Event, deadline: float) -> Outcome:
        """Put ``event`` unless it exists; see `core.stores.contract.Store`."""
        document = _document(event)
        place = self._databases.find(event.timestamp, deadline)
        path = f"/{place.database}/{document_id(event)}"
        status, answer = self._cloudant.call("PUT", path, deadline, document)
        if status == 404:
            # Old databases may be deleted while the receiver runs.
            place = self._databases.find(event.timestamp, deadline, refresh=True)
            path = f"/{place.database}/{document_id(event)}"
            status, answer = self._cloudant.call("PUT", path, deadline, document)
        if status == 201 and answer.get("rev"):
            outcome, note = Outcome.STORED, None
        elif status == 409:
            outcome, note = Outcome.DUPLICATE, self._compare(path, document, deadline)
        else:
            raise StoreUnavailableError("202: no quorum" if status == 202 else cause_of(status, answer))
        warning = self._capacity.warning() if self._capacity else None
        return outcome.noting(note, place.note, warning)

    def _compare(self, path: str, document: Mapping[str, Any], deadline: float) -> str | None:
        """Read the stored document back; return a note if it is this event with another body.

        Raises:
            StoreUnavailableError: It is not this event, or could not be read.
        """
        status, found = self._cloudant.call("GET", path, deadline)
        if status != 200 or found.get("key") != document["key"] or type(found.get("body")) is not str:
            raise StoreUnavailableError(f"409, and read back: {cause_of(status, found)}")
        if (found["body"], found.get("encoding")) != (document["body"], document.get("encoding")):
            # The same event, by its ids and its time; the device's labels may have changed.
            return "differs from what is stored"
        return None


def document_id(event: Event) -> str:
    """Return the id of an event's document; the part before the first colon is the partition."""
    device = event.device_id if event.device_id and _ID(event.device_id) else "-"
    return f"{device}:{rfc3339(event.timestamp)}_{event.key}" if event.timestamp else f"{device}:{event.key}"


def _document(event: Event) -> dict[str, Any]:
    document: dict[str, Any] = {**event.attributes(), "parsed": event.parsed}
    try:
        text = event.body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if _UNFIT(text):
        return document | {"body": base64.b64encode(event.body).decode(), "encoding": "base64"}
    return document | {"body": text}
