"""Parses verified bytes into an event. Never raises: a malformed body that DT signed is stored too."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from core.verify.signature import Verified

# As of client 1.7.3 and terraform-provider-dt 2025-08; docs/events.md has the fields of each.
# fmt: off
EVENT_TYPES = frozenset({
    "touch", "temperature", "objectPresent", "humidity", "objectPresentCount", "touchCount", "waterPresent",
    "co2", "pressure", "motion", "deskOccupancy", "contact", "probeWireStatus", "networkStatus", "batteryStatus",
    "labelsChanged", "connectionStatus", "ethernetStatus", "cellularStatus", "connectionLatency", "ping",
})
# fmt: on

# The limit of Service Bus for a message id, the lowest of all stores. DT's ids give at most 70 characters.
_KEY = re.compile(r"(?=.{5,128}\Z)[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+").fullmatch
_MAX_FIELD = 256
# `Event.signed_by` of what dtconn fetched from DT's event history, which nobody signed: docs/decisions/0038.
FETCHED = "fetched"


@dataclass(slots=True)
class Event:
    """One event of a device, with the exact bytes that DT signed.

    The stores use DT's names for the attributes between key and body: eventId, eventType, deviceId, projectId,
    timestamp. Each is None if the body lacks it, or if a store could not hold its value. The stores add receivedAt and
    signedBy.

    Attributes:
        key: The unique key in every store: the same for each delivery of one event.
        event_id: ``event.eventId``, opaque; usually an xid of 20 characters.
        event_type: ``event.eventType``, such as ``temperature``.
        device_id: ``metadata.deviceId``, else the last part of ``event.targetName``.
        project_id: ``metadata.projectId``, else the second part of ``event.targetName``.
        timestamp: ``event.timestamp`` in UTC, to the microsecond.
        received_at: When this delivery arrived here, in UTC.
        parsed: Whether the body is a JSON event of a known type with all of the above.
        fault: Why `parsed` is false, for the log; None otherwise.
        signed_by: The key that verified the delivery, as in `core.verify.signature.Verified`; `FETCHED` if none did.
        expired_for: As in `core.verify.signature.Verified`; for the log.
        body: The exact bytes that DT signed; what dtconn wrote of a fetched event.
        document: The parsed body; an empty mapping when it is not a JSON object.
    """

    key: str
    event_id: str | None
    event_type: str | None
    device_id: str | None
    project_id: str | None
    timestamp: datetime | None
    received_at: datetime
    parsed: bool
    fault: str | None
    signed_by: str
    expired_for: int
    body: bytes = field(repr=False)
    document: Mapping[str, Any] = field(repr=False)

    def attributes(self) -> dict[str, str]:
        """Return the text attributes stored with the body, under DT's names; missing fields are omitted."""
        texts = {
            "key": self.key,
            "eventId": self.event_id,
            "eventType": self.event_type,
            "deviceId": self.device_id,
            "projectId": self.project_id,
            "timestamp": rfc3339(self.timestamp) if self.timestamp else None,
            "receivedAt": rfc3339(self.received_at),
            "signedBy": self.signed_by,
        }
        return {name: text for name, text in texts.items() if text}

    @property
    def labels(self) -> dict[str, str]:
        """The device's labels, as configured on the Data Connector; they change over time, so they are never a key."""
        return {k: v for k, v in _mapping(self.document, "labels").items() if isinstance(v, str)}


def parse(verified: Verified, received_at: datetime) -> Event:
    """Parse a verified body as far as possible.

    Args:
        verified: From `core.verify.signature.Verifier.verify`; nothing else can be parsed or stored.
        received_at: The time of arrival, in UTC.

    Returns:
        The event. `Event.parsed` is true if this version can read it in full.
    """
    body = verified.body
    fault = None
    try:
        document = _decode(body)
    except _DuplicateKeys:
        document, fault = {}, "duplicate keys"
    except (ValueError, RecursionError, StopIteration):
        document, fault = {}, "not JSON"
    if type(document) is not dict:
        document, fault = {}, "not a JSON object"
    event = _mapping(document, "event")
    metadata = _mapping(document, "metadata")
    event_id, event_type, device_id = event.get("eventId"), event.get("eventType"), metadata.get("deviceId")
    project_id = _text(metadata.get("projectId"))
    # First, because what makes a plain key is a text that every store can hold.
    key = _plain_key(event_id, event_type, device_id)
    if key is None:
        event_id, event_type, device_id = _text(event_id), _text(event_type), _text(device_id)
    if device_id is None or project_id is None:
        # metadata was added in 2022 and "may change" for events that no device publishes. Split, never slice: an
        # emulator's device id has 23 characters, a sensor's 20.
        target = _text(event.get("targetName")) or ""
        match target.split("/"):
            case ["projects", project, "devices", device]:
                device_id, project_id = device_id or device or None, project_id or project or None
            case ["projects", project]:
                project_id = project_id or project or None
    timestamp = read_time(event.get("timestamp"))
    if fault is None:
        fault = _fault(event, event_id, event_type, device_id, project_id, timestamp)
    # By position: 13 keyword arguments take 0.4 us, as long as the search for duplicate keys.
    return Event(
        key or event_key(event_id, event_type, device_id, body),
        event_id,
        event_type,
        device_id,
        project_id,
        timestamp,
        received_at,
        fault is None,
        fault,
        verified.signed_by,
        verified.expired_for,
        body,
        document,
    )


