"""Sensors and Cloud Connectors: their labels, and the newest data of each."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dt_cloud.database import Database
from dt_cloud.errors import ApiError
from dt_cloud.events import PRODUCT_NUMBERS, SUPPORTED
from dt_cloud.ids import xid

_COLUMNS = "device_id, project_id, type, product_number, labels, reported"


@dataclass(slots=True)
class Device:
    """A device.

    Attributes:
        device_id: Its id; an emulated device's begins with ``emu``.
        project_id: The id of its project.
        type: One of `dt_cloud.events.SUPPORTED`.
        product_number: DT's product number; a connector leaves it out for an emulator.
        labels: ``name`` and ``description`` are what DT Studio shows.
        reported: The newest data of each event type.
    """

    device_id: str
    project_id: str
    type: str
    product_number: str
    labels: dict[str, str] = field(default_factory=dict)
    reported: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the resource."""
        return f"projects/{self.project_id}/devices/{self.device_id}"

    def document(self) -> dict[str, Any]:
        """Return the device as DT's API does: ``reported`` has an entry per event type, null before the first event."""
        return {
            "name": self.name,
            "type": self.type,
            "productNumber": self.product_number,
            "labels": self.labels,
            "reported": {event_type: self.reported.get(event_type) for event_type in SUPPORTED[self.type]},
        }


class Devices:
    """All devices, in memory and in the database.

    Attributes:
        listeners: Called with each created, changed or deleted device.

    Args:
        database: Stores them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.listeners: list[Callable[[Device], None]] = []
        self._all = {
            row[0]: Device(row[0], row[1], row[2], row[3], json.loads(row[4]), json.loads(row[5]))
            for row in database.execute(f"SELECT {_COLUMNS} FROM devices ORDER BY rowid")  # noqa: S608
        }

    def of(self, projects: Iterable[str]) -> list[Device]:
        """Return the devices of some projects, in order of creation."""
        wanted = set(projects)
        return [device for device in self._all.values() if device.project_id in wanted]

    def get(self, device_id: str) -> Device | None:
        """Return a device; None if the id is unknown."""
        return self._all.get(device_id)

    def create(
        self,
        project_id: str,
        device_type: str,
        labels: Mapping[str, str],
        now: float,
        device_id: str | None = None,
    ) -> Device:
        """Make an emulated device.

        Args:
            project_id: The id of its project.
            device_type: One of `dt_cloud.events.SUPPORTED`.
            labels: Its labels; ``virtual-sensor`` is added, as DT does.
            now: The time, in seconds since the epoch.
            device_id: Its id, to have the same one in each run.

        Raises:
            ApiError: 400, no such type.
        """
        if not isinstance(device_type, str) or device_type not in SUPPORTED:
            raise ApiError(400, f"invalid argument: type must be one of {', '.join(SUPPORTED)}")
        device = Device(
            device_id or f"emu{xid(now)}",
            project_id,
            device_type,
            PRODUCT_NUMBERS[device_type],
            {**labels, "virtual-sensor": ""},
        )
        self._database.execute(
            f"INSERT INTO devices ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
            device.device_id,
            device.project_id,
            device.type,
            device.product_number,
            json.dumps(device.labels),
            "{}",
        )
        self._database.after_commit(lambda: self._all.update({device.device_id: device}))
        self._tell(device)
        return device

    def delete(self, device: Device) -> None:
        """Remove a device; its events stay in the history."""
        self._database.execute("DELETE FROM devices WHERE device_id = ?", device.device_id)
        self._database.after_commit(lambda: self._all.pop(device.device_id, None))
        self._tell(device)

    def _tell(self, device: Device) -> None:
        for listen in self.listeners:
            listen(device)

    def change_labels(self, device: Device, add: Mapping[str, str], remove: Iterable[str]) -> dict[str, Any]:
        """Set and remove labels.

        Returns:
            The data of a ``labelsChanged`` event; empty in all three parts if nothing changed.
        """
        before = dict(device.labels)
        device.labels.update(add)
        for name in remove:
            device.labels.pop(name, None)
        self._database.execute(
            "UPDATE devices SET labels = ? WHERE device_id = ?", json.dumps(device.labels), device.device_id
        )
        self._tell(device)
        return {
            "added": {name: value for name, value in device.labels.items() if name not in before},
            "modified": {
                name: value for name, value in device.labels.items() if name in before and before[name] != value
            },
            "removed": [name for name in before if name not in device.labels],
        }

    def report(self, device: Device, event_type: str, fields: Mapping[str, Any]) -> None:
        """Store the newest data of an event type. Backfilled data never replaces newer data."""
        newest = device.reported.get(event_type)
        if newest and newest["updateTime"] > fields["updateTime"]:
            return
        device.reported[event_type] = fields
        self._database.execute(
            "UPDATE devices SET reported = ? WHERE device_id = ?", json.dumps(device.reported), device.device_id
        )
        self._tell(device)


def check_labels(add: Any, remove: Any = ()) -> None:
    """Check labels to set or remove.

    Args:
        add: Must be an object of strings.
        remove: Must be an array of strings.

    Raises:
        ApiError: 400.
    """
    if not isinstance(add, dict) or not all(isinstance(each, str) for each in add.values()):
        raise ApiError(400, "invalid argument: labels to set must be an object of strings")
    if not isinstance(remove, (list, tuple)) or not all(isinstance(each, str) for each in remove):
        raise ApiError(400, "invalid argument: labels to remove must be an array of strings")
