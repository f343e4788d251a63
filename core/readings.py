"""Flat readings of an event, one per row.

They equal the rows of the view `readings` in the databases, value for value: docs/decisions/0029-strange-events.md.
They never raise; what is absent, or of another JSON type than DT documents, gives no row.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from core.event import Event, read_time, rfc3339
from core.values import at, data_of, items, number, text


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
    data = data_of(event)
    if type(data) is not dict:
        return
    samples = items(data.get("samples"))
    is_backfilled, name = data.get("isBackfilled") is True, text(at(event.document, "labels", "name"))
    for source in samples if samples and type(samples[0]) is dict else [data]:
        if type(source) is not dict:
            continue
        moment = read_time(source.get("sampleTime")) or read_time(data.get("updateTime")) or event.timestamp
        time = rfc3339(moment) if moment else None
        for quantity in _BY_TYPE.get(event.event_type, ()):
            found = source.get(quantity.field) if quantity.field else None
            value = number(found) if quantity.unit else None
            words = None if quantity.unit else text(found)
            if quantity.field is None or value is not None or words is not None:
                yield Reading(
                    event.key,
                    event.device_id,
                    event.project_id,
                    quantity.event_type,
                    quantity.quantity,
                    None if value is None else float(value),
                    words,
                    quantity.unit,
                    time,
                    is_backfilled,
                    name,
                )
