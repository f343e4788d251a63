"""Faults on request, each a given number of times."""

from collections import Counter
from collections.abc import Mapping

from dt_cloud.errors import ApiError

UNREACHABLE = "unreachable"
LOSE_ANSWER = "lose-answer"
DELIVER_TWICE = "deliver-twice"
OUT_OF_ORDER = "out-of-order"
SLOW = "slow"
WRONG_SECRET = "wrong-secret"  # noqa: S105 - the name of a fault
EXPIRED_TOKEN = "expired-token"  # noqa: S105 - likewise
UNKNOWN_TYPE = "unknown-type"
NOT_FOUND = "not-found"
TOO_MANY_REQUESTS = "too-many-requests"
TWO_CONNECTORS = "two-connectors"
BACKFILL = "backfill"

# Faults that affect a given number of deliveries, events or requests.
COUNTED: Mapping[str, str] = {
    UNREACHABLE: "an attempt does not reach the receiver",
    LOSE_ANSWER: "the receiver answers, and the answer is lost: the event comes again",
    DELIVER_TWICE: "an event is delivered twice at the same time",
    OUT_OF_ORDER: "an event is held back for up to a minute, so that later ones overtake it",
    SLOW: "the network takes 3 s longer",
    WRONG_SECRET: "a delivery is signed with another secret",
    EXPIRED_TOKEN: "a delivery is signed with tokens that expired two hours ago",
    UNKNOWN_TYPE: "an event has an unknown type",
    NOT_FOUND: "a connector that was just created is answered 404 for 3 s",
    TOO_MANY_REQUESTS: "a request to the API is answered 429",
}
# Faults that happen at once.
IMMEDIATE: Mapping[str, str] = {
    TWO_CONNECTORS: "a second connector sends to the same URL",
    BACKFILL: "a sensor that had lost contact sends 100 stored readings, the newest first",
}
ALL = {**COUNTED, **IMMEDIATE}


class Faults:
    """The remaining number of each fault."""

    def __init__(self) -> None:
        self._left: Counter[str] = Counter()
        # Connectors that a scenario has disconnected from their receivers.
        self.unreachable: set[str] = set()

    def set(self, name: str, count: int) -> None:
        """Let a fault happen ``count`` times; 0 turns it off.

        Raises:
            ApiError: 404, no such fault.
        """
        if name not in COUNTED:
            raise ApiError(404, f"no such fault; the faults are {', '.join(ALL)}")
        self._left[name] = max(0, count)

    def take(self, name: str) -> bool:
        """Return whether a fault happens now, and count it."""
        if not self._left[name]:
            return False
        self._left[name] -= 1
        return True

    def document(self) -> dict[str, int]:
        """Return the remaining numbers of the active faults."""
        return {name: left for name, left in self._left.items() if left}
