"""How these tests write events, payloads and rows."""

import json
from datetime import UTC, datetime
from typing import Any

from core.event import Event, parse
from core.payloads import (
    BatteryStatus,
    CellularStatus,
    CloudConnector,
    Co2,
    ConnectionLatency,
    ConnectionStatus,
    Contact,
    DeskOccupancy,
    DeviceError,
    EthernetStatus,
    Humidity,
    HumiditySample,
    LabelsChanged,
    Motion,
    NetworkStatus,
    ObjectPresent,
    ObjectPresentCount,
    Payload,
    Ping,
    Pressure,
    ProbeWireStatus,
    Temperature,
    TemperatureSample,
    Touch,
    TouchCount,
    WaterPresent,
)
from core.readings import readings
from core.verify.signature import Verified

NOW = datetime(2024, 5, 29, 10, 34, 4, tzinfo=UTC)
SENT = "2024-05-29T10:34:03.970415Z"
UPDATED = "2024-05-29T10:34:03.970411Z"
EARLIER = "2024-05-29T10:29:03.970411Z"
EARLIEST = "2024-05-29T10:24:03.970411Z"


Row = tuple[str, float | None, str | None, str | None, str | None, bool]


def from_body(body: Any) -> Event:
    return parse(Verified(json.dumps(body).encode(), "hs256:0"), NOW)


def of_type(event_type: str, data: Any) -> Event:
    """Build an event around ``data``, which is what DT puts into ``event.data``."""
    return from_body(
        {
            "event": {
                "eventId": "cpbg96qngr7ai7ldarrg",
                "targetName": "projects/ccol8iuk9smqiha4e8l0/devices/emucdd6ef2eu277bo8f52vg",
                "eventType": event_type,
                "data": data,
                "timestamp": SENT,
            },
            "labels": {"name": "cold room"},
            "metadata": {"deviceId": "emucdd6ef2eu277bo8f52vg", "projectId": "ccol8iuk9smqiha4e8l0"},
        }
    )


def holding(event_type: str, **fields: Any) -> Event:
    return of_type(event_type, {event_type: fields})


def rows(event: Event) -> list[Row]:
    return [(r.quantity, r.value, r.text, r.unit, r.time, r.is_backfilled) for r in readings(event)]


def number(quantity: str, value: float, unit: str, time: str = UPDATED, backfilled: bool = False) -> Row:
    return quantity, value, None, unit, time, backfilled


def text(quantity: str, value: str) -> Row:
    return quantity, None, value, None, UPDATED, False


