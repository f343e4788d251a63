"""``dtconn connect``, against DT Cloud on the desk and the real receiver."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cli.connectors import client, trial
from cli.connectors.access import load_access
from core.receiver import UNVERIFIED
from tests.cli.connectors.between import Between
from tests.cli.connectors.conftest import Dtconn, Receiver, listed
from tests.support.desk import SECRET
from tests.support.dt_cloud import DEVELOPER, DEVICES, FIRST_PROJECT, Call, DtCloud, Reply, loopback
from tests.support.loopback import in_turn

DONE, FAILED, WRONG, REFUSED, NOT_FOUND, LATER = range(6)


def stored(receiver: Receiver) -> set[str]:
    """Return the keys in the receiver's store."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(receiver.store)) as connection:
        return {key for (key,) in connection.execute("SELECT key FROM events")}


# ---- what it makes ----


def test_a_new_connector_is_proven_and_active(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver) -> None:
    before = stored(receiver)
    result = dtconn("connect", receiver.url, "--name", "Office", "--event", "touch", "--header", "x-key: abc", "--json")
    assert result.exit_code == DONE, result.output
    (made,) = listed(cloud)
    found = json.loads(result.stdout)
    assert (found["connector"], found["isNew"], found["status"]) == (made["name"].rpartition("/")[2], True, "ACTIVE")
    assert found["proof"] == {"right": 200, "wrong": 401}
    assert (made["displayName"], made["status"], made["events"], made["labels"]) == (
        "Office", "ACTIVE", ["touch"], ["name"],
    )  # fmt: skip
    assert made["httpConfig"] == {"url": receiver.url, "signatureSecret": SECRET, "headers": {"x-key": "abc"}}
    (proof,) = stored(receiver) - before
    assert ".touch.emu" in proof


def test_again_changes_nothing_and_then_only_what_is_given(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver) -> None:
    dtconn("connect", receiver.url, "--header", "a:b")
    before = listed(cloud)
    # The same endpoint, written differently.
    result = dtconn("connect", receiver.url + "/", "--json")
    assert (result.exit_code, json.loads(result.stdout)["changes"]) == (DONE, []), result.output
    assert listed(cloud) == before
    twice = ["--event", "touch", "--label", "floor"] * 2
    result = dtconn("connect", receiver.url, *twice, "--json")
    assert json.loads(result.stdout)["changes"] == ["events", "labels"]
    (after,) = listed(cloud)
    assert after == before[0] | {"events": ["touch"], "labels": ["floor"]}
    dtconn("connect", receiver.url, "--event", "all", "--label", "", "--header", "")
    (after,) = listed(cloud)
    assert (after["events"], after["labels"], after["httpConfig"]["headers"]) == ([], [], {})


def test_dry_run_prints_and_changes_nothing(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver) -> None:
    before = stored(receiver)
    result = dtconn("connect", receiver.url, "--dry-run", "--header", "x-key:hidden-value")
    assert result.exit_code == DONE
    assert "+ url" in result.stdout
    assert "hidden-value" not in result.output
    assert listed(cloud) == []
    dtconn("connect", receiver.url)
    one = listed(cloud)
    result = dtconn("connect", receiver.url, "--event", "touch", "--dry-run")
    assert "~ events   all -> touch" in result.stdout
    assert listed(cloud) == one
    assert dtconn("connect", receiver.url, "--dry-run").stdout.startswith("Nothing: ")
    assert len(stored(receiver) - before) == 1


def test_quiet_prints_nothing(dtconn: Dtconn, receiver: Receiver) -> None:
    result = dtconn("connect", receiver.url, "--quiet")
    assert (result.exit_code, result.output) == (DONE, "")


def test_a_secret_is_made_shown_once_and_used_again(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver) -> None:
    result = dtconn("connect", receiver.url, DT_SIGNATURE_SECRET=None)
    assert result.exit_code == FAILED
    (made,) = listed(cloud)
    secret = made["httpConfig"]["signatureSecret"]
    assert made["status"] == "USER_DISABLED"
    assert len(secret) >= 32
    assert f"DT_SIGNATURE_SECRET={secret}" in result.stderr
    again = dtconn("connect", receiver.url, DT_SIGNATURE_SECRET=None)
    assert again.exit_code == FAILED
    assert secret not in again.output
    # Given the receiver's secret, the same command goes on.
    assert dtconn("connect", receiver.url).exit_code == DONE
    (made,) = listed(cloud)
    assert (made["status"], made["httpConfig"]["signatureSecret"]) == ("ACTIVE", SECRET)


