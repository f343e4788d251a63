"""No event raises, and those of DT are read."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.event import EVENT_TYPES, Event, parse, read_time
from core.payloads import payload
from core.readings import QUANTITIES, readings
from core.verify.signature import Verified
from tests.core.readings.rows import (
    CASES,
    NOW,
    from_body,
    of_type,
)
from tests.support.deliveries import FIXTURES, needs_fixtures

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
