"""Realistic bodies of every event type that a Data Connector sends, compact as DT Cloud puts them on the wire."""

import base64
import json
import random
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count, cycle, repeat
from typing import Any

from core.event import rfc3339

MAX_SAMPLES = 30

# One sensor sends several types, and these say which one is meant; all others come from a temperature sensor here.
_DEVICE_TYPES = {
    "touch": "touch",
    "objectPresent": "proximity",
    "humidity": "humidity",
    "objectPresentCount": "proximityCounter",
    "touchCount": "touchCounter",
    "waterPresent": "waterDetector",
    "co2": "co2",
    "pressure": "co2",
    "motion": "motion",
    "deskOccupancy": "deskOccupancy",
    "contact": "contact",
    "connectionStatus": "ccon",
    "ethernetStatus": "ccon",
    "cellularStatus": "ccon",
    "connectionLatency": "ccon",
}
_SAMPLED = ("temperature", "humidity")
_HEARTBEAT = timedelta(minutes=15)

_random = random.SystemRandom()

Fields = dict[str, Any]


def xid(seconds: float) -> str:
    """Return a fresh id as DT makes them: 4 bytes of time, here 8 random ones, in base32 (https://github.com/rs/xid).

    Args:
        seconds: The time, in seconds since the epoch.
    """
    return encode_xid(int(seconds).to_bytes(4) + secrets.token_bytes(8))


def encode_xid(data: bytes) -> str:
    """Write 12 bytes as the 20 characters of an xid."""
    return base64.b32hexencode(data).decode().rstrip("=").lower()


class Device:
    """A device that can send every event type, with values that move from one event to the next.

    Args:
        device_id: Its id; one that begins with ``emu`` is an emulator, which has no product number.
        project_id: The id of its project.
        samples: How many samples a temperature or humidity event has, 1 to `MAX_SAMPLES`.
    """

    def __init__(self, device_id: str, project_id: str, samples: int = 1) -> None:
        self.device_id = device_id
        self.project_id = project_id
        self._samples = samples
        self._fields = _all_fields()

    def body(self, event_type: str, now: datetime) -> bytes:
        """Return the body of a new event.

        Args:
            event_type: One of `EVENT_TYPES`.
            now: When it happens, in UTC.
        """
        document = {
            "event": {
                "eventId": xid(now.timestamp()),
                "targetName": f"projects/{self.project_id}/devices/{self.device_id}",
                "eventType": event_type,
                "data": self._data(event_type, now),
                "timestamp": rfc3339(now),
            },
            "labels": {"name": "Kjølerom 1"},  # not ASCII: who counts characters instead of bytes, or escapes, shows
            "metadata": {
                "deviceId": self.device_id,
                "projectId": self.project_id,
                "deviceType": _DEVICE_TYPES.get(event_type, "temperature"),
                "productNumber": "" if self.device_id.startswith("emu") else "102058",
            },
        }
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

    def _data(self, event_type: str, now: datetime) -> Fields:
        fields = self._fields[event_type]
        if event_type == "labelsChanged":  # the one type without a wrapper and without an updateTime
            return next(fields)
        if event_type not in _SAMPLED:
            return {event_type: {**next(fields), "updateTime": rfc3339(now)}}
        every = _HEARTBEAT / self._samples
        samples = [{**next(fields), "sampleTime": rfc3339(now - age * every)} for age in reversed(range(self._samples))]
        samples.reverse()  # the newest comes first, and is the event's own value
        newest = {name: value for name, value in samples[0].items() if name != "sampleTime"}
        return {event_type: {**newest, "updateTime": rfc3339(now), "samples": samples, "isBackfilled": False}}


def tampered(body: bytes) -> bytes:
    """Change one byte of a body that `Device` made, so that it is still a proper event: one of another eventId."""
    at = body.index(b'"eventId":"') + len(b'"eventId":"')
    return body[:at] + (b"1" if body[at : at + 1] == b"0" else b"0") + body[at + 1 :]


def _all_fields() -> dict[str, Iterator[Fields]]:
    """Return, for each type, the endless fields of its data, in the order of docs/protocol.md."""
    return {
        "touch": repeat({}),
        "temperature": ({"value": value} for value in _walk(21.5, 0.3, -40, 85)),
        "objectPresent": _states("PRESENT", "NOT_PRESENT"),
        "humidity": (
            {"temperature": temperature, "relativeHumidity": humidity}
            for temperature, humidity in zip(_walk(21.5, 0.3, -40, 85), _walk(40, 1, 0, 100), strict=True)
        ),
        "objectPresentCount": ({"total": total} for total in count(4176)),
        "touchCount": ({"total": total} for total in count(469)),
        "waterPresent": _states("PRESENT", "NOT_PRESENT"),
        "co2": ({"ppm": ppm} for ppm in _walk(617, 25, 400, 5000, digits=0)),
        "pressure": ({"pascal": pascal} for pascal in _walk(94_936, 20, 87_000, 108_000, digits=0)),
        "motion": _states("MOTION_DETECTED", "NO_MOTION_DETECTED"),
        "deskOccupancy": ({**state, "remarks": []} for state in _states("OCCUPIED", "NOT_OCCUPIED")),
        "contact": _states("OPEN", "CLOSED"),
        "probeWireStatus": _states("TWO_WIRE", "THREE_WIRE", "FOUR_WIRE", "INVALID_WIRE_CONFIGURATION"),
        "networkStatus": (
            {
                "signalStrength": strength,
                "rssi": rssi,
                "cloudConnectors": [{"id": "bdkjbo2v0000uk377c4g", "signalStrength": strength, "rssi": rssi}],
                "transmissionMode": "LOW_POWER_STANDARD_MODE",
            }
            for strength, rssi in ((strength, round(strength / 2) - 105) for strength in _walk(45, 5, 1, 100, digits=0))
        ),
        "batteryStatus": ({"percentage": percentage} for percentage in cycle((100, 80, 60, 40, 20))),
        "labelsChanged": cycle(
            (
                {"added": {"floor": "2"}, "modified": {}, "removed": []},
                {"added": {}, "modified": {"floor": "3"}, "removed": []},
                {"added": {}, "modified": {}, "removed": ["floor"]},
            )
        ),
        "connectionStatus": cycle(
            (
                {"connection": "ETHERNET", "available": ["CELLULAR", "ETHERNET"]},
                {"connection": "CELLULAR", "available": ["CELLULAR"]},
                {"connection": "OFFLINE", "available": []},
            )
        ),
        "ethernetStatus": repeat({"macAddress": "f0:b5:b7:00:0a:08", "ipAddress": "10.0.0.1", "errors": []}),
        "cellularStatus": ({"signalStrength": value, "errors": []} for value in _walk(80, 5, 1, 100, digits=0)),
        "connectionLatency": (
            {"avgLatencyMillis": millis, "minLatencyMillis": millis - 7, "maxLatencyMillis": millis + 24}
            for millis in _walk(31, 4, 10, 200, digits=0)
        ),
    }


def _states(*states: str) -> Iterator[Fields]:
    return ({"state": state} for state in cycle(states))


def _walk(value: float, step: float, low: float, high: float, digits: int = 2) -> Iterator[float]:
    """Walk at random. Whole numbers come as int, since DT Cloud writes 27 and not 27.0."""
    while True:
        rounded = round(value, digits)
        yield int(rounded) if rounded == int(rounded) else rounded
        value = min(max(value + _random.uniform(-step, step), low), high)


# Those that a Data Connector can be told to send.
EVENT_TYPES = tuple(_all_fields())
