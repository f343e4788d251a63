"""``python -m ibm_actions.history``: what a device has measured, from the documents in Cloudant."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from core.event import Event, rfc3339
from core.readings import readings
from core.receiver import DEADLINE
from core.settings import SettingsError
from core.store import StoreUnavailable
from ibm_actions.cloudant import read_document
from ibm_actions.environment import build_service, database_prefix
from ibm_actions.rest import Service, cause_of

_PAGE = 200
_EXAMPLES = """\
examples:
  python -m ibm_actions.history emucdd6ef2eu277bo8f52vg --newest
  python -m ibm_actions.history emucdd6ef2eu277bo8f52vg --newest --type temperature
  python -m ibm_actions.history emucdd6ef2eu277bo8f52vg --since 2026-11-01 --until 2026-11-08T12:00:00Z

It takes the receiver's settings: DT_CLOUDANT, and DT_CLOUDANT_API_KEY on your desk. See ibm_actions/README.md.
"""


def months(since: datetime, until: datetime) -> list[str]:
    """Return the months that this time touches, such as ``2026-11``, oldest first."""
    first, last = since.year * 12 + since.month - 1, until.year * 12 + until.month - 1
    return [f"{month // 12:04}-{month % 12 + 1:02}" for month in range(first, last + 1)]


def history(cloudant: Service, prefix: str, device: str, since: datetime, until: datetime) -> Iterator[Event]:
    """Yield a device's events from ``since`` to before ``until``, oldest first.

    Raises:
        StoreUnavailable: Cloudant did not answer.
    """
    for month in months(since, until):
        start = f"{device}:{rfc3339(since)}"
        while start:
            found = _page(cloudant, f"{prefix}-{month}", device, start_key=start, end_key=f"{device}:{rfc3339(until)}")
            for row in found:
                yield read_document(row["doc"])
            start = f"{found[-1]['id']}\0" if len(found) == _PAGE else ""


def newest(cloudant: Service, prefix: str, device: str, event_type: str | None = None, back: int = 12) -> Event | None:
    """Return a device's newest event, of one type if need be; None if there is none in the last ``back`` months.

    Raises:
        StoreUnavailable: Cloudant did not answer.
    """
    now = datetime.now(UTC)
    # The month after this one, because a device's clock may be ahead.
    for month in reversed(months(now - timedelta(days=31 * back), now + timedelta(days=1))):
        # One is enough, unless it is of another type.
        start, limit = f"{device}:\ufff0", _PAGE if event_type else 1
        while start:
            found = _page(
                cloudant, f"{prefix}-{month}", device, limit, start_key=start, end_key=f"{device}:", descending=True
            )
            for row in found:
                event = read_document(row["doc"])
                if event_type in (None, event.event_type):
                    return event
            start = found[-1]["id"] if len(found) == limit > 1 else ""
    return None


def _page(
    cloudant: Service, database: str, device: str, limit: int = _PAGE, **options: str | bool
) -> list[Mapping[str, Any]]:
    query = urlencode({"include_docs": "true", "limit": limit, **{k: json.dumps(v) for k, v in options.items()}})
    path = f"/{database}/_partition/{device}/_all_docs?{query}"
    status, answer = cloudant.call("GET", path, time.monotonic() + DEADLINE)
    if status == 404:  # no event came in that month
        return []
    if status != 200:
        raise StoreUnavailable(cause_of(status, answer))
    rows: list[Mapping[str, Any]] = answer["rows"]
    return rows


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError("it must be a time, such as 2026-11-01 or 2026-11-01T12:00:00Z") from None


def main() -> None:
    """Print what was asked for, one reading a line."""
    parser = argparse.ArgumentParser(
        prog="python -m ibm_actions.history",
        description="Print what a device has measured: its time, the quantity, the value and the unit.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("device", help="the device's id")
    parser.add_argument("--newest", action="store_true", help="only its newest event, of the last 12 months")
    parser.add_argument("--type", help="only events of this type, such as temperature")
    parser.add_argument("--since", type=_time, help="from this time (UTC if it says no zone); 7 days ago if left out")
    parser.add_argument("--until", type=_time, help="before this time; now if left out")
    asked = parser.parse_args()
    until = asked.until or datetime.now(UTC)
    try:
        cloudant, prefix = build_service(os.environ), database_prefix(os.environ)
        if asked.newest:
            found = newest(cloudant, prefix, asked.device, asked.type)
            events = iter([found] if found else [])
        else:
            events = history(cloudant, prefix, asked.device, asked.since or until - timedelta(days=7), until)
        for event in events:
            if asked.type in (None, event.event_type):
                for reading in readings(event):
                    value = reading.value if reading.value is not None else reading.text or ""
                    print(reading.time or "-", reading.quantity, value, reading.unit or "")
    except SettingsError as error:
        sys.exit(str(error))
    except StoreUnavailable as error:
        sys.exit(f"Cloudant did not answer: {error.cause}. Is DT_CLOUDANT right, and may you read there?")


if __name__ == "__main__":
    # JSON allows lone surrogates, which no terminal does.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    main()
