"""The local receiver's page: only for a browser on this machine."""

import http.client
import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dt_cloud.bodies import Device
from tests.support.deliveries import SECRET, fresh_body, signed
from tests.support.processes import Program, running

ENVIRON = {"DT_SIGNATURE_SECRET": SECRET}
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@contextmanager
def frames(program: Program) -> Iterator[Iterator[dict[str, Any]]]:
    """Give the frames as they come."""
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=10)
    connection.request("GET", "/frames")
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("content-type")) == (200, "text/event-stream")
    try:
        yield (json.loads(line[5:]) for line in answer if line.startswith(b"data:"))
    finally:
        connection.close()


def post(program: Program, body: bytes) -> None:
    assert program.request("POST", "/", signed(body), body).status == 200


def test_browser_gets_the_page_and_other_clients_405(tmp_path: Path) -> None:
    with running("local", ENVIRON, tmp_path) as program:
        answer = program.request("GET", "/", BROWSER)
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert program.request("GET", "/").status == 405
        assert program.request("GET", "/healthz", BROWSER).status == 200
        assert program.request("GET", "/page/style.css").status == 200
        for name in ("../__init__.py", "%2e%2e/__init__.py", "absent.js", ""):
            assert program.request("GET", f"/page/{name}").status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "sensors.example.com"},
        {"Host": "127.0.0.1.example.com:8000"},
        # ngrok and cloudflared, told to rewrite the host.
        {"Host": "localhost:8000", "X-Forwarded-For": "203.0.113.9"},
        {"Host": "localhost:8000", "Cf-Connecting-Ip": "203.0.113.9"},
        {"Host": "localhost:8000", "Forwarded": "for=203.0.113.9"},
        {"Host": "localhost:8000", "X-Client-Ip": "203.0.113.9"},
        {"Host": "localhost:8000", "True-Client-Ip": "203.0.113.9"},
    ],
)
def test_page_is_refused_to_other_hosts_and_proxies(tmp_path: Path, headers: dict[str, str]) -> None:
    with running("local", ENVIRON, tmp_path) as program:
        for path in ("/", "/frames", "/page/local.js"):
            assert program.request("GET", path, {**BROWSER, **headers}).status == 405


def test_page_is_refused_over_http_1_0_as_nginx_forwards(tmp_path: Path) -> None:
    with (
        running("local", ENVIRON, tmp_path) as program,
        socket.create_connection(("127.0.0.1", program.port), timeout=10) as client,
    ):
        client.sendall(f"GET /frames HTTP/1.0\r\nHost: 127.0.0.1:{program.port}\r\n\r\n".encode())
        assert client.recv(100).split()[1] == b"405"


def test_frames_have_stored_then_new_events(tmp_path: Path) -> None:
    device = Device("emucdd6ef2eu277bo8f52vg", "ccol8iuk9smqiha4e8l0")
    with running("local", ENVIRON, tmp_path) as program:
        post(program, device.body("humidity", datetime.now(UTC)))
        with frames(program) as found:
            first = next(found)
            assert [each["eventType"] for each in first["events"]] == ["humidity"]
            (shown,) = first["devices"]
            assert (shown["id"], shown["name"]) == (device.device_id, "Kjølerom 1")
            assert {each["quantity"] for each in shown["values"]} == {"temperature", "relativeHumidity"}
            post(program, device.body("touch", datetime.now(UTC)))
            following = next(each for each in found if each["events"])
            assert [each["eventType"] for each in following["events"]] == ["touch"]


def test_last_seen_is_no_later_than_the_arrival_and_ignores_late_readings(tmp_path: Path) -> None:
    device = Device("emucdd6ef2eu277bo8f52vg", "ccol8iuk9smqiha4e8l0")
    now = datetime.now(UTC)
    late = device.body("temperature", now + timedelta(minutes=1)).replace(b'Backfilled":false', b'Backfilled":true')
    with running("local", ENVIRON, tmp_path) as program:
        post(program, device.body("humidity", now + timedelta(days=3_000)))
        with frames(program) as found:
            [shown] = next(found)["devices"]
            arrived = datetime.fromisoformat(shown["lastSeen"])
            assert now <= arrived <= datetime.now(UTC)
            # At once, so that its frame is too early for the sensors: they are in a later one.
            post(program, device.body("touch", now + timedelta(days=1)))
            post(program, late)
            [shown] = next(each for each in found if each["devices"])["devices"]
            assert arrived < datetime.fromisoformat(shown["lastSeen"]) <= datetime.now(UTC)
    with running("local", ENVIRON, tmp_path) as program, frames(program) as found:
        assert [each["lastSeen"] for each in next(found)["devices"]] == [shown["lastSeen"]]


def test_unparsed_event_is_shown(tmp_path: Path) -> None:
    with running("local", ENVIRON, tmp_path) as program:
        post(program, b'{"half":')
        with frames(program) as found:
            assert next(found)["events"][0]["value"] == "unparsed: not JSON"


def test_concurrent_events_are_counted(tmp_path: Path) -> None:
    with running("local", ENVIRON, tmp_path) as program, frames(program) as found:
        assert next(found)["total"] == 0
        for _ in range(120):
            post(program, fresh_body())
        counted = 0
        for each in found:
            counted += len(each["events"]) + each["skipped"]
            if each["total"] == 120:
                break
        assert counted == 120


def test_moved_database_with_an_open_page_loses_nothing(tmp_path: Path) -> None:
    with running("local", ENVIRON, tmp_path) as program, frames(program) as found:
        next(found)
        for _ in range(20):
            post(program, fresh_body())
        (tmp_path / "var" / "events.db").rename(tmp_path / "moved.db")
        assert "cannot be read" in next(each for each in found if "error" in each)["error"]
        post(program, fresh_body())
        assert next(each for each in found if each.get("total"))["total"] == 1
    with closing(sqlite3.connect(tmp_path / "moved.db")) as moved:
        # The event that noticed the move may be in both.
        assert moved.execute("SELECT count(*) FROM events").fetchone()[0] in (20, 21)


def test_open_page_does_not_block_shutdown(tmp_path: Path) -> None:
    with running("local", ENVIRON, tmp_path) as program, frames(program) as found:
        next(found)
        started = time.monotonic()
        assert program.stop() == 0
        assert time.monotonic() - started < 5
