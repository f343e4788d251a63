"""Simulated sensors of a building, from a seed: a daily wave, office hours, and a sensor that loses contact."""

import asyncio
import heapq
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from core.event import rfc3339
from dt_cloud.accounts import PROJECTS
from dt_cloud.cloud import Cloud
from dt_cloud.devices import Device
from dt_cloud.events import Fields
from dt_cloud.ids import fixed_xid

# Seconds, on the cloud's clock.
HEARTBEAT = 900.0
_DAY = 86_400.0
# The first heartbeats come soon, so that the page shows data.
_FIRST_WITHIN = 20.0
# How long the sensor without contact is offline, from 02:00 to 05:00 UTC.
_AWAY = (2, 5)
# Maximum events in one commit; the next ones follow after other tasks have run.
_AT_ONCE = 200
# Heartbeats in a new sensor's history: twelve hours.
_PAST = 48

_OFFICE, _COLD = PROJECTS
# The types of 20 sensors, and their names.
_MIX = (
    *["temperature"] * 5, *["humidity"] * 3, *["contact"] * 2, *["motion"] * 2, *["deskOccupancy"] * 2, "co2",
    "proximity", "touch", "waterDetector", "proximityCounter", "touchCounter",
)  # fmt: skip
_NAMES = {
    "temperature": ("Room", "Temperature, on the wall"),
    "humidity": ("Archive", "Temperature and humidity"),
    "contact": ("Door", "Open or closed"),
    "motion": ("Corridor", "Motion"),
    "deskOccupancy": ("Desk", "Occupied or not"),
    "co2": ("Meeting room", "Air quality"),
    "proximity": ("Waste bin", "Lid"),
    "touch": ("Service button", "Touched when help is needed"),
    "waterDetector": ("Dishwasher", "Water on the floor"),
    "proximityCounter": ("Turnstile", "Passages"),
    "touchCounter": ("Feedback button", "Touches"),
    "ccon": ("Cloud Connector", "Gateway"),
}
_COLD_NAMES = {"temperature": ("Fridge", "Temperature, probe inside"), "humidity": ("Cold room", "Food storage")}

Events = Iterator[tuple[str, Fields]]


@dataclass(slots=True)
class Sensor:
    """A simulated sensor.

    Attributes:
        device: Its device.
        random: Its random numbers, so that each run with a seed is the same.
        offset: How much warmer it is here than elsewhere, in °C.
        loses_contact: Whether it is offline each night.
        has_begun: Whether it sent its first heartbeat; later ones have its own offset in the quarter of an hour.
        state: True for open, present or occupied.
        total: The count of a counter.
        battery: In %.
        stored: Readings stored while offline, oldest first.
        last_status: When it last sent its battery status.
    """

    device: Device
    random: random.Random
    offset: float
    loses_contact: bool = False
    has_begun: bool = False
    state: bool = False
    total: int = 0
    battery: int = 100
    stored: list[tuple[str, Fields]] = field(default_factory=list)
    last_status: float = -math.inf

    def heartbeat(self, now: float) -> Events:
        """Yield the events of a heartbeat."""
        measured = list(_MEASURES[self.device.type](self, now))
        if self.loses_contact and _AWAY[0] <= now % _DAY / 3600 < _AWAY[1]:
            time = rfc3339(datetime.fromtimestamp(now, UTC))
            self.stored += [(name, {**fields, "updateTime": time, "isBackfilled": True}) for name, fields in measured]
            return
        yield from measured
        # DT's sensors send their stored readings newest first.
        while self.stored:
            yield self.stored.pop()
        if self.device.type == "ccon":
            return
        strength = max(1, min(100, round(self.random.gauss(55 - self.offset * 4, 4))))
        gateway = fixed_xid(f"gateway of {self.device.project_id}")
        rssi = round(strength / 2) - 105
        yield (
            "networkStatus",
            {
                "signalStrength": strength,
                "rssi": rssi,
                "cloudConnectors": [{"id": gateway, "signalStrength": strength, "rssi": rssi}],
                "transmissionMode": "LOW_POWER_STANDARD_MODE",
            },
        )
        if now - self.last_status >= _DAY:
            self.last_status = now
            yield "batteryStatus", {"percentage": self.battery}

    def next_change(self, now: float) -> float:
        """Return the time of the next change of state; infinite for a sensor that only measures."""
        mean = _CHANGES.get(self.device.type)
        if mean is None:
            return math.inf
        # Doors close soon; desks stay occupied longer.
        wait = self.random.expovariate(1 / mean) * (_HOLDS.get(self.device.type, 0.15) if self.state else 1)
        return now + max(5.0, wait)

    def change(self, now: float) -> Events:
        """Yield the events of a change of state; none while the building is empty."""
        if not self.state and self.random.random() > _busy(now):
            return
        self.state = not self.state
        yield from _STATES[self.device.type](self)


