"""What is read of a body, and what keeps it from being read in full."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.event import EVENT_TYPES, Event, parse, parse_stored
from core.verify.signature import Verified
from tests.core.event.reading import DEVICE, EVENT_ID, KEY, MISSING, NOW, PROJECT, edited, read
from tests.support.deliveries import body


def test_event_is_read_in_full() -> None:
    content = body()
    assert parse(Verified(content, "hs256:1", 7), NOW) == Event(
        key=KEY,
        event_id=EVENT_ID,
        event_type="temperature",
        device_id=DEVICE,
        project_id=PROJECT,
        timestamp=datetime(2024, 5, 29, 10, 34, 3, 970415, UTC),
        received_at=NOW,
        parsed=True,
        fault=None,
        signed_by="hs256:1",
        expired_for=7,
        body=content,
        document=json.loads(content),
    )


def test_event_read_back_from_a_store_is_the_same_event() -> None:
    content = body()
    assert parse_stored(content, NOW, "hs256:0") == read(content)
    assert parse_stored(content, NOW).signed_by == "unknown"


def test_repr_shows_no_body_and_no_label() -> None:
    event = read(body())
    for private in ("Møterom", "targetName", "samples"):
        assert private in body().decode()
        assert private not in repr(event)


NETWORK_STATUS = body(
    eventType="networkStatus",
    data={
        "networkStatus": {
            "signalStrength": 45,
            "rssi": -83,
            "updateTime": "2024-05-29T10:34:03.970411Z",
            "cloudConnectors": [{"id": "bdkjbo2v0000uk377c4g", "signalStrength": 45, "rssi": -83}],
            "transmissionMode": "LOW_POWER_STANDARD_MODE",
        }
    },
)
NOT_JSON = {
    "empty": b"",
    "text": b"hello",
    "cut": body()[:-1],
    "more than one": body() + body(),
    "single quotes": b"{'event': {}}",
    "raw newline in a string": b'{"labels":{"name":"a\nb"}}',
    "NaN": body().replace(b":27,", b":NaN,"),
    "Infinity": body().replace(b":27,", b":Infinity,"),
    "-Infinity": body().replace(b":27,", b":-Infinity,"),
    "5,000 digits": body().replace(b":27,", b":" + b"7" * 5_000 + b","),
    "UTF-8 BOM": b"\xef\xbb\xbf" + body(),
    "UTF-16": body().decode().encode("utf-16"),
    "UTF-16 without BOM": body().decode().encode("utf-16-le"),
    "UTF-32": body().decode().encode("utf-32"),
    "Latin-1": body().decode().encode("latin-1"),
    "encoded surrogate": b'{"event":{"eventId":"\xed\xa0\x80"}}',
    "overlong": b'{"event":{"eventId":"\xc0\x80"}}',
    "100,000 lists": b"[" * 100_000,
    "100,000 lists, closed": b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects": b'{"event":' * 100_000,
}
NOT_OBJECTS = {name: name.encode() for name in ("[]", "[{}]", "1", "1e999", '"event"', "null", "true")}


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_bytes_that_are_not_json_are_kept(content: bytes) -> None:
    check_unreadable(read(content), "not JSON", content)


@pytest.mark.parametrize("content", NOT_OBJECTS.values(), ids=NOT_OBJECTS.keys())
def test_json_that_is_not_an_object_is_kept(content: bytes) -> None:
    check_unreadable(read(content), "not a JSON object", content)


def check_unreadable(event: Event, fault: str, content: bytes) -> None:
    assert event == Event(
        key="h." + hashlib.sha256(content).hexdigest(),
        event_id=None,
        event_type=None,
        device_id=None,
        project_id=None,
        timestamp=None,
        received_at=NOW,
        parsed=False,
        fault=fault,
        signed_by="hs256:0",
        expired_for=0,
        body=content,
        document={},
    )
    assert event.body is content
    assert event.labels == {}


def test_number_beyond_a_double_is_accepted() -> None:
    assert read(body().replace(b":27,", b":1e999,")).parsed


USUAL = body()
DUPLICATE_KEYS = {
    "in the document": USUAL[:-1] + b',"event":{"eventId":"last"}}',
    "in the event": USUAL.replace(b'"eventId":', b'"eventId":"first","eventId":'),
    "the same value": USUAL.replace(b'"value":27,', b'"value":27,"value":27,', 1),
    "in a sample": USUAL.replace(b'{"value":27,"sample', b'{"value":1,"value":27,"sample'),
    "in the labels": USUAL.replace(b'"name":', b'"name":"first","name":'),
    "in the metadata": USUAL.replace(b'"deviceId":', b'"deviceId":"first","deviceId":'),
    "two events, one in data": USUAL.replace(b'"temperature":{', b'"temperature":{},"temperature":{'),
    "white space before the colon": USUAL.replace(b'"eventId":', b'"eventId":"first","eventId" :'),
    "written with an escape": USUAL.replace(b'"eventId":', b'"\\u0065ventId":"first","eventId":'),
    "and an escaped colon in a time": USUAL.replace(b'"eventId":', b'"eventId":"first","eventId":').replace(
        b"10:34", b"10\\u003a34", 1
    ),
    "deep in what nobody knows": USUAL[:-1] + b',"new":[[{"a":{"b":1,"b":2}}]]}',
    "beside a sample that is a text": USUAL.replace(b'[{"value":27,', b'["xx",{"value":27,').replace(
        b'"name":', b'"name":"first","name":'
    ),
    "beside a Cloud Connector that is a text": NETWORK_STATUS.replace(
        b'"cloudConnectors":[', b'"cloudConnectors":["x",'
    ).replace(b'"name":', b'"name":"first","name":'),
    "with a colon fewer in a time": USUAL.replace(b'"value":27,"upd', b'"value":1,"value":27,"upd').replace(
        b'"2024-05-29T10:34:03.970415Z","samples', b'"2024-05-29T10:3403Z","samples'
    ),
}


@pytest.mark.parametrize("content", DUPLICATE_KEYS.values(), ids=DUPLICATE_KEYS.keys())
def test_duplicate_json_key_is_unparsed(content: bytes) -> None:
    """JSON readers disagree on which one counts, so no view may show either."""
    check_unreadable(read(content), "duplicate keys", content)


@given(st.data())
def test_duplicate_json_key_is_found_at_any_depth(data: st.DataObject) -> None:
    """Any key of the usual body, repeated with its value, in any escaping."""
    document = data.draw(st.sampled_from([json.loads(USUAL), json.loads(NETWORK_STATUS)]))
    objects = list(_objects(document))
    where = data.draw(st.sampled_from([each for each in objects if each]))
    again = data.draw(st.sampled_from(sorted(where)))
    separators = data.draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")]))
    text = json.dumps(document, separators=separators, ensure_ascii=data.draw(st.booleans()))
    assert read(text.encode()).fault is None
    where["AGAIN"] = where[again]
    text = json.dumps(document, separators=separators).replace('"AGAIN"', json.dumps(again))
    assert read(text.encode()).fault == "duplicate keys"


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = value.values()
    for item in value if not isinstance(value, str | int | float | None) else ():
        yield from _objects(item)


DATA: dict[str, Any] = {"temperature": {"value": 27}}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"event.newField": 1, "metadata.newField": [], "newField": {}}, None),
        ({"event.data": {"temperature": {}}}, None),
        ({"labels": MISSING}, None),
        ({"metadata": MISSING}, None),
        ({"event.targetName": MISSING}, None),
        ({"event.eventType": "brandNew", "event.data": {"brandNew": {}}}, "unknown event type"),
        ({"event.eventType": "Temperature"}, "unknown event type"),
        ({"event": MISSING}, "no eventType"),
        ({"event": None}, "no eventType"),
        ({"event": [{"eventType": "touch"}]}, "no eventType"),
        ({"event.eventType": MISSING}, "no eventType"),
        ({"event.eventId": MISSING}, "no eventId"),
        ({"metadata.deviceId": MISSING, "event.targetName": MISSING}, "no deviceId"),
        ({"metadata.deviceId": MISSING, "event.targetName": f"projects/{PROJECT}"}, "no deviceId"),
        ({"metadata.projectId": MISSING, "event.targetName": MISSING}, "no projectId"),
        ({"event.timestamp": MISSING}, "no timestamp"),
        ({"event.timestamp": "yesterday"}, "no timestamp"),
        ({"event.data": MISSING}, "no data"),
        ({"event.data": None}, "no data"),
        ({"event.data": [DATA]}, "no data"),
        ({"event.data": {}}, "no data"),
        ({"event.data": {"touch": {}}}, "no data"),
        ({"event.data": {"temperature": None}}, "no data"),
        ({"event.data": {"temperature": 27}}, "no data"),
        ({"event.eventType": "labelsChanged", "event.data": {"added": {}}}, None),
        ({"event.eventType": "labelsChanged", "event.data": {}}, None),
        ({"event.eventType": "labelsChanged", "event.data": None}, "no data"),
        ({"event.eventType": "labelsChanged", "event.data": []}, "no data"),
        ({"event.eventType": "ping", "event.data": None}, None),
        ({"event.eventType": "ping", "event.targetName": "projects/p", "metadata": MISSING}, None),
        ({"event.eventType": "ping", "event.targetName": MISSING, "metadata": MISSING}, "no projectId"),
        ({"event.eventType": "ping", "event.eventId": MISSING}, "no eventId"),
        ({"event.eventType": "ping", "event.timestamp": MISSING}, "no timestamp"),
    ],
)
def test_unparsed_reason_names_the_missing_field(changes: dict[str, Any], fault: str | None) -> None:
    event = edited(changes)
    assert event.fault == fault
    assert event.parsed is (fault is None)
    assert event.document == json.loads(event.body)


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_every_known_type_is_parsed(event_type: str) -> None:
    event = edited({"event.eventType": event_type, "event.data": {event_type: {}}})
    assert (event.event_type, event.fault) == (event_type, None)


@pytest.mark.parametrize(
    ("labels", "read_as"),
    [
        ({"name": "Møterom", "description": ""}, {"name": "Møterom", "description": ""}),
        ({"name": "x", "a": 1, "b": None, "c": ["y"], "d": {}}, {"name": "x"}),
        ({}, {}),
        (MISSING, {}),
        (None, {}),
        ("name", {}),
        ([["name", "x"]], {}),
    ],
)
def test_labels_are_strings(labels: Any, read_as: dict[str, str]) -> None:
    event = edited({"labels": labels})
    assert event.labels == read_as
    assert event.parsed
