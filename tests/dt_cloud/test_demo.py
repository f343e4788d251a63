"""`make demo`, and the commands for its page's buttons."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.support.ports import free_port
from tests.support.processes import ROOT, Program, Requesting


class Page(Requesting):
    """The JSON API of the demo's page."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str) -> Any:
        return json.loads(self.request("GET", path).body)

    def wait_for(self, is_so: Callable[[Any], bool]) -> Any:
        """Return the ledger when it has these counts."""
        deadline = time.monotonic() + 30
        while not is_so(found := self.get("/ledger")):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Yield the page of a running demo."""
    page = Page(free_port())
    program = Program("dt_cloud.demo", {"DT_CLOUD_PORT": str(page.port)}, tmp_path_factory.mktemp("demo"))
    try:
        program.wait_until_ready()
        yield page
    finally:
        code = program.stop()
        output = program.output()
        program.close()
    assert code == 0, output
    assert "Traceback" not in output


def dtconn(page: Page, *arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(app, [*arguments, "--cloud", f"http://127.0.0.1:{page.port}"])
    assert result.exit_code == exit_code, result.output
    return result.output


def test_every_published_event_is_stored_once(page: Page) -> None:
    found = page.wait_for(lambda ledger: ledger["delivered"] > 100)
    assert found["published"] == found["delivered"] + found["waiting"]
    page.wait_for(lambda ledger: ledger["store"]["stored"] > 100)
    assert found["store"]["storedTwice"] == 0


def test_restart_of_the_receiver_loses_nothing(page: Page) -> None:
    dtconn(page, "cloud", "receiver", "stop")
    dtconn(page, "cloud", "jump", "16m")
    page.wait_for(lambda ledger: ledger["waiting"] > 100)
    dtconn(page, "cloud", "receiver", "start")
    found = page.wait_for(lambda ledger: not ledger["waiting"] and not ledger["store"]["missing"])
    assert (found["expired"], found["dropped"]) == (0, 0)
    page.wait_for(lambda ledger: ledger["store"]["stored"] == ledger["delivered"])


def test_a_lost_answer_is_delivered_twice_and_stored_once(page: Page) -> None:
    dtconn(page, "cloud", "fault", "lose-answer", "-n", "5")
    dtconn(page, "cloud", "jump", "16m")
    page.wait_for(lambda _: not page.get("/desk/frame")["faults"])
    found = page.wait_for(lambda ledger: not ledger["waiting"] and ledger["store"]["stored"] == ledger["delivered"])
    assert found["store"]["storedTwice"] == 0


def test_clock_pauses_resumes_and_jumps(page: Page) -> None:
    def now() -> str:
        found: str = page.get("/desk/frame")["clock"]["now"]
        return found

    dtconn(page, "cloud", "pause")
    assert now() == now()
    before = now()
    dtconn(page, "cloud", "jump", "1d")
    assert now()[:13] > before[:13]
    dtconn(page, "cloud", "resume")
    dtconn(page, "cloud", "speed", "30")
    assert page.get("/desk/frame")["clock"]["wanted"] == 30
    dtconn(page, "cloud", "speed", "auto")
    assert page.get("/desk/frame")["clock"]["isAuto"]
    dtconn(page, "cloud", "speed", "60")


def test_event_of_the_publish_command_is_delivered(page: Page) -> None:
    device = next(each for each in page.get("/desk/devices")["devices"] if each["type"] == "touch")
    before = page.get("/ledger")["published"]
    dtconn(page, "cloud", "publish", device["id"], "touch")
    page.wait_for(lambda ledger: ledger["delivered"] > before)


def test_scenario_prints_its_steps_and_result(page: Page) -> None:
    listed = dtconn(page, "scenario")
    assert "outage-12h" in listed
    output = dtconn(page, "scenario", "secret-rotated")
    assert "as expected: waiting 0" in output
    assert not [each for each in page.get("/desk/devices")["devices"] if each["name"].startswith("Scenario")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("cloud", "fault", "no-such"), "the faults are unreachable"),
        (("scenario", "no-such"), "the scenarios are outage-10h"),
        (("cloud", "resend", "999999999"), "only a waiting delivery"),
        (("cloud", "publish", "nobody", "touch"), "no such device"),
    ],
)
def test_unknown_names_are_one_sentence(page: Page, arguments: tuple[str, ...], says: str) -> None:
    output = dtconn(page, *arguments, exit_code=1)
    assert says in output
    assert len(output.splitlines()) == 1


def test_unreachable_or_remote_cloud_is_one_sentence() -> None:
    absent = CliRunner().invoke(app, ["cloud", "ledger", "--cloud", f"http://127.0.0.1:{free_port()}"])
    assert (absent.exit_code, "make demo" in absent.output) == (1, True)
    elsewhere = CliRunner().invoke(app, ["cloud", "ledger", "--cloud", "https://api.d21s.com"])
    assert (elsewhere.exit_code, "not on this machine" in elsewhere.output) == (2, True)


def test_demo_continues_after_a_restart(tmp_path: Path) -> None:
    page, least = Page(free_port()), 50
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        program = Program("dt_cloud.demo", {"DT_CLOUD_PORT": str(page.port)}, tmp_path)
        try:
            program.wait_until_ready()
            found = page.wait_for(lambda ledger, least=least: ledger["delivered"] >= least)  # type: ignore[misc]
            assert len(found["connectors"]) == 2
            least = found["delivered"] + 50
        finally:
            program.stop(number)
            program.close()
        # It leaves no receiver, however it ended.
        deadline = time.monotonic() + 30
        while _is_listening(program.port):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("arguments", "environ", "says"),
    [
        (("--speed", "nan"), {}, "It must be a number above 0"),
        (("--speed", "-5"), {}, "It must be a number above 0"),
        (("--sensors", "-1"), {}, "--sensors"),
        (("--port", "99999"), {}, "--port"),
        ((), {"DT_CLOUD_PORT": "abc"}, "--port"),
        ((), {"DT_CLOUD_PORT": "8123", "PORT": "8123"}, "cannot have the same port"),
    ],
)
def test_invalid_options_of_the_demo(
    arguments: tuple[str, ...], environ: dict[str, str], says: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dt_cloud.demo", *arguments],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_demo_ignores_the_users_filter(tmp_path: Path) -> None:
    page = Page(free_port())
    environ = {"DT_CLOUD_PORT": str(page.port), "DT_PROJECT_ID": "myrealproject", "DT_EVENT_TYPES": "temperature"}
    program = Program("dt_cloud.demo", environ, tmp_path)
    try:
        program.wait_until_ready()
        page.wait_for(lambda ledger: ledger["store"]["stored"] > 50)
        page.wait_for(lambda ledger: not ledger["store"]["missing"])
    finally:
        program.stop()
        program.close()


def test_scenario_reports_its_end_or_another_scenario(page: Page) -> None:
    first = page.request("POST", "/desk/scenarios/disabled-day", {"content-type": "application/json"}, b"{}")
    run = json.loads(first.body)["run"]
    assert page.get("/desk/frame")["scenario"]["run"] == run
    assert page.request("DELETE", "/desk/scenarios", {"content-type": "application/json"}).status == 200
    deadline = time.monotonic() + 30
    while not (found := page.get("/desk/frame")["scenario"])["isDone"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not found["isMet"]
    assert not [each for each in page.get("/desk/devices")["devices"] if each["name"].startswith("Scenario")]
