"""Connectors and devices that are deleted: nothing of them stays in memory, and the books keep their counts."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dt_cloud.accounts import FIRST_PROJECT, PROJECTS
from dt_cloud.cloud import Cloud
from dt_cloud.connectors import Connector
from dt_cloud.pace import Pace
from dt_cloud.theatre import Theatre
from dt_cloud.watch import Watch
from tests.support.clouds import served_cloud
from tests.support.dt_cloud import Loopback, always
from tests.support.ports import free_port

MANY = 20


def connect(cloud: Cloud, url: str) -> Connector:
    given = {"type": "HTTP_PUSH", "httpConfig": {"url": url}}
    return cloud.connectors.create(tuple(PROJECTS)[len(cloud.connectors.all()) % 2], given, cloud.clock.now())


def publish(cloud: Cloud) -> None:
    for project in PROJECTS:
        device = cloud.devices.create(project, "touch", {}, cloud.clock.now())
        cloud.publisher.publish(device, "touch", {})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def kept(cloud: Cloud) -> tuple[int, ...]:
    """Return how much there is of connectors: queues, last attempts, minutes in memory and in the database."""
    minutes = cloud.database.value("SELECT count(*) FROM minutes")
    return (
        len(vars(cloud.deliverer)["_queues"]),
        len(cloud.deliverer.last_attempts),
        len(vars(cloud.metrics)["_minutes"]),
        minutes,
    )


def test_queues_and_tasks_of_deleted_connectors_end(tmp_path: Path, receiver: Loopback) -> None:
    async def run() -> None:
        async with served_cloud(tmp_path, free_port()) as cloud:
            before, tasks = kept(cloud), len(asyncio.all_tasks())
            for url in (receiver.url, "http://127.0.0.1:9/"):
                connectors = [connect(cloud, url) for _ in range(MANY)]
                publish(cloud)
                await until(lambda: len(cloud.deliverer.last_attempts) == MANY)
                for each in connectors:
                    cloud.delete(each)
                await until(lambda: kept(cloud) == before)
                await until(lambda: len(asyncio.all_tasks()) == tasks)
            ledger = cloud.ledger()
            assert (ledger["delivered"], ledger["dropped"], ledger["waiting"]) == (MANY, MANY, 0)

    asyncio.run(run())


def test_what_is_under_way_to_a_deleted_connector_is_waited_for(tmp_path: Path, receiver: Loopback) -> None:
    receiver.answering = always(200, 1)

    async def run() -> None:
        async with served_cloud(tmp_path, free_port()) as cloud:
            before = kept(cloud)
            connector = connect(cloud, receiver.url)
            publish(cloud)
            await until(lambda: bool(receiver.calls))
            cloud.delete(connector)
            await asyncio.sleep(0.1)
            assert cloud.ledger()["waiting"] == 1
            await until(lambda: cloud.ledger()["delivered"] == 1)
            await until(lambda: kept(cloud) == before)

    asyncio.run(run())


def test_queues_of_connectors_that_were_deleted_before_a_kill_end(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "cloud.db", "http://127.0.0.1:1")
    connector = connect(cloud, "http://127.0.0.1:9/")
    publish(cloud)
    # As if it were killed with an attempt under way.
    cloud.connectors.delete(connector)
    cloud.database.execute("INSERT INTO minutes VALUES (?, 1, 1, 1, '{}')", connector.connector_id)
    cloud.database.close()

    async def run() -> None:
        async with served_cloud(tmp_path, free_port()) as cloud:
            await until(lambda: kept(cloud) == (0, 0, 0, 0))
            assert cloud.ledger()["dropped"] == 1

    asyncio.run(run())


def test_devices_that_are_gone_are_forgotten_once_everybody_was_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with served_cloud(tmp_path, free_port()) as cloud:
            watch = Watch(cloud, Pace(cloud), Theatre(cloud), None, None)
            running = asyncio.create_task(watch.run())
            with watch.follow() as follower:
                follower.frame()
                device = cloud.devices.create(FIRST_PROJECT, "touch", {}, cloud.clock.now())
                cloud.publisher.publish(device, "touch", {})
                assert [each["id"] for each in follower.frame()["devices"]] == [device.device_id]
                cloud.devices.delete(device)
                await asyncio.sleep(1)
                told = follower.frame()["devices"]
                assert told == [{"id": device.device_id, "isDeleted": True}]
                await until(lambda: not vars(watch)["_changed"] and not vars(watch)["_values"])
                assert follower.frame()["devices"] == []
            assert not vars(watch)["_followers"]
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    asyncio.run(run())
