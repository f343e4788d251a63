"""The event of `tests.support.deliveries.body`, its stored attributes, and the failures of its write."""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from core.event import Event, parse_stored
from core.receiver import DEADLINE
from core.stores.contract import StoreUnavailableError
from tests.support.deliveries import fresh_body

NOW = datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=UTC)
DEVICE, PROJECT = "emucdd6ef2eu277bo8f52vg", "ccol8iuk9smqiha4e8l0"
TIME = "2024-05-29T10:34:03.970415Z"
KEY = f"cpbg96qngr7ai7ldarrg.temperature.{DEVICE}"
# The attributes stored with the body, if it is received `NOW`.
ATTRIBUTES = {
    "key": KEY,
    "eventId": "cpbg96qngr7ai7ldarrg",
    "eventType": "temperature",
    "deviceId": DEVICE,
    "projectId": PROJECT,
    "timestamp": TIME,
    "receivedAt": "2026-11-21T09:00:00.123456Z",
    "signedBy": "unknown",
}
# An event without id, device, project and time, and its attributes.
POLLEN = b'{"event":{"eventType":"pollen"}}'


def hashed(content: bytes) -> str:
    """Return the key of an event without an id."""
    return "h." + hashlib.sha256(content).hexdigest()


POLLEN_ATTRIBUTES = {
    "key": hashed(POLLEN),
    "eventType": "pollen",
    "receivedAt": "2026-11-21T09:00:00.123456Z",
    "signedBy": "unknown",
}


def event(content: bytes | None = None, received_at: datetime = NOW) -> Event:
    """Return the event of a body; of a fresh body by default."""
    return parse_stored(fresh_body() if content is None else content, received_at)


def soon(seconds: float = DEADLINE) -> float:
    """Return a deadline."""
    return time.monotonic() + seconds


def cause_of(call: Callable[..., object], *arguments: object, seconds: float = DEADLINE) -> str:
    """Assert that the call, which takes a deadline last, fails in time; return the cause."""
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        call(*arguments, started + seconds)
    assert time.monotonic() - started < seconds
    return caught.value.reason
