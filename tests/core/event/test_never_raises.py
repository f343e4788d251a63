"""Any bytes are an event, and captured ones are parsed."""

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.event import EVENT_TYPES, Event, parse_stored, rfc3339
from tests.core.event.reading import edited, read
from tests.support.deliveries import FIXTURES, body, needs_fixtures

ANY_KEY = re.compile(r"[A-Za-z0-9_.-]{1,128}")
TEXT = st.text(st.characters(), max_size=20)  # lone surrogates too
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(sorted(EVENT_TYPES))
JSON = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
PATHS = [
    *("event", "labels", "metadata", "metadata.deviceId", "metadata.projectId", "event.eventId", "event.targetName"),
    *("event.eventType", "event.data", "event.data.temperature", "event.timestamp"),
]


def check(event: Event, content: bytes) -> None:
    assert event.body is content
    assert ANY_KEY.fullmatch(event.key)
    assert event.parsed is (event.fault is None)
    for text in (event.event_id, event.event_type, event.device_id, event.project_id):
        assert text is None or text.encode().decode().isprintable()
    assert event.timestamp is None or rfc3339(event.timestamp)
    assert all(type(label) is str for label in event.labels.values())


@given(st.binary())
def test_any_bytes_are_an_event(content: bytes) -> None:
    check(read(content), content)


@given(JSON)
def test_any_json_is_an_event(document: Any) -> None:
    content = json.dumps(document).encode()
    check(read(content), content)


@given(st.dictionaries(st.sampled_from(PATHS), JSON, max_size=3))
def test_any_value_of_a_field_is_an_event(changes: dict[str, Any]) -> None:
    # The deepest first, so that none is looked for in what took its parent's place.
    event = edited(dict(sorted(changes.items(), key=lambda change: -change[0].count("."))))
    check(event, event.body)


BODIES = sorted(path for path in (FIXTURES / "bodies").glob("*.json") if path.name != "INDEX.json")


@needs_fixtures
@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.stem)
def test_captured_body_is_parsed(path: Any) -> None:
    content = path.read_bytes()
    event = read(content)
    assert (event.event_type, event.fault) == (path.stem, None)
    assert event.key == f"{event.event_id}.{event.event_type}.{event.device_id}"
    check(event, content)


# Some that were published have had their ids or their time taken out.
INCOMPLETE = {
    ("humidity", "vendor test data"): "no deviceId",
    ("humidity", "2025 multi-sample"): "no eventId",
    ("networkStatus", "vendor test data"): "no deviceId",
    ("networkStatus", "2020 without rssi and without event.timestamp"): "no timestamp",
    ("labelsChanged", "vendor test data"): "no deviceId",
}


@needs_fixtures
def test_event_of_each_shape_since_2018_is_parsed_without_metadata() -> None:
    shapes = json.loads((FIXTURES / "events" / "events.json").read_bytes())
    assert shapes.keys() == EVENT_TYPES
    for event_type, events in shapes.items():
        for shape in events:
            event = read(json.dumps({"event": shape["event"], "labels": {}}).encode())
            assert event.event_type == event_type
            assert event.fault == INCOMPLETE.get((event_type, shape["name"])), shape["name"]


def test_event_attributes_have_dts_names_without_missing_fields() -> None:
    arrived = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
    assert parse_stored(body(), arrived, "hs256:0").attributes() == {
        "key": "cpbg96qngr7ai7ldarrg.temperature.emucdd6ef2eu277bo8f52vg",
        "eventId": "cpbg96qngr7ai7ldarrg",
        "eventType": "temperature",
        "deviceId": "emucdd6ef2eu277bo8f52vg",
        "projectId": "ccol8iuk9smqiha4e8l0",
        "timestamp": "2024-05-29T10:34:03.970415Z",
        "receivedAt": "2026-11-21T09:00:00.000000Z",
        "signedBy": "hs256:0",
    }
    assert parse_stored(b"", arrived).attributes() == {
        "key": f"h.{hashlib.sha256(b'').hexdigest()}",
        "receivedAt": "2026-11-21T09:00:00.000000Z",
        "signedBy": "unknown",
    }