def test_the_secret_is_read_from_the_file_of_make_run(
    dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/signature-secret").write_text(SECRET + "\n")
    assert dtconn("connect", receiver.url, DT_SIGNATURE_SECRET=None).exit_code == DONE
    assert listed(cloud)[0]["httpConfig"]["signatureSecret"] == SECRET


def test_the_test_touch_is_delivered_stored_and_removed(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver) -> None:
    left = cloud.sensor("touch", dtconn="proof")  # of a run that was killed
    result = dtconn("connect", receiver.url, "--test", "--from", receiver.store, "--json")
    assert result.exit_code == DONE, result.output
    test = json.loads(result.stdout)["test"]
    assert (test["isCounted"], test["isStored"]) == (True, True)
    assert any(key.endswith(test["device"]) for key in stored(receiver))
    devices = [each["name"] for each in cloud.call("GET", DEVICES)["devices"]]
    assert not [name for name in devices if name.endswith((test["device"], left))]


def test_proofs_are_not_among_the_latest_and_no_sensor_to_check(dtconn: Dtconn, receiver: Receiver) -> None:
    dtconn("connect", receiver.url, "--test", "--from", receiver.store)
    assert dtconn("events", "--from", receiver.store).stdout.count("dtconn: proof") >= 2
    assert dtconn("latest", "--from", receiver.store).stdout == ""
    assert dtconn("check", "--silent", "1h", "--from", receiver.store).stdout.startswith("0 of 0")


# ---- where DT alone can sign ----


def only_es256(call: Call) -> Reply:
    """Answer as a receiver that verifies DT's asymmetric signature only."""
    if "dt-asymmetric-signature" in call.headers:
        return Reply(200, b"", {"event-outcome": "stored"})
    return Reply(401, UNVERIFIED.body)


def test_without_a_secret_dts_own_signature_is_the_proof(dtconn: Dtconn, cloud: DtCloud) -> None:
    with loopback(only_es256) as server:
        assert dtconn("connect", server.url, "--no-secret").exit_code == WRONG
        result = dtconn("connect", server.url, "--no-secret", "--test", DT_SIGNATURE_SECRET=None)
    assert result.exit_code == DONE, result.output
    (made,) = listed(cloud)
    assert (made["status"], made["httpConfig"]["signatureSecret"]) == ("ACTIVE", "")
    assert "DT_SIGNATURE_SECRET" not in result.output


def test_a_test_that_fails_changes_nothing_on_an_active_connector(
    dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "WAIT", 1.0)
    dtconn("connect", receiver.url)
    before = listed(cloud)
    # The receiver wants a signature by the secret.
    result = dtconn("connect", receiver.url, "--no-secret", "--test", "--name", "Other")
    assert result.exit_code == FAILED
    assert "nothing is changed" in result.stderr
    assert listed(cloud) == before


def test_a_test_that_fails_leaves_the_new_connector_disabled(
    dtconn: Dtconn, cloud: DtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "WAIT", 1.0)
    with loopback(lambda _: Reply(401, UNVERIFIED.body)) as server:
        result = dtconn("connect", server.url, "--no-secret", "--test")
        assert result.exit_code == FAILED
        assert listed(cloud)[0]["status"] == "USER_DISABLED"


# ---- endpoints that are no receiver ----


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(200, b"hello"), "DT takes for stored"),
        (Reply(401, b""), "not public"),
        (Reply(403, b"{}"), "not public"),
        (Reply(404, b""), "no function at this URL"),
        (Reply(502, b""), "answers 502"),
        (Reply(401, UNVERIFIED.body), "does not accept the secret"),
        (Reply(200, b"", {"event-outcome": "stored"}), "does not verify signatures"),
        (None, "cannot be reached"),
    ],
)
def test_an_endpoint_that_is_no_receiver_stays_disabled(
    dtconn: Dtconn, cloud: DtCloud, reply: Reply | None, said: str
) -> None:
    with loopback(lambda _: reply) as server:
        result = dtconn("connect", server.url)
    assert result.exit_code == FAILED
    assert said in result.stderr
    assert "stays disabled" in result.stderr
    assert [each["status"] for each in listed(cloud)] == ["USER_DISABLED"]


def test_a_wrong_secret_does_not_reach_an_active_connector(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver) -> None:
    dtconn("connect", receiver.url)
    before = listed(cloud)
    result = dtconn("connect", receiver.url, "--event", "touch", DT_SIGNATURE_SECRET="x" * 40)
    assert result.exit_code == FAILED
    assert "The connector was not changed." in result.stderr
    assert listed(cloud) == before


