"""Warns before the instance reaches its limit of databases."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from core.receiver import DEADLINE
from core.stores.contract import StoreUnavailableError
from ibm_actions.service import Service

# Databases left. With one per month, this is a quarter's notice.
FEW = 3
_DAY = 86_400.0


class Capacity:
    """The number and the limit of databases, read once a day on a separate thread, after an event was stored.

    So each process makes two requests a day, and no answer waits for them. Without permission, and on Apache CouchDB,
    which has no limit, there is no warning.
    https://cloud.ibm.com/docs/Cloudant?topic=Cloudant-deprecations-for-ibm-cloudant#cloudant-database-size-limit

    Args:
        cloudant: The instance.
    """

    def __init__(self, cloudant: Service) -> None:
        self._cloudant = cloudant
        self._asked_at = float("-inf")
        self._warning: str | None = None

    def warning(self) -> str | None:
        """Return the warning for the log, once for each check."""
        now = time.monotonic()
        if now - self._asked_at >= _DAY:
            self._asked_at = now
            threading.Thread(target=self._ask, daemon=True).start()
        warning, self._warning = self._warning, None
        return warning

    def _ask(self) -> None:
        try:
            limit = self._get("capacity")["current"]["databases"]["total"]
            used = self._get("current")["databases"]["total"]
            if 0 <= limit - used <= FEW:
                self._warning = f"databases: {used} of {limit} are used"
        except (StoreUnavailableError, KeyError, TypeError):
            pass

    def _get(self, what: str) -> Mapping[str, Any]:
        path = f"/_api/v2/user/{what}/databases"
        return self._cloudant.call("GET", path, time.monotonic() + DEADLINE)[1]