# event type, event.data, payload, rows
CASES: list[tuple[str, Any, Payload, list[Row]]] = [
    (
        "touch",
        {"touch": {"updateTime": UPDATED}},
        Touch(update_time=UPDATED),
        [("touch", None, None, None, UPDATED, False)],
    ),
    (
        "temperature",
        {
            "temperature": {
                "value": 24.9,
                "updateTime": UPDATED,
                "samples": [
                    {"value": 24.9, "sampleTime": UPDATED},
                    {"value": 24, "sampleTime": EARLIER},
                    {"value": -24.5, "sampleTime": EARLIEST},
                ],
                "isBackfilled": True,
            }
        },
        Temperature(
            update_time=UPDATED,
            value=24.9,
            samples=(
                TemperatureSample(24.9, UPDATED),
                TemperatureSample(24, EARLIER),
                TemperatureSample(-24.5, EARLIEST),
            ),
            is_backfilled=True,
        ),
        [
            number("temperature", 24.9, "°C", UPDATED, backfilled=True),
            number("temperature", 24, "°C", EARLIER, backfilled=True),
            number("temperature", -24.5, "°C", EARLIEST, backfilled=True),
        ],
    ),
    (
        "objectPresent",
        {"objectPresent": {"state": "NOT_PRESENT", "updateTime": UPDATED}},
        ObjectPresent("NOT_PRESENT", update_time=UPDATED),
        [text("state", "NOT_PRESENT")],
    ),
    (
        "humidity",
        {
            "humidity": {
                "temperature": 22.45,
                "relativeHumidity": 17,
                "samples": [
                    {"temperature": 22.45, "relativeHumidity": 17, "sampleTime": UPDATED},
                    {"temperature": 0, "relativeHumidity": 0.5, "sampleTime": EARLIER},
                ],
                "isBackfilled": False,
                "updateTime": UPDATED,
            }
        },
        Humidity(
            update_time=UPDATED,
            temperature=22.45,
            relative_humidity=17,
            samples=(HumiditySample(22.45, 17, UPDATED), HumiditySample(0, 0.5, EARLIER)),
            is_backfilled=False,
        ),
        [
            number("temperature", 22.45, "°C", UPDATED),
            number("relativeHumidity", 17, "%", UPDATED),
            number("temperature", 0, "°C", EARLIER),
            number("relativeHumidity", 0.5, "%", EARLIER),
        ],
    ),
    (
        "objectPresentCount",
        {"objectPresentCount": {"total": 4176, "updateTime": UPDATED}},
        ObjectPresentCount(4176, update_time=UPDATED),
        [number("total", 4176, "1")],
    ),
    (
        "touchCount",
        {"touchCount": {"total": 0, "updateTime": UPDATED}},
        TouchCount(0, update_time=UPDATED),
        [number("total", 0, "1")],
    ),
    (
        "waterPresent",
        {"waterPresent": {"state": "PRESENT", "updateTime": UPDATED}},
        WaterPresent("PRESENT", update_time=UPDATED),
        [text("state", "PRESENT")],
    ),
    (
        "co2",
        {"co2": {"ppm": 617, "updateTime": UPDATED}},
        Co2(617, update_time=UPDATED),
        [number("ppm", 617, "ppm")],
    ),
    (
        "pressure",
        {"pressure": {"pascal": 94936, "updateTime": UPDATED}},
        Pressure(94936, update_time=UPDATED),
        [number("pascal", 94936, "Pa")],
    ),
    (
        "motion",
        {"motion": {"state": "MOTION_DETECTED", "updateTime": UPDATED}},
        Motion("MOTION_DETECTED", update_time=UPDATED),
        [text("state", "MOTION_DETECTED")],
    ),
    (
        "deskOccupancy",
        {"deskOccupancy": {"state": "OCCUPIED", "updateTime": UPDATED, "remarks": ["first", "second"]}},
        DeskOccupancy("OCCUPIED", ("first", "second"), update_time=UPDATED),
        [text("state", "OCCUPIED")],
    ),
    (
        "contact",
        {"contact": {"state": "OPEN", "updateTime": UPDATED}},
        Contact("OPEN", update_time=UPDATED),
        [text("state", "OPEN")],
    ),
    (
        "probeWireStatus",
        {"probeWireStatus": {"state": "TWO_WIRE", "updateTime": UPDATED}},
        ProbeWireStatus("TWO_WIRE", update_time=UPDATED),
        [text("state", "TWO_WIRE")],
    ),
    (
        "networkStatus",
        {
            "networkStatus": {
                "signalStrength": 45,
                "rssi": -83,
                "updateTime": UPDATED,
                "cloudConnectors": [
                    {"id": "bdkjbo2v0000uk377c4g", "signalStrength": 45, "rssi": -83},
                    {"id": "bh46tg4c0000br7i7ds0", "signalStrength": 12, "rssi": -99},
                ],
                "transmissionMode": "LOW_POWER_STANDARD_MODE",
            }
        },
        NetworkStatus(
            45,
            -83,
            (CloudConnector("bdkjbo2v0000uk377c4g", 45, -83), CloudConnector("bh46tg4c0000br7i7ds0", 12, -99)),
            "LOW_POWER_STANDARD_MODE",
            update_time=UPDATED,
        ),
        [
            number("signalStrength", 45, "%"),
            number("rssi", -83, "dBm"),
            text("transmissionMode", "LOW_POWER_STANDARD_MODE"),
        ],
    ),
    (
        "batteryStatus",
        {"batteryStatus": {"percentage": 80, "updateTime": UPDATED}},
        BatteryStatus(80, update_time=UPDATED),
        [number("percentage", 80, "%")],
    ),
    (
        "labelsChanged",
        {"added": {"floor": "2"}, "modified": {"name": "cold room"}, "removed": ["room", "rack_row"]},
        LabelsChanged({"floor": "2"}, {"name": "cold room"}, ("room", "rack_row")),
        [],
    ),
    (
        "connectionStatus",
        {"connectionStatus": {"connection": "ETHERNET", "available": ["CELLULAR", "ETHERNET"], "updateTime": UPDATED}},
        ConnectionStatus("ETHERNET", ("CELLULAR", "ETHERNET"), update_time=UPDATED),
        [text("connection", "ETHERNET")],
    ),
    (
        "ethernetStatus",
        {
            "ethernetStatus": {
                "macAddress": "f0:b5:b7:00:0a:08",
                "ipAddress": "",
                "errors": [{"code": "E1", "message": "no DHCP lease"}],
                "updateTime": UPDATED,
            }
        },
        EthernetStatus("f0:b5:b7:00:0a:08", "", (DeviceError("E1", "no DHCP lease"),), update_time=UPDATED),
        [text("ipAddress", ""), text("macAddress", "f0:b5:b7:00:0a:08")],
    ),
    (
        "cellularStatus",
        {
            "cellularStatus": {
                "signalStrength": 80,
                "errors": [{"code": "E2", "message": "no SIM"}, {"code": "E3", "message": "no network"}],
                "updateTime": UPDATED,
            }
        },
        CellularStatus(80, (DeviceError("E2", "no SIM"), DeviceError("E3", "no network")), update_time=UPDATED),
        [number("signalStrength", 80, "%")],
    ),
    (
        "connectionLatency",
        {
            "connectionLatency": {
                "avgLatencyMillis": 31,
                "minLatencyMillis": 24,
                "maxLatencyMillis": 55,
                "updateTime": UPDATED,
            }
        },
        ConnectionLatency(31, 24, 55, update_time=UPDATED),
        [
            number("avgLatencyMillis", 31, "ms"),
            number("minLatencyMillis", 24, "ms"),
            number("maxLatencyMillis", 55, "ms"),
        ],
    ),
    ("ping", None, Ping(), []),
]