# ---- what DT Cloud answers ----


def test_roles_that_may_not_are_told_before_anything_is_changed(
    dtconn: Dtconn, cloud: DtCloud, receiver: Receiver
) -> None:
    result = dtconn("connect", receiver.url, role="project.user")
    assert result.exit_code == REFUSED
    assert "dataconnector.create" in result.stderr
    assert "Project Developer" in result.stderr
    assert listed(cloud) == []
    for role in ("project.developer", "project.admin", "organization.admin"):
        assert dtconn("connect", receiver.url, role=role).exit_code == DONE


def test_a_developer_who_may_not_create_is_told_of_the_administrator(
    dtconn: Dtconn, cloud: DtCloud, receiver: Receiver
) -> None:
    """As DT's support article has it."""
    there = Between(cloud)

    def answer(call: Call) -> Reply:
        reply = there(call)
        assert reply
        return replace(reply, content=reply.content.replace(b'"dataconnector.create"', b'"another"'))

    with loopback(answer) as server:
        result = dtconn("connect", receiver.url, DT_API_URL=server.url)
    assert (result.exit_code, listed(cloud)) == (REFUSED, [])
    assert "Project Administrator" in result.stderr


@pytest.mark.parametrize(
    ("environ", "code", "said"),
    [
        ({"DT_API_KEY_SECRET": "wrong-secret-of-somebody"}, REFUSED, "401"),
        ({"DT_CLOUD_PROJECT": "c0md3pm0p7bet3vico8g"}, NOT_FOUND, "404"),
        ({"DT_API_KEY_ID": None}, WRONG, "DT_API_KEY_ID"),
        ({"DT_OIDC_TOKEN_ENDPOINT": None}, WRONG, "DT_OIDC_TOKEN_ENDPOINT"),
        ({"DT_API_URL": "http://example.com"}, WRONG, "DT_API_URL"),
        ({"DT_API_URL": "https://somebody:a-secret@example.com"}, WRONG, "DT_API_URL"),
        ({"DT_API_URL": "https://[::1"}, WRONG, "DT_API_URL"),
        ({"DT_OIDC_TOKEN_ENDPOINT": "https://127.0.0.1:99999"}, WRONG, "DT_OIDC_TOKEN_ENDPOINT"),
        ({"DT_ORGANIZATION_ID": "c0md3pm0p7bet3vico8g"}, WRONG, "DT_ORGANIZATION_ID"),
        ({"DT_SIGNATURE_SECRET": "[broken"}, WRONG, "DT_SIGNATURE_SECRET"),
    ],
)
def test_wrong_settings_get_one_sentence_and_change_nothing(
    dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, environ: dict[str, str | None], code: int, said: str
) -> None:
    result = dtconn("connect", receiver.url, **environ)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert said in result.stderr
    assert not any(value in result.output for value in environ.values() if value and "secret" in value)
    assert listed(cloud) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["ftp://example.com"], ["http://example.com"], ["https://"], ["http://127.0.0.1:99999"], ["127.0.0.1:8000"],
        ["http://somebody:hidden@127.0.0.1:9"], ["http://127.0.0.1:9/#here"],
        ["http://127.0.0.1:9", "--project", "../p"],
        ["http://127.0.0.1:9", "--event", "temprature"], ["http://127.0.0.1:9", "--header", "no-colon"],
        ["http://127.0.0.1:9", "--header", "a b:hidden"], ["http://127.0.0.1:9", "--header", "X-DT-Signature:hidden"],
        ["http://127.0.0.1:9", "--test", "--event", "temperature"],
    ],
)  # fmt: skip
def test_wrong_arguments_change_nothing(dtconn: Dtconn, cloud: DtCloud, arguments: list[str]) -> None:
    result = dtconn("connect", *arguments)
    assert (result.exit_code, result.stdout) == (WRONG, "")
    assert len(result.stderr.strip().splitlines()) == 1
    assert "hidden" not in result.stderr
    assert listed(cloud) == []


def test_a_project_must_be_named_where_there_are_two(dtconn: Dtconn, receiver: Receiver) -> None:
    result = dtconn("connect", receiver.url, role="organization.admin", DT_CLOUD_PROJECT=None)
    assert result.exit_code == WRONG
    assert "--project" in result.stderr
    # The receiver's filter is no choice of a project.
    for more in ({}, {"DT_PROJECT_ID": "c0md3pm0p7bet3vico8g"}):
        result = dtconn("connect", receiver.url, role=DEVELOPER, DT_CLOUD_PROJECT=None, **more)
        assert result.exit_code == DONE, result.output


