"""Rate-limited warnings of dropped events: a dropped event is lost, so a wrong filter must be noticed."""

import threading
import time
from collections.abc import Callable

from core.event import Event
from core.log import Log

# Seconds between two warnings.
EVERY = 60.0
# Names in one warning.
_MAX_NAMES = 10


class Drops:
    """Counts drops. Warns at the first one, and then at most once in `EVERY` seconds.

    Args:
        log: Where the warnings go.
        clock: Monotonic seconds.
    """

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._warned = float("-inf")
        self._count = 0
        # Ordered sets.
        self._event_types: dict[str, None] = {}
        self._projects: dict[str, None] = {}

    def add(self, event: Event) -> None:
        """Count one."""
        with self._lock:
            self._count += 1
            _add(self._event_types, event.event_type)
            _add(self._projects, event.project_id)
            now = self._clock()
            if now - self._warned < EVERY:
                return
            self._warned = now
            message = (
                f"Events dropped by DT_EVENT_TYPES or DT_PROJECT_ID since the last such line: {self._count}. "
                f"Event types: {', '.join(self._event_types)}. Projects: {', '.join(self._projects)}."
            )
            self._count, self._event_types, self._projects = 0, {}, {}
        self._log.notice("WARNING", message)


def _add(names: dict[str, None], name: str | None) -> None:
    if len(names) < _MAX_NAMES:
        names[name or "none"] = None
