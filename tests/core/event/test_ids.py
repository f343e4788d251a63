"""The ids of an event, and its key."""

import hashlib
import re
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.event import event_key, parse
from core.settings import Settings
from tests.core.event.reading import DEVICE, EVENT_ID, KEY, MISSING, NOW, PROJECT, edited
from tests.support.deliveries import SECRET, body, delivery, verified

TARGET = f"projects/{PROJECT}/devices/{DEVICE}"
HASHED = re.compile(r"h\.[0-9a-f]{64}")
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
@example(("h", "a" * 64, "b"), ("h.", "a" * 64, ".b"))
@example(("a", "b", "c"), ("a", "b", "c"))
@example((None, "b", "c"), (None, "b", "c"))
def test_two_events_never_share_a_key(
    one: tuple[str | None, str | None, str | None], other: tuple[str | None, str | None, str | None]
) -> None:
    """The ids of one event never give the hashed key of another either."""
    key, other_key = event_key(*one, b"a body"), event_key(*other, b"another body")
    assert (key == other_key) == (one == other and not HASHED.fullmatch(key))
