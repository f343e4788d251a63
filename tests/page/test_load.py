"""With 1,000 sensors and hundreds of attempts a second the page is fluid, and shows how many rows it omits."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dt_cloud.accounts import FIRST_PROJECT
from dt_cloud.database import Database
from dt_cloud.devices import Devices
from tests.support.desk import Desk, desk

pytestmark = pytest.mark.long

SENSORS = 1_000


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Desk]:
    """A cloud with many sensors, each with an event."""
    database = Database(tmp_path / "cloud.db")
    devices = Devices(database)
    # The API accepts 25 requests in 5 s.
    with database.transaction():
        for number in range(SENSORS):
            devices.create(FIRST_PROJECT, "temperature", {"name": f"Sensor {number}"}, 0.0, f"emu{number:020}")
    database.close()
    with desk(tmp_path) as started:
        for number in range(SENSORS):
            started.publish(f"emu{number:020}", {"temperature": {"value": number / 100}})
        yield started


def test_a_thousand_sensors_and_a_flood_of_deliveries(page: Page, cloud: Desk, receiver_url: str) -> None:
    expect(page.locator("#devices-body tr")).to_have_count(200)
    expect(page.locator("#devices-rest")).to_have_text("800 more. Filter to see them.")
    page.get_by_label("Filter sensors").fill("Sensor 999")
    expect(page.locator("#devices-body tr")).to_have_count(1)
    page.get_by_label("Filter sensors").fill("")
    connector = cloud.connector(receiver_url)
    for _ in range(4):
        cloud.call("POST", f"/desk/connectors/{connector}:sync", {})
    cloud.wait_for(lambda ledger: ledger["delivered"] == 4 * SENSORS)
    expect(page.locator("#ledger-delivered")).to_have_text("4,000")
    expect(page.locator("#deliveries-summary")).to_have_text(re.compile(r"^200 rows, [\d,]+ more not listed$"))
    assert page.locator("#deliveries-body tr").count() <= 200
