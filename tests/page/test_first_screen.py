"""The first screen shows the state, the waiting and lost events, and the readings, without a click."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.desk import SECRET, Desk, desk

STATE: dict[str, Any] = {
    "status": "ACTIVE",
    "failures": 0,
    "ledger": {"waiting": 0, "dropped": 0},
    "lastAttempt": None,
    "nextAttemptIn": None,
    "failingFor": None,
    "disabledIn": None,
}
FAILING = {
    "failures": 14,
    "ledger": {"waiting": 3, "dropped": 0},
    "lastAttempt": {"status": 401, "note": "", "ago": 6.2},
    "nextAttemptIn": 8.1,
    "failingFor": 9_000,
    "disabledIn": 4 * 86_400 + 21.5 * 3600,
}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "ACTIVE. No attempt yet."),
        ({"lastAttempt": {"status": 200, "note": "", "ago": 2}}, "ACTIVE. The last attempt got 200 2 s ago."),
        (
            FAILING,
            (
                "ACTIVE. 14 attempts failed, the last 401 6 s ago. 3 wait. Next in 8 s. "
                "Disabled in 4 d 21 h if nothing succeeds."
            ),
        ),
        (
            {**FAILING, "lastAttempt": {"status": None, "note": "ClientConnectorError", "ago": 0}, "nextAttemptIn": 0},
            (
                "ACTIVE. 14 attempts failed, the last (no connection) just now. 3 wait. Next now. "
                "Disabled in 4 d 21 h if nothing succeeds."
            ),
        ),
        (
            {"status": "USER_DISABLED", "ledger": {"waiting": 0, "dropped": 12}},
            (
                "USER_DISABLED. Switched off. Events are dropped, not queued. 12 events dropped so far. "
                "Enable it, and synchronize for the newest values."
            ),
        ),
        (
            {"status": "SYSTEM_DISABLED"},
            (
                "SYSTEM_DISABLED. Nothing succeeded for 5 days. Events are dropped, not queued. "
                "Enable it, and synchronize for the newest values."
            ),
        ),
    ],
)
def test_state_and_next_step_are_in_words(modules: Page, given: dict[str, Any], words: str) -> None:
    said = modules.evaluate("async (state) => (await import('/page/words.js')).stateWords(state)", {**STATE, **given})
    assert said == words


def test_empty_page_says_what_to_do(browser: Browser, tmp_path: Path) -> None:
    with desk(tmp_path) as cloud:
        page = browser.new_page()
        page.goto(cloud.url)
        expect(page.locator("#overall")).to_have_text("◼ No Data Connector")
        expect(page.locator("#connectors-empty")).to_be_visible()
        expect(page.locator("#devices-empty")).to_be_visible()
        page.close()


def test_page_says_delivering(page: Page, cloud: Desk, receiver_url: str) -> None:
    delivered = cloud.ledger()["delivered"]
    connector = cloud.connector(receiver_url, "Office")
    cloud.publish(cloud.device(name="Fridge"))
    card = page.locator(".connector", has_text="Office →").filter(has_text=receiver_url)
    expect(card.locator('[data-part="state"]')).to_have_text("✓ Delivering")
    expect(card.locator('[data-part="words"]')).to_have_text(re.compile(r"^ACTIVE\. The last attempt got 200 "))
    expect(page.locator("#overall")).to_have_text("✓ Delivering")
    expect(page).to_have_title("✓ Delivering \N{EN DASH} DT Cloud")
    expect(page.locator("#icon")).to_have_attribute("href", "/page/icon-good.svg")
    expect(page.locator("#ledger-delivered")).to_have_text(str(delivered + 1))
    cloud.call("DELETE", f"/desk/connectors/{connector}", {})


def test_page_shows_failures_waiting_and_next_attempt(page: Page, cloud: Desk, receiver_url: str) -> None:
    connector = cloud.connector(receiver_url, "Wrong", f"not {SECRET}", config={"headers": {"x-a": "b"}})
    # The asymmetric signature has a key that the receiver does not know: the answer is 401.
    cloud.publish(cloud.device(name="Freezer"))
    words = page.locator(".connector", has_text="Wrong").locator('[data-part="words"]')
    expect(words).to_have_text(
        re.compile(
            r"^ACTIVE\. \d+ attempts? failed, the last 401 .+\. 1 waits\. Next (now|in \d s)\. "
            r"Disabled in 4 d 23 h if nothing succeeds\.$"
        )
    )
    expect(page.locator("#ledger-waiting")).to_have_text("1")
    expect(page.locator("#ledger-waiting-next")).to_have_text(re.compile(r"next (now|in \d s)"))
    expect(page).to_have_title("● 1 waiting \N{EN DASH} DT Cloud")
    expect(page.locator("#icon")).to_have_attribute("href", "/page/icon-warn.svg")
    cloud.call("DELETE", f"/desk/connectors/{connector}", {})


def test_page_shows_losses_by_type(page: Page, cloud: Desk, dead_url: str) -> None:
    before = cloud.ledger()
    connector = cloud.connector(dead_url, "Dead")
    device = cloud.device()
    cloud.publish(device)
    cloud.wait_for(lambda ledger: ledger["waiting"] == 1)
    cloud.call("POST", "/desk/clock", {"jump": 43_200})
    expect(page.locator("#ledger-expired")).to_have_text(str(before["expired"] + 1))
    expect(page.locator("#ledger-expired-types")).to_have_text("temperature 1")
    cloud.call("PATCH", f"/desk/connectors/{connector}", {"status": "USER_DISABLED"})
    cloud.publish(device, {"touch": {}})
    expect(page.locator("#ledger-dropped")).to_have_text(str(before["dropped"] + 1))
    expect(page.locator("#ledger-dropped-types")).to_contain_text("touch 1")
    card = page.locator(".connector", has_text="Dead")
    expect(card.locator('[data-part="state"]')).to_have_text("◼ Disabled")
    expect(card.locator('[data-part="words"]')).to_contain_text("1 event dropped so far.")
    cloud.call("DELETE", f"/desk/connectors/{connector}", {})


def test_page_shows_readings(page: Page, cloud: Desk) -> None:
    device = cloud.device("humidity", name="Meeting room", description="2nd floor")
    row = page.locator("#devices-body tr", has_text=device)
    cloud.publish(device, {"humidity": {"temperature": 21.5, "relativeHumidity": 40}})
    expect(row.locator(".name")).to_have_text("Meeting room")
    expect(row.locator("th .detail")).to_have_text(f"2nd floor · {device} · humidity")
    expect(row.locator(".value")).to_have_text("21.5\N{NO-BREAK SPACE}°C")
    expect(row.locator(".reading .detail")).to_have_text("40\N{NO-BREAK SPACE}%")
    expect(row.locator(".seen")).to_have_text(re.compile(r"just now|\d s ago"))
    expect(row.locator(".seen")).to_have_attribute("title", re.compile(r"^\d{4}-.* UTC$"))


def test_label_change_is_shown(page: Page, cloud: Desk) -> None:
    device = cloud.device(name="Old name")
    cloud.publish(device)
    row = page.locator("#devices-body tr", has_text=device)
    expect(row.locator(".name")).to_have_text("Old name")
    cloud.call("POST", f"/desk/devices/{device}:labels", {"add": {"name": "<b>New</b>"}})
    expect(row.locator(".name")).to_have_text("<b>New</b>")


def test_everything_is_above_the_fold(page: Page) -> None:
    for selector in (
        "#overall",
        "#ledger-waiting",
        "#ledger-expired",
        "#ledger-dropped",
        "#devices-body",
        "#deliveries",
    ):
        box = page.locator(selector).bounding_box()
        assert box, selector
        assert box["y"] < 600, selector
