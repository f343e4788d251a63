"""An app without a name is that of the last deployment from here; a refusal of Heroku's API is a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import heroku.deployment
from cli import main
from cli.deployment import find_deployment
from deployed import DeploymentError
from deployed.contract import Place
from tests.heroku.deployments import PASSWORD, app
from tests.support.deliveries import SECRET
from tests.support.loopback import Reply, loopback
from tests.support.vendors import Command, vendor


def answer(command: Command) -> Any:
    match command.argv:
        case ["apps:info", "--json"] | ["apps:info", "--app", "pushed-to", "--json"]:
            return {"app": {"name": "pushed-to", "web_url": "https://pushed-to.herokuapp.com/"}}
        case ["config", "--app", "pushed-to", "--json"]:
            return {"DT_SIGNATURE_SECRET": SECRET}
        case ["auth:token"]:
            return "a-token"
    raise AssertionError(command.line)


def test_the_json_of_the_first_event_has_no_password_of_the_database(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with app(SECRET, tmp_path, request) as found:
        command = ["first-event", *found.arguments, "--url", found.url, "--json"]
        result = CliRunner().invoke(main.app, command)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["source"].startswith("postgres://127.0.0.1:")
    assert PASSWORD not in result.output


def test_app_without_a_name_is_the_one_that_was_kept(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "heroku-app"
    monkeypatch.setattr(heroku.deployment, "_REMEMBERED", kept)
    with vendor("heroku", answer, tmp_path, request) as standing:
        kept.write_text("pushed-to\n")
        find_deployment("heroku", Place())
        assert standing.commands[0] == ["apps:info", "--app", "pushed-to", "--json"]
        for text in (b"\n", b"\xff"):
            kept.write_bytes(text)
            with pytest.raises(DeploymentError, match=r"var/heroku-app .*ame the app"):
                find_deployment("heroku", Place())


@pytest.mark.parametrize(
    ("reply", "said"),
    [(Reply(403), "answers 403 .*: may you change the app pushed-to"), (None, "cannot be reached: RemoteDisconnected")],
)
def test_refusal_of_the_api_is_a_sentence(
    reply: Reply | None, said: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vendor("heroku", answer, tmp_path, request), loopback(lambda _: reply) as api:
        monkeypatch.setattr(heroku.deployment, "API", api.url)
        monkeypatch.setattr(heroku.deployment, "_REMEMBERED", tmp_path / "nothing")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        found = find_deployment("heroku", Place())
        assert found.url == "https://pushed-to.herokuapp.com/"
        with pytest.raises(DeploymentError, match=said) as caught:
            found.write_secrets([SECRET])
        assert SECRET not in str(caught.value)
