"""Events in Firestore."""

import base64
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from core.event import Event, rfc3339
from core.stores.contract import Outcome, StoreUnavailableError
from gcp_functions.service import Service

URL = "https://firestore.googleapis.com"

# The characters of device ids that a document id may contain: https://cloud.google.com/firestore/quotas#collections
_ID = re.compile("(?!__)[A-Za-z0-9_-]{1,128}").fullmatch
_TIMES = ("timestamp", "receivedAt")
# A prefix for keys: Firestore reserves names that begin and end with two underscores, and a key could.
PREFIX = "e."
# Without this mask, Firestore returns the written document with all fields.
NO_FIELDS = "mask.fieldPaths=__name__"


def is_document(answer: Mapping[str, Any], path: str) -> None:
    """Check that the answer is the document at this path.

    Raises:
        StoreUnavailableError: It is another document, or not from Firestore.
    """
    if not str(answer.get("name")).endswith(f"/documents/{path}"):
        raise StoreUnavailableError("no name")


class FirestoreStore:
    """One document per event, ``devices/{device}/events/e.{key}``, created only if it does not exist.

    Durable: Firestore answers a write when it is committed to several zones or regions, by the database's location
    (https://cloud.google.com/firestore/docs/locations).
    Unique: by the document's path, which depends only on the body, as long as the document exists. A device's history
    is one collection, and its newest event the first one by ``timestamp``, without a custom index.
    Answers: ALREADY_EXISTS means that the event exists, perhaps from an earlier attempt whose answer was lost.
    Everything else is `StoreUnavailableError` with Google's code, after retries if the service was busy or the network
    failed.

    Args:
        firestore: Firestore.
        database: Its full name, ``projects/PROJECT/databases/DATABASE``.
        keep_days: Days after which a document may be deleted, by the policy on ``expiresAt``; 0 keeps it for ever.
    """

    def __init__(self, firestore: Service, database: str, keep_days: int) -> None:
        self._firestore = firestore
        self._documents = f"/v1/{database}/documents"
        self._keep = timedelta(days=keep_days)

    def put(self, event: Event, deadline: float) -> Outcome:
        """Create ``event`` unless it exists; see `core.stores.contract.Store`."""
        device = event.device_id if event.device_id and _ID(event.device_id) else "-"
        events, name = f"devices/{device}/events", f"{PREFIX}{event.key}"
        path = f"{self._documents}/{events}?documentId={name}&{NO_FIELDS}"
        fields = self._fields(event)
        answer = self._firestore.call("POST", path, deadline, {"fields": fields}, none_if="ALREADY_EXISTS")
        if answer is None:
            return Outcome.DUPLICATE
        is_document(answer, f"{events}/{name}")
        return Outcome.STORED

    def _fields(self, event: Event) -> dict[str, dict[str, Any]]:
        fields: dict[str, dict[str, Any]] = {
            name: {"timestampValue" if name in _TIMES else "stringValue": text}
            for name, text in event.attributes().items()
        }
        fields["parsed"] = {"booleanValue": event.parsed}
        fields["body"] = {"bytesValue": base64.b64encode(event.body).decode()}
        if self._keep:
            fields["expiresAt"] = {"timestampValue": rfc3339(event.received_at + self._keep)}
        return fields
