"""``dtconn status``."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.receiver import UNVERIFIED
from tests.cli.connectors.conftest import Dtconn, Receiver
from tests.support.desk import SECRET
from tests.support.dt_cloud import PROJECTS, DtCloud, Reply, always, loopback, until

WELL, ILL, UNKNOWN = range(3)
OFFICE, COLD = PROJECTS


def rows(result: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(result.stdout)["rows"]
    return found


@pytest.fixture
def connected(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver) -> str:
    """The id of a connector that has delivered a touch."""
    number = cloud.connector(
        receiver.url, displayName="Office", labels=["name"], httpConfig={"signatureSecret": SECRET, "headers": {}}
    )
    cloud.publish(cloud.sensor("touch"))
    until(lambda: cloud.books(number)[1])
    return number


def test_all_is_well(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, connected: str) -> None:
    result = dtconn("status", "--from", receiver.store)
    assert result.exit_code == WELL, result.output
    assert "Office" in result.stdout
    assert "active" in result.stdout
    (row,) = rows(dtconn("status", "--from", receiver.store, "--json", role="project.user"))
    assert (row["connector"], row["state"], row["successes"], row["errors"]) == (connected, "ACTIVE", 1, 0)
    assert (row["events"], row["labels"], row["ills"]) == ([], ["name"], [])
    assert row["endpoint"]["kind"] == "unverified"
    assert row["p99Seconds"] < 10
    stored = json.loads(dtconn("status", "--from", receiver.store, "--json").stdout)["stored"]
    assert 0 <= stored["newest"][OFFICE]["ageSeconds"] < 300


def test_nothing_is_stored_by_asking(dtconn: Dtconn, receiver: Receiver, connected: str) -> None:
    def events() -> int:
        return len(dtconn("events", "--from", receiver.store, "--json", "--limit", "0").stdout.splitlines())

    before = events()
    dtconn("status")
    assert events() == before


def test_all_projects_are_shown(dtconn: Dtconn, connected: str) -> None:
    result = dtconn("status", "--json", role="organization.admin", DT_CLOUD_PROJECT=None)
    assert [(row["project"], row["connector"]) for row in rows(result)] == [(OFFICE, connected), (COLD, None)]
    assert result.exit_code == WELL
    (row,) = rows(dtconn("status", "--project", COLD, "--json", role="organization.admin"))
    assert row["project"] == COLD


def test_without_a_connector_it_cannot_tell(dtconn: Dtconn, cloud: DtCloud) -> None:
    result = dtconn("status")
    assert result.exit_code == UNKNOWN
    assert "dtconn connect URL" in result.stdout


def test_a_disabled_connector_is_ill_and_its_command_is_named(dtconn: Dtconn, cloud: DtCloud, connected: str) -> None:
    cloud.desk("PATCH", f"/connectors/{connected}", {"status": "USER_DISABLED"})
    result = dtconn("status")
    assert result.exit_code == ILL
    assert f"dtconn enable {connected}" in result.stdout


def test_failing_deliveries_are_ill(dtconn: Dtconn, cloud: DtCloud) -> None:
    with loopback(always(401)) as server:
        number = cloud.connector(f"{server.url}/path?code=a-functions-key")
        cloud.publish(cloud.sensor("touch"))
        until(lambda: any(each["attempts"] for each in cloud.deliveries(connector=number)))
        result = dtconn("status")
        (row,) = rows(dtconn("status", "--json"))
    assert result.exit_code == ILL
    assert "attempts of the last 3 h failed" in result.stdout
    assert "401, not the receiver's" in result.stdout
    assert row["url"] == f"{server.url}/path?..."
    assert "a-functions-key" not in result.output


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(200, b"ok"), "foreign success"),
        (Reply(404, b""), "platform"),
        (Reply(502, b""), "other"),
        (None, "silent"),
    ],
)
def test_an_endpoint_that_is_no_receiver_is_ill(dtconn: Dtconn, cloud: DtCloud, reply: Reply | None, kind: str) -> None:
    with loopback(lambda _: reply) as server:
        cloud.connector(server.url)
        result = dtconn("status", "--json")
    assert result.exit_code == ILL
    assert rows(result)[0]["endpoint"]["kind"] == kind


def test_the_connectors_own_headers_are_sent(dtconn: Dtconn, cloud: DtCloud) -> None:
    with loopback(lambda _: Reply(401, UNVERIFIED.body)) as server:
        cloud.connector(server.url, httpConfig={"headers": {"x-functions-key": "abc"}})
        assert dtconn("status").exit_code == WELL
        assert server.calls[0].headers["x-functions-key"] == "abc"


@pytest.mark.parametrize(
    "environ",
    [{"DT_API_KEY_SECRET": "wrong"}, {"DT_API_URL": "http://127.0.0.1:9"}, {"DT_API_KEY_ID": None}],
)
def test_what_hides_the_answer_is_2(dtconn: Dtconn, environ: dict[str, str | None]) -> None:
    result = dtconn("status", **environ)
    assert (result.exit_code, result.stdout) == (UNKNOWN, "")
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_store_that_cannot_be_read_is_2_if_it_was_named(dtconn: Dtconn, connected: str, tmp_path: Path) -> None:
    result = dtconn("status", "--from", tmp_path / "nothing.db")
    assert result.exit_code == UNKNOWN
    assert "There is no database" in result.stdout


def test_quiet_is_the_exit_code_alone(dtconn: Dtconn, connected: str) -> None:
    result = dtconn("status", "--quiet")
    assert (result.exit_code, result.output) == (WELL, "")
