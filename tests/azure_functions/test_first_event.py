"""``dtconn first-event`` right after a deployment, whose roles for reading are not in effect yet."""

import json
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from tests.azure_functions.deployments import DENIED, azure
from tests.contract.deployed import Deployed
from tests.support.azurite import Azurite, connection_string
from tests.support.deliveries import SECRET
from tests.support.loopback import Call, Reply, loopback

REFUSED = Reply(403, b"{}", {"x-ms-error-code": "AuthorizationPermissionMismatch"})


def first_event(deployed: Deployed, wait: str) -> Result:
    arguments = ["first-event", *deployed.arguments, "--url", deployed.url, "--yes", "--json", "--wait", wait]
    return CliRunner().invoke(app, arguments)


def test_it_waits_for_the_role_in_the_key_vault(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with azure(SECRET, tmp_path, request) as deployed:
        for number in range(3):
            (tmp_path / f"{DENIED}{number}").touch()
        result = first_event(deployed, "0")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "takes the role Key Vault Secrets User" in result.stderr
        result = first_event(deployed, "60")
        assert result.exit_code == 0, result.output
        assert "(Forbidden)" in result.stderr
        assert "A new role takes minutes to be in effect: trying again." in result.stderr


def test_it_waits_for_the_role_in_the_store(azurite: Azurite, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    refusals = 2

    def answer(call: Call) -> Reply:
        if len(there.calls) <= refusals:
            return REFUSED
        with closing(HTTPConnection("127.0.0.1", azurite.table_port, timeout=60)) as connection:
            connection.request(call.method, call.path, call.body, call.headers)
            found = connection.getresponse()
            return Reply(found.status, found.read(), {"Content-Type": found.headers["Content-Type"]})

    with azure(SECRET, tmp_path, request) as deployed, loopback(answer) as there:
        assert isinstance(deployed.settings, dict)
        # The function writes as before; dtconn reads what the app's settings name now.
        deployed.settings["DT_STORAGE"] = connection_string(azurite.queue_port, there.server_port)
        result = first_event(deployed, "60")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["signedBy"] == "hs256:0"
        assert len(there.calls) > refusals

        refusals = 1_000
        result = first_event(deployed, "0")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "You need the role Storage Table Data Reader" in result.stderr
