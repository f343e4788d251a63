"""The Heroku app: a program of this machine behind a stand-in for the Heroku CLI and a server in place of its API."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import heroku.deployment
from tests.contract.deployed import Deployed, Factory
from tests.heroku.programs import run_module
from tests.support.loopback import Call, Reply, loopback
from tests.support.postgres import Postgres
from tests.support.restarts import restarting
from tests.support.vendors import Command, RefusedError, vendor

APP, TOKEN = "my-app", "the-token-of-the-cli"
PASSWORD = "the-password-of-the-database"


@contextmanager
def app(secret: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Deployed]:
    server: Postgres = request.getfixturevalue("postgres")
    # The server wants no password, and takes any.
    database = server.create_database().replace("@", f":{PASSWORD}@")
    config = {"DATABASE_URL": database, "DT_SIGNATURE_SECRET": secret}
    with restarting("heroku", folder) as program:
        program.start(config)

        def change(text: str) -> None:
            """Keep the release before one whose release phase fails, as Heroku does."""
            config["DT_SIGNATURE_SECRET"] = text
            if run_module("heroku.release", **config).returncode == 0:
                program.start(config)

        def answer(command: Command) -> Any:
            if command.argv == ["auth:token"]:
                return f"{TOKEN}\n"
            if command.option("--app") != APP:
                raise RefusedError("Couldn't find that app.")
            match command.argv:
                case ["apps:info", *_, "--json"]:
                    return {"app": {"name": APP, "web_url": "https://my-app-0123456789ab.herokuapp.com/"}, "dynos": []}
                case ["config", *_, "--json"]:
                    return config
            raise RefusedError(f"{command.line} is not a heroku command.")

        def api(call: Call) -> Reply:
            if call.headers.get("authorization") != f"Bearer {TOKEN}":
                return Reply(401)
            assert (call.method, call.path) == ("PATCH", f"/apps/{APP}/config-vars")
            assert call.headers["accept"] == "application/vnd.heroku+json; version=3"
            change(call.parameters["DT_SIGNATURE_SECRET"])
            return Reply(200)

        with vendor("heroku", answer, folder, request) as standing, loopback(api) as there:
            monkeypatch = request.getfixturevalue("monkeypatch")
            monkeypatch.setattr(heroku.deployment, "API", there.url)
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            url = f"http://127.0.0.1:{program.port}/"
            yield Deployed(["heroku", APP], url, lambda: config["DT_SIGNATURE_SECRET"], change, standing.commands)


DEPLOYMENTS: dict[str, Factory] = {"heroku": app}
