"""How fast time runs: as fast as deliveries keep up, and a receiver that hangs does not slow it down for the others."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from dt_cloud import sender
from dt_cloud.accounts import FIRST_PROJECT
from dt_cloud.cloud import Cloud
from dt_cloud.delivery import CONCURRENCY
from dt_cloud.pace import Pace
from tests.support.clouds import served_cloud
from tests.support.dt_cloud import Call, Loopback, Reply, always, ok
from tests.support.loopback import SILENT
from tests.support.ports import free_port

EVENTS = 5 * CONCURRENCY


def connect(cloud: Cloud, url: str) -> str:
    given = {"type": "HTTP_PUSH", "httpConfig": {"url": url}}
    return cloud.connectors.create(FIRST_PROJECT, given, cloud.clock.now()).connector_id


def publish(cloud: Cloud, number: int) -> None:
    device = cloud.devices.create(FIRST_PROJECT, "touch", {}, cloud.clock.now())
    with cloud.database.transaction():
        for _ in range(number):
            cloud.publisher.publish(device, "touch", {})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def hanging(call: Call) -> Reply | None:
    return SILENT if call.path == "/hangs" else ok(call)


@pytest.mark.long
def test_a_receiver_that_hangs_slows_down_neither_the_clock_nor_the_others(
    tmp_path: Path, receiver: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "TIMEOUT", 1.0)
    # All that hang end together: fewer a second than Pace.TARGET.
    monkeypatch.setattr(Pace, "EVERY", 0.3)
    receiver.answering = hanging

    async def run() -> None:
        async with served_cloud(tmp_path, free_port()) as cloud:
            connect(cloud, f"{receiver.url}/hangs")
            good = connect(cloud, f"{receiver.url}/good")
            publish(cloud, EVENTS)
            pace = asyncio.create_task(Pace(cloud, None).run())
            await until(lambda: not cloud.deliverer.waiting(good))
            await until(lambda: cloud.clock.speed == Pace.FASTEST)
            for _ in range(30):
                await asyncio.sleep(0.1)
                assert cloud.clock.speed > Pace.FASTEST / 10
            assert cloud.ledger()["connectors"][good]["delivered"] == EVENTS
            pace.cancel()

    asyncio.run(run())


def test_a_receiver_that_begins_to_hang_is_noticed_before_the_first_deadline(
    tmp_path: Path, receiver: Loopback
) -> None:
    async def run() -> None:
        async with served_cloud(tmp_path, free_port()) as cloud:
            connector = connect(cloud, receiver.url)
            publish(cloud, 1)
            await until(lambda: not cloud.deliverer.waiting(connector))
            receiver.answering = lambda _: SILENT
            publish(cloud, EVENTS)
            await until(lambda: len(receiver.calls) > CONCURRENCY)
            await asyncio.sleep(2)
            assert not cloud.deliverer.is_behind()

    asyncio.run(run())


@pytest.mark.long
def test_a_slow_receiver_slows_the_clock_down(
    tmp_path: Path, receiver: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "EVERY", 0.1)
    receiver.answering = always(200, 1)

    async def run() -> None:
        async with served_cloud(tmp_path, free_port(), speed=3_600.0) as cloud:
            connector = connect(cloud, receiver.url)
            publish(cloud, EVENTS)
            pace = asyncio.create_task(Pace(cloud, 3_600.0).run())
            await until(lambda: cloud.clock.speed == 1)
            await until(lambda: not cloud.deliverer.waiting(connector))
            await until(lambda: cloud.clock.speed == 3_600)
            pace.cancel()

    asyncio.run(run())
