"""``dtconn check``: which sensors are silent."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from core.event import Event
from tests.cli.stored import ONE, OTHER, dtconn, event, fill
from tests.support.ports import free_port

HOUR = timedelta(hours=1)


def at(hours: float, device: object = ONE, event_type: str = "temperature", late: bool = False) -> Event:
    now = datetime.now(UTC)
    body = (OTHER if device is OTHER else ONE).body(event_type, now - hours * HOUR)
    return event(body.replace(b'"isBackfilled":false', b'"isBackfilled":true') if late else body, now)


def lines(output: str) -> dict[str, bool]:
    return {line["deviceId"]: line["isSilent"] for line in map(json.loads, output.splitlines())}


def test_silent_sensor_exits_1(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", [at(3), at(0.1, OTHER), at(9, OTHER, "touch")])
    found = dtconn("check", "--silent", "2h", "--from", tmp_path / "e.db")
    assert found.exit_code == 1
    assert "1 of 2 sensors are silent." in found.stderr
    first, second = found.stdout.splitlines()[1:]
    assert ONE.device_id in first
    assert re.search(r"3\.0 h +silent", first)
    assert "silent" not in second
    assert dtconn("check", "--silent", "4h", "--from", tmp_path / "e.db").exit_code == 0
    found = dtconn("check", "--silent", "2h", "--from", tmp_path / "e.db", "--json")
    assert lines(found.stdout) == {ONE.device_id: True, OTHER.device_id: False}


def test_any_type_of_event_counts(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", [at(30), at(0.5, event_type="networkStatus")])
    assert dtconn("check", "--silent", "1h", "--from", tmp_path / "e.db").exit_code == 0


def test_backfilled_reading_is_no_sign_of_life(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", [at(30, event_type="networkStatus"), at(0.1, late=True)])
    assert dtconn("check", "--silent", "1h", "--from", tmp_path / "e.db").exit_code == 1


def test_live_event_counts_although_a_later_one_was_sent_late(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", [at(2), at(1, late=True)])
    found = dtconn("check", "--silent", "24h", "--from", tmp_path / "e.db", "--json")
    assert found.exit_code == 0
    assert 7_100 < json.loads(found.stdout)["ageSeconds"] < 7_300


def test_time_ahead_counts_as_of_its_arrival(tmp_path: Path) -> None:
    future = event(ONE.body("temperature", datetime.now(UTC) + 90_000 * HOUR), datetime.now(UTC) - 3 * HOUR)
    fill(tmp_path / "e.db", [future, at(5)])
    found = dtconn("check", "--silent", "2h", "--from", tmp_path / "e.db")
    assert found.exit_code == 1
    assert "3.0 h" in found.stdout
    fill(tmp_path / "e.db", [at(1, event_type="touch")])
    assert dtconn("check", "--silent", "2h", "--from", tmp_path / "e.db").exit_code == 0


@pytest.mark.parametrize("event_type", ["labelsChanged", "moodSwing"])
def test_sensor_without_readings_is_shown(tmp_path: Path, event_type: str) -> None:
    now = datetime.now(UTC)
    only = event(ONE.body("touch", now).replace(b'"touch"', f'"{event_type}"'.encode()), now)
    fill(tmp_path / "e.db", [only])
    found = dtconn("check", "--silent", "2h", "--from", tmp_path / "e.db", "--json")
    assert lines(found.stdout) == {ONE.device_id: False}


def test_store_without_events_exits_1(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", [])
    assert dtconn("check", "--silent", "1h", "--from", tmp_path / "e.db").exit_code == 1


def test_store_that_cannot_be_read_exits_2(tmp_path: Path) -> None:
    assert dtconn("check", "--silent", "1h", "--from", tmp_path / "none.db").exit_code == 2
    assert dtconn("check", "--silent", "soon").exit_code == 2


@contextmanager
def webhook(status: int) -> Iterator[tuple[str, list[bytes]]]:
    posted: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hidden", posted
        server.shutdown()
        thread.join()


def test_webhook_gets_the_silent_sensors(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", [at(3), at(0.1, OTHER)])
    with webhook(204) as (url, posted):
        for silent in ("2h", "4h"):
            dtconn("check", "--silent", silent, "--from", tmp_path / "e.db", "--webhook", url)
    [document] = map(json.loads, posted)
    assert document["silentFor"] == "2h"
    assert [sensor["deviceId"] for sensor in document["sensors"]] == [ONE.device_id]
    assert 10_700 < document["sensors"][0]["ageSeconds"] < 11_000


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 500 No\r\n\r\n", b"HTTP/1.1 302 No\r\nLocation: /hidden2\r\n\r\n", b"no\r\n", b""]
)
def test_webhook_that_fails_exits_2_without_its_url(tmp_path: Path, answer: bytes) -> None:
    fill(tmp_path / "e.db", [at(3)])
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/hidden"
        calls: list[bytes] = []
        thread = threading.Thread(target=answer_once, args=(server, answer, calls))
        thread.start()
        found = dtconn("check", "--silent", "2h", "--from", tmp_path / "e.db", "--webhook", url)
        thread.join()
    assert found.exit_code == 2
    assert "webhook" in found.stderr
    assert "hidden" not in found.output
    assert [call.split()[0] for call in calls] == [b"POST"]


def test_webhook_that_is_not_there_exits_2(tmp_path: Path) -> None:
    fill(tmp_path / "e.db", [at(3)])
    url = f"http://127.0.0.1:{free_port()}/hidden"
    found = dtconn("check", "--silent", "2h", "--from", tmp_path / "e.db", "--webhook", url)
    assert found.exit_code == 2
    assert "hidden" not in found.output


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/hidden", "hidden", "hooks.example.com/hidden", "http://[::1", "http://hidden b/", "http://",
        "http://127.0.0.1:hidden/", "http://127.0.0.1:99999/hidden", "ftp://127.0.0.1/hidden", "",
    ],
)  # fmt: skip
def test_what_is_no_webhook_exits_2_before_anything_is_read(tmp_path: Path, url: str) -> None:
    found = dtconn("check", "--silent", "2h", "--from", tmp_path / "none.db", "--webhook", url)
    assert found.exit_code == 2
    assert "--webhook" in found.stderr
    assert "hidden" not in found.output
    assert type(found.exception) is SystemExit


def answer_once(server: socket.socket, answer: bytes, calls: list[bytes]) -> None:
    """Answer one request with bytes, and record what is sent until the client ends."""
    with server.accept()[0] as connection:
        call = b""
        while b"}]}" not in call and (more := connection.recv(65_536)):
            call += more
        calls.append(call)
        connection.sendall(answer)
