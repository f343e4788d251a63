"""``dtconn rotate-secret`` on a receiver of this machine: what it does not change, and when the old secret may go."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from core.event import Event, parse
from core.verify.signature import Verified
from dt_cloud.bodies import Device
from readers.query import PROOF
from tests.cli.stored import fill
from tests.contract.deployed import Deployed
from tests.local.deployments import local
from tests.support.deliveries import SECRET
from tests.support.loopback import Call, Reply, loopback

NEW = "another signature secret of the tests, 54 bytes in all"
BOTH = json.dumps([NEW, SECRET])
HOUR = timedelta(hours=1)


@pytest.fixture
def deployed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Deployed]:
    with local(SECRET, tmp_path, request) as found:
        yield found


def rotate(deployed: Deployed, *options: str, typed: str | None = None) -> Result:
    arguments = ["rotate-secret", "local", "--url", deployed.url, "--wait", "60", "--watch", "0", *options]
    return CliRunner().invoke(app, arguments, input=typed)


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        (json.dumps([SECRET, NEW, SECRET[::-1]]), (), "3 signature secrets are deployed"),
        (json.dumps([SECRET, NEW, SECRET[::-1]]), ("--finish", "--now"), "3 signature secrets are deployed"),
        (BOTH, ("--new-from-file", "third"), "not the one of that rotation"),
        (f"\ufeff{SECRET}", (), "begins with a byte order mark"),
        (f"'{SECRET}'", (), "is in quotes (number 0)"),
        (json.dumps([SECRET, f"{NEW}\n"]), (), "has a line end (number 1)"),
        ("", (), "is empty"),
        (SECRET, ("--new-from-file", "short"), "shorter than 32 bytes"),
        (SECRET, ("--new-from-file", "several"), "is not one secret"),
        (SECRET, ("--new-from-file", "nowhere"), "cannot be read: FileNotFoundError"),
        (SECRET, ("--new-from-file", "same"), "is the one that is deployed"),
        (SECRET, ("--replace",), "can be used: leave --replace out"),
    ],
)
def test_nothing_is_changed_and_one_sentence_says_why(
    text: str, options: tuple[str, ...], sentence: str, deployed: Deployed
) -> None:
    files = {"third": SECRET * 2, "short": "too short", "several": BOTH, "same": SECRET}
    for name, content in files.items():
        Path(name).write_text(content)
    deployed.put(text)
    result = rotate(deployed, *options)
    assert result.exit_code in (1, 2), result.output
    assert sentence in result.stderr
    assert deployed.text() == text
    assert not any(secret in result.output for secret in (SECRET, NEW))


@pytest.mark.parametrize("written", [NEW, f"{NEW}\n", f"{NEW}\r\n", f"\ufeff{NEW}\n"])
def test_new_secret_is_read_from_a_file(written: str, deployed: Deployed) -> None:
    Path("new").write_bytes(written.encode())
    assert rotate(deployed, "--new-from-file", "new").exit_code == 0
    assert deployed.text() == BOTH


def test_new_secret_is_read_from_standard_input(deployed: Deployed) -> None:
    result = rotate(deployed, "--new-from-file", "-", typed=f"{NEW}\n")
    assert result.exit_code == 0, result.output
    assert deployed.text() == BOTH


def test_receiver_that_does_not_answer_changes_nothing(deployed: Deployed) -> None:
    result = rotate(deployed, "--url", "http://127.0.0.1:9", "--wait", "0")
    assert result.exit_code == 1
    assert "cannot be reached from here" in result.stderr
    assert "Nothing was changed." in result.stderr
    assert deployed.text() == SECRET


def test_value_that_worked_is_put_back(deployed: Deployed) -> None:
    """In place of a receiver whose new instance does not start."""

    def answer(_: Call) -> Reply:
        return Reply(200, headers={"Event-Outcome": "stored"}) if deployed.text() == SECRET else Reply(503)

    with loopback(answer) as failing:
        result = rotate(deployed, "--url", failing.url, "--wait", "0")
    assert result.exit_code == 1
    assert "the value before was put back" in result.stderr
    assert deployed.text() == SECRET


def stored(signed_by: str, age: timedelta, proof: bool = False) -> Event:
    moment = datetime.now(UTC) - age
    device = Device("emuc17m6d7lq0bgk44smcqg", "c14u9p094l47cdv1o3pg", labels=PROOF if proof else {})
    return parse(Verified(device.body("touch", moment), signed_by), moment)


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([("hs256:0", 1 * HOUR), ("hs256:1", 2 * HOUR)], "signed with the old secret: 1, the newest at"),
        ([("hs256:0", 1 * HOUR), ("hs256:1+es256:kid", 12 * HOUR)], "were signed with the old secret: 1,"),
        ([("hs256:0", 1 * HOUR), ("hs256:1", 2 * HOUR, True)], "were signed with the old secret: 1,"),
        ([("hs256:0", 1 * HOUR, True)], "No event of the last 13 hours was signed with the new"),
        ([("hs256:0", 14 * HOUR)], "No event of the last 13 hours was signed with the new"),
        ([("hs256:0", 1 * HOUR), ("hs256:1", 14 * HOUR)], None),
    ],
)
def test_old_secret_is_dropped_when_the_store_has_no_event_of_it(
    events: list[tuple[str, timedelta]], sentence: str | None, deployed: Deployed
) -> None:
    deployed.put(BOTH)
    fill(Path("var/events.db"), [stored(*event) for event in events])
    result = rotate(deployed, "--finish")
    if sentence:
        assert (result.exit_code, deployed.text()) == (1, BOTH)
        assert sentence in result.stderr
        result = rotate(deployed, "--finish", "--now")
    assert (result.exit_code, deployed.text()) == (0, NEW), result.output


def test_store_that_cannot_be_read_leaves_the_question_to_the_log(deployed: Deployed) -> None:
    assert rotate(deployed).exit_code == 0
    both = deployed.text()
    Path("var/events.db").rename("elsewhere")
    result = rotate(deployed, "--finish")
    assert (result.exit_code, deployed.text()) == (1, both)
    assert '"signedBy":"hs256:1"' in result.stderr
    assert "add --now" in result.stderr


def test_json_says_what_is_deployed_and_has_no_secret(deployed: Deployed) -> None:
    Path("new").write_text(NEW)
    results = [rotate(deployed, "--json", "--new-from-file", "new")]
    assert deployed.text() == BOTH
    results += [rotate(deployed, "--json", "--finish", *options) for options in (("--now",), ())]
    deployed.put("")
    results.append(rotate(deployed, "--json", "--replace", "--new-from-file", "new"))
    begun, finished, again, replaced = (json.loads(result.stdout) for result in results)
    ends = datetime.fromisoformat(begun.pop("finishAfter"))
    assert timedelta(hours=12) < ends - datetime.now(UTC) <= timedelta(hours=13)
    # A person restarts the local receiver.
    assert [found.pop("todo", "")[:8] for found in (begun, finished, again, replaced)] == [
        "Restart ", "Restart ", "", "Restart ",
    ]  # fmt: skip
    assert begun == {"url": deployed.url, "isChanged": True, "secrets": 2, "connectors": []}
    assert finished == {"url": deployed.url, "isChanged": True, "secrets": 1}
    assert again == {"url": deployed.url, "isChanged": False, "secrets": 1}
    assert replaced == {"url": deployed.url, "isChanged": True, "secrets": 1, "connectors": []}
    assert not any(secret in result.output for secret in (SECRET, NEW) for result in results)


def test_quiet_prints_only_errors(deployed: Deployed) -> None:
    assert (rotate(deployed, "--quiet").stdout, len(json.loads(deployed.text()))) == ("", 2)
    result = rotate(deployed, "--quiet", "--finish")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr
    assert rotate(deployed, "--quiet", "--finish", "--now").stdout == ""


@pytest.mark.parametrize(
    "options",
    [
        ("--json", "--show"),
        ("--quiet", "--show"),
        ("--now",),
        ("--finish", "--replace"),
        ("--finish", "--new-from-file", "-"),
    ],
)
def test_options_that_make_no_sense(options: tuple[str, ...], deployed: Deployed) -> None:
    assert rotate(deployed, *options).exit_code == 2


def test_unknown_cloud_lists_those_that_are_known() -> None:
    result = CliRunner().invoke(app, ["rotate-secret", "elsewhere"])
    assert result.exit_code == 2
    assert "Those are: " in result.stderr
    assert "local" in result.stderr


@pytest.mark.parametrize("option", ["--json", "--quiet"])
def test_a_script_is_told_to_restart_the_receiver(option: str, deployed: Deployed) -> None:
    result = rotate(deployed, option, "--no-connector")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("Restart the receiver now")
    if option == "--json":
        assert json.loads(result.stdout)["todo"] == result.stderr.strip()
    else:
        assert result.stdout == ""
