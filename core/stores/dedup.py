"""Adds duplicate detection to a queue that has none."""

import time

from core.event import Event
from core.stores.contract import Outcome, Queue, SeenKeys, StoreUnavailableError


class Deduplicated:
    """Look up, send, mark: a crash at any point causes at most one duplicate, with the same key.

    The other order, mark then send, loses the event if the process dies in between. A lease would block retries after a
    crash. See docs/decisions/0005-look-up-send-mark.md.

    Args:
        queue: Receives the events.
        seen: The keys that were sent; must outlive DT's 12 hours of retries, and syncs of a project.
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
            # At most half of the time: sending needs the rest.
            if self._seen.contains(event.key, now + (deadline - now) / 2):
                return Outcome.DUPLICATE
        except StoreUnavailableError as error:
            notes.append(f"look-up failed: {error.reason}")  # Send anyway: a duplicate is better than a loss.
        try:
            self._queue.send(event, deadline)
        except StoreUnavailableError as error:
            raise StoreUnavailableError(error.reason, ", ".join(notes)) from None
        try:
            self._seen.mark(event.key, deadline)
        except StoreUnavailableError as error:
            # The event is durable: an error here would only cause a retry.
            notes.append(f"mark failed: {error.reason}")
        return Outcome.STORED.noting(", ".join(notes))
