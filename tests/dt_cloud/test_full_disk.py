"""A database that cannot be written for a while: no promise is broken, and everything continues afterwards."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dt_cloud.accounts import FIRST_PROJECT
from dt_cloud.cloud import Cloud
from dt_cloud.devices import Device
from tests.support.clouds import served_cloud
from tests.support.ports import free_port


def furnish(cloud: Cloud, url: str) -> Device:
    given = {"type": "HTTP_PUSH", "httpConfig": {"url": url}}
    cloud.connectors.create(FIRST_PROJECT, given, cloud.clock.now())
    return cloud.devices.create(FIRST_PROJECT, "touch", {}, cloud.clock.now())


def publish_for_ever(cloud: Cloud, device: Device) -> NoReturn:
    while True:
        cloud.publisher.publish(device, "touch", {})


def is_balanced(ledger: dict[str, Any]) -> bool:
    """Return whether the ledger balances."""
    after = ("delivered", "waiting", "expired", "dropped")
    return bool(ledger["published"] == sum(ledger[name] for name in after))


def test_rolled_back_transaction_queues_nothing(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "cloud.db", "http://127.0.0.1:1")
    device = furnish(cloud, "http://127.0.0.1:9")
    with contextlib.suppress(RuntimeError), cloud.database.transaction():
        cloud.publisher.publish(device, "touch", {})
        raise RuntimeError
    assert cloud.ledger()["published"] == cloud.deliverer.waiting() == 0
    cloud.database.close()


def test_deliveries_continue_after_a_full_disk(tmp_path: Path) -> None:
    async def run() -> None:
        port = free_port()
        async with served_cloud(tmp_path, port) as cloud:
            device = furnish(cloud, f"http://127.0.0.1:{free_port()}/")
            cloud.publisher.publish(device, "touch", {})
            # SQLite uses the current size as the minimum.
            cloud.database.execute("PRAGMA max_page_count = 1")
            with pytest.raises(sqlite3.OperationalError, match="full"):
                publish_for_ever(cloud, device)
            accepted = cloud.ledger()["published"]
            await asyncio.sleep(0.2)
            assert is_balanced(cloud.ledger())
            cloud.database.execute("PRAGMA max_page_count = 1000000")
            cloud.publisher.publish(device, "touch", {})
            last = cloud.database.value("SELECT max(id) FROM deliveries")
            for _ in range(100):
                await asyncio.sleep(0.1)
                if cloud.database.value("SELECT attempts FROM deliveries WHERE id = ?", last):
                    break
            else:
                pytest.fail("no attempt after the disk had space again")
            assert cloud.ledger()["published"] == accepted + 1
            assert is_balanced(cloud.ledger())

    asyncio.run(run())


def test_the_clock_does_not_run_back_after_a_kill(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "cloud.db", "http://127.0.0.1:1", speed=3_600.0)
    device = furnish(cloud, "http://127.0.0.1:9")
    cloud.clock.jump(86_400)
    event = cloud.publisher.publish(device, "touch", {})
    # A kill closes nothing cleanly, and loses nothing committed.
    cloud.database.close()
    again = Cloud(tmp_path / "cloud.db", "http://127.0.0.1:1")
    assert again.clock.datetime().isoformat() >= event["timestamp"].removesuffix("Z")
    again.database.close()


def test_outcomes_are_kept_when_the_transaction_around_them_is_rolled_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with served_cloud(tmp_path, free_port()) as cloud:
            device = furnish(cloud, f"http://127.0.0.1:{free_port()}/")
            (connector,) = cloud.connectors.all()
            cloud.publisher.publish(device, "touch", {})
            while not cloud.deliverer.last_attempts:
                await asyncio.sleep(0)
            # The outcome is not committed yet, and this writes it.
            with contextlib.suppress(RuntimeError), cloud.database.transaction():
                cloud.deliverer.drop(connector.connector_id)
                raise RuntimeError
            await asyncio.sleep(0.1)
            assert cloud.database.value("SELECT max(number) FROM attempts") == 1
            assert is_balanced(cloud.ledger())

    asyncio.run(run())
