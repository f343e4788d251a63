"""Payloads and readings of every event type, in each shape since 2018, and in malformed ones."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.event import EVENT_TYPES, Event, parse, read_time
from core.readings import (
    QUANTITIES,
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
    Reading,
    Temperature,
    TemperatureSample,
    Touch,
    TouchCount,
    WaterPresent,
    payload,
    readings,
)
from core.verify.signature import Verified
from tests.support.deliveries import FIXTURES, needs_fixtures

ROOT = Path(__file__).parents[2]

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


@pytest.mark.parametrize(("event_type", "data", "expected", "_"), CASES, ids=[case[0] for case in CASES])
def test_payload(event_type: str, data: Any, expected: Payload, _: list[Row]) -> None:
    assert payload(of_type(event_type, data)) == expected


@pytest.mark.parametrize(("event_type", "data", "_", "expected"), CASES, ids=[case[0] for case in CASES])
def test_readings(event_type: str, data: Any, _: Payload, expected: list[Row]) -> None:
    assert rows(of_type(event_type, data)) == expected


def test_every_event_type_has_a_case() -> None:
    assert sorted(case[0] for case in CASES) == sorted(EVENT_TYPES)


def test_reading_has_the_ids_of_its_event() -> None:
    event = holding("co2", ppm=617, updateTime=UPDATED)
    assert list(readings(event)) == [
        Reading(
            key="cpbg96qngr7ai7ldarrg.co2.emucdd6ef2eu277bo8f52vg",
            device_id="emucdd6ef2eu277bo8f52vg",
            project_id="ccol8iuk9smqiha4e8l0",
            event_type="co2",
            quantity="ppm",
            value=617,
            text=None,
            unit="ppm",
            time=UPDATED,
            is_backfilled=False,
            name="cold room",
        )
    ]


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({"name": "a\0\ud83e"}, "a\ufffd\ufffd"),
        ({"name": ""}, ""),
        ({}, None),
        ({"name": 7}, None),
        ({"name": None}, None),
        ({"name": {}}, None),
        (["name"], None),
        (None, None),
    ],
)
def test_name_is_a_label(labels: Any, name: str | None) -> None:
    event = from_body({"event": {"eventType": "touch", "data": {"touch": {}}}, "labels": labels})
    assert [reading.name for reading in readings(event)] == [name]


class TestTable:
    def test_every_event_type_but_two_has_quantities(self) -> None:
        assert {quantity.event_type for quantity in QUANTITIES} == EVENT_TYPES - {"labelsChanged", "ping"}

    def test_each_quantity_is_listed_once(self) -> None:
        names = [(quantity.event_type, quantity.quantity) for quantity in QUANTITIES]
        assert len(set(names)) == len(names)

    def test_units(self) -> None:
        assert {quantity.unit for quantity in QUANTITIES} == {None, "1", "%", "°C", "ppm", "Pa", "dBm", "ms"}

    def test_docs_list_the_same_quantities_and_units(self) -> None:
        documented: list[tuple[str, str | None, str | None]] = []
        for line in (ROOT / "docs" / "events.md").read_text(encoding="utf-8").splitlines():
            match [cell.strip() for cell in line.split("|")]:
                case ["", event_type, quantities, units, _, _, ""] if event_type.strip("`") in EVENT_TYPES:
                    names = re.findall(r"`(\w+)`", quantities) or [None]
                    for name, unit in zip(names, units.split(", "), strict=True):
                        documented.append((event_type.strip("`"), name, None if unit == "-" else unit))
        listed = [(quantity.event_type, quantity.quantity, quantity.unit) for quantity in QUANTITIES]
        assert documented == [*listed, ("labelsChanged", None, None), ("ping", None, None)]


class TestOldShapes:
    def test_temperature_without_is_backfilled(self) -> None:
        event = holding("temperature", value=17.1, updateTime=UPDATED, samples=[{"value": 17, "sampleTime": UPDATED}])
        assert payload(event) == Temperature(17.1, (TemperatureSample(17, UPDATED),), None, update_time=UPDATED)
        assert rows(event) == [number("temperature", 17, "°C")]

    def test_temperature_without_samples(self) -> None:
        event = holding("temperature", value=17.1, updateTime=UPDATED)
        assert payload(event) == Temperature(17.1, (), None, update_time=UPDATED)
        assert rows(event) == [number("temperature", 17.1, "°C")]

    def test_humidity_with_only_its_two_values(self) -> None:
        event = holding("humidity", temperature=22.45, relativeHumidity=17, updateTime=UPDATED)
        assert payload(event) == Humidity(22.45, 17, (), None, update_time=UPDATED)
        assert rows(event) == [number("temperature", 22.45, "°C"), number("relativeHumidity", 17, "%")]

    def test_network_status_without_rssi(self) -> None:
        event = holding("networkStatus", signalStrength=35, cloudConnectors=[{"id": "c", "signalStrength": 35}])
        assert payload(event) == NetworkStatus(35, None, (CloudConnector("c", 35, None),), None, update_time=None)
        assert rows(event) == [number("signalStrength", 35, "%", SENT)]

    def test_desk_occupancy_without_remarks(self) -> None:
        assert payload(holding("deskOccupancy", state="OCCUPIED")) == DeskOccupancy("OCCUPIED", (), update_time=None)

    def test_no_metadata(self) -> None:
        target = "projects/p/devices/d"
        data = {"temperature": {"value": 21}}
        event = from_body({"event": {"targetName": target, "eventType": "temperature", "data": data}})
        assert [(r.project_id, r.device_id, r.value) for r in readings(event)] == [("p", "d", 21)]


class TestTime:
    @pytest.mark.parametrize(
        ("sent", "time"),
        [
            ("2018-05-08T13:29:47.543486780Z", "2018-05-08T13:29:47.543486Z"),
            ("2018-05-08T13:29:47Z", "2018-05-08T13:29:47.000000Z"),
            ("2018-05-08t13:29:47z", "2018-05-08T13:29:47.000000Z"),
            ("2018-05-08T13:29:47.5-02:30", "2018-05-08T15:59:47.500000Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ],
    )
    def test_is_in_utc_with_six_digits(self, sent: str, time: str) -> None:
        assert [r.time for r in readings(holding("touch", updateTime=sent))] == [time]

    @pytest.mark.parametrize(
        "missing", [{}, {"sampleTime": None}, {"sampleTime": 1}, {"sampleTime": ""}, {"sampleTime": "now"}]
    )
    def test_sample_without_a_time_has_the_update_time(self, missing: Mapping[str, Any]) -> None:
        event = holding("temperature", updateTime=UPDATED, samples=[{"value": 1, **missing}])
        assert rows(event) == [number("temperature", 1, "°C", UPDATED)]

    @pytest.mark.parametrize(
        "missing", [{}, {"updateTime": None}, {"updateTime": 1}, {"updateTime": "12000-01-01T00:00:00Z"}]
    )
    def test_missing_update_time_falls_back_to_the_event_timestamp(self, missing: Mapping[str, Any]) -> None:
        assert rows(holding("co2", ppm=1, **missing)) == [number("ppm", 1, "ppm", SENT)]

    def test_missing_timestamps_give_none(self) -> None:
        event = from_body({"event": {"eventType": "touch", "data": {"touch": {}}, "timestamp": 5}})
        assert rows(event) == [("touch", None, None, None, None, False)]


class TestSamples:
    @pytest.mark.parametrize(
        "samples",
        [None, [], {}, {"0": {"value": 1}}, "x", 7, [None], [7, {"value": 1}]],
    )
    def test_invalid_first_sample_falls_back_to_the_value(self, samples: Any) -> None:
        event = holding("temperature", value=21, updateTime=UPDATED, samples=samples, isBackfilled=True)
        assert rows(event) == [number("temperature", 21, "°C", UPDATED, backfilled=True)]

    def test_invalid_samples_are_left_out(self) -> None:
        samples = [
            {"value": None},
            7,
            {"value": 21, "sampleTime": EARLIER},
            None,
            {"value": 22, "sampleTime": EARLIEST},
        ]
        event = holding("temperature", value=20, updateTime=UPDATED, samples=samples)
        assert rows(event) == [number("temperature", 21, "°C", EARLIER), number("temperature", 22, "°C", EARLIEST)]

    def test_incomplete_humidity_sample_is_one_reading(self) -> None:
        event = holding("humidity", samples=[{"relativeHumidity": 17, "sampleTime": EARLIER}])
        assert rows(event) == [number("relativeHumidity", 17, "%", EARLIER)]

    @given(st.lists(st.floats(-1e307, 1e307) | st.integers(-(10**300), 10**300), min_size=1))
    def test_samples_are_readings_in_their_order(self, values: list[float]) -> None:
        samples = [{"value": value, "sampleTime": EARLIER} for value in values]
        found = list(readings(holding("temperature", value=values[0], samples=samples)))
        assert [(r.value, r.time) for r in found] == [(float(value), EARLIER) for value in values]


class TestMalformed:
    @pytest.mark.parametrize("value", [True, False, None, "21", [], {}, [21]])
    def test_non_number_is_none(self, value: Any) -> None:
        event = holding("co2", ppm=value)
        assert payload(event) == Co2(None, update_time=None)
        assert rows(event) == []

    @pytest.mark.parametrize("literal", ["1e999", "-1e999", "1" + 400 * "0", "-1" + 400 * "0", "1e308"])
    def test_number_beyond_a_double_is_none(self, literal: str) -> None:
        body = b'{"event":{"eventType":"co2","data":{"co2":{"ppm":%s}}}}' % literal.encode()
        event = parse(Verified(body, "hs256:0"), NOW)
        assert payload(event) == Co2(None, update_time=None)
        assert rows(event) == []

    @pytest.mark.parametrize("value", [27, 2**53 + 1, -(2**63), 10**300])
    def test_integer_is_a_double(self, value: int) -> None:
        [reading] = readings(holding("co2", ppm=value))
        assert type(reading.value) is float
        assert reading.value == float(value)

    def test_unstorable_characters_are_replaced(self) -> None:
        event = holding("contact", state="\ud83e a\0b \ud83d\ude00")
        assert [r.text for r in readings(event)] == ["\ufffd a\ufffdb \U0001f600"]
        assert payload(event) == Contact("\ufffd a\ufffdb \U0001f600", update_time=None)

    @pytest.mark.parametrize("value", [True, None, 1, 1.5, [], {}, ["PRESENT"]])
    def test_non_text_is_none(self, value: Any) -> None:
        event = holding("waterPresent", state=value)
        assert payload(event) == WaterPresent(None, update_time=None)
        assert rows(event) == []

    @pytest.mark.parametrize("value", [0, 1, "true", None, {}, []])
    def test_non_boolean_is_none(self, value: Any) -> None:
        event = holding("temperature", value=21, updateTime=UPDATED, isBackfilled=value)
        assert payload(event) == Temperature(21, (), None, update_time=UPDATED)
        assert rows(event) == [number("temperature", 21, "°C", UPDATED, backfilled=False)]

    def test_invalid_list_items_are_left_out(self) -> None:
        event = holding("connectionStatus", connection="SDS", available=["SDS", 1, None, "CELLULAR", ["ETHERNET"]])
        assert payload(event) == ConnectionStatus("SDS", ("SDS", "CELLULAR"), update_time=None)
        event = holding("cellularStatus", signalStrength=80, errors=[1, {}, {"code": 7, "message": "no SIM"}])
        errors = (DeviceError(None, None), DeviceError(None, "no SIM"))
        assert payload(event) == CellularStatus(80, errors, update_time=None)

    def test_invalid_labels_are_left_out(self) -> None:
        event = of_type("labelsChanged", {"added": {"a": "b", "c": 1, "d": None}, "modified": ["e"], "removed": {}})
        assert payload(event) == LabelsChanged({"a": "b"}, {}, ())

    @pytest.mark.parametrize("event_type", sorted(EVENT_TYPES - {"ping", "labelsChanged"}))
    @pytest.mark.parametrize("wrapped", [None, [], "x", 7, True])
    def test_missing_data_has_no_payload(self, event_type: str, wrapped: Any) -> None:
        for data in ({event_type: wrapped}, {}, wrapped):
            assert payload(of_type(event_type, data)) is None
            assert rows(of_type(event_type, data)) == []

    def test_missing_labels_have_no_payload(self) -> None:
        assert payload(of_type("labelsChanged", None)) is None

    @pytest.mark.parametrize("event_type", ["radonLevel", "", "Touch", "_updated", None, 7])
    def test_unknown_event_type_has_no_payload(self, event_type: Any) -> None:
        event = of_type(event_type, {str(event_type): {"value": 1, "samples": [{"value": 1}]}})
        assert payload(event) is None
        assert rows(event) == []

    @pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"event":[]}', b'{"event":{"eventType":"touch"}}'])
    def test_unparsed_body_has_no_payload_and_no_readings(self, body: bytes) -> None:
        event = parse(Verified(body, "hs256:0"), NOW)
        assert payload(event) is None
        assert rows(event) == []


NAMES = {name for _, data, _, _ in CASES for name in re.findall(r'"(\w+)":', json.dumps(data))}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted(NAMES)), inner, max_size=4),
    max_leaves=8,
)
FIELDS = [
    (event_type, data, name) for event_type, data, _, _ in CASES for name in (data or {}).get(event_type, data or {})
]


class TestNeverRaises:
    @given(st.sampled_from(FIELDS), JSON)
    def test_any_value_of_a_field(self, field: tuple[str, Any, str], value: Any) -> None:
        event_type, data, name = field
        changed = {**data.get(event_type, data), name: value}
        event = of_type(event_type, changed if event_type == "labelsChanged" else {event_type: changed})
        assert payload(event) is not None
        check(event)

    @given(st.sampled_from(sorted(EVENT_TYPES)), JSON)
    def test_any_data(self, event_type: str, data: Any) -> None:
        check(of_type(event_type, data))

    @given(JSON, st.sampled_from(sorted(EVENT_TYPES)) | st.text(), JSON, JSON)
    def test_any_body(self, body: Any, event_type: str, data: Any, timestamp: Any) -> None:
        check(from_body(body))
        check(from_body({"event": {"eventType": event_type, "data": {event_type: data}, "timestamp": timestamp}}))


def check(event: Event) -> None:
    """Assert what `Reading` promises of each reading."""
    payload(event)
    units = {(quantity.event_type, quantity.quantity): quantity.unit for quantity in QUANTITIES}
    for reading in readings(event):
        assert reading.key == event.key
        assert reading.unit == units[reading.event_type, reading.quantity]
        assert type(reading.is_backfilled) is bool
        assert reading.time is None or type(reading.time) is str
        if reading.quantity == "touch":
            assert reading.value is None
            assert reading.text is None
        elif reading.unit is None:
            assert reading.value is None
            assert type(reading.text) is str
        else:
            assert type(reading.value) is float
            assert math.isfinite(reading.value)
            assert reading.text is None


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / name).read_bytes())


def in_dt_names(value: Any) -> Any:
    """Turn a payload back into JSON, without absent or empty fields."""
    if isinstance(value, dict):
        names = {re.sub(r"_(\w)", lambda match: match[1].upper(), name): item for name, item in value.items()}
        return {name: in_dt_names(item) for name, item in names.items() if item not in (None, (), [], {})}
    return [in_dt_names(item) for item in value] if isinstance(value, list | tuple) else value


def check_fixture(event: Event) -> None:
    """Assert that the payload has everything in the fixture, and the readings every sample."""
    found = payload(event)
    assert found is not None
    data = event.document["event"]["data"] or {}
    fields = data if event.event_type == "labelsChanged" else data.get(event.event_type, {})
    assert in_dt_names(asdict(found)) == in_dt_names(fields)
    quantities = [quantity for quantity in QUANTITIES if quantity.event_type == event.event_type]
    expected = [
        (
            quantity.quantity,
            source.get(quantity.field),
            read_time(source.get("sampleTime", fields.get("updateTime"))) or event.timestamp,
        )
        for source in fields.get("samples", [fields])
        for quantity in quantities
        if quantity.field is None or quantity.field in source
    ]
    got = [(r.quantity, r.text if r.value is None else r.value, read_time(r.time)) for r in readings(event)]
    assert got == expected
    check(event)


def fixture_events(event_type: str) -> Iterator[Event]:
    for entry in fixture("events/events.json")[event_type]:
        yield from_body({"event": entry["event"]})


@needs_fixtures
class TestFixtures:
    def test_fixtures_cover_every_event_type(self) -> None:
        index = fixture("bodies/INDEX.json")
        assert {entry["type"] for entry in index} == EVENT_TYPES - {"ping"}
        assert fixture("events/events.json").keys() == EVENT_TYPES

    @pytest.mark.parametrize("event_type", sorted(EVENT_TYPES - {"ping"}))
    def test_body(self, event_type: str) -> None:
        event = parse(Verified((FIXTURES / "bodies" / f"{event_type}.json").read_bytes(), "hs256:0"), NOW)
        assert event.parsed
        assert event.event_type == event_type
        check_fixture(event)

    @pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
    def test_event_in_each_shape_since_2018(self, event_type: str) -> None:
        events = list(fixture_events(event_type))
        assert events
        for event in events:
            check_fixture(event)
