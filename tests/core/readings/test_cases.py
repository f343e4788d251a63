"""Payload and readings of every event type."""

import re
from pathlib import Path
from typing import Any

import pytest

from core.event import EVENT_TYPES
from core.payloads import Payload, payload
from core.readings import QUANTITIES, Reading, readings
from tests.core.readings.rows import CASES, UPDATED, Row, from_body, holding, of_type, rows

ROOT = Path(__file__).parents[3]


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
