"""The live list of deliveries, and the details of one."""

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.desk import Desk


@pytest.fixture(scope="module")
def device(cloud: Desk, receiver_url: str) -> Iterator[str]:
    """A sensor whose events are delivered."""
    connector = cloud.connector(receiver_url, "Office", labels=["name"], config={"headers": {"X-Room": "it's 4"}})
    yield cloud.device(name="Fridge 1")
    cloud.call("DELETE", f"/desk/connectors/{connector}", {})


def rows(page: Page) -> Locator:
    return page.locator("#deliveries-body tr")


def publish(cloud: Desk, device: str, number: int = 1, event: dict[str, object] | None = None) -> None:
    before = cloud.ledger()["published"]
    for _ in range(number):
        cloud.publish(device, event)
    cloud.wait_for(lambda ledger: ledger["published"] >= before + number and ledger["waiting"] == 0)


def test_the_newest_is_on_top(page: Page, cloud: Desk, device: str) -> None:
    publish(cloud, device)
    publish(cloud, device, event={"touch": {}})
    expect(rows(page).first).to_contain_text("touchFridge 1✓ Delivered · 200")
    expect(rows(page).first.locator("td").nth(2)).to_have_attribute("title", device)


@pytest.mark.parametrize("how", ["pointer", "focus", "scrolled", "selected"])
def test_list_does_not_move_while_read(page: Page, cloud: Desk, device: str, how: str) -> None:
    publish(cloud, device, 30)
    expect(rows(page).nth(25)).to_be_visible()
    page.wait_for_timeout(500)
    if how == "pointer":
        rows(page).nth(2).hover()
    elif how == "focus":
        rows(page).nth(2).locator("button").focus()
    elif how == "scrolled":
        page.locator("#deliveries-scroller").evaluate("(node) => { node.scrollTop = 60; }")
    else:
        page.keyboard.press("j")
        page.evaluate("document.activeElement.blur()")
    before = rows(page).all_text_contents()
    publish(cloud, device, 3, {"touch": {}})
    expect(page.get_by_role("button", name="↑ 3 new")).to_be_visible()
    expect(page.locator("#deliveries-summary")).to_contain_text("holding still")
    assert rows(page).all_text_contents() == before
    if how == "pointer":
        page.mouse.move(5, 5)
    elif how == "focus":
        page.evaluate("document.activeElement.blur()")
    else:
        page.get_by_role("button", name="↑ 3 new").click()
    expect(rows(page).first).to_contain_text("touch")
    expect(page.locator("#deliveries-fresh")).to_be_hidden()


def test_it_is_filtered(page: Page, cloud: Desk, device: str, dead_url: str) -> None:
    other = cloud.device("contact", name="Front door")
    dead = cloud.connector(dead_url, "Dead", events=["contact"])
    publish(cloud, device)
    cloud.publish(other, {"contact": {"state": "OPEN"}})
    expect(rows(page).first).to_contain_text("Front door")
    page.get_by_label("Event type").select_option("contact")
    expect(rows(page)).to_have_count(2)
    page.get_by_label("Outcome").select_option("waiting")
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("↻ Failed, waits")
    page.get_by_label("Outcome").select_option("")
    page.get_by_label("Event type").select_option("")
    page.get_by_label("Device", exact=True).fill("front")
    expect(rows(page)).to_have_count(2)
    page.get_by_label("Device", exact=True).fill(device)
    expect(rows(page).first).to_contain_text("Fridge 1")
    assert not [text for text in rows(page).all_text_contents() if "Front door" in text]
    cloud.call("DELETE", f"/desk/connectors/{dead}", {})


