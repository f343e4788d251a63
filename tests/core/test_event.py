"""Promise 3: the signed bytes are the stored bytes. Promise 8: a signed body that cannot be parsed is kept."""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.event import EVENT_TYPES, Event, event_key, parse, parse_stored, rfc3339
from core.settings import Settings
from core.verify.signature import Verified
from tests.support.deliveries import FIXTURES, SECRET, body, delivery, needs_fixtures, verified

NOW = datetime(2024, 5, 29, 10, 34, 5, tzinfo=UTC)
EVENT_ID, DEVICE, PROJECT = "cpbg96qngr7ai7ldarrg", "emucdd6ef2eu277bo8f52vg", "ccol8iuk9smqiha4e8l0"
TARGET = f"projects/{PROJECT}/devices/{DEVICE}"
KEY = f"{EVENT_ID}.temperature.{DEVICE}"
ANY_KEY = re.compile(r"[A-Za-z0-9_.-]{1,128}")
HASHED = re.compile(r"h\.[0-9a-f]{64}")
MISSING = object()


def read(content: bytes) -> Event:
    return parse(Verified(content, "hs256:0"), NOW)


def edited(changes: dict[str, Any]) -> Event:
    """Read the usual body with the fields at some paths, such as ``event.eventId``, replaced; MISSING removes one."""
    document = json.loads(body())
    for path, value in changes.items():
        *parents, name = path.split(".")
        place = document
        for parent in parents:
            place = place[parent]
        place[name] = value
        if value is MISSING:
            del place[name]
    return read(json.dumps(document).encode())


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


# Strange bodies

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
@settings(deadline=None)
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


# Ids

NO_IDS: list[Any] = [None, 17, 1.5, True, [], ["x"], {}, ""]
# A lone surrogate has no UTF-8, Postgres refuses U+0000, DynamoDB's and Azure's XML some others.
UNSTORABLE = ["\x00", "a\x00b", "a\nb", "\x7f", "\ud800", "a\udfffb", "\ufffe", "\uffff", "\u2028", "\u202e", "x" * 257]


@pytest.mark.parametrize("value", NO_IDS + UNSTORABLE, ids=lambda value: ascii(value)[:12])
def test_unstorable_id_is_none(value: Any) -> None:
    for path, name in (("event.eventId", "event_id"), ("event.eventType", "event_type")):
        event = edited({path: value})
        assert getattr(event, name) is None
        assert HASHED.fullmatch(event.key)
        assert not event.parsed
    nowhere = edited({"metadata.deviceId": value, "metadata.projectId": value, "event.targetName": value})
    assert (nowhere.device_id, nowhere.project_id, nowhere.fault) == (None, None, "no deviceId")
    elsewhere = edited({"metadata.deviceId": value, "metadata.projectId": value})
    assert (elsewhere.device_id, elsewhere.project_id, elsewhere.fault) == (DEVICE, PROJECT, None)


@pytest.mark.parametrize("value", ["x", "x" * 256, "æ ø/å", "温度", "🌡", "-", "0"])
def test_valid_id_is_unchanged(value: str) -> None:
    ids = {"event.eventId": value, "event.eventType": value, "metadata.deviceId": value, "metadata.projectId": value}
    event = edited(ids)
    assert {event.event_id, event.event_type, event.device_id, event.project_id} == {value}


