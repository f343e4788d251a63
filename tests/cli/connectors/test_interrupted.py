"""``dtconn connect`` over a network that is slow or ends."""

from collections.abc import Iterator
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from cli.connectors import client
from tests.cli.connectors.between import Between
from tests.cli.connectors.conftest import Dtconn, Receiver, environment, listed
from tests.support.desk import SECRET
from tests.support.dt_cloud import DEVELOPER, Call, DtCloud, Loopback, Reply, loopback
from tests.support.forks import start

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


@pytest.mark.parametrize("secret", [SECRET, None])
def test_two_at_once_leave_one_connector_or_none_that_sends(
    cloud: DtCloud, receiver: Receiver, tmp_path: Path, secret: str | None
) -> None:
    """Without the receiver's secret, each makes one of its own, so neither connector is a copy of the other."""
    there, both = Between(cloud), Barrier(2)

    def answer(call: Call) -> Reply | None:
        reply = there(call)
        if call.path.endswith("/dataconnectors") and there.requests.count((call.method, "dataconnectors")) <= 2:
            # Both see that there is none, and both create one.
            both.wait(30)
        return reply

    with loopback(answer) as server:
        environ = environment(cloud, DEVELOPER) | {"DT_API_URL": server.url, "DT_SIGNATURE_SECRET": secret or ""}
        processes = []
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            processes.append(start(["connect", receiver.url], environ, tmp_path / name))
        for process in processes:
            process.join(60)
    output = [(tmp_path / name / "output").read_text() for name in ("one", "other")]
    if secret:
        assert ([each.exitcode for each in processes], [each["status"] for each in listed(cloud)]) == (
            [DONE, DONE], ["ACTIVE"],
        ), output  # fmt: skip
    else:
        assert [each["status"] for each in listed(cloud)] == ["USER_DISABLED"] * 2, output
        assert all("dtconn disconnect " in each for each in output), output


def test_killed_at_the_proof_it_goes_on_when_run_again(
    dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, tmp_path: Path
) -> None:
    """For its requests to DT's API, see test_steps.py."""
    endpoint = Between(receiver.program)
    endpoint.change = {("POST", "*"): ["held"]}
    with loopback(endpoint) as front:
        process = start(
            ["connect", front.url], environment(cloud, DEVELOPER) | {"DT_SIGNATURE_SECRET": SECRET}, tmp_path
        )
        assert endpoint.is_held.wait(60)
        process.kill()
        process.join()
        assert [each["status"] for each in listed(cloud)] == ["USER_DISABLED"]
        assert dtconn("connect", front.url).exit_code == DONE
    assert [each["status"] for each in listed(cloud)] == ["ACTIVE"]