def _busy(now: float) -> float:
    """Return how busy a building is, 0 to 1: in office hours, UTC, except at weekends."""
    hour, is_weekday = now % _DAY / 3600, datetime.fromtimestamp(now, UTC).weekday() < 5
    return math.exp(-(((hour - 12.5) / 4.5) ** 4)) * (1.0 if is_weekday else 0.1)


def _celsius(sensor: Sensor, now: float) -> float:
    """Return a temperature: a daily wave, coldest at five in the morning, with noise."""
    wave = math.sin((now % _DAY / _DAY - 11 / 24) * 2 * math.pi)
    mean, swing = (3.5, 0.6) if sensor.device.project_id == _COLD else (21.0, 1.8)
    return mean + sensor.offset + swing * wave + sensor.random.gauss(0, 0.12)


def _temperature(sensor: Sensor, now: float) -> Events:
    yield "temperature", {"value": _number(_celsius(sensor, now), 2)}


def _humidity(sensor: Sensor, now: float) -> Events:
    celsius = _celsius(sensor, now)
    # Warmer air can hold more water, so the relative humidity is lower.
    relative = 46 - 2.2 * (celsius - 21) if sensor.device.project_id == _OFFICE else 82 - 3 * (celsius - 3.5)
    relative = min(100.0, max(5.0, relative + sensor.random.gauss(0, 0.6)))
    yield "humidity", {"temperature": _number(celsius, 2), "relativeHumidity": _number(relative, 1)}


def _co2(sensor: Sensor, now: float) -> Events:
    yield "co2", {"ppm": round(430 + 620 * _busy(now) + sensor.random.gauss(0, 25))}
    yield "pressure", {"pascal": round(100_900 + 700 * math.sin(now / (3 * _DAY)) + sensor.random.gauss(0, 15))}
    yield from _humidity(sensor, now)


def _object_count(sensor: Sensor, now: float) -> Events:
    sensor.total += round(sensor.random.expovariate(1 / (0.5 + 40 * _busy(now))))
    yield "objectPresentCount", {"total": sensor.total}


def _touch_count(sensor: Sensor, now: float) -> Events:
    sensor.total += round(sensor.random.expovariate(1 / (0.2 + 5 * _busy(now))))
    yield "touchCount", {"total": sensor.total}


def _gateway(_sensor: Sensor, _now: float) -> Events:
    yield "connectionStatus", {"connection": "ETHERNET", "available": ["ETHERNET", "CELLULAR"]}


def _state(event_type: str, on: str, off: str) -> Callable[[Sensor], Events]:
    def events(sensor: Sensor) -> Events:
        yield event_type, {"state": on if sensor.state else off}

    return events


_STATES: dict[str, Callable[[Sensor], Events]] = {
    "contact": _state("contact", "OPEN", "CLOSED"),
    "motion": _state("motion", "MOTION_DETECTED", "NO_MOTION_DETECTED"),
    "deskOccupancy": _state("deskOccupancy", "OCCUPIED", "NOT_OCCUPIED"),
    "proximity": _state("objectPresent", "NOT_PRESENT", "PRESENT"),
    "waterDetector": _state("waterPresent", "PRESENT", "NOT_PRESENT"),
    "touch": lambda _sensor: iter([("touch", {})]),
}
# Mean seconds between changes while the building is busy.
_CHANGES = {
    "contact": 1_200.0,
    "motion": 900.0,
    "deskOccupancy": 3_600.0,
    "proximity": 5_400.0,
    "waterDetector": 14 * _DAY,
    "touch": 7_200.0,
}
# The share of that time in the active state.
_HOLDS = {"deskOccupancy": 0.7, "proximity": 0.02, "waterDetector": 0.01}
_MEASURES: dict[str, Callable[[Sensor, float], Events]] = {
    "temperature": _temperature,
    "humidity": _humidity,
    "co2": _co2,
    "proximityCounter": _object_count,
    "touchCounter": _touch_count,
    "ccon": _gateway,
    **{name: lambda _sensor, _now: iter(()) for name in _STATES},
}


