"""``dtconn first-event``: each way in which the first event does not come is one sentence, with what to do."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.answers import Kind, understood
from cli.main import app
from dt_cloud.sender import Answer
from tests.contract.deployed import Deployed
from tests.local.deployments import local
from tests.support.deliveries import SECRET
from tests.support.loopback import Reply, loopback

PROBLEM = b'{"type":"urn:problem-type:data-connector:%b"}'


@pytest.fixture
def deployed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Deployed]:
    with local(SECRET, tmp_path, request) as found:
        yield found


def first_event(url: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["first-event", "local", "--url", url, "--wait", "0", *options])


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (Reply(401, PROBLEM % b"unverified"), "The receiver does not accept the signature: it has another secret"),
        (Reply(401), "The platform answers 401, not the receiver: the function is not public"),
        (Reply(401, b'{"title":"unverified"}'), "The platform answers 401, not the receiver"),
        (Reply(403), "The platform answers 403, not the receiver: the function is not public"),
        (Reply(404, b"Not found"), "The platform answers 404: there is no function at this URL"),
        (Reply(429), "too many requests"),
        (Reply(500, b"Internal error"), "Something other than the receiver answers 500"),
        (Reply(502), "Something other than the receiver answers 502"),
        (Reply(503, PROBLEM % b"unavailable"), "The receiver answers 503: its log says why"),
        (Reply(503), "Something other than the receiver answers 503"),
        (Reply(200, b"Welcome"), "Something other than the receiver answers 200"),
        (None, "cannot be reached from here (ServerDisconnectedError)"),
    ],
)
def test_each_answer_has_a_sentence(reply: Reply | None, sentence: str, deployed: Deployed) -> None:
    with loopback(lambda _: reply) as platform:
        result = first_event(platform.url)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert "It was signed with what this prints: cat " in result.stderr
    assert SECRET not in result.output


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [("dropped", "DT_EVENT_TYPES or DT_PROJECT_ID"), ("stored", "is not in the store after 0 s")],
)
def test_event_that_is_not_in_the_store_is_said(outcome: str, sentence: str, deployed: Deployed) -> None:
    with loopback(lambda _: Reply(200, headers={"Event-Outcome": outcome})) as elsewhere:
        result = first_event(elsewhere.url)
    assert result.exit_code == 1
    assert sentence in result.stderr


def test_store_that_cannot_be_read_is_named(deployed: Deployed) -> None:
    Path("var/events.db").rename("elsewhere")
    with loopback(lambda _: Reply(200, headers={"Event-Outcome": "stored"})) as elsewhere:
        result = first_event(elsewhere.url)
    assert result.exit_code == 1
    assert "events.db" in result.stderr


def test_secret_of_the_terminal_is_used_where_the_deployed_one_cannot_be_read(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("var/signature-secret").rename("elsewhere")
    Path("var/signature-secret").mkdir()
    assert "cannot be read (IsADirectoryError)" in first_event(deployed.url).stderr
    monkeypatch.setenv("DT_SIGNATURE_SECRET", SECRET)
    result = first_event(deployed.url, "--wait", "60")
    assert result.exit_code == 0, result.output
    assert "the variable DT_SIGNATURE_SECRET is used" in result.stderr


def test_json_has_the_stored_event_and_no_secret(deployed: Deployed) -> None:
    # The query may be the key of a function.
    for options in (("--json",), ()):
        assert "hidden" not in first_event(f"{deployed.url}?code=hidden", "--wait", "60", *options).output
    assert "hidden" not in first_event("http://127.0.0.1:9/?code=hidden").output
    result = first_event(deployed.url, "--wait", "60", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert SECRET not in result.output
    with closing(sqlite3.connect("var/events.db")) as connection:
        rows = connection.execute("SELECT key, signed_by FROM events").fetchall()
    assert (found["key"], found["signedBy"]) in rows
    assert (found["url"], found["source"]) == (deployed.url, "var/events.db")
    assert Path(found["secretCommand"].removeprefix("cat ")).read_text() == SECRET
    assert first_event(deployed.url, "--wait", "60", "--quiet").output == ""


def test_json_of_a_refused_event_is_an_error_alone(deployed: Deployed) -> None:
    with loopback(lambda _: Reply(401, PROBLEM % b"unverified")) as platform:
        result = first_event(platform.url, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "another secret" in result.stderr


@pytest.mark.parametrize("option", ["--json", "--quiet"])
def test_secret_is_shown_in_the_plain_form_only(option: str, deployed: Deployed) -> None:
    result = first_event(deployed.url, "--show", option)
    assert (result.exit_code, result.stdout) == (2, "")


def test_answer_within_time_is_told_from_none() -> None:
    late = Answer(status=None, seconds=10.0, reason="no answer in 10 s", is_timeout=True)
    said = understood(late)
    assert (said.kind, "(no answer in 10 s)" in said.text) == (Kind.SILENT, True)
