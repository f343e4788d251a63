"""Typed payloads of all 21 event types, and flat readings, one per row.

The receiver does not need them to store an event; programs that read events use them. They never raise. A field that
is absent, or of another JSON type than DT documents, is None, or empty for a list or labels. JSON has one number type,
so ``27`` and ``27.0`` are equivalent. Readings equal the rows of the view `readings` in the databases, value for value:
docs/decisions/0029-strange-events.md.

The attributes of a payload are DT's own field names in snake_case. ``update_time`` is when a Cloud Connector received
the event, and each time in a payload is the text that DT sent. docs/events.md says when each type is sent.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, get_args

from core.event import Event, read_time, rfc3339

Number = int | float
# The same limit as in the views: well below the largest double, so that no database overflows.
_TOO_LARGE = 1e308


@dataclass(frozen=True, slots=True, kw_only=True)
class _Updated:
    update_time: str | None


@dataclass(frozen=True, slots=True)
class _State(_Updated):
    state: str | None


@dataclass(frozen=True, slots=True)
class Touch(_Updated):
    """Somebody touched the sensor."""


@dataclass(frozen=True, slots=True)
class TemperatureSample:
    """One temperature in °C, at a time that DT Cloud estimated."""

    value: Number | None
    sample_time: str | None


@dataclass(frozen=True, slots=True)
class Temperature(_Updated):
    """A temperature in °C, the newest of up to 30 ``samples``."""

    value: Number | None
    samples: tuple[TemperatureSample, ...]
    is_backfilled: bool | None


@dataclass(frozen=True, slots=True)
class ObjectPresent(_State):
    """Whether an object is close: ``PRESENT`` or ``NOT_PRESENT``."""


@dataclass(frozen=True, slots=True)
class HumiditySample:
    """One temperature in °C and relative humidity in %, at a time that DT Cloud estimated."""

    temperature: Number | None
    relative_humidity: Number | None
    sample_time: str | None


@dataclass(frozen=True, slots=True)
class Humidity(_Updated):
    """A temperature in °C and a relative humidity in %, the newest of up to 30 ``samples``."""

    temperature: Number | None
    relative_humidity: Number | None
    samples: tuple[HumiditySample, ...]
    is_backfilled: bool | None


@dataclass(frozen=True, slots=True)
class ObjectPresentCount(_Updated):
    """How many times objects appeared or disappeared, over the life of the sensor."""

    total: Number | None


@dataclass(frozen=True, slots=True)
class TouchCount(_Updated):
    """How many times the sensor was touched, over its life."""

    total: Number | None


@dataclass(frozen=True, slots=True)
class WaterPresent(_State):
    """Whether water covers the sensor: ``PRESENT`` or ``NOT_PRESENT``."""


@dataclass(frozen=True, slots=True)
class Co2(_Updated):
    """The concentration of CO2 in parts per million."""

    ppm: Number | None


@dataclass(frozen=True, slots=True)
class Pressure(_Updated):
    """The barometric pressure in Pa."""

    pascal: Number | None


@dataclass(frozen=True, slots=True)
class Motion(_State):
    """``MOTION_DETECTED`` or ``NO_MOTION_DETECTED``."""


@dataclass(frozen=True, slots=True)
class DeskOccupancy(_State):
    """``OCCUPIED`` or ``NOT_OCCUPIED``, with remarks since December 2022."""

    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contact(_State):
    """``OPEN`` or ``CLOSED``."""


@dataclass(frozen=True, slots=True)
class ProbeWireStatus(_State):
    """How a probe is wired: ``TWO_WIRE``, ``THREE_WIRE``, ``FOUR_WIRE`` or one of two ``INVALID_..._CONFIGURATION``."""


@dataclass(frozen=True, slots=True)
class CloudConnector:
    """A Cloud Connector that received the sensor: signal strength in %, RSSI in dBm."""

    id: str | None
    signal_strength: Number | None
    rssi: Number | None


@dataclass(frozen=True, slots=True)
class NetworkStatus(_Updated):
    """The sensor's signal strength in %, its RSSI in dBm (absent in 2020), and the receiving Cloud Connectors."""

    signal_strength: Number | None
    rssi: Number | None
    cloud_connectors: tuple[CloudConnector, ...]
    transmission_mode: str | None


@dataclass(frozen=True, slots=True)
class BatteryStatus(_Updated):
    """The battery level in %, in coarse steps."""

    percentage: Number | None