class Building:
    """Creates sensors and publishes their events.

    Attributes:
        is_resting: Whether the sensors send nothing.

    Args:
        cloud: The cloud; a second start finds the sensors of the first.
        count: The number of sensors, in both projects together, besides a gateway in each.
        seed: The same seed creates the same sensors with the same values.
    """

    def __init__(self, cloud: Cloud, count: int, seed: int = 1) -> None:
        self._database = cloud.database
        self._clock = cloud.clock
        self._devices = cloud.devices
        self._publisher = cloud.publisher
        self.is_resting = False
        self._due: list[tuple[float, int, bool]] = []
        self._sensors: list[Sensor] = []
        now = self._clock.now()
        with self._database.transaction():
            for index in range(count):
                self._add(index, _MIX[index % len(_MIX)], (_OFFICE, _COLD)[index % 4 == 3], seed)
            for index, project in enumerate(PROJECTS if count else ()):
                self._add(count + index, "ccon", project, seed)
        for number, sensor in enumerate(self._sensors):
            heapq.heappush(self._due, (now + sensor.random.uniform(0, _FIRST_WITHIN), number, True))
            heapq.heappush(self._due, (sensor.next_change(now), number, False))

    def _add(self, index: int, device_type: str, project: str, seed: int) -> None:
        numbers = random.Random(f"{seed} {index}")  # noqa: S311 - no secret
        device_id = f"emu{fixed_xid(f'sensor {seed} {index}')}"
        names = _COLD_NAMES if project == _COLD and device_type in _COLD_NAMES else _NAMES
        name, description = names[device_type]
        labels = {"name": f"{name} {index + 1}", "description": description, "floor": str(1 + index % 4)}
        known = self._devices.get(device_id)
        device = known or self._devices.create(project, device_type, labels, self._clock.now(), device_id)
        sensor = Sensor(device, numbers, numbers.gauss(0, 1.2), loses_contact=index == 1)
        self._sensors.append(sensor)
        if not known:
            self._remember(sensor)

    def _remember(self, sensor: Sensor) -> None:
        """Create a history for a new sensor, so that its line on the page is not empty."""
        now = self._clock.now()
        for age in range(_PAST, 0, -1):
            moment = now - age * HEARTBEAT
            for event_type, fields in _MEASURES[sensor.device.type](sensor, moment):
                self._publisher.record(sensor.device, event_type, fields, moment)

    async def run(self) -> None:
        """Publish events until cancelled."""
        while self._due:
            wait = self._clock.real_seconds(self._due[0][0])
            # Not longer, because the clock may be changed meanwhile.
            await asyncio.sleep(min(wait, 0.2))
            if not self.is_resting:
                self.send_due()

    def send_due(self) -> None:
        """Publish the events that are due."""
        now = self._clock.now()
        with self._database.transaction():
            for _ in range(min(_AT_ONCE, len(self._due))):
                due, number, is_heartbeat = self._due[0]
                if due > now:
                    return
                sensor = self._sensors[number]
                if self._devices.get(sensor.device.device_id) is not sensor.device:  # deleted
                    heapq.heappop(self._due)
                    continue
                for event_type, fields in sensor.heartbeat(due) if is_heartbeat else sensor.change(due):
                    self._publisher.publish(sensor.device, event_type, fields)
                # After a jump, continue from now: sensors send nothing for the skipped time.
                share = sensor.random.uniform(0.98, 1.02) if sensor.has_begun else sensor.random.uniform(0.05, 1)
                following = max(due, now - HEARTBEAT) + HEARTBEAT * share
                sensor.has_begun |= is_heartbeat
                heapq.heapreplace(
                    self._due, (following if is_heartbeat else sensor.next_change(now), number, is_heartbeat)
                )


def _number(value: float, digits: int) -> Any:
    """Round to DT's form of numbers: 27 and not 27.0."""
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded
