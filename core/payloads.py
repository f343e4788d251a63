"""Typed payloads of all 21 event types.

The receiver does not need them to store an event; programs that read events use them. They never raise. A field that
is absent, or of another JSON type than DT documents, is None, or empty for a list or labels. JSON has one number type,
so ``27`` and ``27.0`` are equivalent.

The attributes of a payload are DT's own field names in snake_case. ``update_time`` is when a Cloud Connector received
the event, and each time in a payload is the text that DT sent. docs/events.md says when each type is sent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, get_args

from core.event import Event
from core.values import Number, data_of, items, number, text


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
    found: Payload | None = None if into is None else _read(into, data_of(event))
    return found


def _flag(value: Any) -> bool | None:
    return value if type(value) is bool else None


def _labels(value: Any) -> Mapping[str, str]:
    return {k: v for k, v in value.items() if type(v) is str} if type(value) is dict else {}


def _tuple(read: Callable[[Any], Any], value: Any) -> tuple[Any, ...]:
    return tuple(item for item in map(read, items(value)) if item is not None)


def _read(into: type[Any], value: Any) -> Any:
    """Fill each field of ``into`` from the same name in the object ``value``, by the field's annotation."""
    if type(value) is not dict:
        return None
    return into(**{field.name: _READ[field.type](value.get(_camel(field.name))) for field in fields(into)})


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


_READ: dict[Any, Callable[[Any], Any]] = {
    Number | None: number,
    str | None: text,
    bool | None: _flag,
    Mapping[str, str]: _labels,
    tuple[str, ...]: partial(_tuple, text),
    tuple[TemperatureSample, ...]: partial(_tuple, partial(_read, TemperatureSample)),
    tuple[HumiditySample, ...]: partial(_tuple, partial(_read, HumiditySample)),
    tuple[CloudConnector, ...]: partial(_tuple, partial(_read, CloudConnector)),
    tuple[DeviceError, ...]: partial(_tuple, partial(_read, DeviceError)),
}
# A class has the name of its event type, with a capital.
_PAYLOADS: dict[str, type[Payload]] = {c.__name__[0].lower() + c.__name__[1:]: c for c in get_args(Payload)}
