"""One form per connector, as in DT Studio."""

import re

from playwright.sync_api import Locator, Page, expect

from dt_cloud.events import CONNECTOR_EVENT_TYPES
from tests.support.desk import SECRET, Desk


def card(page: Page, name: str) -> Locator:
    return page.locator(".connector").filter(has=page.locator("h3", has_text=re.compile(f"^{name}$")))


def opened(page: Page, name: str) -> Locator:
    found = card(page, name)
    found.get_by_role("button", name="Edit").click()
    return found


def document(cloud: Desk, connector: str) -> dict[str, object]:
    found: dict[str, object] = cloud.call("GET", f"/v2/projects/{cloud.project}/dataconnectors/{connector}")
    return found


def test_a_connector_is_added(page: Page, cloud: Desk, receiver_url: str) -> None:
    page.get_by_role("button", name="Add Data Connector").click()
    dialog = page.get_by_role("dialog", name="Add Data Connector")
    assert dialog.get_by_label("Project").locator("option").all_text_contents() == ["Office", "Cold storage"]
    dialog.get_by_label("Project").select_option("Cold storage")
    dialog.get_by_label("Display name").fill("Added")
    dialog.get_by_label("Endpoint URL").fill("https://example.com/hook")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_role("alert")).to_contain_text("--allow-host example.com")
    dialog.get_by_label("Endpoint URL").fill(receiver_url)
    dialog.get_by_role("button", name="Create").click()
    expect(dialog).to_be_hidden()
    expect(card(page, "Added")).to_contain_text("Cold storage →")


def test_each_field_is_changed(page: Page, cloud: Desk, receiver_url: str) -> None:
    connector = cloud.connector(receiver_url, "Changed")
    form = opened(page, "Changed")
    form.get_by_label("Display name").fill("Changed twice")
    form.get_by_label("Endpoint URL").fill(f"{receiver_url}hook")
    form.get_by_label("Enabled").uncheck()
    form.get_by_label("Chosen").check()
    form.get_by_label("temperature", exact=True).check()
    form.get_by_label("touch", exact=True).check()
    form.get_by_label("Labels sent along").fill("name, room")
    form.get_by_label("Custom headers").fill("X-One: 1\nX-Two: a: b")
    form.get_by_label("Signature secret").fill("another secret")
    form.get_by_role("button", name="Update").click()
    form = card(page, "Changed twice")
    expect(form.locator('[data-part="state"]')).to_have_text("◼ Disabled")
    assert document(cloud, connector) == {
        "name": f"projects/{cloud.project}/dataconnectors/{connector}",
        "displayName": "Changed twice",
        "type": "HTTP_PUSH",
        "status": "USER_DISABLED",
        "events": ["touch", "temperature"],
        "labels": ["name", "room"],
        "httpConfig": {
            "url": f"{receiver_url}hook",
            "signatureSecret": "another secret",
            "headers": {"X-One": "1", "X-Two": "a: b"},
        },
    }


def test_all_event_types_are_offered(page: Page, cloud: Desk, receiver_url: str) -> None:
    cloud.connector(receiver_url, "Types")
    form = opened(page, "Types")
    form.get_by_label("Chosen").check()
    offered = form.locator('[data-part="types"] input').evaluate_all("boxes => boxes.map((box) => box.value)")
    assert sorted(offered) == sorted(CONNECTOR_EVENT_TYPES)
    form.get_by_role("button", name="Update").click()
    expect(form.get_by_role("alert")).to_contain_text("Choose at least one event type")


def test_no_frame_overwrites_an_edited_form(page: Page, cloud: Desk, receiver_url: str) -> None:
    connector = cloud.connector(receiver_url, "Edited")
    form = opened(page, "Edited")
    name, labels = form.get_by_label("Display name"), form.get_by_label("Labels sent along")
    name.fill("Half a na")
    cloud.call("PATCH", f"/desk/connectors/{connector}", {"labels": ["room"]})
    expect(form.get_by_text("changed elsewhere")).to_be_visible()
    expect(name).to_have_value("Half a na")
    expect(labels).to_have_value("")
    form.get_by_role("button", name="Discard changes").click()
    expect(name).to_have_value("Edited")
    expect(labels).to_have_value("room")
    cloud.call("PATCH", f"/desk/connectors/{connector}", {"labels": ["floor"]})
    expect(labels).to_have_value("floor")


def test_the_secret_is_shown_on_request(page: Page, cloud: Desk, receiver_url: str) -> None:
    cloud.connector(receiver_url, "Secret")
    form = opened(page, "Secret")
    secret = form.get_by_label("Signature secret")
    expect(secret).to_have_attribute("type", "password")
    form.get_by_role("button", name="Show").click()
    expect(secret).to_have_attribute("type", "text")
    expect(secret).to_have_value(SECRET)
    form.get_by_role("button", name="Hide").click()
    expect(secret).to_have_attribute("type", "password")


def test_sync_is_counted(page: Page, cloud: Desk, receiver_url: str, dead_url: str) -> None:
    device = cloud.device(name="Synchronized")
    cloud.publish(device)
    connector = cloud.connector(receiver_url, "Synced")
    form = opened(page, "Synced")
    form.locator(".form").get_by_role("button", name="Synchronize").click()
    expect(page.locator("#status-text")).to_contain_text("newest events queued")
    expect(form.locator('[data-part="successes"]')).not_to_have_text("0")
    expect(form.locator('[data-part="latency"]')).to_have_text(re.compile(r"^[1-9]\d* ms$"))
    expect(form.locator('[data-part="errors"]')).to_have_text("0")
    cloud.call("PATCH", f"/desk/connectors/{connector}", {"httpConfig": {"url": dead_url}})
    cloud.publish(device)
    expect(form.locator('[data-part="errors"]')).not_to_have_text("0")


def test_deleting_asks_first(page: Page, cloud: Desk, receiver_url: str) -> None:
    cloud.connector(receiver_url, "Deleted")
    opened(page, "Deleted").get_by_role("button", name="Delete").click()
    dialog = page.locator("#confirm")
    expect(dialog).to_contain_text("Delete Deleted? No event waits.")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    card(page, "Deleted").get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(card(page, "Deleted")).to_have_count(0)
    assert "Deleted" not in str(cloud.call("GET", "/desk/frame")["connectors"])
