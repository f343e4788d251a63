"""``python -m ibm_actions.history``: a device's readings, from the documents in Cloudant."""

import argparse
import heapq
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from core.environment import Environment, SettingsError
from core.event import Event, rfc3339
from core.readings import readings
from core.receiver import DEADLINE
from core.stores.contract import StoreUnavailableError
from core.text import printable
from ibm_actions.cloudant import read_document
from ibm_actions.databases import Databases, select
from ibm_actions.service import Service, cause_of
from ibm_actions.wiring import build_databases, build_service

Row = Mapping[str, Any]

_PAGE = 200
_WEEK, _YEAR = timedelta(days=7), timedelta(days=372)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_EXAMPLES = """\
examples:
  python -m ibm_actions.history emucdd6ef2eu277bo8f52vg --newest
  python -m ibm_actions.history emucdd6ef2eu277bo8f52vg --newest --type temperature
  python -m ibm_actions.history emucdd6ef2eu277bo8f52vg --since 2026-11-01 --until 2026-11-08T12:00:00Z
  python -m ibm_actions.history emucdd6ef2eu277bo8f52vg --all

It takes the receiver's settings: DT_CLOUDANT, and DT_CLOUDANT_API_KEY on your desk. See ibm_actions/README.md.
"""


class History:
    """Reads devices' events from all databases. Documents that are not events are skipped.

    Args:
        cloudant: The instance.
        databases: Lists the databases.
    """

    def __init__(self, cloudant: Service, databases: Databases) -> None:
        self._cloudant = cloudant
        self._databases = databases

    def between(self, device: str, since: datetime, until: datetime) -> Iterator[Event]:
        """Yield a device's events from ``since`` to before ``until``, oldest first.

        Raises:
            StoreUnavailableError: Cloudant did not answer.
        """
        return self._events(self._names(since, until), device, rfc3339(since), rfc3339(max(since, until)))

    def everything(self, device: str) -> Iterator[Event]:
        """Yield all of a device's events, oldest first, then those without a time; errors as above."""
        return self._events(self._names(_FIRST, _LAST), device, "", "\ufff0")

    def newest(self, device: str, event_type: str | None = None) -> Event | None:
        """Return a device's newest event of the last year, optionally of one type; errors as above.

        Events more than a day in the future are skipped: the device's clock was wrong.
        """
        now = datetime.now(UTC)
        since, until = now - _YEAR, now + timedelta(days=1)
        # One is enough if its type matches.
        limit = _PAGE if event_type else 1
        events = self._events(self._names(since, until), device, rfc3339(until), rfc3339(since), limit)
        return next((event for event in events if event_type in (None, event.event_type)), None)

    def _names(self, since: datetime, until: datetime) -> list[str]:
        return select(self._databases.names(time.monotonic() + DEADLINE), since, until)

    def _events(self, names: list[str], device: str, first: str, last: str, limit: int = _PAGE) -> Iterator[Event]:
        """Yield events between two times, backwards if the second is earlier; ``limit`` per request."""
        rows = (self._rows(name, device, first, last, limit) for name in names)
        merged = heapq.merge(*rows, key=lambda row: row["id"], reverse=first > last)
        return filter(None, map(_read, merged))

    def _rows(self, name: str, device: str, first: str, last: str, limit: int) -> Iterator[Row]:
        path = f"/{self._databases.full_name(name)}/_partition/{quote(device, safe='')}/_all_docs"
        bounds = {"end_key": f"{device}:{last}", "descending": first > last, "include_docs": True, "limit": limit}
        start, skip = f"{device}:{first}", 0
        while start:
            options = {**bounds, "start_key": start, "skip": skip}
            query = urlencode({name: json.dumps(value) for name, value in options.items()})
            status, answer = self._cloudant.call("GET", f"{path}?{query}", time.monotonic() + DEADLINE)
            # 404: the database was deleted meanwhile.
            rows = [] if status == 404 else answer.get("rows")
            if status not in (200, 404) or type(rows) is not list:
                raise StoreUnavailableError(cause_of(status, answer))
            yield from rows
            start, skip = rows[-1]["id"] if len(rows) == limit else "", 1


def _read(row: Row) -> Event | None:
    """Return the event in a row; None if it is not an event."""
    try:
        return read_document(row["doc"] or {})
    except ValueError:
        print(f"{printable(row['id'])} is not an event.", file=sys.stderr)
        return None


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError("it must be a time, such as 2026-11-01 or 2026-11-01T12:00:00Z") from None


def _asked_for(asked: argparse.Namespace) -> Iterator[Event]:
    environment = Environment(os.environ)
    cloudant = build_service(environment)
    history = History(cloudant, build_databases(environment, cloudant))
    if asked.newest:
        return filter(None, [history.newest(asked.device, asked.type)])
    if asked.all:
        return history.everything(asked.device)
    until = asked.until or datetime.now(UTC)
    return history.between(asked.device, asked.since or until - min(_WEEK, until - _FIRST), until)


def main() -> None:
    """Print the requested readings, one per line."""
    parser = argparse.ArgumentParser(
        prog="python -m ibm_actions.history",
        description="Print what a device has measured: its time, the quantity, the value and the unit.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("device", help="the device's id")
    parser.add_argument("--newest", action="store_true", help="only its newest event, of the last 12 months")
    parser.add_argument("--all", action="store_true", help="all its events, also those without a time")
    parser.add_argument("--type", help="only events of this type, such as temperature")
    parser.add_argument("--since", type=_time, help="from this time (UTC if it says no zone); 7 days ago if left out")
    parser.add_argument("--until", type=_time, help="before this time; now if left out")
    asked = parser.parse_args()
    try:
        for event in _asked_for(asked):
            if asked.type in (None, event.event_type):
                for reading in readings(event):
                    value = reading.text or "" if reading.value is None else f"{reading.value:.10g}"
                    print(printable(f"{reading.time or '-'} {reading.quantity} {value} {reading.unit or ''}"))
    except SettingsError as error:
        sys.exit(str(error))
    except StoreUnavailableError as error:
        sys.exit(f"Cloudant did not answer: {error.reason}. Is DT_CLOUDANT right, and may you read there?")


if __name__ == "__main__":
    # Some terminals cannot show the degree sign.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    main()
