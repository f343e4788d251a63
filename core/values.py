"""Values of a parsed event, as every database can hold them: what has another type, or no place, is None."""

import re
from typing import Any

from core.event import Event

Number = int | float
# The same limit as in the views: well below the largest double, so that no database overflows.
_TOO_LARGE = 1e308


def data_of(event: Event) -> Any:
    """Return the data of the event's type: an object, or anything else in a malformed event."""
    if event.event_type == "ping":
        return {}  # ping has no data, and labelsChanged has its three fields directly in data
    wrapper = () if event.event_type == "labelsChanged" else (event.event_type,)
    return at(event.document, "event", "data", *wrapper)


def at(value: Any, *names: str | None) -> Any:
    """Follow ``names`` down nested objects; None if a name is missing."""
    for name in names:
        value = value.get(name) if type(value) is dict else None
    return value


def number(value: Any) -> Number | None:
    """Return a number that fits a double."""
    # 1e999 is JSON, and so is a 1 with 999 zeros, but neither fits a double.
    return value if type(value) in (int, float) and abs(value) < _TOO_LARGE else None


# JSON allows characters that databases reject: Postgres rejects NUL, and UTF-8 has no lone surrogates.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def text(value: Any) -> str | None:
    """Return a text, with U+FFFD for the characters that no database holds."""
    return _UNSTORABLE.sub("\ufffd", value) if type(value) is str else None


def items(value: Any) -> list[Any]:
    """Return a list; an empty one for anything else."""
    return value if type(value) is list else []
