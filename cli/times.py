"""Reads times and ages."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"([0-9]+)([smhdw])").fullmatch


def parse_age(text: str) -> timedelta:
    """Parse an age such as ``90s``, ``5m``, ``2h``, ``3d``, ``1w``.

    Raises:
        ValueError: It is not an age.
    """
    age = _AGE(text)
    try:
        if age:
            return timedelta(**{_UNITS[age[2]]: int(age[1])})
    except OverflowError:
        pass
    raise ValueError("It must be an age such as 90s, 5m, 2h, 3d.")


def parse_time(text: str, now: datetime) -> datetime:
    """Parse RFC 3339, in UTC if it names no offset, or an age.

    Raises:
        ValueError: It is neither.
    """
    try:
        if _AGE(text):
            return now - parse_age(text)
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError("It must be a time such as 2026-01-31T12:00:00Z, or an age such as 90s, 5m, 2h, 3d.") from None


def age(seconds: float) -> str:
    """Format seconds for a person, such as ``3.2 min``."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if abs(seconds) >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
