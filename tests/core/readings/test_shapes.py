"""Old shapes, times, samples, and what is malformed."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.event import EVENT_TYPES, parse
from core.payloads import (
    CellularStatus,
    CloudConnector,
    Co2,
    ConnectionStatus,
    Contact,
    DeskOccupancy,
    DeviceError,
    Humidity,
    LabelsChanged,
    NetworkStatus,
    Temperature,
    TemperatureSample,
    WaterPresent,
    payload,
)
from core.readings import readings
from core.verify.signature import Verified
from tests.core.readings.rows import EARLIER, EARLIEST, NOW, SENT, UPDATED, from_body, holding, number, of_type, rows


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
