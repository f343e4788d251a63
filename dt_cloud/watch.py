"""The page's data: the current state, and the events since the previous frame."""

import asyncio
import contextlib
import json
import time
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from core.event import parse_stored, rfc3339
from core.readings import Reading, readings
from dt_cloud import faults
from dt_cloud.accounts import PROJECTS
from dt_cloud.attempt import Attempt
from dt_cloud.cloud import Cloud
from dt_cloud.devices import Device
from dt_cloud.events import SUPPORTED, Fields, delivery_body, event_document
from dt_cloud.pace import Pace
from dt_cloud.receiver import Receiver
from dt_cloud.scenarios import SCENARIOS, title
from dt_cloud.stored import StoredCheck
from dt_cloud.theatre import Theatre

# Maximum rows of a frame; further ones are only counted.
MAX_ROWS = 50
# The range of the plots, in real seconds.
HISTORY = 120
# Maximum changed devices, and lines, of a frame; further devices come with the next frame, further lines never.
MAX_DEVICES = 60
# Readings in a line.
POINTS = 48
# The plotted event type and field of each device type.
_MEASURED = {
    "temperature": ("temperature", "value"),
    "humidity": ("humidity", "relativeHumidity"),
    "co2": ("co2", "ppm"),
    "proximityCounter": ("objectPresentCount", "total"),
    "touchCounter": ("touchCount", "total"),
}


class Follower:
    """Gets each change once, and what never changes with the first frame.

    Attributes:
        change: The number of the last change of a device that it got; 0 before the first frame.

    Args:
        watch: Of what.
    """

    def __init__(self, watch: "Watch") -> None:
        self._watch = watch
        self._number = 0
        self.change = 0

    def frame(self) -> dict[str, Any]:
        """Return the state, and what happened since the frame before."""
        frame = self._watch.frame(self._number)
        if not self.change:
            frame |= self._watch.constants()
        self._number = frame["number"]
        self.change, frame["devices"] = self._watch.devices(self.change)
        return frame