@dataclass(frozen=True, slots=True)
class LabelsChanged:
    """Labels with their new values, and the names of those removed; the one payload without an ``update_time``."""

    added: Mapping[str, str]
    modified: Mapping[str, str]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConnectionStatus(_Updated):
    """The device's connection: ``ETHERNET``, ``CELLULAR``, ``SDS`` or ``OFFLINE``, and those available."""

    connection: str | None
    available: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeviceError:
    """A fault of a Cloud Connector's connection, as a code and a message."""

    code: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class EthernetStatus(_Updated):
    """A Cloud Connector's addresses, either of which may be an empty text."""

    mac_address: str | None
    ip_address: str | None
    errors: tuple[DeviceError, ...]


@dataclass(frozen=True, slots=True)
class CellularStatus(_Updated):
    """A Cloud Connector's cellular signal strength in %."""

    signal_strength: Number | None
    errors: tuple[DeviceError, ...]


@dataclass(frozen=True, slots=True)
class ConnectionLatency(_Updated):
    """A Cloud Connector's latency in ms; DT's clients dropped this type in 2020."""

    avg_latency_millis: Number | None
    min_latency_millis: Number | None
    max_latency_millis: Number | None


@dataclass(frozen=True, slots=True)
class Ping:
    """A keep-alive of DT's event stream; not seen on a Data Connector so far."""


Payload = (
    Touch | Temperature | ObjectPresent | Humidity | ObjectPresentCount | TouchCount | WaterPresent | Co2 | Pressure
    | Motion | DeskOccupancy | Contact | ProbeWireStatus | NetworkStatus | BatteryStatus | LabelsChanged
    | ConnectionStatus | EthernetStatus | CellularStatus | ConnectionLatency | Ping
)  # fmt: skip


def payload(event: Event) -> Payload | None:
    """Return the typed payload of ``event``; None if its type is unknown or its data is missing."""
    into = _PAYLOADS.get(event.event_type or "")
    found: Payload | None = None if into is None else _read(into, _data(event))
    return found


@dataclass(frozen=True, slots=True)
class Quantity:
    """The location of a quantity in ``event.data.<event_type>``.

    Attributes:
        event_type: The event type.
        field: The field; None for a touch, which has no value.
        quantity: The name in readings: DT's field name, except that the ``value`` of a temperature is a temperature.
        unit: The unit of a number, ``1`` for a count; None if the field holds text.
    """

    event_type: str
    field: str | None
    quantity: str
    unit: str | None


QUANTITIES: tuple[Quantity, ...] = (
    Quantity("touch", None, "touch", None),
    Quantity("temperature", "value", "temperature", "°C"),
    Quantity("objectPresent", "state", "state", None),
    Quantity("humidity", "temperature", "temperature", "°C"),
    Quantity("humidity", "relativeHumidity", "relativeHumidity", "%"),
    Quantity("objectPresentCount", "total", "total", "1"),
    Quantity("touchCount", "total", "total", "1"),
    Quantity("waterPresent", "state", "state", None),
    Quantity("co2", "ppm", "ppm", "ppm"),
    Quantity("pressure", "pascal", "pascal", "Pa"),
    Quantity("motion", "state", "state", None),
    Quantity("deskOccupancy", "state", "state", None),
    Quantity("contact", "state", "state", None),
    Quantity("probeWireStatus", "state", "state", None),
    Quantity("networkStatus", "signalStrength", "signalStrength", "%"),
    Quantity("networkStatus", "rssi", "rssi", "dBm"),
    Quantity("networkStatus", "transmissionMode", "transmissionMode", None),
    Quantity("batteryStatus", "percentage", "percentage", "%"),
    Quantity("connectionStatus", "connection", "connection", None),
    Quantity("ethernetStatus", "ipAddress", "ipAddress", None),
    Quantity("ethernetStatus", "macAddress", "macAddress", None),
    Quantity("cellularStatus", "signalStrength", "signalStrength", "%"),
    Quantity("connectionLatency", "avgLatencyMillis", "avgLatencyMillis", "ms"),
    Quantity("connectionLatency", "minLatencyMillis", "minLatencyMillis", "ms"),
    Quantity("connectionLatency", "maxLatencyMillis", "maxLatencyMillis", "ms"),
)

_BY_TYPE: dict[str | None, list[Quantity]] = {}
for _quantity in QUANTITIES:
    _BY_TYPE.setdefault(_quantity.event_type, []).append(_quantity)