def test_the_detail_of_a_delivery(page: Page, cloud: Desk, device: str) -> None:
    publish(cloud, device)
    expect(rows(page).first).to_contain_text("temperature")
    rows(page).first.click()
    detail = page.get_by_role("dialog", name="temperature from Fridge 1")
    expect(detail.locator("#delivery-facts")).to_contain_text(device)
    attempt = detail.locator("details[open]")
    expect(attempt).to_contain_text("Attempt 1 · ")
    expect(attempt).to_contain_text("X-Room")
    expect(attempt).to_contain_text("X-Dt-Signature, decoded")
    expect(attempt).to_contain_text('"checksum_sha256"')
    expect(attempt).to_contain_text("DT-Asymmetric-Signature, decoded")
    expect(attempt.get_by_role("heading", name="Answer")).to_be_visible()
    body = json.loads(detail.locator("#delivery-body").text_content() or "")
    assert body["event"]["data"]["temperature"]["value"] == 21.5
    assert body["labels"] == {"name": "Fridge 1"}
    expect(detail.get_by_role("img", name="1 attempt in 0 s")).to_be_visible()
    expect(detail.get_by_role("button", name="Resend")).to_be_disabled()
    address = page.url
    page.keyboard.press("Escape")
    expect(detail).to_be_hidden()
    page.goto(cloud.url)
    page.goto(address)
    page.reload()
    expect(page.get_by_role("dialog", name="temperature from Fridge 1")).to_be_visible()


def test_copied_as_curl_it_is_accepted(page: Page, cloud: Desk, device: str) -> None:
    publish(cloud, device, event={"touch": {}})
    expect(rows(page).first).to_contain_text("touch")
    rows(page).first.click()
    page.get_by_role("button", name="Copy as cURL").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout.startswith("HTTP/1.1 200"), done.stdout


def test_a_waiting_delivery_is_resent_and_all_attempts_are_on_a_time_line(
    page: Page, cloud: Desk, dead_url: str, receiver_url: str
) -> None:
    connector = cloud.connector(dead_url, "Later", events=["motion"])
    cloud.publish(cloud.device("motion", name="Hall"), {"motion": {"state": "MOTION_DETECTED"}})
    row = rows(page).filter(has_text="Hall").filter(has_text="Failed, waits")
    row.click()
    detail = page.locator("#delivery")
    expect(detail.locator("details")).to_have_count(1)
    expect(detail.locator(".mark-next")).to_have_count(1)
    detail.get_by_role("button", name="Resend").click()
    expect(detail.locator("details")).to_have_count(2)
    expect(detail.locator(".mark-bad")).to_have_count(2)
    cloud.call("PATCH", f"/desk/connectors/{connector}", {"httpConfig": {"url": receiver_url}})
    detail.get_by_role("button", name="Resend").click()
    expect(detail.locator("details")).to_have_count(3)
    expect(detail.locator(".mark-good")).to_have_count(1)
    expect(detail.locator("#delivery-facts")).to_contain_text("✓ Delivered")
    expect(page.locator("#status-command")).to_contain_text(re.compile(r"^\.venv/bin/dtconn cloud resend \d+ "))
    cloud.call("DELETE", f"/desk/connectors/{connector}", {})


def test_expired_deliveries_are_shown(page: Page, cloud: Desk, dead_url: str) -> None:
    connector = cloud.connector(dead_url, "Expiring", events=["waterPresent"])
    cloud.publish(cloud.device("waterDetector", name="Leak"), {"waterPresent": {"state": "PRESENT"}})
    row = rows(page).filter(has_text="Leak")
    expect(row.filter(has_text="Failed, waits")).to_have_count(1)
    cloud.call("POST", "/desk/clock", {"jump": 43_200})
    expect(row.filter(has_text="⌛ Expired")).to_have_count(1)
    cloud.call("DELETE", f"/desk/connectors/{connector}", {})


@pytest.mark.long
def test_rows_are_capped_and_the_rest_is_counted(page: Page, cloud: Desk, device: str) -> None:
    # A frame has at most 50 rows; further ones would be counted and not listed.
    for _ in range(7):
        publish(cloud, device, 40)
        page.wait_for_timeout(300)
    expect(page.locator("#deliveries-summary")).to_contain_text("200 rows")
    expect(page.locator("#deliveries-summary")).to_contain_text("more not listed")
    oldest = rows(page).last.locator("button").get_attribute("aria-label")
    page.get_by_role("button", name="Older").click()
    expect(page.locator("#deliveries-summary")).to_contain_text("250 rows")
    expect(rows(page)).to_have_count(250)
    expect(rows(page).last.locator("button")).not_to_have_attribute("aria-label", oldest or "")
