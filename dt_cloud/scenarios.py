"""Stories with an end that can be checked. The page, ``dtconn scenario`` and the tests run the same ones.

Each is a plain function of a `Stage`, with virtual times. It has ten sensors and a connector of its own, at the URL
and with the secret of the connector that is there.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dt_cloud.accounts import PROJECTS
from dt_cloud.cloud import Cloud
from dt_cloud.connectors import ACTIVE, USER_DISABLED, Connector
from dt_cloud.delivery import LIFE
from dt_cloud.devices import Device
from dt_cloud.errors import ApiError
from dt_cloud.sensors import Building

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
SENSORS = 10
# Real seconds between looks at what is under way.
_POLL = 0.002
_LEFT = "scenario"
# The second project, so that the sensors of the first do not send into it.
_PROJECT = tuple(PROJECTS)[1]


@dataclass(slots=True)
class Stage:
    """Where a scenario plays.

    Attributes:
        cloud: In which cloud.
        url: The receiver.
        secret: The receiver's signature secret.
        next_secret: Another one that the receiver takes as well; ``""`` if there is none.
        lines: What happened so far.
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
        """What became of its events."""
        number = self.connector.connector_id
        return self.cloud.books.document(self.cloud.deliverer.waiting(number), number)

    def say(self, text: str) -> None:
        """Tell what happens."""
        self.lines.append(f"{datetime.fromtimestamp(self.cloud.clock.now(), UTC):%a %H:%M}  {text}")

    def expect(self, text: str, is_met: bool) -> None:
        """Hold the cloud and the receiver to something."""
        self.is_met = self.is_met and is_met
        self.say(f"{'as expected' if is_met else 'NOT AS EXPECTED'}: {text}")

    def expect_total(self, **counts: int) -> None:
        """Expect numbers of the ledger, by their names."""
        found = self.ledger
        for name, count in counts.items():
            is_met = found[name] == count
            self.expect(f"{name} {count}" if is_met else f"{name} {count}, not {found[name]}", is_met)

    async def sleep(self, seconds: float) -> None:
        """Let time pass on the cloud's clock: from one attempt to the next, each when the one before has ended."""
        await self._pass(self.cloud.clock.now() + seconds)

    async def settle(self) -> None:
        """Let time pass until nothing waits any more."""
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
            # Whatever is due begins before it is asked whether it has ended.
            await asyncio.sleep(_POLL)
            if due == until and not deliverer.is_busy(number):
                return

    async def publish_for(self, seconds: float, every: float) -> None:
        """Have each sensor send, again and again, for so long."""
        until = self.cloud.clock.now() + seconds
        while self.cloud.clock.now() < until:
            self.publish()
            await self.sleep(every)

    def publish(self) -> None:
        """Have each sensor send once."""
        for device in self.devices:
            self._events += 1
            self.cloud.publisher.publish(device, "temperature", {"value": 3 + self._events % 10 / 10})

    def reach(self, is_reached: bool) -> None:
        """Cut the way to the receiver, or mend it."""
        number = self.connector.connector_id
        (self.cloud.faults.unreachable.discard if is_reached else self.cloud.faults.unreachable.add)(number)

    def update(self, **given: Any) -> None:
        """Change the connector, as a client of the API would."""
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
    """Remove what a scenario made, also one of a process that was killed."""
    for each in json.loads(cloud.database.meta(_LEFT, "[]")):
        if connector := cloud.connectors.get(each):
            cloud.delete(connector)
        elif device := cloud.devices.get(each):
            cloud.devices.delete(device)
    cloud.database.set_meta(_LEFT, "[]")


def _ids(devices: list[Device]) -> list[str]:
    return [device.device_id for device in devices]


async def outage_10h(stage: Stage) -> None:
    """Ten hours without a receiver: nothing is lost"""  # noqa: D415 - a title
    stage.say("all is well")
    await stage.publish_for(30 * MINUTE, 10 * MINUTE)
    await stage.settle()
    stage.expect("everything so far is delivered", stage.ledger["delivered"] == stage.ledger["published"])
    await _outage(stage, 10 * HOUR)
    stage.expect_total(waiting=0, expired=0, dropped=0, delivered=stage.ledger["published"])


async def outage_12h(stage: Stage) -> None:
    """Twelve hours without a receiver: what came first is lost"""  # noqa: D415 - a title
    await _outage(stage, 12 * HOUR)
    lost = stage.ledger["expired"]
    # With an attempt each hour, the last one before the 12 hours are over is after 11 h 8 min.
    stage.expect(f"{lost} events of the first hour expired", 0 < lost <= 3 * SENSORS)
    stage.expect_total(waiting=0, dropped=0, delivered=stage.ledger["published"] - lost)


async def _outage(stage: Stage, seconds: float) -> None:
    stage.say("the receiver is gone")
    stage.reach(is_reached=False)
    await stage.publish_for(seconds, 30 * MINUTE)
    stage.say(f"the receiver is back, and {stage.ledger['waiting']} events wait")
    stage.reach(is_reached=True)
    await stage.settle()