@dataclass(slots=True)  # not frozen, which takes 2 us for each
class Reading:
    """One quantity at one time: a row of a table.

    Attributes:
        key: The key of its event; up to 30 samples, and their quantities, share it.
        device_id: The device, `project_id` and `event_type`: as in `core.event.Event`.
        quantity: A name from `QUANTITIES`.
        value: A finite number, as a double like in every database; None if the quantity is a text.
        text: A text; None if the quantity is a number. A touch has neither.
        unit: The unit of ``value``, ``1`` for a count; None without one.
        time: The first valid time of the sample's ``sampleTime``, ``updateTime`` and the event's ``timestamp``: RFC
            3339 in UTC with six fraction digits; None if the body has none.
        is_backfilled: Whether the sensor sent it late, from its memory; then it is not the latest.
        name: The device's label ``name``, which users choose; None if the event lacks it.
    """

    key: str
    device_id: str | None
    project_id: str | None
    event_type: str
    quantity: str
    value: float | None
    text: str | None
    unit: str | None
    time: str | None
    is_backfilled: bool
    name: str | None


def readings(event: Event) -> Iterator[Reading]:
    """Yield a row for each sample and quantity, newest first, as on the wire.

    An event without ``samples``, or whose first sample is not an object, yields its single values. Label changes and
    pings yield none.
    """
    data = _data(event)
    if type(data) is not dict:
        return
    samples = _list(data.get("samples"))
    is_backfilled, name = data.get("isBackfilled") is True, _text(_at(event.document, "labels", "name"))
    for source in samples if samples and type(samples[0]) is dict else [data]:
        if type(source) is not dict:
            continue
        at = read_time(source.get("sampleTime")) or read_time(data.get("updateTime")) or event.timestamp
        time = rfc3339(at) if at else None
        for quantity in _BY_TYPE.get(event.event_type, ()):
            found = source.get(quantity.field) if quantity.field else None
            value = _number(found) if quantity.unit else None
            text = None if quantity.unit else _text(found)
            if quantity.field is None or value is not None or text is not None:
                yield Reading(
                    event.key,
                    event.device_id,
                    event.project_id,
                    quantity.event_type,
                    quantity.quantity,
                    None if value is None else float(value),
                    text,
                    quantity.unit,
                    time,
                    is_backfilled,
                    name,
                )


def _data(event: Event) -> Any:
    """Return the data of the event's type: an object, or anything else in a malformed event."""
    if event.event_type == "ping":
        return {}  # ping has no data, and labelsChanged has its three fields directly in data
    wrapper = () if event.event_type == "labelsChanged" else (event.event_type,)
    return _at(event.document, "event", "data", *wrapper)


def _at(value: Any, *names: str | None) -> Any:
    """Follow ``names`` down nested objects; None if a name is missing."""
    for name in names:
        value = value.get(name) if type(value) is dict else None
    return value


def _number(value: Any) -> Number | None:
    # 1e999 is JSON, and so is a 1 with 999 zeros, but neither fits a double.
    return value if type(value) in (int, float) and abs(value) < _TOO_LARGE else None


# JSON allows characters that databases reject: Postgres rejects NUL, and UTF-8 has no lone surrogates.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def _text(value: Any) -> str | None:
    return _UNSTORABLE.sub("\ufffd", value) if type(value) is str else None


def _flag(value: Any) -> bool | None:
    return value if type(value) is bool else None


def _list(value: Any) -> list[Any]:
    return value if type(value) is list else []


def _labels(value: Any) -> Mapping[str, str]:
    return {k: v for k, v in value.items() if type(v) is str} if type(value) is dict else {}


def _tuple(read: Callable[[Any], Any], value: Any) -> tuple[Any, ...]:
    return tuple(item for item in map(read, _list(value)) if item is not None)


def _read(into: type[Any], value: Any) -> Any:
    """Fill each field of ``into`` from the same name in the object ``value``, by the field's annotation."""
    if type(value) is not dict:
        return None
    return into(**{field.name: _READ[field.type](value.get(_camel(field.name))) for field in fields(into)})


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


_READ: dict[Any, Callable[[Any], Any]] = {
    Number | None: _number,
    str | None: _text,
    bool | None: _flag,
    Mapping[str, str]: _labels,
    tuple[str, ...]: partial(_tuple, _text),
    tuple[TemperatureSample, ...]: partial(_tuple, partial(_read, TemperatureSample)),
    tuple[HumiditySample, ...]: partial(_tuple, partial(_read, HumiditySample)),
    tuple[CloudConnector, ...]: partial(_tuple, partial(_read, CloudConnector)),
    tuple[DeviceError, ...]: partial(_tuple, partial(_read, DeviceError)),
}
# A class has the name of its event type, with a capital.
_PAYLOADS: dict[str, type[Payload]] = {c.__name__[0].lower() + c.__name__[1:]: c for c in get_args(Payload)}
