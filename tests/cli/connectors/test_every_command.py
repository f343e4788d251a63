"""What holds for every command that asks DT Cloud: roles and refusals. Their every step is in test_steps.py."""

from collections.abc import Iterator

import pytest

from cli.connectors.options import connect_to_dt
from tests.cli.connectors.between import Between
from tests.cli.connectors.conftest import Dtconn, Receiver, listed
from tests.support.desk import SECRET
from tests.support.dt_cloud import DEVELOPER, FIRST_PROJECT, Call, DtCloud, Loopback, Reply, loopback

DONE, ILL, WRONG, REFUSED, NOT_FOUND, LATER = range(6)
# The command, its last request to DT Cloud, and whether it changes anything.
COMMANDS = {
    "status": (("status",), ":metrics", False),
    "doctor": (("doctor",), ":metrics", False),
    "watch": (("watch", "--once", "--quiet"), ":metrics", False),
    "backfill": (("backfill", "--since", "1h"), "devices", False),
    "connect": (("connect", "{url}", "--event", "touch"), "permissions", True),
    "enable": (("enable", "{url}"), "permissions", True),
    "disable": (("disable", "{url}", "--yes"), "permissions", True),
    "sync": (("sync", "{url}", "--wait", "0"), ":sync", True),
    "disconnect": (("disconnect", "{url}", "--confirm", "dtconn"), "permissions", True),
}
# These have exit codes of their own: 2 if it cannot be told.
LOOKING = ("status", "doctor", "watch")


@pytest.fixture
def between(cloud: DtCloud) -> Iterator[tuple[Between, Loopback]]:
    there = Between(cloud)
    with loopback(there) as server:
        yield there, server


def words(command: str, receiver: Receiver) -> list[str]:
    given = [word.format(url=receiver.url) for word in COMMANDS[command][0]]
    return [*given, "--from", str(receiver.store)] if command in ("backfill", "sync", "enable", "status") else given


@pytest.mark.parametrize("command", COMMANDS)
def test_a_role_that_may_only_read_changes_nothing(
    dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, command: str
) -> None:
    assert dtconn("connect", receiver.url).exit_code == DONE
    before = listed(cloud)
    result = dtconn(*words(command, receiver), role="project.user")
    if COMMANDS[command][2]:
        assert (result.exit_code, result.stdout) == (REFUSED, "")
        assert "Project Developer" in result.stderr
    else:
        assert result.exit_code == DONE, result.output
    assert listed(cloud) == before


@pytest.mark.parametrize("status", [401, 403, 404, 409, 429, 500])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_refusal_is_one_sentence_and_changes_nothing(
    dtconn: Dtconn, cloud: DtCloud, receiver: Receiver, between: tuple[Between, Loopback], command: str, status: int
) -> None:
    there, server = between
    assert dtconn("connect", receiver.url).exit_code == DONE
    before = listed(cloud)

    def refuse(call: Call) -> Reply | None:
        is_last = call.path.partition("?")[0].endswith(COMMANDS[command][1])
        return Reply(status, b'{"error":"refused","code":0,"help":""}') if is_last else there(call)

    server.answering = refuse
    result = dtconn(*words(command, receiver), DT_API_URL=server.url)
    wanted = {401: REFUSED, 403: REFUSED, 404: NOT_FOUND}.get(status, LATER)
    assert result.exit_code == (WRONG if command in LOOKING else wanted), result.output
    assert "Traceback" not in result.output
    assert listed(cloud) == before


def test_the_command_that_mends_names_the_project(dtconn: Dtconn, receiver: Receiver) -> None:
    assert dtconn("connect", receiver.url.replace("http", "HTTP")).exit_code == DONE
    assert dtconn("disable", "--yes").exit_code == DONE
    for command in ("status", "doctor"):
        found = dtconn(command, role="organization.admin", DT_CLOUD_PROJECT=FIRST_PROJECT).stdout
        assert f"--project {FIRST_PROJECT}" in found


def test_the_objects_of_dts_client_show_no_secret(cloud: DtCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cloud.environment(DEVELOPER).items():
        monkeypatch.setenv(name, value)
    asking = connect_to_dt()
    config = asking._config("https://example.com", SECRET, {"x-key": SECRET})
    for each in (asking._dt.default_auth, config):
        assert not any(hidden in f"{each!r}{each}" for hidden in (SECRET, cloud.accounts[DEVELOPER].secret))