async def secret_rotated(stage: Stage) -> None:
    """The signature secret is rotated under load"""  # noqa: D415 - a title
    if not stage.next_secret:
        stage.expect("the receiver holds two secrets, and the cloud was told the second: --next-secret", is_met=False)
        return
    stage.say("events come all the time, signed with the old secret")
    await stage.publish_for(HOUR, 5 * MINUTE)
    stage.reach(is_reached=False)
    stage.publish()
    stage.update(httpConfig={"signatureSecret": stage.next_secret})
    stage.say("the new secret is set, while ten events wait")
    stage.reach(is_reached=True)
    await stage.publish_for(HOUR, 5 * MINUTE)
    await stage.settle()
    stage.expect_total(waiting=0, expired=0, dropped=0, delivered=stage.ledger["published"])


async def disabled_day(stage: Stage) -> None:
    """A connector is disabled for a day"""  # noqa: D415 - a title
    stage.publish()
    await stage.settle()
    stage.update(status=USER_DISABLED)
    stage.say("disabled: nothing is queued, and nothing will be made up for")
    await stage.publish_for(DAY, 2 * HOUR)
    lost = stage.ledger["dropped"]
    stage.expect(f"{lost} events are dropped, and counted", lost == stage.ledger["published"] - SENSORS > 0)
    stage.update(status=ACTIVE)
    stage.say("enabled: the next events arrive; the day is in the API's history alone")
    stage.publish()
    await stage.settle()
    stage.expect_total(waiting=0, dropped=lost, delivered=2 * SENSORS)


async def first_signature(stage: Stage) -> None:
    """Retries that keep their first signature"""  # noqa: D415 - a title
    if stage.cloud.choices.signs != "once":
        stage.expect("the cloud signs once: start it with --signs once", is_met=False)
        return
    stage.reach(is_reached=False)
    stage.publish()
    await stage.sleep(3 * HOUR)
    stage.say("the receiver is back; the signatures expired two hours ago")
    stage.reach(is_reached=True)
    await stage.sleep(2 * HOUR)
    await stage.settle()
    stage.expect_total(expired=0, dropped=0, delivered=SENSORS)


Scenario = Callable[[Stage], Awaitable[None]]
# first_signature is for the tests alone: it needs a receiver whose clock runs with the cloud's.
SCENARIOS: Mapping[str, Scenario] = {
    "outage-10h": outage_10h,
    "outage-12h": outage_12h,
    "secret-rotated": secret_rotated,
    "disabled-day": disabled_day,
}


def title(scenario: Scenario) -> str:
    """Return what a scenario is called."""
    return (scenario.__doc__ or "").strip()


async def play(stage: Stage, scenario: Scenario) -> bool:
    """Run a scenario, and return whether all its expectations were met. It moves the clock itself."""
    clock = stage.cloud.clock
    is_paused = clock.speed == 0
    clock.pause()
    try:
        async with stage:
            await scenario(stage)
    except ApiError as error:
        stage.expect(f"it can be played: {error.reason}", is_met=False)
    finally:
        if not is_paused:
            clock.resume()
        stage.cloud.deliverer.wake()
    return stage.is_met


class Theatre:
    """Runs one scenario at a time.

    Args:
        cloud: In which cloud.
        next_secret: As in `Stage`.
        building: Its sensors rest meanwhile.
    """

    def __init__(self, cloud: Cloud, next_secret: str = "", building: Building | None = None) -> None:
        self._cloud = cloud
        self._building = building
        self._next_secret = next_secret
        clean_up(cloud)
        self._name = ""
        self._stage: Stage | None = None
        self._task: asyncio.Task[bool] | None = None
        self._run = 0

    def start(self, name: str) -> int:
        """Begin a scenario, and return the number of the run.

        Raises:
            ApiError: 404, there is none of that name; 409, one is running; 400, there is no connector to take.
        """
        if name not in SCENARIOS:
            raise ApiError(404, f"no scenario of that name; there are {', '.join(SCENARIOS)}")
        if self._task and not self._task.done():
            raise ApiError(409, f"{self._name} is running")
        connector = next((each for each in self._cloud.connectors.all() if each.status == ACTIVE), None)
        if connector is None:
            raise ApiError(400, "failed precondition: no connector is active; a scenario takes the URL of the first")
        self._name = name
        self._stage = Stage(self._cloud, connector.url, connector.secret, self._next_secret)
        self._task = asyncio.create_task(self._play(self._stage, SCENARIOS[name]))
        self._run += 1
        return self._run

    def stop(self) -> None:
        """End what is running; what it made is removed."""
        if self._task:
            self._task.cancel()

    async def _play(self, stage: Stage, scenario: Scenario) -> bool:
        if self._building:
            self._building.is_resting = True
        try:
            return await play(stage, scenario)
        finally:
            if self._building:
                self._building.is_resting = False

    async def close(self) -> None:
        """End what is running."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def document(self) -> dict[str, Any] | None:
        """Return what is running, or ran last; None before the first."""
        if self._stage is None or self._task is None:
            return None
        return {
            "run": self._run,
            "name": self._name,
            "title": title(SCENARIOS[self._name]),
            "step": self._stage.lines[-1] if self._stage.lines else "",
            "lines": self._stage.lines,
            "isDone": self._task.done(),
            "isMet": self._stage.is_met and not (self._task.done() and _has_failed(self._task)),
        }


def _has_failed(task: asyncio.Task[bool]) -> bool:
    return task.cancelled() or task.exception() is not None
