"""The keys of sent events, in Firestore."""

from datetime import UTC, datetime, timedelta

from core.event import rfc3339
from gcp_functions.firestore import NO_FIELDS, PREFIX, is_document
from gcp_functions.service import Service


class FirestoreSeenKeys:
    """One document per event key, ``seenKeys/e.{key}``.

    Durable: as in `gcp_functions.firestore.FirestoreStore`. A read sees all earlier writes.

    Args:
        firestore: Firestore.
        database: Its full name, ``projects/PROJECT/databases/DATABASE``.
        keep_days: Days after which a key may be deleted, by the policy on ``expiresAt``; 0 keeps it for ever.
    """

    def __init__(self, firestore: Service, database: str, keep_days: int) -> None:
        self._firestore = firestore
        self._documents = f"/v1/{database}/documents/seenKeys"
        self._keep = timedelta(days=keep_days)

    def contains(self, key: str, deadline: float) -> bool:
        """Return whether ``key`` was marked; see `core.stores.contract.SeenKeys`."""
        path = f"{self._documents}/{PREFIX}{key}?{NO_FIELDS}"
        answer = self._firestore.call("GET", path, deadline, none_if="NOT_FOUND")
        if answer is None:
            return False
        is_document(answer, f"seenKeys/{PREFIX}{key}")
        return True

    def mark(self, key: str, deadline: float) -> None:
        """Remember ``key``; see `core.stores.contract.SeenKeys`."""
        fields = {"expiresAt": {"timestampValue": rfc3339(datetime.now(UTC) + self._keep)}} if self._keep else {}
        path = f"{self._documents}?documentId={PREFIX}{key}&{NO_FIELDS}"
        # Create, never update: so the function needs no permission to update.
        self._firestore.call("POST", path, deadline, {"fields": fields}, none_if="ALREADY_EXISTS")


class NoSeenKeys:
    """No keys: every delivery is sent, and consumers detect duplicates by the key."""

    def contains(self, key: str, deadline: float) -> bool:  # noqa: ARG002
        """Return False."""
        return False

    def mark(self, key: str, deadline: float) -> None:
        """Do nothing."""
