"""The receiver's page, and the buttons of a demo with a receiver."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from page import STATIC
from tests.support.ports import free_port
from tests.support.processes import Program


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Yield the URLs of a demo's page and its receiver's."""
    port = free_port()
    program = Program("dt_cloud.demo", {"DT_CLOUD_PORT": str(port)}, tmp_path_factory.mktemp("demo"))
    try:
        program.wait_until_ready()
        yield f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{program.port}/"
    finally:
        program.stop()
        program.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Page]:
    """Yield a page that must not throw errors."""
    page = browser.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    page.close()
    assert wrong == []


def test_page_shows_latest_readings_and_stored_events(opened: Page, demo: tuple[str, str]) -> None:
    opened.goto(demo[1])
    row = opened.locator("#devices-body tr", has_text=re.compile(r"^Room ")).first
    expect(row.locator(".value")).to_contain_text("°C")
    expect(row.locator(".seen")).to_have_text(re.compile("ago|just now"))
    expect(opened.locator("#events-body tr").first).to_be_visible()
    expect(opened).to_have_title(re.compile("✓ .* events stored"))


def test_its_events_are_filtered_and_reached_by_keys(opened: Page, demo: tuple[str, str]) -> None:
    opened.goto(demo[1])
    name = opened.locator("#events-body tr").first.locator("td").nth(2).inner_text()
    opened.keyboard.press("/")
    opened.keyboard.type(name.lower())
    for row in opened.locator("#events-body tr").all():
        expect(row).to_contain_text(name)
    opened.keyboard.press("Escape")
    opened.keyboard.press("j")
    expect(opened.locator("#events-body tr.is-selected")).to_have_count(1)


def test_both_pages_have_the_same_help(opened: Page, demo: tuple[str, str]) -> None:
    for url, rows in (
        (demo[0], ["j k next, previous delivery", "Enter show it", "Esc close, and follow the newest again"]),
        (demo[1], ["j k next, previous event", "Esc follow the newest again"]),
    ):
        opened.goto(url)
        opened.keyboard.press("?")
        help_ = opened.get_by_role("dialog", name="Keys")
        expect(help_.locator(".keys > div")).to_have_text([*rows, "/ filter by device", "? this help"])
        expect(help_).to_contain_text("Times are local; hover for UTC.")
        help_.get_by_role("button", name="Close").click()
        expect(help_).to_be_hidden()
        opened.get_by_role("button", name="Keys and help").click()
        expect(help_).to_be_visible()
    assert not any("<kbd>" in path.read_text() for path in STATIC.glob("*.html"))


def test_the_receiver_is_stopped_the_queue_grows_and_drains(opened: Page, demo: tuple[str, str]) -> None:
    opened.goto(demo[0])
    opened.get_by_role("button", name="Stop the receiver").click()
    expect(opened.locator("#status-command")).to_contain_text("dtconn cloud receiver stop", timeout=20_000)
    opened.get_by_role("button", name="+1 h", exact=True).click()
    expect(opened.locator("#ledger-waiting")).not_to_have_text("0")
    expect(opened.locator("#connectors")).to_contain_text("no connection")
    opened.get_by_role("button", name="Start the receiver").click()
    expect(opened.locator("#status-command")).to_contain_text("dtconn cloud receiver start", timeout=20_000)
    expect(opened.locator("#ledger-store")).to_contain_text("stored once", timeout=20_000)
    expect(opened.locator("#ledger-expired")).to_have_text("0")


def test_the_ledger_says_why_more_is_delivered_than_stored(opened: Page, demo: tuple[str, str]) -> None:
    opened.goto(demo[0])
    opened.get_by_role("button", name="Synchronize").first.click()
    expect(opened.locator("#status-text")).to_contain_text("newest events queued")
    ledger = opened.get_by_role("region", name="Ledger")
    expect(ledger).to_contain_text(re.compile(r"[✓▲] [\d,]+ stored"))
    # As text, so that a screen reader says it too.
    says = "Stored counts events, each once. Delivered counts deliveries: one for each connector, and one for each "
    expect(ledger.get_by_text(says)).to_be_visible()
