"""Buttons for time, faults, scenarios and the receiver; each shows the command that does the same."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from dt_cloud.faults import ALL
from tests.support.desk import Desk

_RENDER = """async (frame) => {
  const { Controls } = await import('/page/controls.js');
  window.controls ??= new Controls();
  window.controls.render(frame);
}"""


@pytest.fixture(autouse=True)
def real_time(cloud: Desk) -> Iterator[None]:
    """Time as it was."""
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
    expect(page.locator("#status-command")).to_have_text(f"dtconn cloud {command}")
    expect(page.get_by_role("button", name=button, exact=True)).to_have_attribute("aria-pressed", "true")
    # The true factor, which is measured.
    expect(page.locator("#factor")).to_have_text(re.compile(f"^runs {factor}"))


def test_pause_and_resume(page: Page, cloud: Desk) -> None:
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#status-command")).to_have_text("dtconn cloud pause")
    expect(page.locator("#factor")).to_have_text("paused")
    assert clock(cloud)["isPaused"]
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#status-command")).to_have_text("dtconn cloud resume")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


@pytest.mark.parametrize(("button", "seconds"), [("+1 h", 3600), ("+12 h", 43_200), ("+1 d", 86_400)])
def test_jump(page: Page, cloud: Desk, button: str, seconds: int) -> None:
    before = page.locator("#clock").get_attribute("title")
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.locator("#status-command")).to_have_text(f"dtconn cloud jump {seconds}s")
    expect(page.locator("#clock")).not_to_have_attribute("title", before or "")


def test_step_goes_to_the_next_attempt(page: Page, cloud: Desk, dead_url: str) -> None:
    page.get_by_role("button", name="Step").click()
    expect(page.locator("#status")).to_contain_text("nothing waits for an attempt")
    expect(page.locator("#status-command")).to_be_hidden()
    connector = cloud.connector(dead_url, "Stepped")
    cloud.publish(cloud.device())
    expect(page.locator("#deliveries-body tr").first).to_contain_text("Failed, waits")
    page.get_by_role("button", name="Step").click()
    expect(page.locator("#status-command")).to_have_text("dtconn cloud step")
    expect(page.locator("#deliveries-body tr").first.locator("td").last).to_contain_text("2\N{MULTIPLICATION SIGN}")
    cloud.call("DELETE", f"/desk/connectors/{connector}", {})


def test_the_command_is_copied(page: Page) -> None:
    page.get_by_role("button", name="60\N{MULTIPLICATION SIGN}", exact=True).click()
    page.locator("#status-copy").click()
    expect(page.locator("#status-copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "dtconn cloud speed 60"


@pytest.fixture
def quiet(page: Page, cloud: Desk) -> Page:
    """The page without frames of its own, so that a test can render one."""
    page.route("**/page/main.js", lambda route: route.fulfill(content_type="text/javascript", body=""))
    page.reload()
    return page


def test_each_fault_has_a_button(quiet: Page, cloud: Desk) -> None:
    quiet.evaluate(_RENDER, {**cloud.call("GET", "/desk/frame"), "allFaults": dict(ALL)})
    buttons = quiet.locator("#faults li > button:first-child")
    assert buttons.all_text_contents() == list(ALL)
    quiet.get_by_label("How many times").fill("3")
    quiet.get_by_role("button", name="lose-answer").click()
    expect(quiet.locator("#status-command")).to_have_text("dtconn cloud fault lose-answer --count 3")
    frame = {**cloud.call("GET", "/desk/frame"), "allFaults": dict(ALL)}
    assert frame["faults"] == {"lose-answer": 3}
    quiet.evaluate(_RENDER, frame)
    row = quiet.locator("#faults li", has_text="lose-answer")
    expect(row).to_contain_text("▲ 3 to come")
    row.get_by_role("button", name="Off").click()
    expect(quiet.locator("#status-command")).to_have_text("dtconn cloud fault lose-answer --count 0")
    assert cloud.call("GET", "/desk/frame")["faults"] == {}


def test_a_scenario_is_started_and_followed(quiet: Page, cloud: Desk) -> None:
    frame = cloud.call("GET", "/desk/frame")
    frame["scenarios"] = [{"name": "outage-12h", "title": "An outage of 12 hours"}]
    quiet.evaluate(_RENDER, {**frame, "scenario": None})
    posted = answered(quiet, "**/desk/scenarios/outage-12h", {"command": "dtconn scenario outage-12h"})
    quiet.get_by_role("button", name="Run").click()
    expect(quiet.locator("#status-command")).to_have_text("dtconn scenario outage-12h")
    assert posted == ["{}"]
    running = {"name": "outage-12h", "title": "An outage of 12 hours", "step": "Receiver stops", "isMet": False}
    quiet.evaluate(_RENDER, {**frame, "scenario": {**running, "isDone": False, "lines": ["00:00 stop"]}})
    expect(quiet.locator("#scenario-step")).to_have_text("… An outage of 12 hours: Receiver stops")
    expect(quiet.get_by_role("button", name="Run")).to_be_disabled()
    quiet.evaluate(_RENDER, {**frame, "scenario": {**running, "isDone": True, "isMet": True, "lines": ["a", "b"]}})
    expect(quiet.locator("#scenario-step")).to_have_text("✓ An outage of 12 hours: as expected")
    expect(quiet.locator("#scenario-lines")).to_have_text("a\nb")


def test_the_receiver_is_stopped_and_started(quiet: Page, cloud: Desk) -> None:
    frame = cloud.call("GET", "/desk/frame")
    quiet.evaluate(_RENDER, {**frame, "receiver": {"isRunning": True, "url": "http://127.0.0.1:8000/"}})
    posted = answered(quiet, "**/desk/receiver", {"command": "dtconn cloud receiver stop"})
    quiet.get_by_role("button", name="Stop the receiver").click()
    expect(quiet.locator("#status-command")).to_have_text("dtconn cloud receiver stop")
    quiet.evaluate(_RENDER, {**frame, "receiver": {"isRunning": False, "url": "http://127.0.0.1:8000/"}})
    quiet.get_by_role("button", name="Start the receiver").click()
    expect(quiet.locator("#status-text")).to_have_text("✓ Receiver started")
    assert [json.loads(each) for each in posted] == [{"isRunning": False}, {"isRunning": True}]


def answered(page: Page, pattern: str, answer: dict[str, str]) -> list[str]:
    """Answer requests that a cloud without scenarios or a receiver of its own refuses; return their bodies."""
    posted: list[str] = []

    def answer_it(route: Route) -> None:
        posted.append(route.request.post_data or "")
        route.fulfill(json=answer)

    page.route(pattern, answer_it)
    return posted
