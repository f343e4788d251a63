"""Deployed receivers, as `dtconn rotate-secret` and `dtconn first-event` find them. Each is the real receiver behind a
socket; what its platform is replaced by, its module says.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.deployment import clouds
from cli.main import app
from cli.proof import Proof
from tests.contract.deployed import Deployed, factories
from tests.support.commands import PROGRAMS, Call, refused
from tests.support.deliveries import SECRET

FACTORIES = factories()
# They parse what stand-ins are asked here. `tests.support.commands` says which programs there are.
VENDORS = {"azure": "az", "gcp": "gcloud", "heroku": "heroku"}
SECONDS = "150"


@pytest.fixture(params=FACTORIES)
def deployed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployed]:
    with FACTORIES[request.param](SECRET, tmp_path, request) as found:
        yield found


def dtconn(command: str, deployed: Deployed, *options: str) -> Result:
    arguments = [command, *deployed.arguments, "--url", deployed.url, "--wait", SECONDS, *options]
    return CliRunner().invoke(app, arguments)


def rotate(deployed: Deployed, *options: str) -> Result:
    return dtconn("rotate-secret", deployed, "--watch", "0", *options)


def status(deployed: Deployed, secret: str) -> int | None:
    return Proof(deployed.url).deliver(secret).status


def test_every_deployment_has_an_entry() -> None:
    assert {name.partition(",")[0] for name in FACTORIES} == clouds().keys()


@pytest.mark.long
def test_rotation_ends_with_the_new_secret_alone(deployed: Deployed, tmp_path: Path) -> None:
    first = rotate(deployed, "--watch", "3")
    assert (first.exit_code, first.stderr) == (0, ""), first.output
    new, old = json.loads(deployed.text())
    assert (old, len(new)) == (SECRET, 64)
    early = rotate(deployed, "--finish", "--yes")
    assert (early.exit_code, json.loads(deployed.text())) == (1, [new, old])
    assert "--now" in early.stderr
    assert [status(deployed, secret) for secret in (new, old)] == [200, 200]

    # In the middle it goes on, and makes no third secret.
    again = rotate(deployed, "--show")
    assert again.exit_code == 0, again.output
    assert json.loads(deployed.text()) == [new, old]
    assert again.stdout.splitlines()[-1] == new

    finished = rotate(deployed, "--finish", "--now")
    assert finished.exit_code == 0, finished.output
    assert deployed.text() == new
    # The old one is refused when every instance has the new value.
    deadline = time.monotonic() + 60
    while (found := [status(deployed, secret) for secret in (new, old)]) != [200, 401]:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    assert "nothing is left to finish" in rotate(deployed, "--finish").stdout

    output = "".join(result.output for result in (first, early, finished))
    assert not any(secret in text for secret in (new, old) for text in (output, str(deployed.commands)))
    program = VENDORS.get(deployed.arguments[0], "")
    if program in PROGRAMS and PROGRAMS[program].path(program):
        # The file that had a secret is gone.
        lines = [tuple(__file__ if word.startswith("/") else word for word in line) for line in deployed.commands]
        calls = [Call(str(tmp_path), program, line) for line in lines]
        assert calls
        assert refused(calls, tmp_path) == {}


def test_first_event_is_read_back_from_the_store(deployed: Deployed) -> None:
    result = dtconn("first-event", deployed, "--yes")
    assert result.exit_code == 0, result.output
    sent, stored = re.findall(r"^(?:sent |stored) +(.*)$", result.stdout, re.MULTILINE)
    assert stored.startswith(sent.split("  ")[0])
    assert stored.endswith("hs256:0")
    assert f"Endpoint URL      {deployed.url}" in result.stdout
    assert SECRET not in result.output
    assert SECRET in dtconn("first-event", deployed, "--yes", "--show").stdout


def test_unusable_secret_is_named_and_replaced_on_request(deployed: Deployed) -> None:
    bad = json.dumps(["another secret of the tests, 40 bytes long", json.dumps([SECRET])])
    deployed.put(bad)
    for command in ("rotate-secret", "first-event"):
        result = dtconn(command, deployed)
        assert (result.exit_code, deployed.text()) == (1, bad)
        assert "array in an array" in result.stderr
        assert SECRET not in result.output
    assert rotate(deployed, "--replace").exit_code == 0
    assert status(deployed, deployed.text()) == 200
