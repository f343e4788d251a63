"""Lists the databases, and finds the one of an event.

The reasons are in docs/decisions/0028-cloudant-databases.md. A name here is the part after the prefix: the month,
quarter or year of event time in UTC, such as ``2026-11``, ``2026-q4`` and ``2026``, or ``undated``.
"""

import json
import re
import threading
import time
from collections.abc import Container
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode

from core.service.attempts import ATTEMPT
from core.stores.contract import StoreUnavailableError
from ibm_actions.service import Service, cause_of

PERIODS = ("month", "quarter", "year")
UNDATED = "undated"
# Databases are created only for these years. So with one per year, the number fits the Lite plan, which allows 20,
# whatever a device's clock shows: https://cloud.ibm.com/docs/Cloudant?topic=Cloudant-limits
YEARS = range(2024, 2042)
_NAME = re.compile(r"\d{4}(-(0[1-9]|1[0-2]|q[1-4]))?|undated").fullmatch


class Place(NamedTuple):
    """The database of an event.

    Attributes:
        database: The full name of the database.
        note: A remark for the event's log line.
    """

    database: str
    note: str | None = None


class Databases:
    """The databases of one prefix; safe to use from several threads.

    Args:
        cloudant: The instance.
        prefix: The first part of the names, before a hyphen.
        period: The period of a new database, from `PERIODS`.
    """

    def __init__(self, cloudant: Service, prefix: str, period: str = "year") -> None:
        self._cloudant = cloudant
        self._prefix = prefix
        self._period = period
        self._places: dict[str, Place] = {}
        self._lock = threading.Lock()

    def full_name(self, name: str) -> str:
        """Return the name with the prefix."""
        return f"{self._prefix}-{name}"

    def names(self, deadline: float) -> list[str]:
        """List the databases; return their names in order of time, `UNDATED` last.

        Raises:
            StoreUnavailableError: The instance did not answer.
        """
        first = self.full_name("")
        bounds = urlencode({"start_key": json.dumps(first), "end_key": json.dumps(f"{first}\ufff0")})
        status, answer = self._cloudant.call("GET", f"/_all_dbs?{bounds}", deadline)
        if status != 200 or "rows" not in answer:
            raise StoreUnavailableError(cause_of(status, answer))
        found = (str(name).removeprefix(first) for name in answer["rows"])
        return sorted(filter(_NAME, found), key=_order)

    def find(self, at: datetime | None, deadline: float, *, refresh: bool = False) -> Place:
        """Return the database for this time: the one that the period's first event used. Create it if missing.

        Args:
            at: The event's own time.
            deadline: As in `core.stores.contract.Store.put`.
            refresh: List the databases again, because a known one is missing.

        Raises:
            StoreUnavailableError: There is no database, and none could be created.
        """
        names, known = _covering(at), self._places
        place = None if refresh else _first(known, names)
        if place:
            return place
        # One thread lists them for all waiting ones.
        if not self._lock.acquire(timeout=max(deadline - ATTEMPT - time.monotonic(), 0)):
            raise StoreUnavailableError("deadline")
        try:
            place = None if self._places is known else _first(self._places, names)
            return place or self._look(names, deadline)
        finally:
            self._lock.release()

    def _look(self, names: list[str], deadline: float) -> Place:
        found = self.names(deadline)
        self._places = {name: Place(self.full_name(name)) for name in found}
        if place := _first(self._places, names):
            return place
        name = UNDATED if UNDATED in names else names[PERIODS.index(self._period)]
        place = self._make(name, _stand_in(name, found), deadline)
        self._places = {**self._places, name: place}
        return place

    def _make(self, name: str, other: str | None, deadline: float) -> Place:
        """Create a database; if that is refused, use the other one instead, permanently."""
        database = self.full_name(name)
        creation = f"/{database}?partitioned=true"
        # 412: it was created concurrently. 202: not all nodes know it yet; the document's own quorum decides.
        made = (201, 202, 412)
        if not other:
            self._expect(made, "PUT", creation, deadline)
            return Place(database)
        kept = self.full_name(other)
        # Without this mark, events in the other database would be stored again when a database can be created.
        mark = f"/{kept}/_local/holds-{name}"
        if self._expect((200, 404), "GET", mark, deadline) == 404:
            if self._expect((*made, 403), "PUT", creation, deadline) in made:
                return Place(database)
            self._expect((201, 409), "PUT", mark, deadline, {})
        return Place(kept, f"databases: no room for {database}, kept in {kept}")

    def _expect(
        self, statuses: Container[int], method: str, path: str, deadline: float, document: object = None
    ) -> int:
        status, answer = self._cloudant.call(method, path, deadline, document)
        if status not in statuses:
            raise StoreUnavailableError(f"no database: {cause_of(status, answer)}")
        return status


def _covering(at: datetime | None) -> list[str]:
    """Return the possible names of databases for this time, shortest period first."""
    if not at:
        return [UNDATED]
    year = f"{at.year:04}"
    names = [f"{year}-{at.month:02}", f"{year}-q{(at.month + 2) // 3}", year]
    return names if at.year in YEARS else [*names, UNDATED]


def _months(name: str) -> tuple[str, str]:
    """Return the first and the last month of a database; `UNDATED` follows them all."""
    year, _, part = name.partition("-")
    if part.startswith("q"):
        return f"{year}-{3 * int(part[1]) - 2:02}", f"{year}-{3 * int(part[1]):02}"
    return (name, name) if part or name == UNDATED else (f"{year}-01", f"{year}-12")


def _order(name: str) -> tuple[str, str]:
    return _months(name)[::-1]


def _stand_in(name: str, names: list[str]) -> str | None:
    """Return the last database that begins before this one ends, or else the first of all."""
    dated = [each for each in names if each != UNDATED] or names
    before = [each for each in dated if _months(each)[0] <= _months(name)[1]]
    return next(iter(before[-1:] or dated), None)


def _first(places: dict[str, Place], names: list[str]) -> Place | None:
    return next((places[name] for name in names if name in places), None)
