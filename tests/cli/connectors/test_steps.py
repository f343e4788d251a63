"""Each command, with a fault at each of its requests to DT's API: refused, unanswered, killed; then it is run again."""

import json
import re
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from cli.connectors import client, trial
from tests.cli.connectors.conftest import Dtconn, Receiver, environment, listed
from tests.support.desk import SECRET
from tests.support.dt_cloud import DEVELOPER, DEVICES, FIRST_PROJECT, Call, DtCloud, Reply, loopback, until
from tests.support.forks import start
from tests.support.loopback import DROPPED, SILENT
from tests.support.processes import running

pytestmark = pytest.mark.long

DONE, ILL, UNKNOWN, REFUSED, NOT_FOUND, LATER = range(6)
STATUSES = {401: REFUSED, 403: REFUSED, 404: NOT_FOUND, 409: LATER, 429: LATER, 500: LATER}
NEXT = "the secret after this one, of 40 or more bytes"
# The command, and the state of the connector before it; None: there is none.
COMMANDS = {
    "status": (("status", "--from", "{store}"), "ACTIVE"),
    "doctor": (("doctor",), "ACTIVE"),
    "watch": (("watch", "--once"), "ACTIVE"),
    "connect": (("connect", "{url}"), None),
    "connect, tested": (("connect", "{url}", "--test", "--from", "{store}"), None),
    "connect, changed": (("connect", "{url}", "--event", "touch", "--name", "Other"), "ACTIVE"),
    "enable": (("enable", "--from", "{store}"), "USER_DISABLED"),
    "disable": (("disable", "--yes"), "ACTIVE"),
    "sync": (("sync", "--from", "{store}"), "ACTIVE"),
    "disconnect": (("disconnect", "{url}", "--confirm", "Office"), "ACTIVE"),
    "backfill": (("backfill", "--since", "1h", "--to", "sqlite:new.db"), "ACTIVE"),
    "rotate-secret": (("rotate-secret", "local", "--url", "{url}", "--watch", "0", "--wait", "5"), "ACTIVE"),
}
READING = ("status", "doctor", "watch")


class Api:
    """Passes requests on to DT Cloud, with a fault at one of them.

    Args:
        cloud: DT Cloud.
    """

    def __init__(self, cloud: DtCloud) -> None:
        self._cloud = cloud
        self.begin()

    def begin(self, step: int = 0, fault: Any = None) -> None:
        """Count from 1 again, with a fault at a request.

        Args:
            step: The request's number, where repetitions do not count; 0 for none.
            fault: The status of its answer, and of that to each repetition; or "silent", also for its repetitions;
                "lost", for that one answer; "before" or "after": when the process is killed.
        """
        self.requests: list[str] = []
        self.process: Future[ForkServerProcess] = Future()
        self._step, self._fault, self._where = step, fault, ""

    def __call__(self, call: Call) -> Reply | None:
        where = f"{call.method} {call.path.partition('?')[0]}"
        if self.requests[-1:] != [where]:
            self.requests.append(where)
        if len(self.requests) == self._step:
            self._where = where
        fault = self._fault if where == self._where else None
        if isinstance(fault, int):
            quoted = self._cloud.accounts[DEVELOPER].secret if call.method == "GET" else SECRET
            return Reply(fault, json.dumps({"error": f"{quoted} is quoted", "code": fault, "help": ""}).encode())
        if fault == "before":
            self.process.result(60).kill()
            return DROPPED
        headers = {name: text for name, text in call.headers.items() if name in ("authorization", "content-type")}
        answer = self._cloud.request(call.method, call.path, headers, call.body)
        if fault == "after":
            self.process.result(60).kill()
            return DROPPED
        if fault == "silent":
            return SILENT
        if fault == "lost":
            self._fault = None
            return DROPPED
        return Reply(answer.status, answer.body)


