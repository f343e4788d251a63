"""Events for the tests of Google Cloud's stores, and the outcome of each."""

import hashlib
import time
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from core.event import Event, parse_stored
from core.receiver import DEADLINE
from core.stores.contract import StoreUnavailableError
from gcp_functions.service import Service, connect
from tests.support.deliveries import body, fresh_body
from tests.support.loopback import Reply
from tests.support.proxy import Proxy

NOW = datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=UTC)
DEVICE, PROJECT = "emucdd6ef2eu277bo8f52vg", "ccol8iuk9smqiha4e8l0"
KEY = f"cpbg96qngr7ai7ldarrg.temperature.{DEVICE}"
POLLEN = b'{"event":{"eventType":"pollen"}}'
PING = body(eventType="ping", data={}, targetName=f"projects/{PROJECT}").replace(
    f'"deviceId":"{DEVICE}"'.encode(), b'"deviceId":""'
)
# Answers of 200 that are not a Firestore document.
OTHER = b'{"name":"projects/p/databases/d/documents/devices/d/events/e.another"}'
NO_DOCUMENT = [Reply(200, content) for content in (b"[]", b"{}", b'"name"', b"null", b"<p>", b"", OTHER)]


def event(content: bytes | None = None) -> Event:
    return parse_stored(fresh_body() if content is None else content, NOW)


def of_device(device: str, **changes: Any) -> Event:
    """Return an event of a device with this id, which is inserted into the JSON unescaped."""
    changes = {"targetName": None, "eventId": None} | changes
    one = event(body(**changes).replace(f'"deviceId":"{DEVICE}"'.encode(), f'"deviceId":"{device}"'.encode()))
    assert device in one.body.decode()
    return one


def soon() -> float:
    return time.monotonic() + DEADLINE


def hashed(content: bytes) -> str:
    return "h." + hashlib.sha256(content).hexdigest()


def cause_of(put: Callable[[Event, float], object], one: Event) -> str:
    with pytest.raises(StoreUnavailableError) as caught:
        put(one, soon())
    return caught.value.reason


def through(proxy: Proxy) -> Service:
    return connect("", f"127.0.0.1:{proxy.port}")


def base64(content: bytes) -> str:
    return b64encode(content).decode()