class Watch:
    """Collects a cloud's data for the page.

    Args:
        cloud: The cloud.
        pace: The speed of its clock.
        theatre: Runs its scenarios.
        stored: Checks the receiver's store, if that is readable.
        receiver: The receiver, if this program starts and stops it.
    """

    def __init__(
        self, cloud: Cloud, pace: Pace, theatre: Theatre, stored: StoredCheck | None, receiver: Receiver | None
    ) -> None:
        self.cloud = cloud
        self.pace = pace
        self.theatre = theatre
        self.receiver = receiver
        self._stored = stored
        self.attempts = 0
        self.recent: deque[tuple[int, dict[str, Any]]] = deque(maxlen=MAX_ROWS)
        self._seconds: deque[tuple[int, Counter[str], int]] = deque(maxlen=HISTORY)
        self._changes = 1
        self._changed: dict[str, int] = {}
        self._followers: set[Follower] = set()
        self._values: dict[tuple[str, str], tuple[str, list[dict[str, Any]]]] = {}
        cloud.deliverer.listeners.append(self._add)
        cloud.devices.listeners.append(self._change)

    def _add(self, attempt: Attempt) -> None:
        self.attempts += 1
        self.recent.append((self.attempts, self._row(attempt)))
        self._second()[1]["delivered" if attempt.state == "delivered" else "failed"] += 1

    async def run(self) -> None:
        """Record the figures of each second, also without a page; until cancelled."""
        while True:
            self._second()
            self._forget()
            await asyncio.sleep(0.5)

    @contextlib.contextmanager
    def follow(self) -> Iterator[Follower]:
        """Give somebody who follows."""
        follower = Follower(self)
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)

    def _forget(self) -> None:
        """Forget devices that are gone, once everybody who follows was told."""
        told = min((each.change for each in self._followers), default=self._changes)
        gone = {each for each, number in self._changed.items() if number <= told and not self.cloud.devices.get(each)}
        if gone:
            self._changed = {each: number for each, number in self._changed.items() if each not in gone}
            self._values = {each: found for each, found in self._values.items() if each[0] not in gone}

    def _change(self, device: Device) -> None:
        self._changes += 1
        self._changed[device.device_id] = self._changes

    def _second(self) -> tuple[int, Counter[str], int]:
        now = int(time.time())
        if not self._seconds or self._seconds[-1][0] != now:
            self._seconds.append((now, Counter(), self.cloud.deliverer.waiting()))
        return self._seconds[-1]

    def _row(self, attempt: Attempt) -> dict[str, Any]:
        delivery = attempt.delivery
        device = self.cloud.devices.get(delivery.device_id)
        return {
            "id": delivery.id,
            "attempt": delivery.attempts,
            "connector": delivery.connector_id,
            "device": delivery.device_id,
            "name": device.labels.get("name", "") if device else "",
            "eventType": delivery.event_type,
            "state": attempt.state,
            "status": attempt.answer.status,
            "note": attempt.note,
            "seconds": attempt.answer.seconds,
            "started": written(attempt.started),
            "due": written(attempt.due) if attempt.state == "waiting" else None,
        }

    def frame(self, since: int) -> dict[str, Any]:
        """Return the state, and the attempts after a number.

        Args:
            since: The number in the previous frame; 0 for the first.
        """
        cloud, rows = self.cloud, [row for number, row in self.recent if number > since]
        self._second()
        return {
            "number": self.attempts,
            "clock": {
                "now": written(cloud.clock.now()),
                "speed": cloud.clock.speed,
                "factor": self.pace.factor,
                "isAuto": self.pace.wanted is None,
                "wanted": self.pace.wanted,
                "isPaused": cloud.clock.speed == 0,
            },
            "ledger": cloud.books.document(cloud.deliverer.waiting()) | self._store(),
            "connectors": [
                {
                    **cloud.connector_state(connector),
                    "id": connector.connector_id,
                    "project": connector.project_id,
                    "projectName": PROJECTS[connector.project_id],
                }
                for connector in cloud.connectors.all()
            ],
            "attempts": rows,
            "skipped": max(0, self.attempts - since - len(rows)),
            "plot": self.plot(),
            "faults": cloud.faults.document(),
            "scenario": self.theatre.document(),
            "receiver": self.receiver.document() if self.receiver else None,
        }

    @staticmethod
    def constants() -> dict[str, Any]:
        """Return what stays the same for as long as the process lives."""
        return {
            "projects": dict(PROJECTS),
            "allFaults": faults.ALL,
            "scenarios": [{"name": name, "title": title(each)} for name, each in SCENARIOS.items()],
        }

    def ledger(self) -> dict[str, Any]:
        """Return the outcomes of all events, and whether the store has them, if it is readable."""
        return self.cloud.ledger() | self._store()

    def _store(self) -> dict[str, Any]:
        return {"store": self._stored.document()} if self._stored else {}

    def plot(self) -> dict[str, list[int | None]]:
        """Return the plots' values, one per second, newest last; None where unknown."""
        by_second = {second: (counts, depth) for second, counts, depth in self._seconds}
        now = int(time.time())
        seconds = range(now - HISTORY + 1, now + 1)
        known = [by_second.get(second) for second in seconds]
        return {
            "delivered": [each and each[0]["delivered"] for each in known],
            "failed": [each and each[0]["failed"] for each in known],
            "waiting": [each and each[1] for each in known],
        }

    def devices(self, since: int = 0) -> tuple[int, list[dict[str, Any]]]:
        """Return at most `MAX_DEVICES` devices that changed after a number, and the number for the next call.

        Args:
            since: The number that the previous call returned; 0 for all devices.
        """
        found = [(number, each) for each, number in self._changed.items() if number > since]
        if not since:
            found = [(self._changed.get(each.device_id, 0), each.device_id) for each in self.cloud.devices.of(PROJECTS)]
        else:
            found = sorted(found)[:MAX_DEVICES]
        last = max((number for number, _ in found), default=since)
        shown: list[dict[str, Any]] = []
        for _, each in found:
            device = self.cloud.devices.get(each)
            shown.append(self._device(device) if device else {"id": each, "isDeleted": True})
        return max(last, since, 1), shown

    def series(self) -> dict[str, list[tuple[str, float]]]:
        """Return the newest readings of each measuring sensor, oldest first, for its line."""
        found = {}
        for device in self.cloud.devices.of(PROJECTS)[:MAX_DEVICES]:
            event_type, name = _MEASURED.get(device.type, (None, ""))
            rows = self.cloud.database.execute(
                "SELECT event FROM events WHERE device_id = ? AND event_type = ? "
                "ORDER BY timestamp DESC, id DESC LIMIT ?",
                device.device_id, event_type, POINTS,
            ).fetchall()  # fmt: skip
            if rows:
                data = [json.loads(text)["data"][event_type] for (text,) in reversed(rows)]
                found[device.device_id] = [(each["updateTime"], each[name]) for each in data]
        return found

    def _device(self, device: Device) -> dict[str, Any]:
        return {
            "id": device.device_id,
            "project": device.project_id,
            "projectName": PROJECTS[device.project_id],
            "type": device.type,
            "name": device.labels.get("name", ""),
            "description": device.labels.get("description", ""),
            "labels": device.labels,
            "lastSeen": max((fields["updateTime"] for fields in device.reported.values()), default=None),
            "values": [value for event_type in SUPPORTED[device.type] for value in self._latest(device, event_type)],
        }

    def _latest(self, device: Device, event_type: str) -> list[dict[str, Any]]:
        fields = device.reported.get(event_type)
        if fields is None:
            return []
        time, found = self._values.get((device.device_id, event_type), (None, []))
        if time != fields["updateTime"]:
            found = _read(device, event_type, fields)
            self._values[device.device_id, event_type] = fields["updateTime"], found
        return found


def _read(device: Device, event_type: str, fields: Fields) -> list[dict[str, Any]]:
    """Return the newest reading of each quantity, read as the receiver's views do."""
    now = datetime.now(UTC)
    event = event_document("x", device.project_id, device.device_id, event_type, {event_type: fields}, now)
    found: dict[str, Reading] = {}
    for reading in readings(parse_stored(delivery_body(event, {}, {}), now)):
        found.setdefault(reading.quantity, reading)
    return [
        {"type": event_type, "quantity": each.quantity, "value": each.value, "text": each.text, "unit": each.unit}
        for each in found.values()
    ]


def written(seconds: float) -> str:
    """Return a time in DT's format."""
    return rfc3339(datetime.fromtimestamp(seconds, UTC))
