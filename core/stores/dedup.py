"""A queue that cannot refuse a second copy, made into a store that can."""

import time

from core.event import Event
from core.stores.contract import Outcome, Queue, SeenKeys, StoreUnavailableError


class Deduplicated:
    """Look up, send, mark: a crash at any point costs at most one duplicate, which carries its key.

    The other order, mark then send, loses the event when the process dies between the two; a lease that is taken first
    gets stuck. So there is neither. docs/decisions/0005-look-up-send-mark.md has the table.

    Args:
        queue: Where events go.
        seen: The keys that were sent; outlives DT's 12 hours of retries, or every sync of a project is sent again.
    """

    def __init__(self, queue: Queue, seen: SeenKeys) -> None:
        self._queue = queue
        self._seen = seen

    def put(self, event: Event, deadline: float) -> Outcome:
        """Send ``event`` unless its key was sent before.

        Raises:
            StoreUnavailableError: The queue did not accept it.
        """
        now = time.monotonic()
        notes = []
        try:
            # At most half of the time, so that the rest is left for sending.
            if self._seen.contains(event.key, now + (deadline - now) / 2):
                return Outcome.DUPLICATE
        except StoreUnavailableError as error:
            notes.append(f"look-up failed: {error.reason}")  # sent anyway: a duplicate is better than a loss
        try:
            self._queue.send(event, deadline)
        except StoreUnavailableError as error:
            raise StoreUnavailableError(error.reason, ", ".join(notes)) from None
        try:
            self._seen.mark(event.key, deadline)
        except StoreUnavailableError as error:
            # Durable already: an error here would only bring it again.
            notes.append(f"mark failed: {error.reason}")
        return Outcome.STORED.noting(", ".join(notes))