def test_an_eleventh_connector_is_refused_by_dt(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver) -> None:
    for number in range(10):
        cloud.connector(f"http://127.0.0.1:9/{number}")
    for options in ((), ("--dry-run",), ("--dry-run", "--json")):
        result = dtconn("connect", receiver.url, *options)
        assert result.exit_code == WRONG
        assert f"dtconn disconnect ID --project {FIRST_PROJECT}" in result.stderr
        assert len(listed(cloud)) == 10
    # There is room for what is there.
    assert dtconn("connect", "http://127.0.0.1:9/0", "--dry-run").exit_code == DONE


def test_two_connectors_of_the_user_are_not_touched(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver) -> None:
    for _ in range(2):
        cloud.connector(receiver.url)
    before = listed(cloud)
    result = dtconn("connect", receiver.url)
    assert result.exit_code == FAILED
    assert "each event arrives 2 times" in result.stderr
    assert listed(cloud) == before


def test_429_and_a_404_after_the_creation_are_waited_for(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver) -> None:
    cloud.desk("POST", "/faults/too-many-requests", {"count": 1})
    cloud.desk("POST", "/faults/not-found", {"count": 1})
    result = dtconn("connect", receiver.url)
    assert result.exit_code == DONE, result.output
    assert listed(cloud)[0]["status"] == "ACTIVE"


def test_429_without_an_end_is_one_sentence(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver) -> None:
    cloud.desk("POST", "/faults/too-many-requests", {"count": 1_000})
    try:
        result = dtconn("connect", receiver.url)
    finally:
        cloud.desk("POST", "/faults/too-many-requests", {"count": 0})
    assert (result.exit_code, result.stdout) == (LATER, "")
    assert "429" in result.stderr
    assert listed(cloud) == []


@pytest.mark.parametrize("after", ["86400", "-5", "Sat, 28 Nov 2026 10:00:00 GMT", "9" * 5_000])
def test_a_429_that_asks_for_more_than_a_moment_is_one_sentence(dtconn: Dtconn, receiver: Receiver, after: str) -> None:
    with loopback(lambda _: Reply(429, b'{"error":"","code":429,"help":""}', {"Retry-After": after})) as server:
        result = dtconn("connect", receiver.url, DT_API_URL=server.url)
    assert (result.exit_code, "429" in result.stderr, len(server.calls)) == (LATER, True, 1)


# ---- the client ----


def test_an_api_that_is_not_there_or_not_dts_is_one_sentence(dtconn: Dtconn, receiver: Receiver) -> None:
    for reply in (None, Reply(200, b""), Reply(200, b"{}"), Reply(200, b"[]"), Reply(204, b""), Reply(301, b"{}")):
        with loopback(in_turn(reply)) as server:
            result = dtconn("connect", receiver.url, DT_API_URL=server.url, DT_OIDC_TOKEN_ENDPOINT=server.url)
        assert result.exit_code == LATER, reply
        assert len(result.stderr.strip().splitlines()) == 1


def test_netrc_and_proxy_do_not_reach_the_api(
    dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("default login somebody password else\n")
    (tmp_path / ".netrc").chmod(0o600)
    environ = {"HOME": str(tmp_path), "NETRC": str(tmp_path / ".netrc"), "HTTP_PROXY": "http://127.0.0.1:9"}
    assert dtconn("connect", receiver.url, **environ).exit_code == DONE
    assert len(listed(cloud)) == 1


def test_no_secret_is_in_any_repr(cloud: DtCloud, receiver: Receiver) -> None:
    account = cloud.accounts["project.developer"]
    access = load_access(
        {
            "DT_API_URL": cloud.url,
            "DT_EMULATOR_URL": cloud.url,
            "DT_OIDC_TOKEN_ENDPOINT": f"{cloud.url}/oauth2/token",
            "DT_SERVICE_ACCOUNT_KEY_ID": account.key_id,
            "DT_SERVICE_ACCOUNT_SECRET": account.secret,
            "DT_SERVICE_ACCOUNT_EMAIL": account.email,
        }
    )
    cloud.connector(receiver.url, httpConfig={"signatureSecret": SECRET, "headers": {"a": SECRET}})
    found = client.Client(access).connectors(FIRST_PROJECT)
    assert found[0].secret == SECRET
    for thing in (access, found, client.Client(access)):
        assert account.secret not in repr(thing)
        assert SECRET not in repr(thing)
