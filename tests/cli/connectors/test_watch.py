"""``dtconn watch``."""

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.connectors import watch
from cli.connectors.seen import Seen
from cli.connectors.values import ACTIVE, SYSTEM_DISABLED, Connector, Metrics
from cli.connectors.watch import step
from core.event import rfc3339
from tests.cli.connectors.conftest import Dtconn, Receiver, environment
from tests.support.desk import SECRET
from tests.support.dt_cloud import DtCloud, Reply, always, loopback, ok, until
from tests.support.loopback import DROPPED, in_turn
from tests.support.processes import spawn

WELL, ILL, UNKNOWN = range(3)
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def changes(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def look(dtconn: Dtconn, *arguments: str, **environ: str | None) -> Any:
    return dtconn("watch", "--once", "--json", *arguments, **environ)


def test_well_says_nothing_and_each_change_is_told_once(dtconn: Dtconn, cloud: DtCloud, receiver: Receiver) -> None:
    number = cloud.connector(receiver.url, displayName="Office", httpConfig={"signatureSecret": SECRET})
    assert (look(dtconn).exit_code, look(dtconn).output) == (WELL, "")
    dtconn("disable", "--yes")
    result = look(dtconn)
    (change,) = changes(result)
    assert (result.exit_code, change["kind"], change["connector"]) == (ILL, "state", number)
    assert f"dtconn enable {number}" in change["text"]
    assert (look(dtconn).exit_code, look(dtconn).stdout) == (ILL, "")
    dtconn("enable", "--quiet")
    assert changes(look(dtconn))[0]["text"].endswith("is active; it was disabled.")
    dtconn("disconnect", number, "--confirm", number)
    result = look(dtconn)
    assert (result.exit_code, [each["kind"] for each in changes(result)]) == (ILL, ["gone"])
    result = look(dtconn)
    assert (result.exit_code, result.stdout, "dtconn connect URL" in result.stderr) == (UNKNOWN, "", True)


@pytest.mark.parametrize(
    ("hours", "warned", "told"),
    [(0.5, 0, False), (1.1, 0, True), (2, 1, False), (25, 1, True), (97, 2, True), (97, 0, True), (119, 3, False)],
)
def test_warnings_come_at_an_hour_a_day_and_four_days(
    dtconn: Dtconn, cloud: DtCloud, tmp_path: Path, hours: float, warned: int, told: bool
) -> None:
    with loopback(always(503)) as server:
        number = cloud.connector(server.url)
        cloud.publish(cloud.sensor("touch"))
        until(lambda: any(each["attempts"] for each in cloud.deliveries(connector=number)))
        assert [each["kind"] for each in changes(look(dtconn))] == ["failing"]
        state = tmp_path / "var/watch.json"
        remembered = json.loads(state.read_text())
        (seen,) = remembered["connectors"].values()
        seen |= {"failing_since": rfc3339(datetime.now(UTC) - timedelta(hours=hours)), "warned": warned}
        state.write_text(json.dumps(remembered))
        result = look(dtconn)
        assert result.exit_code == ILL
        assert [each["kind"] for each in changes(result)] == ["failing"] * told
        assert "DT Cloud disables it in" in result.stdout or not told
        assert look(dtconn).stdout == ""


def connector(status: str = ACTIVE) -> Connector:
    return Connector(
        project_id="p", connector_id="c", name="Office", kind="HTTP_PUSH", status=status, events=(), labels=(),
        url="https://example.com", secret="", headers={},
    )  # fmt: skip


def test_a_failure_is_followed_from_its_begin_to_its_end() -> None:
    """Counts of three hours: old successes leave while nothing new succeeds."""
    seen: Seen | None = None
    told: list[tuple[float, str]] = []
    for hours, status, successes, errors in (
        (0.0, ACTIVE, 90, 0), (0.1, ACTIVE, 90, 1), (0.2, ACTIVE, 85, 2), (1.2, ACTIVE, 50, 6), (1.3, ACTIVE, 49, 6),
        (25, ACTIVE, 0, 3), (97, ACTIVE, 0, 3), (120, SYSTEM_DISABLED, 0, 3), (121, ACTIVE, 0, 3), (122, ACTIVE, 4, 3),
        (125, ACTIVE, 30, 0), (126, ACTIVE, 29, 1), (126.1, ACTIVE, 30, 1),
    ):  # fmt: skip
        metrics = Metrics(successes=successes, errors=errors, p99=0.1)
        seen, found = step(connector(status), metrics, seen, NOW + timedelta(hours=hours))
        told += [(hours, each.kind) for each in found]
    assert told == [
        (1.2, "failing"), (25, "failing"), (97, "failing"), (120, "state"), (121, "state"), (122, "recovered"),
        (126.1, "recovered"),
    ]  # fmt: skip


def test_exec_and_webhook_get_the_change_and_no_credentials(
    dtconn: Dtconn, cloud: DtCloud, tmp_path: Path
) -> None:  # fmt: skip
    cloud.connector("http://127.0.0.1:9", displayName="Office", status="USER_DISABLED")
    script = (
        "import os,sys;print(sys.stdin.read(),sorted(n for n in os.environ if 'SECRET' in n),file=open('told','w'))"
    )
    with loopback(ok) as server:
        result = look(dtconn, "--exec", f'{sys.executable} -c "{script}"', "--webhook", server.url)
        assert result.exit_code == ILL
        (call,) = server.calls
    assert call.parameters["kind"] == "state"
    told = (tmp_path / "told").read_text()
    assert '"kind": "state"' in told
    assert told.endswith("[]\n")


@pytest.mark.parametrize("command", ["exit-with-an-error-that-is-not-there", "false", "sleep 9"])
def test_an_exec_that_fails_gets_the_change_again(
    dtconn: Dtconn, cloud: DtCloud, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(watch, "_EXEC_TIMEOUT", 0.5)
    cloud.connector("http://127.0.0.1:9", status="USER_DISABLED")
    for told in (1, 0):
        result = look(dtconn, "--exec", command)
        assert (result.exit_code, len(changes(result))) == (UNKNOWN, told)
        assert result.stderr.startswith(f"--exec: {command.split()[0]} ")
    assert look(dtconn, "--exec", "cp /dev/stdin told").exit_code == ILL
    assert json.loads(Path("told").read_text())["kind"] == "state"


def test_a_webhook_that_is_down_gets_each_change_when_it_is_up_and_no_other_way_gets_it_twice(
    dtconn: Dtconn, cloud: DtCloud
) -> None:
    cloud.connector("http://127.0.0.1:9", status="USER_DISABLED")
    with loopback(in_turn(Reply(500), DROPPED, Reply(200))) as server:
        ways = ("--webhook", server.url, "--exec", "sh -c 'cat >>told; echo >>told'")
        first = look(dtconn, *ways)
        assert (first.exit_code, first.stderr) == (
            UNKNOWN, "The webhook answered 500. It gets the change again at the next look.\n",
        )  # fmt: skip
        dtconn("enable", "--quiet")
        codes = [look(dtconn, *ways).exit_code for _ in range(3)]
    assert codes == [UNKNOWN, WELL, WELL]
    kinds = [call.parameters["text"][-20:] for call in server.calls]
    assert len(kinds) == 4
    assert len(set(kinds)) == 2
    assert len(Path("told").read_text().splitlines()) == 2


def test_a_cloud_that_does_not_answer_is_told_once_and_so_is_its_return(dtconn: Dtconn, cloud: DtCloud) -> None:
    cloud.connector("http://127.0.0.1:9")
    found = [
        look(dtconn, **environ) for environ in ({"DT_API_KEY_SECRET": "wrong"}, {"DT_API_KEY_SECRET": "wrong"}, {}, {})
    ]
    assert [[each["kind"] for each in changes(result)] for result in found] == [["unknown"], [], ["recovered"], []]
    assert [result.exit_code for result in found] == [UNKNOWN, UNKNOWN, WELL, WELL]


def test_what_hides_the_answer_is_2(dtconn: Dtconn, tmp_path: Path) -> None:
    assert look(dtconn, DT_API_KEY_ID=None).exit_code == UNKNOWN
    assert look(dtconn, "--exec", "'").exit_code == UNKNOWN
    result = look(dtconn, DT_API_KEY_SECRET="wrong")
    assert (result.exit_code, changes(result)[0]["kind"]) == (UNKNOWN, "unknown")
    warned = {"connectors": {"p/c": {"status": "ACTIVE", "warned": "x"}}, "isBlind": False, "untold": {}}
    for other in ("[]", "{}", "", json.dumps(warned)):
        (tmp_path / "state.json").write_text(other)
        result = look(dtconn, "--state", str(tmp_path / "state.json"))
        assert result.exit_code == UNKNOWN
        assert "--state" in result.stderr


def test_it_runs_until_it_is_interrupted(cloud: DtCloud, tmp_path: Path) -> None:
    number = cloud.connector("http://127.0.0.1:9", status="USER_DISABLED")
    environ = environment(cloud, "project.user")
    command = [sys.executable, "-m", "cli", "watch", "--every", "10"]
    process = spawn(command, env=environ, cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        until(lambda: (tmp_path / "var/watch.json").exists(), 60)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == ILL
    assert number.encode() in output
