"""An app without a name is the one that dist/heroku is pushed to; a refusal of Heroku's API is a sentence."""

from pathlib import Path
from typing import Any

import pytest

import heroku.deployment
from cli.deployment import find_deployment
from deployed import DeploymentError
from deployed.contract import Place
from tests.support.deliveries import SECRET
from tests.support.loopback import Reply, loopback
from tests.support.vendors import Command, vendor


def answer(command: Command) -> Any:
    match command.argv:
        case ["apps:info", "--json"]:
            return {"app": {"name": "pushed-to", "web_url": "https://pushed-to.herokuapp.com/"}}
        case ["config", "--app", "pushed-to", "--json"]:
            return {"DT_SIGNATURE_SECRET": SECRET}
        case ["auth:token"]:
            return "a-token"
    raise AssertionError(command.line)


@pytest.mark.parametrize(
    ("reply", "said"),
    [(Reply(403), "answers 403 .*: may you change the app pushed-to"), (None, "cannot be reached: RemoteDisconnected")],
)
def test_refusal_of_the_api_is_a_sentence(
    reply: Reply | None, said: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vendor("heroku", answer, tmp_path, request), loopback(lambda _: reply) as api:
        monkeypatch.setattr(heroku.deployment, "API", api.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        found = find_deployment("heroku", Place())
        assert found.url == "https://pushed-to.herokuapp.com/"
        with pytest.raises(DeploymentError, match=said) as caught:
            found.write_secrets([SECRET])
        assert SECRET not in str(caught.value)
