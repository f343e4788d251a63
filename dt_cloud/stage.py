"""What a scenario runs on: ten sensors, a connector, and a clock that moves from attempt to attempt."""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dt_cloud.accounts import PROJECTS
from dt_cloud.cloud import Cloud
from dt_cloud.connectors import Connector
from dt_cloud.delivery import LIFE
from dt_cloud.devices import Device

SENSORS = 10
# Real seconds between checks of attempts in progress.
_POLL = 0.002
_LEFT = "scenario"
# The second project, because the sensors of the first would also send events.
_PROJECT = tuple(PROJECTS)[1]


@dataclass(slots=True)
class Stage:
    """The sensors, connector and clock of a scenario.

    Attributes:
        cloud: The cloud.
        url: The receiver's URL.
        secret: The receiver's signature secret.
        next_secret: A second secret that the receiver accepts; ``""`` if there is none.
        lines: The steps so far.
        is_met: Whether all expectations so far were met.
        devices: The scenario's sensors.
    """

    cloud: Cloud
    url: str
    secret: str = field(repr=False)
    next_secret: str = field(default="", repr=False)
    lines: list[str] = field(default_factory=list)
    is_met: bool = True
    devices: list[Device] = field(default_factory=list)
    _connector: Connector | None = None
    _events: int = 0

    @property
    def connector(self) -> Connector:
        """The scenario's connector."""
        assert self._connector
        return self._connector

    @property
    def ledger(self) -> dict[str, Any]:
        """The outcomes of its events."""
        number = self.connector.connector_id
        return self.cloud.books.document(self.cloud.deliverer.waiting(number), number)

    def say(self, text: str) -> None:
        """Add a step to `lines`."""
        self.lines.append(f"{datetime.fromtimestamp(self.cloud.clock.now(), UTC):%a %H:%M}  {text}")

    def expect(self, text: str, is_met: bool) -> None:
        """Record an expectation, and whether it is met."""
        self.is_met = self.is_met and is_met
        self.say(f"{'as expected' if is_met else 'NOT AS EXPECTED'}: {text}")

    def expect_total(self, **counts: int) -> None:
        """Expect counts of the ledger, by name."""
        found = self.ledger
        for name, count in counts.items():
            is_met = found[name] == count
            self.expect(f"{name} {count}" if is_met else f"{name} {count}, not {found[name]}", is_met)

    async def sleep(self, seconds: float) -> None:
        """Advance the cloud's clock from one attempt to the next, each after the previous one has ended."""
        await self._pass(self.cloud.clock.now() + seconds)

    async def settle(self) -> None:
        """Advance the clock until no delivery is waiting."""
        await self._pass(self.cloud.clock.now() + 2 * LIFE, until_empty=True)

    async def _pass(self, until: float, *, until_empty: bool = False) -> None:
        clock, deliverer, number = self.cloud.clock, self.cloud.deliverer, self.connector.connector_id
        while True:
            while deliverer.is_busy(number):  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
            if until_empty and not self.ledger["waiting"]:
                return
            due = min(deliverer.next_attempt(number) or until, until)
            clock.jump(due - clock.now())
            deliverer.wake()
            # Due attempts must begin before the check whether they have ended.
            await asyncio.sleep(_POLL)
            if due == until and not deliverer.is_busy(number):
                return

    async def publish_for(self, seconds: float, every: float) -> None:
        """Let each sensor publish repeatedly for a time."""
        until = self.cloud.clock.now() + seconds
        while self.cloud.clock.now() < until:
            self.publish()
            await self.sleep(every)

    def publish(self) -> None:
        """Let each sensor publish once."""
        for device in self.devices:
            self._events += 1
            self.cloud.publisher.publish(device, "temperature", {"value": 3 + self._events % 10 / 10})

    def reach(self, is_reached: bool) -> None:
        """Disconnect the receiver, or reconnect it."""
        number = self.connector.connector_id
        (self.cloud.faults.unreachable.discard if is_reached else self.cloud.faults.unreachable.add)(number)

    def update(self, **given: Any) -> None:
        """Change the connector, as a client of the API does."""
        self.cloud.update(self.connector, given, None)

    async def __aenter__(self) -> "Stage":
        now = self.cloud.clock.now()
        given = {
            "type": "HTTP_PUSH",
            "displayName": "Scenario",
            "labels": ["name"],
            "httpConfig": {"url": self.url, "signatureSecret": self.secret},
        }
        with self.cloud.database.transaction():
            self._connector = self.cloud.connectors.create(_PROJECT, given, now)
            self.devices = [
                self.cloud.devices.create(_PROJECT, "temperature", {"name": f"Scenario {number + 1}"}, now)
                for number in range(SENSORS)
            ]
            self.cloud.database.set_meta(_LEFT, json.dumps([self.connector.connector_id, *_ids(self.devices)]))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.reach(is_reached=True)
        clean_up(self.cloud)


def clean_up(cloud: Cloud) -> None:
    """Remove what a scenario created, also in a process that was killed."""
    for each in json.loads(cloud.database.meta(_LEFT, "[]")):
        if connector := cloud.connectors.get(each):
            cloud.delete(connector)
        elif device := cloud.devices.get(each):
            cloud.devices.delete(device)
    cloud.database.set_meta(_LEFT, "[]")


def _ids(devices: list[Device]) -> list[str]:
    return [device.device_id for device in devices]
