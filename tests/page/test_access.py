"""Accessibility: keys, screen readers, colour schemes, reduced motion, narrow windows and zoom."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

import page as files
from tests.support.desk import Desk
from tests.support.processes import ROOT

AXE = ROOT / "tests/support/node/node_modules/axe-core/axe.min.js"
SIZES = {"wide": (1280, 800), "narrow": (320, 640)}


@pytest.fixture(autouse=True, scope="module")
def filled(cloud: Desk, receiver_url: str, dead_url: str) -> None:
    """A page with every kind of content."""
    cloud.connector(receiver_url, "Office")
    cloud.connector(dead_url, "A connector with a long name that nobody answers", events=["temperature"])
    off = cloud.connector(dead_url, "Off", events=["touch"])
    cloud.call("PATCH", f"/desk/connectors/{off}", {"status": "USER_DISABLED"})
    for number in range(12):
        cloud.publish(cloud.device(name=f"Sensor {number}", description="On the second floor, beside the window"))
    cloud.publish(cloud.device("touch", name="x" * 60), {"touch": {}})
    cloud.wait_for(lambda ledger: ledger["delivered"] >= 13)


@pytest.fixture
def opened(browser: Browser, cloud: Desk) -> Iterator[Any]:
    """A function that opens pages with options."""
    contexts = []

    def open_it(**options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.goto(cloud.url)
        expect(page.locator("#deliveries-body tr").nth(10)).to_be_attached()
        return page

    yield open_it
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_serious(opened: Any, scheme: str, size: str) -> None:
    if not AXE.exists():
        pytest.skip("no axe-core: install Node.js 20 or newer with npm, then `make test` installs it")
    width, height = SIZES[size]
    # The page's policy allows only its own scripts.
    page = opened(color_scheme=scheme, viewport={"width": width, "height": height}, bypass_csp=True)
    page.add_script_tag(path=str(AXE))
    page.get_by_role("button", name="Edit").first.click()
    page.locator(".form input[value=chosen]").first.check()
    assert serious(page, "body") == []
    page.locator("#deliveries-body tr").first.click()
    expect(page.locator("#delivery")).to_be_visible()
    assert serious(page, "#delivery") == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Add Data Connector").click()
    assert serious(page, "#new-connector") == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Keys and help").click()
    assert serious(page, "#help") == []


def serious(page: Page, part: str) -> list[str]:
    # Otherwise colours would be measured during a transition.
    page.wait_for_timeout(250)
    result = page.evaluate("(part) => axe.run(part)", part)
    assert len(result["passes"]) > 10
    found = result["violations"]
    return [
        f"{each['id']}: {[node['target'] for node in each['nodes']][:3]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def test_keys(page: Page) -> None:
    rows = page.locator("#deliveries-body tr")
    page.keyboard.press("j")
    expect(rows.nth(0)).to_have_class("is-selected")
    page.keyboard.press("j")
    expect(rows.nth(1)).to_have_class("is-selected")
    page.keyboard.press("k")
    expect(rows.nth(0)).to_have_class("is-selected")
    page.keyboard.press("Enter")
    expect(page.locator("#delivery")).to_be_visible()
    first = page.url
    page.keyboard.press("j")
    expect(page).not_to_have_url(first)
    page.keyboard.press("Escape")
    expect(page.locator("#delivery")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.get_by_label("Device", exact=True)).to_be_focused()
    page.keyboard.type("j?")
    expect(page.get_by_label("Device", exact=True)).to_have_value("j?")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_counts_are_announced_at_most_every_few_seconds_and_rows_are_not(page: Page, cloud: Desk) -> None:
    counts = page.locator("#counts")
    expect(counts).to_have_attribute("aria-live", "polite")
    expect(counts).to_have_text(re.compile(r"^Failing \(1 of 3\)|^Disabled|. \d+ waiting, \d+ delivered, \d+ lost\.$"))
    assert page.locator("[aria-live] table, [role=log], table [aria-live]").count() == 0
    page.evaluate(
        """() => {
          window.said = 0;
          new MutationObserver(() => window.said++).observe(document.getElementById("counts"), { childList: true });
        }"""
    )
    device = cloud.device()
    for _ in range(15):
        cloud.publish(device)
        page.wait_for_timeout(200)
    assert page.evaluate("window.said") <= 1


def test_updates_never_move_the_focus(page: Page, cloud: Desk) -> None:
    page.get_by_role("button", name="Auto").focus()
    cloud.publish(cloud.device(name="Unmoved"))
    expect(page.locator("#devices-body")).to_contain_text("Unmoved")
    expect(page.get_by_role("button", name="Auto")).to_be_focused()


def test_the_page_does_not_scroll_sideways_at_320_pixels(opened: Any) -> None:
    page = opened(viewport={"width": 320, "height": 640})
    page.get_by_role("button", name="Edit").first.click()
    page.locator(".form input[value=chosen]").first.check()
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.locator("#deliveries-body tr").first.click()
    assert page.locator("#delivery").evaluate("(node) => node.scrollWidth <= node.clientWidth")


def test_nothing_is_cut_off_at_200_percent(opened: Any) -> None:
    # Like zoom: half as many CSS pixels, twice as dense.
    page = opened(viewport={"width": 640, "height": 400}, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") == 640
    for button in page.locator("header.top button").all():
        box = button.bounding_box()
        assert box
        assert box["x"] + box["width"] <= 640


def test_both_schemes_differ(opened: Any) -> None:
    colours = {
        scheme: opened(color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert colours == {"light": "rgb(244, 245, 247)", "dark": "rgb(16, 19, 23)"}


def test_reduced_motion_is_respected(opened: Any) -> None:
    page = opened(reduced_motion="reduce")
    moving = page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((node) => {
          const style = getComputedStyle(node);
          return parseFloat(style.transitionDuration) > 0 || style.animationName !== "none";
        }).length"""
    )
    assert moving == 0


def test_each_colour_has_a_sign(page: Page) -> None:
    texts = page.locator("[class*=kind-]:visible").all_text_contents()
    assert len(texts) > 10
    assert [text for text in texts if not re.match("[✓▲◼✕↻⌛…] ", text)] == []


def test_no_inline_code_and_no_other_hosts(page: Page) -> None:
    for path in files.STATIC.iterdir():
        text = path.read_text()
        assert not re.search(r"""(src|href|url\(|import|from|fetch\()\s*=?\s*["']?(https?:)?//""", text), path.name
        assert "innerHTML" not in text, path.name
    document = (files.STATIC / "index.html").read_text() + (files.STATIC / "local.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", document)
