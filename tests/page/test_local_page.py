"""The half of the page that a receiver shows: what the sensors say, and what is stored, live."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

import page as files

DEVICE = {
    "id": "emu1",
    "project": "p",
    "projectName": "Office",
    "type": "temperature",
    "name": "Fridge 1",
    "description": "Kitchen",
    "labels": {},
    "lastSeen": "2026-01-01T12:00:00Z",
    "values": [{"type": "temperature", "quantity": "temperature", "value": 4.5, "text": None, "unit": "°C"}],
}


class Frames(BaseHTTPRequestHandler):
    """Serves the files as a receiver does, and the frames that a test gives."""

    frames: list[dict[str, Any]]
    more: threading.Event

    def do_GET(self) -> None:
        if self.path == "/frames":
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            for frame in self.frames:
                self.wfile.write(f"data: {json.dumps(frame)}\n\n".encode())
            self.more.wait(10)
            return
        found = files.read("local.html" if self.path == "/" else self.path.removeprefix("/page/"))
        self.send_response(200 if found else 404)
        for name, value in (found[1] if found else {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(found[0] if found else b"")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def event(number: int, event_type: str = "temperature", device: str = "emu1", name: str = "Fridge 1") -> dict[str, Any]:
    key = f"{device}.{event_type}.{number}"
    at = "2026-01-01T12:00:00Z"
    return {"key": key, "name": name, "device": device, "eventType": event_type, "receivedAt": at, "value": number}


@pytest.fixture
def local(browser: Browser) -> Iterator[Page]:
    """The receiver's page."""
    events = [event(1), event(2, "touch"), event(3, device="emu2", name="Door")]
    frame = {"devices": [DEVICE], "events": events, "skipped": 7, "total": 10}
    Frames.frames, Frames.more = [frame], threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Frames) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        yield page
        page.close()
        Frames.more.set()
        server.shutdown()
    assert wrong == []


def test_sensors_and_stored_events(local: Page) -> None:
    expect(local.locator("#devices-body .name")).to_have_text("Fridge 1")
    expect(local.locator("#devices-body .value")).to_have_text("4.5\N{NO-BREAK SPACE}°C")
    expect(local.locator("#devices-body .seen")).to_contain_text(" d")
    assert local.locator("#events-body td:nth-child(3)").all_text_contents() == ["Door", "Fridge 1", "Fridge 1"]
    expect(local.locator("#events-summary")).to_have_text("3 rows, 7 more not listed")
    expect(local).to_have_title("✓ 10 events stored \N{EN DASH} Receiver")


def test_its_events_are_filtered_and_reached_by_keys(local: Page) -> None:
    expect(local.locator("#events-body tr")).to_have_count(3)
    local.keyboard.press("/")
    local.keyboard.type("door")
    expect(local.locator("#events-body tr")).to_have_count(1)
    local.keyboard.press("Escape")
    local.keyboard.press("j")
    expect(local.locator("#events-body tr")).to_have_class("is-selected")
    local.get_by_label("Device", exact=True).fill("")
    local.get_by_label("Event type").select_option("touch")
    expect(local.locator("#events-body tr")).to_have_count(1)
