"""What the tests of Google Cloud's readers share."""

from datetime import timedelta

import pytest

from core.event import Event, parse_stored, rfc3339
from readers import ReaderError
from readers.query import Query
from readers.sources import open_reader
from tests.support.deliveries import body
from tests.support.events import DEVICE, NOW

MINUTE = timedelta(minutes=1)


def timed(minutes: int, event_type: str = "temperature", device: str = DEVICE) -> Event:
    """Return an event of some minutes before `NOW`, which arrived a second later."""
    sent = NOW - minutes * MINUTE
    content = body(
        eventId=f"e{minutes}",
        eventType=event_type,
        timestamp=rfc3339(sent),
        data={event_type: {"value": minutes, "state": "MOTION_DETECTED", "updateTime": rfc3339(sent)}},
    )
    content = content.replace(f'"deviceId":"{DEVICE}"'.encode(), f'"deviceId":"{device}"'.encode())
    return parse_stored(content, sent + timedelta(seconds=1), "hs256:0")


def failure(source: str) -> str:
    """Return the sentence with which reading fails."""
    with pytest.raises(ReaderError) as caught, open_reader(source) as reader:
        list(reader.events(Query()))
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert text.endswith(".")
    return text
