"""``dtconn first-event``: each way in which the first event does not come is one sentence, with what to do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from cli.proof import explain, is_taken
from dt_cloud.sender import Answer
from tests.contract.deployed import Deployed
from tests.local.deployments import local
from tests.support.deliveries import SECRET
from tests.support.loopback import Reply, loopback

PROBLEM = b'{"title":"unverified"}'


@pytest.fixture
def deployed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Deployed]:
    with local(SECRET, tmp_path, request) as found:
        yield found


def first_event(url: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["first-event", "local", "--url", url, "--wait", "0", *options])


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (Reply(401, PROBLEM), "its receiver does not use this secret"),
        (Reply(401), "it wants a login. Is the function public?"),
        (Reply(403), "which is the platform's own answer: is the function public?"),
        (Reply(404, b"Not found"), "which is the platform's own answer: is the address right"),
        (Reply(429), "too many requests"),
        (Reply(500, b"Internal error"), "answers 500, which is the platform's own answer"),
        (Reply(502), "answers 502, which is the platform's own answer"),
        (Reply(503, b'{"title":"unavailable"}'), "its receiver cannot store events now"),
        (Reply(503), "answers 503, which is the platform's own answer"),
        (Reply(200, b"Welcome"), "it is not the receiver that does"),
        (None, "gives no answer (ServerDisconnectedError)"),
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


def test_answer_within_time_is_told_from_none() -> None:
    late = Answer(status=None, seconds=10.0, reason="no answer in 10 s", is_timeout=True)
    assert not is_taken(late)
    assert "gives no answer (no answer in 10 s)" in explain(late, "https://example.com/")
