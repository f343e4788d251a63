"""Buttons for time, faults, scenarios and the receiver; each shows the equivalent command."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from dt_cloud.faults import ALL
from tests.support.desk import Desk


@pytest.fixture(autouse=True)
def real_time(cloud: Desk) -> Iterator[None]:
    """Restore real time after the test."""
    yield
    cloud.call("POST", "/desk/clock", {"isPaused": False})
    cloud.call("POST", "/desk/clock", {"speed": 1})


def clock(cloud: Desk) -> dict[str, Any]:
    found: dict[str, Any] = cloud.call("GET", "/desk/frame")["clock"]
    return found


@pytest.mark.parametrize(
    ("button", "command", "factor"),
    [
        ("60\N{MULTIPLICATION SIGN}", "speed 60", "60"),
        ("3600\N{MULTIPLICATION SIGN}", "speed 3600", "3[,.]6"),
        ("Auto", "speed auto", ""),
    ],
)
def test_speed(page: Page, cloud: Desk, button: str, command: str, factor: str) -> None:
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.locator("#status-command")).to_contain_text(f"dtconn cloud {command}")
    expect(page.get_by_role("button", name=button, exact=True)).to_have_attribute("aria-pressed", "true")
    # The measured factor.
    expect(page.locator("#factor")).to_have_text(re.compile(f"^runs {factor}"))


def test_pause_and_resume(page: Page, cloud: Desk) -> None:
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#status-command")).to_contain_text("dtconn cloud pause")
    expect(page.locator("#factor")).to_have_text("paused")
    assert clock(cloud)["isPaused"]
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#status-command")).to_contain_text("dtconn cloud resume")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


@pytest.mark.parametrize(("button", "seconds"), [("+1 h", 3600), ("+12 h", 43_200), ("+1 d", 86_400)])
def test_jump(page: Page, cloud: Desk, button: str, seconds: int) -> None:
    before = page.locator("#clock").get_attribute("title")
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.locator("#status-command")).to_contain_text(f"dtconn cloud jump {seconds}s")
    expect(page.locator("#clock")).not_to_have_attribute("title", before or "")


def test_step_goes_to_the_next_attempt(page: Page, cloud: Desk, dead_url: str) -> None:
    page.get_by_role("button", name="Step").click()
    expect(page.locator("#status")).to_contain_text("no delivery is waiting")
    expect(page.locator("#status-command")).to_be_hidden()
    connector = cloud.connector(dead_url, "Stepped")
    cloud.publish(cloud.device())
    expect(page.locator("#deliveries-body tr").first).to_contain_text("Failed, waits")
    page.get_by_role("button", name="Step").click()
    expect(page.locator("#status-command")).to_contain_text("dtconn cloud step")
    expect(page.locator("#deliveries-body tr").first.locator("td").last).to_contain_text("2\N{MULTIPLICATION SIGN}")
    cloud.call("DELETE", f"/desk/connectors/{connector}", {})


def test_the_command_is_copied(page: Page) -> None:
    page.get_by_role("button", name="60\N{MULTIPLICATION SIGN}", exact=True).click()
    page.locator("#status-copy").click()
    expect(page.locator("#status-copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()").startswith(".venv/bin/dtconn cloud speed 60")


def test_each_fault_has_a_button(page: Page, cloud: Desk) -> None:
    assert page.locator("#faults li > button:first-child").all_text_contents() == list(ALL)
    page.get_by_label("How many times").fill("3")
    page.get_by_role("button", name="lose-answer").click()
    expect(page.locator("#status-command")).to_contain_text("dtconn cloud fault lose-answer --count 3")
    assert cloud.call("GET", "/desk/frame")["faults"] == {"lose-answer": 3}
    row = page.locator("#faults li", has_text="lose-answer")
    expect(row).to_contain_text("▲ 3 to come")
    row.get_by_role("button", name="Off").click()
    expect(page.locator("#status-command")).to_contain_text("dtconn cloud fault lose-answer --count 0")
    assert cloud.call("GET", "/desk/frame")["faults"] == {}


def test_a_scenario_is_followed_to_its_end(page: Page, cloud: Desk, receiver_url: str) -> None:
    connector = cloud.connector(receiver_url, "Played")
    page.locator("#scenario").select_option("outage-12h")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#status-command")).to_contain_text("dtconn scenario outage-12h")
    expect(page.locator("#scenario-step")).to_contain_text("as expected", timeout=120_000)
    expect(page.locator("#scenario-lines")).to_contain_text("the receiver is back")
    # Its sensors are deleted.
    expect(page.locator("#devices-body")).not_to_contain_text("Scenario 1")
    cloud.call("DELETE", f"/desk/connectors/{connector}", {})


def test_no_stop_button_without_a_receiver(page: Page) -> None:
    expect(page.get_by_role("button", name="Stop the receiver")).to_be_hidden()
