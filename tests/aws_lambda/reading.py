"""Events to read, how reading fails, and what stands before moto to answer in its place."""

import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta

import pytest

from core.event import Event
from readers import ReaderError
from readers.query import Query
from readers.sources import open_reader
from tests.support.deliveries import body
from tests.support.events import DEVICE, NOW, event
from tests.support.loopback import Call, Reply
from tests.support.moto import MotoServer

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


def before(moto: MotoServer, answer: Callable[[Call], Reply | None]) -> Callable[[Call], Reply]:
    """Return what answers a call by ``answer``, or by moto if that is None."""

    def answering(call: Call) -> Reply:
        own = answer(call)
        if own:
            return own
        request = urllib.request.Request(moto.url + call.path, call.body, call.headers, method=call.method)
        try:
            with urllib.request.urlopen(request, timeout=30) as found:
                return Reply(found.status, found.read(), {"Date": found.headers["Date"]})
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.read())

    return answering
