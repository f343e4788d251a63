"""Events to read, and how reading fails."""

from datetime import timedelta

import pytest

from core.event import Event
from readers import ReaderError
from readers.query import Query
from readers.sources import open_reader
from tests.support.deliveries import body
from tests.support.events import DEVICE, NOW, event

MINUTE = timedelta(minutes=1)


def timed(minutes: int, event_type: str = "temperature", device: str = DEVICE) -> Event:
    sent = (NOW - minutes * MINUTE).isoformat()
    content = body(eventId=f"e{minutes}", eventType=event_type, timestamp=sent, data={event_type: {}})
    return event(content.replace(DEVICE.encode(), device.encode()))


def failure(source: str) -> str:
    with pytest.raises(ReaderError) as caught, open_reader(source) as reader:
        list(reader.events(Query()))
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)
