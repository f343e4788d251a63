"""Plots: deliveries per second by outcome, queue depth, and a line per sensor with gaps."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

import page as files
from tests.support.desk import Desk


@pytest.mark.parametrize(
    ("points", "parts"),
    [
        ([[0, 1], [10, 2], [20, 3]], [3]),
        ([[0, 1], [10, None], [20, 3]], [1, 1]),
        ([[0, 1], [10, 2], [20, 3], [45, 4], [55, 5]], [5]),
        ([[0, 1], [10, 2], [20, 3], [46, 4], [56, 5]], [3, 2]),
        ([[0, 1]], [1]),
        ([], []),
    ],
)
def test_a_gap_is_a_null_or_a_step_of_two_and_a_half_times_the_median(
    modules: Page, points: list[Any], parts: list[int]
) -> None:
    found = modules.evaluate("async (points) => (await import('/page/plots.js')).segments(points)", points)
    assert [len(each) for each in found] == parts


def test_a_sensor_that_lost_contact_has_a_gap_in_its_line(page: Page, cloud: Desk) -> None:
    device = cloud.device(name="Lost contact")
    now = datetime.now(UTC)
    for minutes in (100, 95, 90, 85, 20, 15, 10, 5):
        time = (now - timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")
        cloud.publish(device, {"temperature": {"value": 20 + minutes / 10, "updateTime": time}})
    page.reload()
    line = page.locator("#devices-body tr", has_text=device).get_by_role("img")
    expect(line).to_have_attribute("aria-label", "8 readings over 1 h 35 min, 20.5 to 30")
    path = line.locator("path").get_attribute("d") or ""
    assert path.count("M") == 2


def test_deliveries_per_second_and_queue_depth_are_drawn(
    page: Page, cloud: Desk, receiver_url: str, dead_url: str
) -> None:
    connectors = [cloud.connector(receiver_url, "Good"), cloud.connector(dead_url, "Bad")]
    device = cloud.device()
    cloud.publish(device)
    rates, depth = page.locator("#rates"), page.locator("#depth")
    expect(rates.locator(".bar-delivered")).to_have_attribute("d", re.compile("^M"))
    expect(rates.locator(".bar-failed")).to_have_attribute("d", re.compile("^M"))
    expect(depth.locator(".bar-waiting")).to_have_attribute("d", re.compile("^M"))
    # Before the cloud's start values are unknown, which must not look like zero.
    expect(rates.locator(".unknown")).to_have_attribute("d", re.compile("^M"))
    expect(rates.get_by_role("img")).to_have_attribute(
        "aria-label",
        re.compile(r"^Deliveries per second, last 2 minutes: \d+ delivered, \d+ failed now; \d+ at most\.$"),
    )
    expect(depth.get_by_role("img")).to_have_attribute("aria-label", re.compile(r"1 waiting now"))
    for connector in connectors:
        cloud.call("DELETE", f"/desk/connectors/{connector}", {})


def test_plots_are_one_module_of_at_most_150_lines() -> None:
    drawing = [path.name for path in Path(files.STATIC).glob("*.js") if "class Bars" in path.read_text()]
    assert drawing == ["plots.js"]
    assert len((files.STATIC / "plots.js").read_text().splitlines()) <= 150