@dataclass
class Bench:
    """A command, DT Cloud behind `Api`, and a receiver.

    Args:
        command: A key of `COMMANDS`.
    """

    command: str
    cloud: DtCloud
    receiver: Receiver
    api: Api
    url: str
    dtconn: Dtconn
    monkeypatch: pytest.MonkeyPatch
    root: Path

    def begin(self) -> Path:
        """Have everything as it was before the command, and return a new folder to run it in."""
        for each in listed(self.cloud):
            self.cloud.desk("DELETE", f"/connectors/{each['name'].rpartition('/')[2]}")
        for each in self.cloud.call("GET", DEVICES)["devices"]:
            if "dtconn" in each["labels"]:
                self.cloud.call("DELETE", f"/{each['name']}")
        status = COMMANDS[self.command][1]
        if status:
            self.cloud.connector(
                self.receiver.url, displayName="Office", status=status, labels=["name"],
                httpConfig={"signatureSecret": SECRET},
            )  # fmt: skip
        folder = self.root / str(len(list(self.root.iterdir())))
        (folder / "var").mkdir(parents=True)
        (folder / "var/signature-secret").write_text(json.dumps([NEXT, SECRET]))
        self.monkeypatch.chdir(folder)
        self.api.begin()
        return folder

    @property
    def words(self) -> list[str]:
        return [each.format(url=self.receiver.url, store=self.receiver.store) for each in COMMANDS[self.command][0]]

    def run(self) -> Result:
        result = self.dtconn(*self.words, role=DEVELOPER, DT_API_URL=self.url, DT_EMULATOR_URL=self.url)
        assert "Traceback" not in result.output
        return result

    def killed(self, folder: Path) -> None:
        """Run it in a process of its own until it is killed."""
        addresses = {"DT_API_URL": self.url, "DT_EMULATOR_URL": self.url}
        environ = environment(self.cloud, DEVELOPER) | {
            "DT_SIGNATURE_SECRET": SECRET,
            "DT_CLOUD_PROJECT": FIRST_PROJECT,
        }
        process = start(self.words, environ | addresses, folder)
        self.api.process.set_result(process)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, (folder / "output").read_text()

    def state(self) -> Any:
        """Return what the command has left."""
        stored = []
        if Path("new.db").exists():
            with closing(sqlite3.connect("new.db")) as connection:
                stored = sorted(connection.execute("SELECT key FROM events").fetchall())
        connectors = [{**each, "name": ""} for each in listed(self.cloud)]
        return connectors, stored, [each["name"] for each in self.cloud.call("GET", DEVICES)["devices"]]

    def steps(self) -> dict[int, str]:
        """Run it undisturbed, and return its requests by their number."""
        self.begin()
        result = self.run()
        assert result.exit_code == DONE, result.output
        self.wanted = self.state()
        # Without that for DT's clock, which the doctor can do without.
        return {step: where for step, where in enumerate(self.api.requests, 1) if where != "GET /v2"}

    def again(self) -> None:
        """Run it again, and check that it has left what it leaves undisturbed."""
        self.api.begin()
        result = self.run()
        is_done = self.command == "disconnect" and self.state() == self.wanted
        assert result.exit_code in ((DONE, NOT_FOUND) if is_done else (DONE,)), result.output
        assert self.state() == self.wanted


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver in the midst of a rotation, so that no rotation has to start it again."""
    folder = tmp_path_factory.mktemp("receiver")
    environ = {"DT_SIGNATURE_SECRET": json.dumps([NEXT, SECRET]), "DT_DATABASE": str(folder / "events.db")}
    with running("local", environ, folder) as program:
        yield Receiver(program, folder / "events.db")


@pytest.fixture(scope="module")
def sensors(module_cloud: DtCloud) -> None:
    for number in range(2):
        module_cloud.publish(module_cloud.sensor("touch", name=f"Door {number}"))


@pytest.fixture(params=COMMANDS)
def bench(
    request: pytest.FixtureRequest,
    cloud: DtCloud,
    receiver: Receiver,
    sensors: None,
    dtconn: Dtconn,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Bench]:
    monkeypatch.setattr(client, "_PATIENCE", 0.0)
    monkeypatch.setattr(client, "_PER_SECOND", 1_000.0)
    monkeypatch.setattr(trial, "_EVERY", 0.05)
    api = Api(cloud)
    with loopback(api) as server:
        yield Bench(request.param, cloud, receiver, api, server.url, dtconn, monkeypatch, tmp_path)


def test_refused_at_a_step_it_says_so_and_can_be_run_again(bench: Bench) -> None:
    for step, where in bench.steps().items():
        for status, code in STATUSES.items():
            bench.begin()
            bench.api.begin(step, status)
            result = bench.run()
            if status == 404 and where.startswith("DELETE"):  # it is gone already
                assert result.exit_code == DONE, result.output
                continue
            wanted = UNKNOWN if bench.command in READING else code
            assert result.exit_code == wanted, (where, status, result.output)
        bench.again()


def test_unanswered_at_a_step_it_says_so_and_can_be_run_again(bench: Bench) -> None:
    for step, where in bench.steps().items():
        bench.begin()
        bench.api.begin(step, "lost")
        result = bench.run()
        assert (result.exit_code, bench.state()) == (DONE, bench.wanted), (where, result.output)
        bench.begin()
        bench.api.begin(step, "silent")
        with bench.monkeypatch.context() as patch:
            patch.setattr(client, "TIMEOUT", 0.3)
            result = bench.run()
        wanted = UNKNOWN if bench.command in READING else LATER
        if where.startswith("POST") and result.exit_code == DONE:  # it was found in the list
            assert bench.state() == bench.wanted
        else:
            assert result.exit_code == wanted, (where, result.output)
        bench.again()


def test_killed_at_a_step_it_can_be_run_again(bench: Bench) -> None:
    for step, where in bench.steps().items():
        for fault in ("before",) if where.startswith("GET") else ("before", "after"):
            folder = bench.begin()
            bench.api.begin(step, fault)
            bench.killed(folder)
            bench.again()


@pytest.mark.parametrize("bench", ["enable"], indirect=True)
def test_what_was_missed_is_known_although_the_connector_is_active_when_enable_ends(bench: Bench) -> None:
    number = bench.cloud.connector(bench.receiver.url, httpConfig={"signatureSecret": SECRET})
    bench.cloud.publish(bench.cloud.sensor("touch"))
    until(lambda: bench.cloud.books(number)[1])
    [*_, change] = bench.steps()
    fetch = "dtconn backfill [a-z0-9]{20} --project [a-z0-9]{20} --since 20[^ ]*Z"
    folder = bench.begin()
    bench.api.begin(change, "after")
    bench.killed(folder)
    assert re.search(fetch, (folder / "output").read_text())
    bench.begin()
    bench.api.begin(change, "silent")
    bench.monkeypatch.setattr(client, "TIMEOUT", 0.3)
    result = bench.dtconn(*bench.words, "--json", role=DEVELOPER, DT_API_URL=bench.url)
    assert (result.exit_code, result.stdout, listed(bench.cloud)[0]["status"]) == (LATER, "", "ACTIVE")
    assert re.search(fetch, result.stderr)
