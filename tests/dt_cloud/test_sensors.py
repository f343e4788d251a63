"""Sensors are plausible, and the same in each run."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from dt_cloud.accounts import PROJECTS
from dt_cloud.cloud import Cloud
from dt_cloud.events import SUPPORTED
from dt_cloud.sensors import HEARTBEAT, Building

DAY = 86_400.0
# A Monday, at midnight, far in the future, because a clock never runs back.
START = datetime(2040, 1, 2, tzinfo=UTC).timestamp()

Event = dict[str, Any]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """Yield the events of forty sensors in a day and a half."""
    return list(sent(tmp_path_factory.mktemp("day"), 40, 1.5 * DAY))


def sent(folder: Path, sensors: int, seconds: float, seed: int = 1) -> Iterator[Event]:
    cloud = Cloud(folder / "cloud.db", "http://127.0.0.1:1")
    cloud.clock.pause()
    cloud.clock.jump(START - cloud.clock.now())
    building = Building(cloud, sensors, seed)
    past = cloud.database.value("SELECT max(id) FROM events")
    while cloud.clock.now() < START + seconds:
        cloud.clock.jump(60)
        building.send_due()
    rows = cloud.database.execute("SELECT event FROM events WHERE id > ? ORDER BY id", past).fetchall()
    for (text,) in rows:
        event = json.loads(text)
        device = cloud.devices.get(event["targetName"].rpartition("/")[2])
        assert device
        yield {**event, "type": device.type, "device": device.device_id}
    cloud.database.close()


def values(events: list[Event], event_type: str, name: str, device_type: str) -> dict[str, list[tuple[float, float]]]:
    """Return, for each device, times and values."""
    found = defaultdict(list)
    for event in events:
        if event["eventType"] == event_type and event["type"] == device_type:
            fields = event["data"][event_type]
            time = datetime.fromisoformat(fields["updateTime"]).timestamp()
            found[event["device"]].append((time, fields[name]))
    return found


def at(hours: range, measured: list[tuple[float, float]]) -> float:
    return mean(value for time, value in measured if int(time % DAY // 3600) in hours)


def test_every_device_type_sends_its_event_types_in_both_projects(day: list[Event]) -> None:
    assert {event["type"] for event in day} == set(SUPPORTED)
    assert {event["targetName"].split("/")[1] for event in day} == set(PROJECTS)
    assert all(event["eventType"] in SUPPORTED[event["type"]] for event in day)


def test_same_seed_gives_the_same_events(tmp_path: Path) -> None:
    def run(name: str, seed: int) -> list[Any]:
        return [(each["device"], each["data"]) for each in sent(tmp_path / name, 20, DAY / 12, seed)]

    assert run("first", 1) == run("second", 1)
    assert run("third", 2) != run("first", 1)


def test_temperature_has_a_daily_wave_and_noise(day: list[Event]) -> None:
    for measured in values(day, "temperature", "value", "temperature").values():
        afternoon, night = at(range(15, 19), measured), at(range(3, 7), measured)
        assert afternoon > night + 0.4
        steps = [abs(after - before) for (_, before), (_, after) in pairwise(measured)]
        assert 0 < mean(steps) < 0.5


def test_humidity_falls_when_temperature_rises(day: list[Event]) -> None:
    warmth = values(day, "humidity", "temperature", "humidity")
    for device, measured in values(day, "humidity", "relativeHumidity", "humidity").items():
        assert (at(range(15, 19), measured) < at(range(3, 7), measured)) == (
            at(range(15, 19), warmth[device]) > at(range(3, 7), warmth[device])
        )


@pytest.mark.parametrize("event_type", ["contact", "motion", "deskOccupancy"])
def test_people_are_present_by_day(day: list[Event], event_type: str) -> None:
    hours = [datetime.fromisoformat(each["timestamp"]).hour for each in day if each["eventType"] == event_type]
    assert sum(8 <= hour < 18 for hour in hours) > 5 * sum(hour < 5 for hour in hours)


def test_heartbeats_come_every_quarter_of_an_hour_with_jitter(day: list[Event]) -> None:
    for device, measured in values(day, "networkStatus", "signalStrength", "contact").items():
        steps = [after - before for (before, _), (after, _) in pairwise(measured[1:])]
        assert math.isclose(mean(steps), HEARTBEAT, rel_tol=0.05), device
        assert len(set(steps)) > 1


def test_sensor_sends_stored_readings_newest_first(day: list[Event]) -> None:
    backfilled = [each for each in day if each["data"].get(each["eventType"], {}).get("isBackfilled")]
    assert len({each["device"] for each in backfilled}) == 1
    measured = [datetime.fromisoformat(each["data"][each["eventType"]]["updateTime"]) for each in backfilled]
    first_night = [time for time in measured if time.timestamp() < START + DAY]
    assert len(first_night) >= 11
    assert first_night == sorted(first_night, reverse=True)
    assert {time.hour for time in first_night} == {2, 3, 4}
    # They arrive at five, with the times of measurement.
    assert all(each["timestamp"] == each["data"][each["eventType"]]["updateTime"] for each in backfilled)


def test_a_second_start_finds_the_sensors_of_the_first_and_keeps_their_labels(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "cloud.db", "http://127.0.0.1:1")
    Building(cloud, 20)
    device = cloud.devices.of(PROJECTS)[0]
    cloud.publisher.relabel(device, {"name": "Renamed"}, [])
    cloud.database.close()
    cloud = Cloud(tmp_path / "cloud.db", "http://127.0.0.1:1")
    Building(cloud, 20)
    assert len(cloud.devices.of(PROJECTS)) == 22
    assert cloud.device(device.device_id).labels["name"] == "Renamed"
    cloud.database.close()
