"""Plays scenarios, one at a time."""

import asyncio
from typing import Any

from dt_cloud.cloud import Cloud
from dt_cloud.connectors import ACTIVE
from dt_cloud.errors import ApiError
from dt_cloud.scenarios import SCENARIOS, Scenario, title
from dt_cloud.sensors import Building
from dt_cloud.stage import Stage, clean_up


async def play(stage: Stage, scenario: Scenario) -> bool:
    """Run a scenario, and return whether all its expectations were met. The scenario moves the clock."""
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
        cloud: The cloud.
        next_secret: As in `Stage`.
        building: Its sensors send nothing meanwhile.
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
            ApiError: 404, no such scenario; 409, one is running; 400, no active connector.
        """
        if name not in SCENARIOS:
            raise ApiError(404, f"no such scenario; the scenarios are {', '.join(SCENARIOS)}")
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
        """Stop the running scenario, and remove what it created."""
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
        """Stop the running scenario."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def document(self) -> dict[str, Any] | None:
        """Return the scenario that runs or ran last; None before the first."""
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