@pytest.mark.parametrize(
    ("target", "device", "project"),
    [
        (TARGET, DEVICE, PROJECT),
        ("projects/bhmh0143iktucae701vg/devices/bchonod7rihjtvdmd2vg", "bchonod7rihjtvdmd2vg", "bhmh0143iktucae701vg"),
        ("projects/legacy-project/devices/x", "x", "legacy-project"),
        ("projects/p", None, "p"),
        ("projects/p/devices/", None, "p"),
        ("projects//devices/d", "d", None),
        ("projects/", None, None),
        ("projects/p/devices", None, None),
        ("projects/p/devices/d/labels/l", None, None),
        ("projects/p/sensors/d", None, None),
        ("organizations/p/devices/d", None, None),
        ("/projects/p/devices/d", None, None),
        ("d", None, None),
        (MISSING, None, None),
    ],
)
def test_target_name_replaces_missing_metadata(target: Any, device: str | None, project: str | None) -> None:
    for metadata in (MISSING, None, {}, [], "x", {"deviceId": "", "projectId": None}):
        event = edited({"event.targetName": target, "metadata": metadata})
        assert (event.device_id, event.project_id) == (device, project)
    device_known = edited({"event.targetName": target, "metadata": {"deviceId": "known"}})
    assert (device_known.device_id, device_known.project_id) == ("known", project)
    project_known = edited({"event.targetName": target, "metadata": {"projectId": "known"}})
    assert (project_known.device_id, project_known.project_id) == (device, "known")
    both_known = edited({"event.targetName": target, "metadata": {"deviceId": "d1", "projectId": "p1"}})
    assert (both_known.device_id, both_known.project_id) == ("d1", "p1")


# Keys


def test_key_does_not_depend_on_the_token() -> None:
    verifier = Settings.load({"DT_SIGNATURE_SECRET": SECRET}).verifier
    now = int(time.time())
    for content in (body(), b"not JSON"):
        tokens: list[dict[str, Any]] = [{"jti": "one"}, {"jti": "two"}, {"jti": None}, {"iat": now - 60}]
        assert len({parse(verified(verifier, delivery(content, **token), now), NOW).key for token in tokens}) == 1


def test_key_depends_on_each_of_its_three_fields() -> None:
    assert edited({}).key == KEY
    assert edited({"event.eventId": "another"}).key == f"another.temperature.{DEVICE}"
    assert edited({"event.eventType": "brandNew"}).key == f"{EVENT_ID}.brandNew.{DEVICE}"
    assert edited({"metadata.deviceId": "another"}).key == f"{EVENT_ID}.temperature.another"
    assert edited({"labels": {}, "event.data": {}, "event.timestamp": None, "metadata.projectId": "x"}).key == KEY


@pytest.mark.parametrize(
    "part", [None, "", "a.b", "a/b", "a b", "a+b", "a:b", "é", "a\n", "\x00", "\ud800", "٣"], ids=ascii
)
def test_key_is_a_hash_of_the_body_without_a_valid_id(part: str | None) -> None:
    hashed = "h." + hashlib.sha256(b"the body").hexdigest()
    assert event_key(part, "touch", "device", b"the body") == hashed
    assert event_key("id", part, "device", b"the body") == hashed
    assert event_key("id", "touch", part, b"the body") == hashed


def test_key_has_at_most_128_characters() -> None:
    longest = event_key("x" * 105, "temperature", "Device-_10", b"")
    assert longest == "x" * 105 + ".temperature.Device-_10"
    assert len(longest) == 128
    assert event_key("x" * 106, "temperature", "Device-_10", b"") == "h." + hashlib.sha256(b"").hexdigest()
    assert event_key("a", "b", "c", b"") == "a.b.c"


PART = st.none() | st.text("ah0._-/ \n", max_size=4) | st.from_regex(HASHED, fullmatch=True)
PARTS = st.tuples(PART, PART, PART)


@given(PARTS, PARTS)
@settings(deadline=None)
@example(("h", "a" * 64, "b"), ("h.", "a" * 64, ".b"))
@example(("a", "b", "c"), ("a", "b", "c"))
@example((None, "b", "c"), (None, "b", "c"))
def test_two_events_never_share_a_key(
    one: tuple[str | None, str | None, str | None], other: tuple[str | None, str | None, str | None]
) -> None:
    """The ids of one event never give the hashed key of another either."""
    key, other_key = event_key(*one, b"a body"), event_key(*other, b"another body")
    assert (key == other_key) == (one == other and not HASHED.fullmatch(key))


