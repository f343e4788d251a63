"""From a sensor's reading to the history, the streams and the queue of each connector, in one commit."""

import asyncio
import contextlib
import json
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from core.event import read_time
from dt_cloud import ledger
from dt_cloud.clock import Clock
from dt_cloud.connectors import ACTIVE, Connector, Connectors
from dt_cloud.database import Database
from dt_cloud.delivery import Deliverer
from dt_cloud.devices import Device, Devices
from dt_cloud.errors import ApiError
from dt_cloud.events import SUPPORTED, Fields, complete, delivery_body, event_document, metadata
from dt_cloud.faults import OUT_OF_ORDER, UNKNOWN_TYPE, Faults
from dt_cloud.ids import xid
from dt_cloud.ledger import Ledger

KEPT_FOR = 30 * 86_400.0
# The maximum delay of a held-back event, in seconds on the cloud's clock.
_HELD = 60.0
_UNKNOWN = "airQuality"
_FORGET_EVERY = 1_000
_MAX_UNREAD = 1_000


class Publisher:
    """Publishes events.

    Args:
        database: Stores the history.
        clock: The source of event times.
        devices: The devices of the events.
        connectors: The receivers of the events.
        deliverer: Delivers them.
        books: Counts events that filters withhold.
        faults: The requested faults.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        devices: Devices,
        connectors: Connectors,
        deliverer: Deliverer,
        books: Ledger,
        faults: Faults,
    ) -> None:
        self._database = database
        self._clock = clock
        self._devices = devices
        self._connectors = connectors
        self._deliverer = deliverer
        self._ledger = books
        self._faults = faults
        self._streams: set[asyncio.Queue[tuple[Device, Fields] | None]] = set()
        self.is_closed = False
        self._published = 0

    def publish(self, device: Device, event_type: str, given: Mapping[str, Any]) -> Fields:
        """Publish an event of a device. It is in the database when this returns.

        Args:
            device: The device.
            event_type: One of DT's types.
            given: The given fields of the event.

        Returns:
            The event.

        Raises:
            ValueError: A field is missing or of the wrong type; the text says which.
        """
        now = self._clock.datetime()
        if event_type == "labelsChanged":
            return self._publish(device, event_type, dict(given), now)
        fields = complete(event_type, given, now)
        # The time of a backfilled reading, which may be long ago; `complete` has checked it.
        measured = read_time(fields["updateTime"]) or now
        if self._faults.take(UNKNOWN_TYPE):
            return self._publish(device, _UNKNOWN, {_UNKNOWN: fields}, measured)
        return self._publish(device, event_type, {event_type: fields}, measured)

    def record(self, device: Device, event_type: str, given: Mapping[str, Any], moment: float) -> None:
        """Add a past event to the history, without sending it."""
        time = datetime.fromtimestamp(moment, UTC)
        fields = complete(event_type, given, time)
        event = event_document(xid(moment), device.project_id, device.device_id, event_type, {event_type: fields}, time)
        self._insert(device, event, moment)
        self._devices.report(device, event_type, fields)

    def relabel(self, device: Device, add: Mapping[str, str], remove: list[str]) -> None:
        """Set and remove labels, and publish ``labelsChanged`` if any changed."""
        with self._database.transaction():
            change = self._devices.change_labels(device, add, remove)
            if any(change.values()):
                self.publish(device, "labelsChanged", change)

    def sync(self, connector: Connector) -> int:
        """Send the newest event of each type of each device again, with the same eventId.

        Returns:
            The number of events.

        Raises:
            ApiError: 400, the connector is not active.
        """
        if connector.status != ACTIVE:
            raise ApiError(400, "failed precondition: the connector is not active")
        with self._database.transaction():
            queued = [
                self._enqueue(connector, device, *newest)
                for device in self._devices.of([connector.project_id])
                for event_type in filter(connector.wants, (*SUPPORTED[device.type], _UNKNOWN))
                if (newest := self._newest(device, event_type))
            ]
            self._ledger.write()
            self._start(queued)
        return len(queued)

    @contextlib.contextmanager
    def stream(self) -> Iterator[asyncio.Queue[tuple[Device, Fields] | None]]:
        """Return a queue that gets all events from now on, and None at the end.

        A slow reader misses events, as with DT's stream.
        """
        queue: asyncio.Queue[tuple[Device, Fields] | None] = asyncio.Queue(_MAX_UNREAD)
        self._streams.add(queue)
        try:
            yield queue
        finally:
            self._streams.discard(queue)

    def close(self) -> None:
        """End the streams, which would otherwise keep the server running."""
        self.is_closed = True
        for stream in self._streams:
            if stream.full():
                stream.get_nowait()
            stream.put_nowait(None)

    def _publish(self, device: Device, event_type: str, data: Fields, timestamp: datetime) -> Fields:
        now = self._clock.now()
        event = event_document(xid(now), device.project_id, device.device_id, event_type, data, timestamp)
        queued = []
        with self._database.transaction():
            number = self._insert(device, event, timestamp.timestamp())
            if event_type in data and event_type != _UNKNOWN:
                self._devices.report(device, event_type, data[event_type])
            for connector in self._connectors.of([device.project_id]):
                if not connector.wants(event_type):
                    self._ledger.add(connector.connector_id, event_type, ledger.FILTERED)
                elif connector.status == ACTIVE:
                    queued.append(self._enqueue(connector, device, number, event))
                else:
                    self._ledger.add(connector.connector_id, event_type, ledger.PUBLISHED)
                    self._ledger.add(connector.connector_id, event_type, ledger.DROPPED)
            self._ledger.write()
            self._clock.keep()
            self._forget(now)
            self._start(queued)
        for stream in self._streams:
            with contextlib.suppress(asyncio.QueueFull):
                stream.put_nowait((device, event))
        return event

    def _start(self, queued: list[tuple[str, float, int]]) -> None:
        """Deliver what the open transaction queues, after its commit."""
        for entry in queued:
            self._database.after_commit(partial(self._deliverer.start, *entry))

    def _newest(self, device: Device, event_type: str) -> tuple[int, Fields] | None:
        row = self._database.execute(
            "SELECT id, event FROM events WHERE device_id = ? AND event_type = ? "
            "ORDER BY timestamp DESC, id DESC LIMIT 1",
            device.device_id, event_type,
        ).fetchone()  # fmt: skip
        return row and (row[0], json.loads(row[1]))

    def _insert(self, device: Device, event: Fields, timestamp: float) -> int:
        number = self._database.execute(
            "INSERT INTO events (project_id, device_id, event_type, timestamp, event) VALUES (?, ?, ?, ?, ?)",
            device.project_id, device.device_id, event["eventType"], timestamp, json.dumps(event),
        ).lastrowid  # fmt: skip
        assert number is not None
        return number

    def _enqueue(self, connector: Connector, device: Device, number: int, event: Fields) -> tuple[str, float, int]:
        labels = {name: device.labels[name] for name in connector.labels if name in device.labels}
        about = metadata(device.project_id, device.device_id, device.type, device.product_number)
        body = delivery_body(event, labels, about)
        due = self._clock.now()
        if self._faults.take(OUT_OF_ORDER):
            due += random.uniform(_HELD / 10, _HELD)  # noqa: S311 - no secret
        return connector.connector_id, due, self._deliverer.enqueue(connector, number, event, body, due)

    def _forget(self, now: float) -> None:
        self._published += 1
        if self._published % _FORGET_EVERY == 0:
            self._database.execute("DELETE FROM events WHERE timestamp < ?", now - KEPT_FOR)
