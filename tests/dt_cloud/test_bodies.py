"""dtconn sends events like DT Cloud's: fully parsed by the core, compact, and never the same twice."""

import dataclasses
import json
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from core import event
from core.payloads import payload
from core.verify.signature import Verified
from dt_cloud.bodies import EVENT_TYPES, Device, tampered
from dt_cloud.ids import xid

NOW = datetime(2026, 1, 31, 12, 0, 0, 120_000, UTC)


def parsed(body: bytes) -> event.Event:
    return event.parse(Verified(body, "hs256:0"), NOW)


def test_every_type_except_ping_is_supported() -> None:
    assert set(EVENT_TYPES) == event.EVENT_TYPES - {"ping"}


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_the_core_reads_every_field_of_every_event(event_type: str) -> None:
    device = Device("emucdd6ef2eu277bo8f52vg", "ccol8iuk9smqiha4e8l0")
    for _ in range(7):
        read = parsed(device.body(event_type, NOW))
        assert read.parsed, read.fault
        assert (read.event_type, read.device_id, read.project_id) == (event_type, device.device_id, device.project_id)
        assert read.timestamp == NOW
        data = payload(read)
        assert data is not None
        assert None not in dataclasses.astuple(data)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_body_has_the_wire_format(event_type: str) -> None:
    body = Device("emucdd6ef2eu277bo8f52vg", "ccol8iuk9smqiha4e8l0").body(event_type, NOW)
    document = json.loads(body)
    assert json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() == body
    assert list(document) == ["event", "labels", "metadata"]
    assert list(document["event"]) == ["eventId", "targetName", "eventType", "data", "timestamp"]
    assert document["event"]["timestamp"] == "2026-01-31T12:00:00.120000Z"
    assert "Kjølerom".encode() in body
    assert document["metadata"]["productNumber"] == ""


def test_id_is_an_xid_with_the_time() -> None:
    # https://github.com/rs/xid: 20 characters, the last with only one bit.
    assert re.fullmatch(r"[0-9a-v]{19}[0g]", xid(NOW.timestamp()))
    assert xid(0x4D88E15B)[:6] == "9m4e2m"  # the time of the example there, 9m4e2mr0ui3e8a215n4g
    assert xid(0) != xid(0)


@pytest.mark.parametrize("event_type", ["temperature", "humidity"])
def test_samples_come_newest_first_and_the_first_is_the_value(event_type: str) -> None:
    data = json.loads(Device("d", "p", samples=30).body(event_type, NOW))["event"]["data"][event_type]
    samples = data["samples"]
    times = [datetime.fromisoformat(sample["sampleTime"]) for sample in samples]
    assert len(samples) == 30
    assert times == sorted(times, reverse=True)
    assert times[0] - times[-1] < timedelta(minutes=15)
    assert samples[0]["sampleTime"] == data["updateTime"]
    assert samples[0].items() - {("sampleTime", data["updateTime"])} <= data.items()


def test_values_change() -> None:
    device = Device("d", "p")
    values = [json.loads(device.body("temperature", NOW))["event"]["data"]["temperature"]["value"] for _ in range(50)]
    assert len(set(values)) > 1
    assert all(abs(after - before) < 0.5 for before, after in pairwise(values))
    assert not any(isinstance(value, float) and value.is_integer() for value in values)  # DT Cloud writes 27, not 27.0


def test_tampered_body_is_another_valid_event() -> None:
    body = Device("d", "p").body("touch", NOW)
    changed = tampered(body)
    assert len(changed) == len(body)
    assert sum(one != other for one, other in zip(body, changed, strict=True)) == 1
    assert parsed(changed).parsed
    assert parsed(changed).key != parsed(body).key
    assert tampered(changed) != changed


def test_id_can_be_created_in_any_year() -> None:
    assert xid(2**32 + 0x4D88E15B)[:6] == xid(0x4D88E15B)[:6]
