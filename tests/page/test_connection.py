"""A lost connection: reported at once, data greyed with its age, and reconnected."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dt_cloud.accounts import PROJECTS
from dt_cloud.database import Database
from dt_cloud.devices import Devices
from dt_cloud.faults import ALL
from dt_cloud.scenarios import SCENARIOS
from tests.support.desk import Desk, desk


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Desk]:
    """A cloud that a test may stop."""
    with desk(tmp_path) as started:
        yield started


def is_grey(page: Page) -> None:
    alert = page.get_by_role("alert").first
    expect(alert).to_have_text("Connection to DT Cloud lost. Connecting again…", timeout=10_000)
    expect(page.locator("main")).to_have_css("filter", "grayscale(1)")
    expect(page.locator("#age")).to_have_text(re.compile(r"^What you see is ([2-9]|[1-9][0-9]) s old\.$"))
    expect(page).to_have_title("▲ Not connected \N{EN DASH} DT Cloud")
    expect(page.locator("#icon")).to_have_attribute("href", "/page/icon-bad.svg")


def is_live(page: Page, cloud: Desk, text: str) -> None:
    expect(page.get_by_role("alert").first).to_have_text("")
    expect(page.locator("main")).to_have_css("filter", "none")
    cloud.publish(cloud.device(name=text))
    expect(page.locator("#devices-body")).to_contain_text(text)


def test_reconnects_after_a_restart(page: Page, cloud: Desk) -> None:
    is_live(page, cloud, "Before")
    cloud.stop()
    expect(page.get_by_role("alert").first).to_contain_text("lost", timeout=5_000)
    is_grey(page)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#status-text")).to_have_text("✕ Time stands still: DT Cloud cannot be reached.")
    expect(page.locator("#devices-body")).to_contain_text("Before")
    cloud.start()
    is_live(page, cloud, "After")


def test_hanging_cloud_is_reported(page: Page, cloud: Desk) -> None:
    cloud.server.process.send_signal(signal.SIGSTOP)
    is_grey(page)
    cloud.server.process.send_signal(signal.SIGCONT)
    is_live(page, cloud, "After")


def test_what_was_deleted_meanwhile_is_gone_and_all_else_is_as_before(page: Page, cloud: Desk) -> None:
    kept, deleted = cloud.device(name="Kept"), cloud.device(name="Deleted")
    for each in (kept, deleted):
        cloud.publish(each)
    expect(page.locator("#devices-body")).to_contain_text("Deleted")
    cloud.stop()
    database = Database(cloud.server.database)
    devices = Devices(database)
    device = devices.get(deleted)
    assert device
    devices.delete(device)
    database.close()
    cloud.start()
    is_live(page, cloud, "After")
    expect(page.locator("#devices-body")).not_to_contain_text("Deleted")
    expect(page.locator("#devices-body")).to_contain_text("Kept")
    expect(page.locator("#faults li")).to_have_count(len(ALL))
    expect(page.locator("#scenario option")).to_have_count(len(SCENARIOS))
    page.get_by_role("button", name="Add Data Connector").click()
    assert page.get_by_label("Project").locator("option").all_text_contents() == list(PROJECTS.values())
