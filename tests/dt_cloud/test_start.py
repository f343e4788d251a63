"""Starting and stopping: its output, its error messages, and who has access."""

import http.client
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.dt_cloud import DEVICES, FIRST_PROJECT, DtCloud, Loopback, down, ok, until
from tests.support.loopback import SILENT
from tests.support.ports import free_port
from tests.support.processes import ROOT

# Seconds: two, and two more for a busy machine.
STOPPED = 4


def refused(folder: Path, *arguments: str, port: int | None = None, database: Path | None = None) -> str:
    """Start it, expect a failure, and return its message."""
    done = subprocess.run(
        [sys.executable, "-m", "dt_cloud", *arguments],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DT_CLOUD_PORT": str(port or free_port()),
            "DT_CLOUD_DATABASE": str(database or folder / "cloud.db"),
            "NO_COLOR": "1",
            "COLUMNS": "200",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode not in (0, None, -signal.SIGKILL)
    assert "Traceback" not in done.stdout
    return done.stdout


def sqlite(path: Path, *statements: str) -> None:
    """Create or change a database."""
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("kind", ["foreign database", "other version", "no database", "a folder"])
def test_unusable_database_is_not_changed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "cloud.db"
    if kind == "foreign database":
        sqlite(path, "CREATE TABLE theirs (a)", "INSERT INTO theirs VALUES (1)")
    elif kind == "other version":
        sqlite(path, "CREATE TABLE meta (a)", f"PRAGMA application_id={0x44546301}", "PRAGMA user_version=99")
    elif kind == "no database":
        path.write_text("a letter to somebody, which is longer than the header of a database would be\n" * 20)
    else:
        path.mkdir()
    before = path.read_bytes() if path.is_file() else None
    said = refused(tmp_path)
    assert said.count("\n") == 1
    assert "cloud.db" in said
    assert "DT_CLOUD_DATABASE" in said
    assert (path.read_bytes() if path.is_file() else None) == before
    assert [each.name for each in tmp_path.iterdir()] == ["cloud.db"]


def test_a_database_in_use(cloud: DtCloud, tmp_path: Path) -> None:
    said = refused(tmp_path, database=cloud.database)
    assert "is in use" in said
    assert said.count("\n") == 1
    assert cloud.request("GET", "/ledger").status == 200


def test_a_port_in_use(cloud: DtCloud, tmp_path: Path) -> None:
    said = refused(tmp_path, port=cloud.port, database=tmp_path / "other.db")
    assert said == f"Port {cloud.port} cannot be used: Address already in use. Set DT_CLOUD_PORT to another one.\n"
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--speed", "fast"], "It must be a number above 0, such as 3600, or auto."),
        (["--speed", "0"], "--speed"),
        (["--speed", "nan"], "--speed"),
        (["--signs", "never"], "each, once"),
        (["--success", "201"], "2xx, 200"),
        (["--creators", "everybody"], "developer, admin"),
        (["--backoff", "none"], "formula, table"),
        (["--hidden-for", "-1"], "--hidden-for"),
        (["--max-connectors", "0"], "--max-connectors"),
        (["--requests-per-second", "0"], "--requests-per-second"),
        (["--port", "0"], "--port"),
        (["--allow-host", "https://x.y"], "a host alone"),
        (["--allow-host", "x.y", "--allow-host", "x.y:443"], "a host alone"),
        (["--allow-host", "x.y/z"], "a host alone"),
        (["--allow-host", ""], "a host alone"),
        (["--what"], "--what"),
    ],
)
def test_unknown_options_are_refused(tmp_path: Path, arguments: list[str], says: str) -> None:
    assert says in refused(tmp_path, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_start_prints_the_exports(shared: DtCloud) -> None:
    account, url = shared.accounts["project.developer"], shared.url
    found = dict(re.findall(r"^export (\w+)=(\S+)$", shared.output(), re.MULTILINE))
    assert found["DT_API_URL"] == found["DT_EMULATOR_URL"] == url
    assert found["DT_OIDC_TOKEN_ENDPOINT"] == f"{url}/oauth2/token"
    assert found["DT_API_KEY_SECRET"] == found["DT_SERVICE_ACCOUNT_SECRET"] == account.secret
    assert found["DT_API_KEY_ID"] == found["DT_SERVICE_ACCOUNT_KEY_ID"] == account.key_id
    assert found["DT_OIDC_EMAIL"] == found["DT_SERVICE_ACCOUNT_EMAIL"] == account.email
    assert (found["DT_CLOUD_PROJECT"], found["DT_ISSUER"]) == (FIRST_PROJECT, f"{url}/data-connector")
    assert "DT_PROJECT_ID" not in found


def test_printed_python_lines_configure_the_client(shared: DtCloud, tmp_path: Path) -> None:
    pytest.importorskip("disruptive", reason="needs disruptive: make test installs it")
    lines = re.findall(r"^#   (.*)$", shared.output(), re.MULTILINE)
    assert len(lines) == 3
    program = "\n".join([*lines, "print(dt.Project.list_projects()[0].project_id)"])
    environ = dict(re.findall(r"^export (\w+)=(\S+)$", shared.output(), re.MULTILINE))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", **environ},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == f"{FIRST_PROJECT}\n"


def test_sigterm_stops_within_2_s_and_the_queue_continues(cloud: DtCloud, receiver: Loopback) -> None:
    receiver.answering = down
    connector = cloud.connector(receiver.url)
    sensor = cloud.sensor()
    cloud.publish(sensor)
    cloud.attempts(cloud.deliveries()[0]["id"], 1)
    # One attempt is in progress, to a receiver that does not answer.
    receiver.answering = lambda _: SILENT
    cloud.publish(sensor)
    until(lambda: len(receiver.calls) == 2)
    began, printed = time.monotonic(), cloud.output()
    assert cloud.stop() == 0
    assert time.monotonic() - began < STOPPED
    assert "Traceback" not in cloud.output()
    receiver.answering = ok
    cloud.start()
    # The same ids and secrets.
    assert cloud.output() == printed * 2
    assert cloud.ledger(connector)["published"] == 2
    cloud.clock(jump=60)
    until(lambda: cloud.books(connector) == (2, 2, 0, 0, 0))


@pytest.mark.parametrize("path", ["/desk/frames", f"/v2{DEVICES}:stream"])
def test_sigterm_stops_within_2_s_with_open_streams(cloud: DtCloud, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=10)
    connection.request("GET", path, headers={"Authorization": cloud.basic(cloud.accounts["project.user"])})
    response = connection.getresponse()
    began = time.monotonic()
    assert cloud.stop() == 0
    assert time.monotonic() - began < STOPPED
    response.close()
    connection.close()
    assert "Traceback" not in cloud.output()


def test_sigint_stops_it(cloud: DtCloud) -> None:
    assert cloud.stop(signal.SIGINT) == 0
    assert "Traceback" not in cloud.output()


def test_time_never_runs_back(cloud: DtCloud, receiver: Loopback) -> None:
    receiver.answering = down
    connector = cloud.connector(receiver.url)
    cloud.publish(cloud.sensor())
    cloud.attempts(cloud.deliveries()[0]["id"], 1)
    cloud.clock(jump=11 * 3600)
    cloud.attempts(cloud.deliveries()[0]["id"], 2)
    cloud.stop(signal.SIGKILL)
    cloud.start()
    cloud.clock(jump=3600)
    assert cloud.books(connector) == (1, 0, 0, 1, 0)


def test_listens_only_on_loopback(shared: DtCloud) -> None:
    hosts = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, state = line.split()[1], line.split()[3]
        host, port = local.split(":")
        if int(port, 16) == shared.port and state == "0A":
            hosts.add(socket.inet_ntoa(bytes.fromhex(host)[::-1]))
    assert hosts == {"127.0.0.1"}
    assert f":{shared.port:04X} " not in Path("/proc/net/tcp6").read_text()


@pytest.mark.parametrize("host", ["example.com", "cloud.example:80", "127.0.0.1.example.com", ""])
def test_other_host_names_are_refused(shared: DtCloud, host: str) -> None:
    for path in ("/", "/ledger", "/v2/projects", "/desk/frame"):
        assert shared.request("GET", path, {"Host": host}).status == 400


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_desk_accepts_only_json(shared: DtCloud, kind: str) -> None:
    answer = shared.request("POST", "/desk/clock", {"Content-Type": kind}, b'{"jump": 1}')
    assert answer.status == 400
    assert b"application/json" in answer.body


def test_database_and_key_are_private(shared: DtCloud) -> None:
    for path in shared.database.parent.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
