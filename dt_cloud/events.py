"""Events in DT's format: the types of each device type, and the defaults of fields."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.event import EVENT_TYPES, read_time, rfc3339

Fields = dict[str, Any]

_OF_ALL_SENSORS = ("touch", "networkStatus", "batteryStatus", "connectionStatus")
# What each device type sends; docs/dt-cloud.md has the sources.
SUPPORTED: Mapping[str, tuple[str, ...]] = {
    "temperature": ("temperature", "probeWireStatus", *_OF_ALL_SENSORS),
    "humidity": ("humidity", *_OF_ALL_SENSORS),
    "proximity": ("objectPresent", *_OF_ALL_SENSORS),
    "touch": _OF_ALL_SENSORS,
    "waterDetector": ("waterPresent", *_OF_ALL_SENSORS),
    "proximityCounter": ("objectPresentCount", *_OF_ALL_SENSORS),
    "touchCounter": ("touchCount", *_OF_ALL_SENSORS),
    "co2": ("co2", "humidity", "pressure", *_OF_ALL_SENSORS),
    "motion": ("motion", *_OF_ALL_SENSORS),
    "deskOccupancy": ("deskOccupancy", *_OF_ALL_SENSORS),
    "contact": ("contact", *_OF_ALL_SENSORS),
    "ccon": ("connectionStatus", "ethernetStatus", "cellularStatus", "connectionLatency", "touch"),
}
PRODUCT_NUMBERS: Mapping[str, str] = dict.fromkeys(SUPPORTED, "102058")

# The defaults of fields. Fields without a default here are required.
_DEFAULTS: Mapping[str, Fields] = {
    "deskOccupancy": {"state": "NOT_OCCUPIED", "remarks": []},
    "networkStatus": {
        "signalStrength": 50,
        "rssi": -80,
        "cloudConnectors": [],
        "transmissionMode": "LOW_POWER_STANDARD_MODE",
    },
    "connectionStatus": {"connection": "OFFLINE", "available": []},
    "ethernetStatus": {"macAddress": "", "ipAddress": "", "errors": []},
    "cellularStatus": {"signalStrength": 0, "errors": []},
}
# The measured fields of event types with samples.
SAMPLED: Mapping[str, tuple[str, ...]] = {
    "temperature": ("value",),
    "humidity": ("temperature", "relativeHumidity"),
}
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    **SAMPLED,
    "objectPresent": ("state",),
    "objectPresentCount": ("total",),
    "touchCount": ("total",),
    "waterPresent": ("state",),
    "co2": ("ppm",),
    "pressure": ("pascal",),
    "motion": ("state",),
    "deskOccupancy": ("state",),
    "contact": ("state",),
    "probeWireStatus": ("state",),
    "networkStatus": ("signalStrength",),
    "batteryStatus": ("percentage",),
    "connectionStatus": ("connection",),
    "cellularStatus": ("signalStrength",),
}

_NUMBER = (int, float)
# The types of fields that have the same type everywhere.
_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("value", "temperature", "relativeHumidity", "signalStrength", "rssi", "percentage"), _NUMBER),
    **dict.fromkeys(("total", "ppm", "pascal"), (int,)),
    **dict.fromkeys(("state", "connection", "transmissionMode", "macAddress", "ipAddress"), (str,)),
}


def complete(event_type: str, given: Mapping[str, Any], now: datetime) -> Fields:
    """Return the fields of an event, completed with all fields that DT sends.

    Args:
        event_type: One of DT's types except ``labelsChanged``.
        given: The given fields, by DT's names.
        now: The default of time fields.

    Raises:
        ValueError: A field is missing or of the wrong type; the text says which.
    """
    for name in _REQUIRED.get(event_type, ()):
        if name not in given:
            raise ValueError(f"{event_type}.{name} is missing")
    for name, value in given.items():
        kinds = _KINDS.get(name)
        if kinds and type(value) not in kinds:
            raise ValueError(f"{event_type}.{name} is not {'text' if kinds == (str,) else 'a number'}")
    fields = {**_DEFAULTS.get(event_type, {}), **given}
    time = _time(fields.pop("updateTime", None) or rfc3339(now), f"{event_type}.updateTime")
    if event_type == "networkStatus":
        fields["cloudConnectors"] = [
            _cloud_connector(each) for each in _list(fields["cloudConnectors"], "networkStatus.cloudConnectors")
        ]
    if event_type not in SAMPLED:
        return {**fields, "updateTime": time}
    names = SAMPLED[event_type]
    samples = _list(fields.get("samples"), f"{event_type}.samples")
    values = {name: fields[name] for name in names}
    return {
        **values,
        "updateTime": time,
        "samples": [_sample(each, names, f"{event_type}.samples") for each in samples]
        or [{**values, "sampleTime": time}],
        "isBackfilled": bool(fields.get("isBackfilled", False)),
    }


def _time(given: Any, name: str) -> str:
    """Return a time as DT writes it."""
    time = read_time(given)
    if time is None:
        raise ValueError(f"{name} is not an RFC 3339 time")
    return rfc3339(time)


def _list(given: Any, name: str) -> list[Any]:
    if not isinstance(given or [], list):
        raise ValueError(f"{name} is not an array")
    return given or []


def _sample(given: Any, names: tuple[str, ...], what: str) -> Fields:
    if not isinstance(given, dict) or any(type(given.get(name)) not in _NUMBER for name in names):
        raise ValueError(f"{what} has an entry without {' and '.join(names)}")
    return {**{name: given[name] for name in names}, "sampleTime": _time(given.get("sampleTime"), f"{what}.sampleTime")}


def _cloud_connector(given: Any) -> Fields:
    if not isinstance(given, dict) or "id" not in given:
        raise ValueError("networkStatus.cloudConnectors has an entry without an id")
    # The official client sends no rssi.
    return {"id": given["id"], "signalStrength": given.get("signalStrength", 0), "rssi": given.get("rssi", 0)}


def event_document(
    event_id: str, project_id: str, device_id: str, event_type: str, data: Fields, timestamp: datetime
) -> Fields:
    """Return an event as in the stream, the history and the connectors' requests."""
    return {
        "eventId": event_id,
        "targetName": f"projects/{project_id}/devices/{device_id}",
        "eventType": event_type,
        "data": data,
        "timestamp": rfc3339(timestamp),
    }


def delivery_body(event: Fields, labels: Mapping[str, str], metadata: Mapping[str, str]) -> bytes:
    """Return the body of a Data Connector's request, as compact JSON like DT Cloud's."""
    document = {"event": event, "labels": labels, "metadata": metadata}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def metadata(project_id: str, device_id: str, device_type: str, product_number: str) -> dict[str, str]:
    """Return the metadata that a connector adds about the device; for an emulator without product number."""
    return {
        "deviceId": device_id,
        "projectId": project_id,
        "deviceType": device_type,
        "productNumber": "" if device_id.startswith("emu") else product_number,
    }


# The types that a Data Connector can be configured to send; ping is only in the stream.
CONNECTOR_EVENT_TYPES = EVENT_TYPES - {"ping"}
