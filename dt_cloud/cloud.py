"""The whole cloud, without its HTTP API: builds, opens and closes its parts."""

import sqlite3
import sys
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from core.event import rfc3339
from dt_cloud.accounts import ORGANIZATION, PROJECTS, Accounts, RateLimit
from dt_cloud.choices import Choices
from dt_cloud.clock import Clock
from dt_cloud.connectors import ACTIVE, Connector, Connectors
from dt_cloud.database import Database
from dt_cloud.delivery import DISABLED_AFTER, Deliverer
from dt_cloud.devices import Device, Devices
from dt_cloud.errors import ApiError
from dt_cloud.events import SAMPLED, SUPPORTED
from dt_cloud.faults import BACKFILL, TWO_CONNECTORS, Faults
from dt_cloud.ledger import Ledger
from dt_cloud.metrics import Metrics
from dt_cloud.publisher import Publisher
from dt_cloud.signing import Es256Key

_HEARTBEAT = timedelta(minutes=15)
_BACKFILLED = 100


class Cloud:
    """DT Cloud on your desk.

    Args:
        path: The database file.
        base_url: Where it listens, such as ``http://127.0.0.1:8010``.
        choices: Behaviour that the documents do not define.
        allowed_hosts: Hosts to which events may be sent, besides this machine.
        speed: How many seconds pass on its clock in one real second.

    Raises:
        dt_cloud.CloudError: The database or the key cannot be used.
    """

    def __init__(
        self,
        path: Path,
        base_url: str,
        *,
        choices: Choices | None = None,
        allowed_hosts: Collection[str] = (),
        speed: float = 1.0,
    ) -> None:
        self.base_url = base_url
        self.choices = choices or Choices()
        self.issuer = f"{base_url}/data-connector"
        self.database = Database(path)
        self.key = Es256Key.load(path.with_name(f"{path.stem}-es256-key.pem"))
        self.clock = Clock(self.database, speed)
        local = base_url.replace("127.0.0.1", "localhost")
        self.accounts = Accounts(self.database, self.choices, (f"{base_url}/oauth2/token", f"{local}/oauth2/token"))
        self.limit = RateLimit(self.choices.requests_per_second)
        self.devices = Devices(self.database)
        self.connectors = Connectors(self.database, self.choices, allowed_hosts)
        self.faults = Faults()
        self.books = Ledger(self.database)
        self.metrics = Metrics(self.database)
        self.deliverer = Deliverer(
            self.database, self.clock, self.choices, self.connectors, self.books, self.metrics, self.faults,
            key=self.key, issuer=self.issuer, organization=ORGANIZATION,
        )  # fmt: skip
        self.publisher = Publisher(
            self.database, self.clock, self.devices, self.connectors, self.deliverer, self.books, self.faults
        )
        # Until when, by time.monotonic(), a new connector is answered 404.
        self.hidden_until: dict[str, float] = {}
        self._is_open = False

    async def open(self) -> None:
        """Start delivering."""
        await self.deliverer.open()
        self._is_open = True

    async def close(self) -> None:
        """Let attempts in progress end, and close the database."""
        if self._is_open:
            await self.deliverer.close()
        try:
            self.clock.keep()
        except sqlite3.Error as error:
            print(f"The cloud's time cannot be written: {error}.", file=sys.stderr)
        self.database.close()

    # ---- changes to connectors that affect their queues ----

    def connector(self, connector_id: str) -> Connector:
        """Return a connector.

        Raises:
            dt_cloud.errors.ApiError: 404.
        """
        if connector := self.connectors.get(connector_id):
            return connector
        raise ApiError(404, "resource not found: no such data connector")

    def device(self, device_id: str) -> Device:
        """Return a device.

        Raises:
            dt_cloud.errors.ApiError: 404.
        """
        if device := self.devices.get(device_id):
            return device
        raise ApiError(404, "resource not found: no such device")

    def fault(self, name: str, count: int) -> None:
        """Inject a fault: at once, or into the next ``count`` deliveries, events or requests.

        Raises:
            dt_cloud.errors.ApiError: 404, no such fault; 400, nothing that it could affect.
        """
        if name == TWO_CONNECTORS:
            connector = next((each for each in self.connectors.all() if each.status == ACTIVE), None)
            if connector is None:
                raise ApiError(400, "failed precondition: no connector is active")
            twin = {"type": "HTTP_PUSH", **connector.document(), "displayName": f"{connector.display_name} (twin)"}
            self.connectors.create(connector.project_id, twin, self.clock.now())
        elif name == BACKFILL:
            self._backfill()
        else:
            self.faults.set(name, count)

    def _backfill(self) -> None:
        device = next((each for each in self.devices.of(PROJECTS) if each.type in SAMPLED), None)
        if device is None:
            raise ApiError(400, "failed precondition: no sensor measures temperature or humidity")
        now, field = self.clock.datetime(), SAMPLED[device.type]
        for number in range(1, _BACKFILLED + 1):
            time = rfc3339(now - number * _HEARTBEAT)
            values = dict.fromkeys(field, round(20 + number % 7 / 2, 1))
            self.publisher.publish(device, device.type, {**values, "updateTime": time, "isBackfilled": True})

    def emulate(self, device: Device, given: Mapping[str, Any]) -> None:
        """Publish an event of a device, as the emulator does. ``{"touch": {}}`` is an example.

        Raises:
            dt_cloud.errors.ApiError: 400.
        """
        supported = SUPPORTED[device.type]
        event_type, fields = next(iter(given.items()), ("", None))
        if len(given) != 1 or event_type not in supported:
            raise ApiError(
                400, f"invalid argument: a device of type {device.type} publishes one of {', '.join(supported)}"
            )
        if not isinstance(fields, dict):
            raise ApiError(400, f"invalid argument: {event_type} must be an object")
        try:
            self.publisher.publish(device, event_type, fields)
        except ValueError as error:
            raise ApiError(400, f"invalid argument: {error}") from None

    def update(self, connector: Connector, given: dict[str, Any], mask: str | None) -> None:
        """Change a connector; if it is no longer active, its queue is dropped.

        Raises:
            dt_cloud.errors.ApiError: 400.
        """
        with self.database.transaction():
            if self.connectors.update(connector, given, mask).status != ACTIVE:
                self.deliverer.drop(connector.connector_id)

    def delete(self, connector: Connector) -> None:
        """Delete a connector and its queue."""
        with self.database.transaction():
            self.connectors.delete(connector)
            self.deliverer.drop(connector.connector_id)
        self.hidden_until.pop(connector.connector_id, None)

    # ---- state ----

    def ledger(self) -> dict[str, Any]:
        """Return the outcomes of all events, in total and for each connector, also for deleted ones."""
        existing = [each.connector_id for each in self.connectors.all()]
        return {
            **self.books.document(self.deliverer.waiting()),
            "connectors": {
                each: self.books.document(self.deliverer.waiting(each), each) | {"isDeleted": each not in existing}
                for each in [*existing, *sorted(self.books.connectors() - {*existing})]
            },
        }

    def connector_state(self, connector: Connector) -> dict[str, Any]:
        """Return a connector's state for the page, and its next attempts."""
        number, now = connector.connector_id, self.clock.now()
        last = self.deliverer.last_attempts.get(number)
        due = self.deliverer.next_attempt(number)
        return {
            **connector.document(),
            "metrics": self.metrics.document(number, now),
            "ledger": self.books.document(self.deliverer.waiting(number), number),
            "nextAttemptIn": None if due is None else max(0.0, due - now),
            "failingFor": None if connector.failing_since is None else now - connector.failing_since,
            "disabledIn": None
            if connector.failing_since is None or connector.status != ACTIVE
            else max(0.0, connector.failing_since + DISABLED_AFTER - now),
            "failures": connector.failures,
            "lastAttempt": last and {"status": last.answer.status, "note": last.note, "ago": now - last.started},
        }
