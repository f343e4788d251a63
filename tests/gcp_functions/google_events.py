"""Events for the tests of Google Cloud's stores, and the outcome of each."""

from base64 import b64encode
from typing import Any

from core.event import Event
from gcp_functions.service import Service, connect
from tests.support.deliveries import body
from tests.support.events import DEVICE, PROJECT, event
from tests.support.loopback import Reply
from tests.support.proxy import Proxy

PING = body(eventType="ping", data={}, targetName=f"projects/{PROJECT}").replace(
    f'"deviceId":"{DEVICE}"'.encode(), b'"deviceId":""'
)
# Answers of 200 that are not a Firestore document.
OTHER = b'{"name":"projects/p/databases/d/documents/devices/d/events/e.another"}'
NO_DOCUMENT = [Reply(200, content) for content in (b"[]", b"{}", b'"name"', b"null", b"<p>", b"", OTHER)]


def of_device(device: str, **changes: Any) -> Event:
    """Return an event of a device with this id, which is inserted into the JSON unescaped."""
    changes = {"targetName": None, "eventId": None} | changes
    one = event(body(**changes).replace(f'"deviceId":"{DEVICE}"'.encode(), f'"deviceId":"{device}"'.encode()))
    assert device in one.body.decode()
    return one


def through(proxy: Proxy) -> Service:
    return connect("", f"127.0.0.1:{proxy.port}")


def base64(content: bytes) -> str:
    return b64encode(content).decode()
