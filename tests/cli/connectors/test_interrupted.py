"""``dtconn connect`` over a network that is slow or ends, and killed at each step."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.connectors import client
from tests.cli.connectors.between import Between
from tests.cli.connectors.conftest import Dtconn, Receiver, environment, listed
from tests.support.desk import SECRET
from tests.support.dt_cloud import DEVELOPER, FIRST_PROJECT, Call, DtCloud, Loopback, Reply, loopback
from tests.support.processes import spawn

DONE, FAILED, WRONG, REFUSED, NOT_FOUND, LATER = range(6)


@pytest.fixture
def between(cloud: DtCloud) -> Iterator[tuple[Between, Loopback]]:
    there = Between(cloud)
    with loopback(there) as server:
        yield there, server


CREATE = ("POST", "dataconnectors")


def test_a_create_that_is_answered_after_3_s_makes_one_connector(
    dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, between: tuple[Between, Loopback]
) -> None:
    there, server = between
    there.change[CREATE] = [3.3]
    result = dtconn("connect", receiver.url, DT_API_URL=server.url)
    assert result.exit_code == DONE, result.output
    assert there.requests.count(CREATE) == 1
    assert len(listed(cloud)) == 1


@pytest.mark.parametrize("faults", [[7.0], [7.0, 7.0], ["lost"], ["lost", "lost"]])
def test_a_twin_of_a_repeated_create_is_removed(
    dtconn: Dtconn,
    cloud: DtCloud,
    receiver: Receiver,
    between: tuple[Between, Loopback],
    monkeypatch: pytest.MonkeyPatch,
    faults: list[Any],
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 3)
    there, server = between
    there.change[CREATE] = list(faults)
    result = dtconn("connect", receiver.url, DT_API_URL=server.url)
    assert result.exit_code == DONE, result.output
    assert there.requests.count(CREATE) == 2
    assert [each["status"] for each in listed(cloud)] == ["ACTIVE"]


@pytest.mark.parametrize("step", ["create", "proof", "change"])
def test_killed_at_a_step_it_goes_on_when_run_again(
    dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, between: tuple[Between, Loopback], tmp_path: Path, step: str
) -> None:
    there, server = between
    endpoint = Between(receiver.program)
    held = endpoint if step == "proof" else there
    held.change = {
        "create": {CREATE: ["held"]},
        "proof": {("POST", "*"): ["held"]},
        "change": {("PATCH", "*"): ["held"]},
    }[step]
    environ = environment(cloud, DEVELOPER) | {"DT_API_URL": server.url, "DT_SIGNATURE_SECRET": SECRET}
    with loopback(endpoint) as front:
        process = spawn([sys.executable, "-m", "cli", "connect", front.url], env=environ, cwd=tmp_path)
        try:
            assert held.is_held.wait(60)
        finally:
            process.kill()
            process.wait()
        assert len(listed(cloud)) == 1
        assert dtconn("connect", front.url).exit_code == DONE
    assert [each["status"] for each in listed(cloud)] == ["ACTIVE"]


STEPS = [
    ("GET", FIRST_PROJECT), ("GET", "permissions"), ("GET", "dataconnectors"), CREATE, ("PATCH", "*"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("step", "status"),
    [
        (step, status)
        for step in STEPS
        for status in (401, 403, 404, 409, 500)
        if step == CREATE or status in (403, 500)
    ],
    ids=str,
)
def test_each_step_may_be_refused_and_the_command_run_again(
    dtconn: Dtconn,
    cloud: DtCloud,
    receiver: Receiver,
    between: tuple[Between, Loopback],
    step: tuple[str, str],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_PATIENCE", 0.0)
    there, server = between

    def refuse(call: Call) -> Reply | None:
        last = call.path.partition("?")[0].rpartition("/")[2]
        if call.method == step[0] and step[1] in (last, "*"):
            quoted = cloud.accounts["project.developer"].secret if call.method == "GET" else SECRET
            return Reply(status, json.dumps({"error": f"{quoted} is quoted", "code": status, "help": ""}).encode())
        return there(call)

    server.answering = refuse
    result = dtconn("connect", receiver.url, role="project.developer", DT_API_URL=server.url)
    assert result.exit_code == {401: REFUSED, 403: REFUSED, 404: NOT_FOUND}.get(status, LATER)
    assert all(each["status"] == "USER_DISABLED" for each in listed(cloud))
    server.answering = there
    assert dtconn("connect", receiver.url, DT_API_URL=server.url).exit_code == DONE
    assert [each["status"] for each in listed(cloud)] == ["ACTIVE"]


@pytest.mark.parametrize("step", [("GET", "permissions"), ("PATCH", "*")], ids=str)
def test_a_step_without_an_answer_is_one_sentence(
    dtconn: Dtconn,
    cloud: DtCloud,
    receiver: Receiver,
    between: tuple[Between, Loopback],
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[str, str],
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 3)
    there, server = between
    there.change[step] = ["held", "held"]
    result = dtconn("connect", receiver.url, DT_API_URL=server.url)
    assert result.exit_code == LATER
    assert "did not answer in 3 s" in result.stderr
    monkeypatch.setattr(client, "TIMEOUT", 60)
    assert dtconn("connect", receiver.url, DT_API_URL=server.url).exit_code == DONE
    assert [each["status"] for each in listed(cloud)] == ["ACTIVE"]
