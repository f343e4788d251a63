"""Unusual bodies that DT could sign, for every store, view, listing, export and worker.

There is a body for each kind here. A folder of further bodies is read too, if set.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.deliveries import body

FOLDER = Path(os.environ.get("DT_CASES") or Path(__file__).parents[3] / "shared" / "cases")
TIME = "2026-11-21T08:00:00.000001Z"
_EARLIER = "2026-11-21T07:55:00.123456123Z"

# Timestamps, valid and invalid: the range of RFC 3339, and words that some database reads as a time.
TIMES = {
    "first second": "0001-01-01T00:00:00Z",
    "last microsecond": "9999-12-31T23:59:59.999999Z",
    "before the first year": "0001-01-01T00:00:00+01:00",
    "after the last year": "9999-12-31T23:59:59-01:00",
    "year 12000": "12000-01-01T00:00:00Z",
    "leap second": "2016-12-31T23:59:60.000000Z",
    "lower case": "2026-11-21t08:00:00z",
    "offset": "2026-11-21T10:00:00.5-02:30",
    "nine digits": "2018-05-08T13:29:47.543486780Z",
    "no offset": "2026-11-21T08:00:00",
    "date": "2026-11-21",
    "no such day": "2026-02-30T08:00:00Z",
    "words": "half past nine",
    "now": "now",
    "infinity": "-infinity",
    "epoch": "0",
    "empty": "",
}
LABELS = {
    "NUL": "a\0b",
    "C0": "\x1b[2J\r\n\t\x07",
    "C1": "\x9b2J\x9b31m\x85",
    "writing direction": "\u202eRED\u2066",
    "first half of a pair": "\ud83e x",
    "second half of a pair": "x \udd16",
    "halves the wrong way round": "\udd16\ud83e",
    "half beside a whole": "\ud83e\U0001f916\udd16",
    "whole pair": "\U0001f916",
    "backslash": "a\\ud83e b\\u0000",
    "noncharacter": "\uffff",
    "quotes": "'; DROP TABLE events; --\"",
    "separator": "a,b;c\nd",
    **{f"formula {sign!r}": f"{sign}1+1" for sign in "=+-@\t\r"},
    "empty": "",
    "number": 7,
    "object": {"a": 1},
    "null": None,
}
NUMBERS = [
    *("-9223372036854775808", "9223372036854775807", "-9223372036854775809", "18446744073709551616"),
    *("9007199254740993", "27", "27.0", "-0", "0.1", "1e2", "-1.5E-3", "1e999", "-1e999", "1e308", "1e-999"),
    *("1" + "0" * 400, "12345678901234567890.5"),
]
SAMPLES: dict[str, Any] = {
    "usual": [{"value": 20.5, "sampleTime": TIME}, {"value": -1, "sampleTime": _EARLIER}],
    "none": [],
    "null": None,
    "an object": {"0": {"value": 1, "sampleTime": TIME}},
    "a text": "samples",
    "a number": 7,
    "a number first": [7, {"value": 1}],
    "a list first": [[{"value": 1}], {"value": 1}],
    "one that is empty": [{}],
    "a text for a value": [{"value": "1"}],
    "null between": [{"value": 1, "sampleTime": TIME}, None, {"value": 2, "sampleTime": 7}],
}


def _event(event_type: str = "temperature", payload: Any = None, label: Any = "Møterom 3 & <lab>", **of: Any) -> bytes:
    """Return a body with the fields ``of`` in its event; in ASCII, so that it can have halves of surrogate pairs."""
    data = {event_type: {"value": 21.5, "updateTime": TIME} if payload is None else payload}
    document = json.loads(body())
    document["event"] |= {"eventType": event_type, "data": data, **of}
    document["labels"]["name"] = label
    return json.dumps(document, separators=(",", ":")).encode()


def _payloads() -> dict[str, bytes]:
    return {
        "no samples": _event("humidity", {"temperature": 20.5, "relativeHumidity": 40, "updateTime": TIME}),
        "a number too large beside another": _event(
            "humidity", {"temperature": 12345, "relativeHumidity": 40, "updateTime": TIME}
        ).replace(b"12345", b"1.5e999"),
        "half of a pair beside numbers": _event("temperature", {"value": 1e100, "updateTime": TIME}, "\udd16 [1e999]"),
        "samples of a type that has none": _event("co2", {"ppm": 1, "samples": [{"ppm": 2}], "updateTime": TIME}),
        "no updateTime": _event("temperature", {"value": 21}),
        "null": _event("temperature", {"value": None, "updateTime": TIME}),
        "text for a number": _event("temperature", {"value": "21", "updateTime": TIME}),
        "bool for a number": _event("temperature", {"value": True, "updateTime": TIME}),
        "number for a text": _event("contact", {"state": 1, "updateTime": TIME}),
        "object for a text": _event("contact", {"state": {"state": "OPEN"}, "updateTime": TIME}),
        "empty text": _event("ethernetStatus", {"macAddress": "", "updateTime": TIME}),
        "backfilled": _event("temperature", {"value": 21, "isBackfilled": True, "updateTime": TIME}),
        "backfilled, as a text": _event("temperature", {"value": 21, "isBackfilled": "true", "updateTime": TIME}),
        "backfilled, as a number": _event("temperature", {"value": 21, "isBackfilled": 1, "updateTime": TIME}),
        "a list for a payload": _event("temperature", [1]),
        "a text for a payload": _event("temperature", "21"),
        "no payload": _event("temperature", data={}),
        "payload of another type": _event("temperature", data={"touch": {"updateTime": TIME}}),
        "touch": _event("touch", {"updateTime": TIME}),
        "nothing": _event("labelsChanged", data={}),
        "ping": _event("ping", data=None),
        "unknown type": _event("pollen", {"grains": 7, "updateTime": TIME}),
        "deep": _event("contact", {"state": "OPEN", "x": 12345}).replace(b"12345", b"[" * 900 + b"]" * 900),
        "large": _event(padding="x" * 250_000),
        "no labels": _event().replace(b'"labels"', b'"other"'),
        "labels as a list": _event().replace(b'{"name":"M\\u00f8terom 3 & <lab>"}', b'["name"]'),
        **{f"text, {name}": _event("contact", {"state": text, "updateTime": TIME}) for name, text in LABELS.items()},
    }


def _ids() -> dict[str, bytes]:
    return {
        "ids that are null": _event(eventId=None, timestamp=None, targetName=None),
        "no device": _event(targetName="projects/p").replace(b'"deviceId"', b'"other"'),
        "NUL in an id": _event(eventId="a\0b"),
        "half of a pair in an id": _event(eventId="\ud800"),
        "quotes in an id": _event(eventId="'; DROP TABLE events; --"),
        "noncharacter for a type": _event("\ufffe"),
        "a list for a type": _event(eventType=["temperature"]),
    }


def _bytes() -> dict[str, bytes]:
    usual = _event()
    return {
        "ordinary": usual,
        "not UTF-8": b"\xff\xfe\x00\x80",
        "Latin-1 in a label": usual.replace(b"M\\u00f8terom", b"M\xf8terom"),
        "byte order mark": b"\xef\xbb\xbf" + usual,
        "UTF-16": usual.decode().encode("utf-16"),
        "C1, raw": usual.replace(b"M\\u00f8terom", "\x9b2J\u202e".encode()),
        "NUL, raw": usual.replace(b"M\\u00f8terom", b"a\0b"),
        "white space": json.dumps(json.loads(usual), indent=1).encode() + b"\r\n",
        "not JSON": b"<xml/>",
        "not an object": b"[{}]",
        "NaN": usual.replace(b"21.5", b"NaN"),
        "Infinity": usual.replace(b"21.5", b"-Infinity"),
        "nested": b"[" * 100_000,
        "every byte": bytes(range(256)) * 100,
        "empty": b"",
        "duplicate value": usual.replace(b'"value":', b'"value":1,"value":'),
        "duplicate event": usual[:-1] + b',"event":{}}',
        "duplicate label": usual.replace(b'"name":', b'"name":"first","name":'),
        "duplicate key, escaped": usual.replace(b'"eventId":', b'"\\u0065ventId":"first","eventId":'),
        "duplicate parent": usual.replace(b'"data":{', b'"data":{"temperature":{"value":1}},"data":{'),
    }


def _own() -> dict[str, bytes]:
    cases = {
        **_bytes(),
        **_ids(),
        **_payloads(),
        **{f"label, {name}": _event(label=label) for name, label in LABELS.items()},
        **{f"number, {digits[:20]}": _event().replace(b"21.5", digits.encode()) for digits in NUMBERS},
        **{
            f"samples, {name}": _event(payload={"value": 21, "updateTime": TIME, "samples": samples})
            for name, samples in SAMPLES.items()
        },
        **{f"timestamp, {name}": _event(timestamp=time) for name, time in TIMES.items()},
        **{f"updateTime, {name}": _event(payload={"value": 21, "updateTime": time}) for name, time in TIMES.items()},
        **{
            f"sampleTime, {name}": _event(
                payload={"value": 21, "updateTime": TIME, "samples": [{"value": 21, "sampleTime": time}]}
            )
            for name, time in TIMES.items()
        },
        "sampleTime beyond every number": _event(
            payload={"value": 21, "updateTime": TIME, "samples": [{"value": 21, "sampleTime": 7}]}
        ).replace(b'"sampleTime":7', b'"sampleTime":1e999'),
    }
    # Each has a different key, and is its device's latest.
    usual, device = b'"eventId":"cpbg96qngr7ai7ldarrg"', rb'(devices/|"deviceId":")emucdd6ef2eu277bo8f52vg'
    return {
        name: re.sub(device, rb"\1emu%020d" % place, content.replace(usual, b'"eventId":"case%016d"' % place))
        for place, (name, content) in enumerate(cases.items())
    }


OWN = _own()
OTHERS = {path.stem: path.read_bytes() for path in sorted(FOLDER.glob("*.json"))}

each_table = pytest.mark.parametrize(
    "cases",
    [
        pytest.param(OWN, id="own"),
        pytest.param(
            OTHERS,
            id="others",
            marks=pytest.mark.skipif(not OTHERS, reason=f"no strange bodies at {FOLDER}; set DT_CASES to their folder"),
        ),
    ],
)
