"""Changing values of every event type, for test events."""

import random
from collections.abc import Iterator
from itertools import count, cycle, repeat

from dt_cloud.events import Fields

_random = random.SystemRandom()


def all_fields() -> dict[str, Iterator[Fields]]:
    """Return infinite iterators over the data of each event type, in the order of docs/protocol.md."""
    return {
        "touch": repeat({}),
        "temperature": ({"value": value} for value in walk(21.5, 0.3, -40, 85)),
        "objectPresent": states("PRESENT", "NOT_PRESENT"),
        "humidity": (
            {"temperature": temperature, "relativeHumidity": humidity}
            for temperature, humidity in zip(walk(21.5, 0.3, -40, 85), walk(40, 1, 0, 100), strict=True)
        ),
        "objectPresentCount": ({"total": total} for total in count(4176)),
        "touchCount": ({"total": total} for total in count(469)),
        "waterPresent": states("PRESENT", "NOT_PRESENT"),
        "co2": ({"ppm": ppm} for ppm in walk(617, 25, 400, 5000, digits=0)),
        "pressure": ({"pascal": pascal} for pascal in walk(94_936, 20, 87_000, 108_000, digits=0)),
        "motion": states("MOTION_DETECTED", "NO_MOTION_DETECTED"),
        "deskOccupancy": ({**state, "remarks": []} for state in states("OCCUPIED", "NOT_OCCUPIED")),
        "contact": states("OPEN", "CLOSED"),
        "probeWireStatus": states("TWO_WIRE", "THREE_WIRE", "FOUR_WIRE", "INVALID_WIRE_CONFIGURATION"),
        "networkStatus": (
            {
                "signalStrength": strength,
                "rssi": rssi,
                "cloudConnectors": [{"id": "bdkjbo2v0000uk377c4g", "signalStrength": strength, "rssi": rssi}],
                "transmissionMode": "LOW_POWER_STANDARD_MODE",
            }
            for strength, rssi in ((strength, round(strength / 2) - 105) for strength in walk(45, 5, 1, 100, digits=0))
        ),
        "batteryStatus": ({"percentage": percentage} for percentage in cycle((100, 80, 60, 40, 20))),
        "labelsChanged": cycle(
            (
                {"added": {"floor": "2"}, "modified": {}, "removed": []},
                {"added": {}, "modified": {"floor": "3"}, "removed": []},
                {"added": {}, "modified": {}, "removed": ["floor"]},
            )
        ),
        "connectionStatus": cycle(
            (
                {"connection": "ETHERNET", "available": ["CELLULAR", "ETHERNET"]},
                {"connection": "CELLULAR", "available": ["CELLULAR"]},
                {"connection": "OFFLINE", "available": []},
            )
        ),
        "ethernetStatus": repeat({"macAddress": "f0:b5:b7:00:0a:08", "ipAddress": "10.0.0.1", "errors": []}),
        "cellularStatus": ({"signalStrength": value, "errors": []} for value in walk(80, 5, 1, 100, digits=0)),
        "connectionLatency": (
            {"avgLatencyMillis": millis, "minLatencyMillis": millis - 7, "maxLatencyMillis": millis + 24}
            for millis in walk(31, 4, 10, 200, digits=0)
        ),
    }


def states(*names: str) -> Iterator[Fields]:
    """Yield the states in turn, for ever."""
    return ({"state": name} for name in cycle(names))


def walk(value: float, step: float, low: float, high: float, digits: int = 2) -> Iterator[float]:
    """Yield a random walk. Whole numbers are int, because DT Cloud writes 27 and not 27.0."""
    while True:
        rounded = round(value, digits)
        yield int(rounded) if rounded == int(rounded) else rounded
        value = min(max(value + _random.uniform(-step, step), low), high)