# Times

SECOND = datetime(2024, 5, 29, 10, 34, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-05-29T10:34:03Z", SECOND),
        ("2024-05-29T10:34:03.5Z", SECOND + timedelta(seconds=0.5)),
        ("2024-05-29T10:34:03.970415Z", SECOND + timedelta(microseconds=970_415)),
        ("2024-05-29T10:34:03.970415999Z", SECOND + timedelta(microseconds=970_415)),
        ("2024-05-29T10:34:03+00:00", SECOND),
        ("2024-05-29T10:34:03-00:00", SECOND),
        ("2024-05-29T12:34:03+02:00", SECOND),
        ("2024-05-28T22:49:03-11:45", SECOND),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
        ("0001-01-01T00:00:00+01:00", None),
        ("9999-12-31T23:59:59-01:00", None),
        ("10000-01-01T00:00:00Z", None),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60.25Z", datetime(2017, 1, 1, 0, 0, 0, 250_000, UTC)),
        ("1990-12-31T15:59:60-08:00", datetime(1991, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:60Z", None),
        ("2016-12-31T23:59:61Z", None),
        ("2016-12-31T23:59:60", None),
        ("2016-12-31T23:60:00Z", None),
        ("2024-05-29t10:34:03z", SECOND),
        ("2024-05-29T10:34:03.970415999z", SECOND + timedelta(microseconds=970_415)),
        ("2016-12-31t23:59:60z", datetime(2017, 1, 1, tzinfo=UTC)),
        # "separated by (say) a space character": https://www.rfc-editor.org/rfc/rfc3339#section-5.6
        ("2024-05-29 10:34:03z", SECOND),
        ("12000-01-01T00:00:00Z", None),
        ("2024-02-30T00:00:00Z", None),
        ("2024-05-29T10:34:03", None),
        ("2024-05-29", None),
        ("1716978843", None),
        ("", None),
        ("\ud800", None),
        (1_716_978_843, None),
        (1.5, None),
        (True, None),
        (None, None),
        ([], None),
        ({}, None),
    ],
)
def test_timestamp(text: Any, time: datetime | None) -> None:
    event = edited({"event.timestamp": text})
    assert event.timestamp == time
    assert event.fault == (None if time else "no timestamp")
    if event.timestamp:
        assert event.timestamp.tzinfo is UTC


TIMES = st.datetimes(timezones=st.just(UTC))


@given(TIMES, TIMES)
@settings(deadline=None)
@example(SECOND, SECOND + timedelta(microseconds=1))
@example(SECOND.replace(year=999), SECOND)
def test_rfc3339_sorts_by_time(one: datetime, other: datetime) -> None:
    assert (rfc3339(one) < rfc3339(other)) == (one < other)
    assert datetime.fromisoformat(rfc3339(one)) == one


def test_rfc3339_has_always_six_digits() -> None:
    assert rfc3339(SECOND) == "2024-05-29T10:34:03.000000Z"
    assert rfc3339(SECOND.replace(microsecond=970_400)) == "2024-05-29T10:34:03.970400Z"
    assert rfc3339(datetime.min.replace(tzinfo=timezone(timedelta()))) == "0001-01-01T00:00:00.000000Z"


# Anything at all

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
@settings(deadline=None)
def test_any_bytes_are_an_event(content: bytes) -> None:
    check(read(content), content)


@given(JSON)
@settings(deadline=None)
def test_any_json_is_an_event(document: Any) -> None:
    content = json.dumps(document).encode()
    check(read(content), content)


@given(st.dictionaries(st.sampled_from(PATHS), JSON, max_size=3))
@settings(deadline=None)
def test_any_value_of_a_field_is_an_event(changes: dict[str, Any]) -> None:
    # The deepest first, so that none is looked for in what took its parent's place.
    event = edited(dict(sorted(changes.items(), key=lambda change: -change[0].count("."))))
    check(event, event.body)


# What DT sent

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
