"""``dtconn enable``, ``disable``, ``sync`` and ``disconnect``."""

import json
import os
import subprocess
import sys

import pytest

from tests.cli.connectors.conftest import Dtconn, Receiver, environment, listed
from tests.support.desk import SECRET
from tests.support.dt_cloud import DtCloud, until

DONE, FAILED, WRONG, REFUSED, NOT_FOUND, LATER = range(6)


@pytest.fixture
def number(cloud: DtCloud, receiver: Receiver) -> str:
    """The id of a connector that has delivered."""
    made = cloud.connector(receiver.url, displayName="Office", httpConfig={"signatureSecret": SECRET})
    cloud.publish(cloud.sensor("touch"))
    until(lambda: cloud.books(made)[1])
    return made


def state(cloud: DtCloud) -> str:
    (one,) = listed(cloud)
    return str(one["status"])


def test_disable_and_enable(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, number: str) -> None:
    result = dtconn("disable", receiver.url)
    assert result.exit_code == WRONG
    assert "--yes" in result.stderr
    assert state(cloud) == "ACTIVE"
    assert dtconn("disable", receiver.url, "--yes").exit_code == DONE
    assert state(cloud) == "USER_DISABLED"
    assert dtconn("disable", "--yes").exit_code == DONE
    result = dtconn("enable", "--from", receiver.store)
    assert result.exit_code == DONE
    assert state(cloud) == "ACTIVE"
    assert "The newest stored event arrived" in result.stdout
    assert f"dtconn backfill {number} --project " in result.stdout
    assert "--since 20" in result.stdout


def test_enable_without_a_store_asks_for_the_time(dtconn: Dtconn, cloud: DtCloud, number: str) -> None:
    dtconn("disable", "--yes")
    result = dtconn("enable")
    assert result.exit_code == DONE
    assert "not known: no store was looked at" in result.stdout
    found = json.loads(dtconn("enable", "Office", "--json").stdout)
    assert found == {"connector": number, "status": "ACTIVE", "wasActive": True}


def test_a_system_disabled_connector_is_enabled(dtconn: Dtconn, cloud: DtCloud) -> None:
    number = cloud.connector("http://127.0.0.1:9")
    cloud.publish(cloud.sensor("touch"))
    until(lambda: any(each["attempts"] for each in cloud.deliveries(connector=number)))
    for _ in range(6):
        cloud.clock(jump=86_400)
        cloud.publish(cloud.sensor("touch"))
        until(
            lambda: all(each["attempts"] or each["state"] != "waiting" for each in cloud.deliveries(connector=number))
        )
    until(lambda: state(cloud) == "SYSTEM_DISABLED")
    assert dtconn("status").exit_code == 1
    assert "disabled by DT" in dtconn("status").stdout
    assert dtconn("enable").exit_code == DONE
    assert state(cloud) == "ACTIVE"


def test_sync_counts_fresh_devices(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, number: str) -> None:
    dtconn("disable", "--yes")
    missed = cloud.sensor("touch")
    cloud.publish(missed)
    assert dtconn("sync").exit_code == FAILED
    dtconn("enable", "--quiet")
    result = dtconn("sync", "--from", receiver.store, "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["fresh"], found["late"]) == (DONE, found["devices"], [])
    assert found["devices"] >= 2
    assert "devices are fresh." in dtconn("sync", "--from", receiver.store).stdout


def test_sync_names_the_late_devices(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver) -> None:
    # It sends elsewhere, so the store never gets it.
    cloud.connector("http://127.0.0.1:9")
    device = cloud.sensor("touch")
    cloud.publish(device)
    # Something must be there to read.
    dtconn("send", receiver.url)
    result = dtconn("sync", "--from", receiver.store, "--wait", "0", "--json")
    assert result.exit_code == 1
    assert device in json.loads(result.stdout)["late"]


def test_sync_without_a_store_cannot_tell(dtconn: Dtconn, number: str) -> None:
    result = dtconn("sync")
    assert result.exit_code == 2
    assert "name it with --from" in result.stdout


def test_disconnect_wants_the_name(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, number: str) -> None:
    for arguments in ([receiver.url], [receiver.url, "--confirm", "Other"], [number, "--confirm", ""]):
        assert dtconn("disconnect", *arguments).exit_code == WRONG
        assert state(cloud) == "ACTIVE"
    result = dtconn("disconnect", receiver.url, "--confirm", "Office")
    assert result.exit_code == DONE
    assert listed(cloud) == []
    assert dtconn("disconnect", number, "--confirm", "Office").exit_code == NOT_FOUND


@pytest.mark.parametrize(
    "arguments", [["enable"], ["disable", "--yes"], ["sync"], ["disconnect", "Office", "--confirm", "Office"]]
)
def test_what_dt_refuses_changes_nothing(dtconn: Dtconn, cloud: DtCloud, number: str, arguments: list[str]) -> None:
    before = listed(cloud)
    for environ, code in (
        ({"DT_API_KEY_SECRET": "wrong"}, REFUSED),
        ({"DT_CLOUD_PROJECT": "c0md3pm0p7bet3vico8g"}, NOT_FOUND),
        ({"DT_API_URL": "http://127.0.0.1:9"}, LATER),
    ):
        result = dtconn(*arguments, **environ)
        assert (result.exit_code, result.stdout) == (code, "")
        assert len(result.stderr.strip().splitlines()) == 1
    result = dtconn(*arguments, role="project.user")
    assert result.exit_code == REFUSED
    assert "Project Developer" in result.stderr
    assert listed(cloud) == before


def test_one_of_several_must_be_chosen(dtconn: Dtconn, cloud: DtCloud, number: str) -> None:
    other = cloud.connector("http://127.0.0.1:9/other", displayName="Other")
    result = dtconn("disable", "--yes")
    assert result.exit_code == WRONG
    assert number in result.stderr
    assert other in result.stderr
    assert dtconn("disable", "nothing", "--yes").exit_code == NOT_FOUND
    assert dtconn("disable", "http://127.0.0.1:9/other", "--yes").exit_code == DONE
    assert [each["status"] for each in listed(cloud)] == ["ACTIVE", "USER_DISABLED"]


def test_enable_fetches_what_was_missed_if_told_so(
    cloud: DtCloud, receiver: Receiver, dtconn: Dtconn, number: str
) -> None:
    """On a terminal it asks."""
    dtconn("disable", "--yes")
    environ = environment(cloud, "project.developer")
    main, side = os.openpty()
    try:
        os.write(main, b"y\n")
        done = subprocess.run(
            [sys.executable, "-m", "cli", "enable", "--from", str(receiver.store)],
            env=environ, stdin=side, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    finally:
        os.close(main)
        os.close(side)
    assert done.returncode == DONE, done.stderr
    assert "Fetch it now?" in done.stderr
    assert " events fetched, " in done.stdout