def parse_stored(body: bytes, received_at: datetime, signed_by: str = "unknown") -> Event:
    """Parse an event that was read from a store. It was verified before it was stored.

    Args:
        body: The stored bytes.
        received_at: When they arrived, in UTC.
        signed_by: The stored value; ``unknown`` if there is none.
    """
    return parse(Verified(body, signed_by), received_at)


def event_key(event_id: str | None, event_type: str | None, device_id: str | None, body: bytes) -> str:
    """Return the unique key of an event.

    ``eventId.eventType.deviceId``: DT documents eventId as unique, but its own examples share one between types. If
    one is missing or has characters outside ``[A-Za-z0-9_-]``: ``h.`` and the SHA-256 of the body. Never the token's
    ``jti``, which identifies the signature, not the event.
    """
    return _plain_key(event_id, event_type, device_id) or "h." + hashlib.sha256(body).hexdigest()


def _plain_key(event_id: Any, event_type: Any, device_id: Any) -> str | None:
    if type(event_id) is type(event_type) is type(device_id) is str:
        key = f"{event_id}.{event_type}.{device_id}"
        if _KEY(key):
            return key
    return None


def rfc3339(time: datetime) -> str:
    """Format a UTC time with six fraction digits, so that text order is time order."""
    # Half as long as isoformat with a time zone and a timespec takes.
    text = time.replace(tzinfo=None).isoformat()
    return f"{text}Z" if time.microsecond else f"{text}.000000Z"


def read_time(value: Any) -> datetime | None:
    """Parse RFC 3339 with any number of fraction digits; DT sends 0, 6 or (2018) 9. Nanoseconds stay in the body.

    Returns:
        The time in UTC, to the microsecond; None if ``value`` is not a time, or out of the range of `datetime`, such as
        the year 12000.
    """
    try:
        time = datetime.fromisoformat(value)
        return time if time.tzinfo is UTC else time.astimezone(UTC) if time.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return _read_rare_time(value) if type(value) is str else None


# https://www.rfc-editor.org/rfc/rfc3339#section-5.6
_RARE_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:)([0-9]{2})(.*)", re.DOTALL).fullmatch


def _read_rare_time(text: str) -> datetime | None:
    """Parse what RFC 3339 allows and Python rejects: lower-case letters, and 23:59:60, the next second."""
    parts = _RARE_TIME(text)
    if not parts:
        return None
    date, minute, second, rest = parts.groups()
    is_leap = second == "60"
    try:
        time = datetime.fromisoformat(f"{date}T{minute}{'59' if is_leap else second}{rest.upper()}")
        return time.astimezone(UTC) + timedelta(seconds=is_leap) if time.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _fault(
    event: Mapping[str, Any],
    event_id: str | None,
    event_type: str | None,
    device_id: str | None,
    project_id: str | None,
    timestamp: datetime | None,
) -> str | None:
    """Return the first reason why an event cannot be read in full."""
    if event_type not in EVENT_TYPES:
        return "unknown event type" if event_type else "no eventType"
    if not event_id:
        return "no eventId"
    if not device_id and event_type != "ping":
        return "no deviceId"
    if not project_id:
        return "no projectId"
    if not timestamp:
        return "no timestamp"
    # labelsChanged has its three fields directly in data, and ping has no data.
    data = event.get("data")
    if event_type == "ping" or (
        type(data) is dict and (event_type == "labelsChanged" or type(data.get(event_type)) is dict)
    ):
        return None
    return "no data"


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if type(value) is dict else {}


def _text(value: Any) -> str | None:
    """Return ``value`` if every store can hold it as text: no control character, no lone surrogate, not too long."""
    return value if type(value) is str and 0 < len(value) <= _MAX_FIELD and value.isprintable() else None


# NaN and Infinity are not JSON, although Python accepts them: no database could read them.
def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


class _DuplicateKeys(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _DuplicateKeys
    return found


# What raw_decode calls; it raises StopIteration for an empty text.
_scan = json.JSONDecoder(parse_constant=_refuse_constant).scan_once  # type: ignore[attr-defined]
_strict_decode = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_once).decode


def _decode(body: bytes) -> Any:
    # Not json.loads: it also accepts UTF-16, which no database does, and scans for white space twice.
    text = body.decode().strip(" \t\r\n")
    document, end = _scan(text, 0)
    if end != len(text):
        raise ValueError("more than one document")
    # For a duplicate key, Python and Postgres take the last value, SQLite and BigQuery the first. I-JSON forbids it
    # (https://www.rfc-editor.org/rfc/rfc7493#section-2.3).
    return document if _has_each_key_once(text, document) else _strict_decode(text)


def _has_each_key_once(text: str, document: Any) -> bool:
    """Return True only if no object in ``text`` has a duplicate key; False if a full check is needed.

    This takes a third of the time of a hook for each object. Outside strings, JSON has one colon for each key. If
    ``text`` has no more colons than the keys and times found where DT places them, it has no other key. An escape
    could encode a colon, so the text must have none.
    """
    try:
        event, labels, metadata = document["event"], document["labels"], document["metadata"]
        data = event["data"]
        (payload,) = data.values()
        if not (type(event) is type(labels) is type(metadata) is type(data) is type(payload) is dict):
            return False
        colons = len(document) + len(event) + len(labels) + len(metadata) + len(data) + len(payload)
        colons += event["timestamp"].count(":") + payload["updateTime"].count(":")
        for sample in payload.get("samples", ()):
            if type(sample) is not dict:
                return False
            colons += len(sample) + sample["sampleTime"].count(":")
        for connector in payload.get("cloudConnectors", ()):
            if type(connector) is not dict:
                return False
            colons += len(connector)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return bool(colons == text.count(":")) and "\\" not in text
