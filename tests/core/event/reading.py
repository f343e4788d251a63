"""How these tests read a body."""

import json
from datetime import UTC, datetime
from typing import Any

from core.event import Event, parse
from core.verify.signature import Verified
from tests.support.deliveries import body

NOW = datetime(2024, 5, 29, 10, 34, 5, tzinfo=UTC)
EVENT_ID, DEVICE, PROJECT = "cpbg96qngr7ai7ldarrg", "emucdd6ef2eu277bo8f52vg", "ccol8iuk9smqiha4e8l0"
KEY = f"{EVENT_ID}.temperature.{DEVICE}"
MISSING = object()


def read(content: bytes) -> Event:
    return parse(Verified(content, "hs256:0"), NOW)


def edited(changes: dict[str, Any]) -> Event:
    """Read the usual body with the fields at some paths, such as ``event.eventId``, replaced; MISSING removes one."""
    document = json.loads(body())
    for path, value in changes.items():
        *parents, name = path.split(".")
        place = document
        for parent in parents:
            place = place[parent]
        place[name] = value
        if value is MISSING:
            del place[name]
    return read(json.dumps(document).encode())
