"""``dtconn connect --cloud``, and ``rotate-secret`` with an account for DT's API, on a receiver of this machine."""

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.cli.connectors.between import Between
from tests.cli.connectors.conftest import Dtconn, environment, listed
from tests.contract.deployed import Deployed
from tests.local.deployments import local
from tests.support.desk import SECRET
from tests.support.dt_cloud import DEVELOPER, PROJECTS, Call, DtCloud, Reply, loopback, until
from tests.support.forks import start
from tests.support.loopback import DROPPED, SILENT
from tests.support.processes import Requesting, spawn

DONE, FAILED, WRONG, REFUSED, NOT_FOUND, LATER = range(6)
OTHER = "another secret of the tests, 40 bytes long"
HEADERS = {"x-kept": "yes"}


class Front(Requesting):
    """Passes requests on to the receiver, and does not answer those with one of the bodies.

    Args:
        deployed: The receiver.
        held: The number of that body, from 1; 0 for none.
    """

    def __init__(self, deployed: Deployed, held: int) -> None:
        self.port = int(deployed.url.rstrip("/").rpartition(":")[2])
        self.is_held = threading.Event()
        self._held = held
        self._bodies: list[bytes] = []

    def __call__(self, call: Call) -> Reply | None:
        if call.body not in self._bodies:
            self._bodies.append(call.body)
        if len(self._bodies) == self._held and not self.is_held.is_set():
            self.is_held.set()
            return SILENT
        signature = {"X-Dt-Signature": call.headers["x-dt-signature"]}
        try:
            answer = self.request("POST", "/", signature, call.body)
        except OSError:  # it is being started again
            return DROPPED
        return Reply(answer.status, answer.body, {"event-outcome": answer.headers["event-outcome"]})


@pytest.fixture
def deployed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Deployed]:
    with local(SECRET, tmp_path, request) as found:
        yield found


def rotate(dtconn: Dtconn, deployed: Deployed, *options: str, role: str = DEVELOPER, **environ: str | None) -> Result:
    arguments = ["rotate-secret", "local", "--url", deployed.url, "--wait", "120", "--watch", "0", *options]
    return dtconn(*arguments, role=role, **environ)


def connected(cloud: DtCloud, url: str, secret: str = SECRET, **given: Any) -> str:
    return cloud.connector(url, httpConfig={"signatureSecret": secret, "headers": HEADERS}, **given)


def secrets(cloud: DtCloud) -> list[str]:
    return [each["httpConfig"]["signatureSecret"] for each in listed(cloud)]


# ---- connect ----


def test_connect_uses_the_secret_and_the_store_of_what_is_deployed(
    dtconn: Dtconn, cloud: DtCloud, deployed: Deployed
) -> None:
    deployed.put(json.dumps([OTHER, SECRET]))
    rotate(dtconn, deployed, "--no-connector")  # returns when the receiver uses both
    result = dtconn("connect", deployed.url, "--cloud", "local", "--test", "--json", DT_SIGNATURE_SECRET="x" * 40)
    assert result.exit_code == DONE, result.output
    found = json.loads(result.stdout)
    assert (found["status"], found["test"]["isCounted"], found["test"]["isStored"]) == ("ACTIVE", True, True)
    assert secrets(cloud) == [OTHER]
    assert OTHER not in result.output


def test_connect_needs_no_url_with_a_cloud(dtconn: Dtconn, cloud: DtCloud, deployed: Deployed) -> None:
    result = dtconn("connect", "--cloud", "local", "--dry-run")
    assert result.exit_code == DONE, result.output
    assert "+ url      http://127.0.0.1:8000\n" in result.stdout
    assert listed(cloud) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Give the receiver's URL, or --cloud"),
        (("--cloud-name", "mine"), "Give the receiver's URL, or --cloud"),
        (("--cloud", "elsewhere"), "Those are: "),
        (("--cloud", "local"), "signature-secret cannot be read"),
    ],
)
def test_a_receiver_that_is_not_found_is_one_sentence(
    dtconn: Dtconn, cloud: DtCloud, deployed: Deployed, arguments: tuple[str, ...], said: str
) -> None:
    Path("var/signature-secret").rename("moved")
    result = dtconn("connect", *arguments, DT_SIGNATURE_SECRET=None)
    Path("moved").rename("var/signature-secret")
    assert result.exit_code in (FAILED, WRONG)
    assert said in result.stderr
    assert (result.stdout, listed(cloud)) == ("", [])


# ---- rotate-secret ----


def test_the_connectors_of_the_url_get_the_new_secret_and_no_other(
    dtconn: Dtconn, cloud: DtCloud, deployed: Deployed
) -> None:
    connected(cloud, deployed.url)
    connected(cloud, "http://127.0.0.1:9")
    cloud.connector(deployed.url)  # DT's asymmetric signature alone
    cloud.desk("POST", "/connectors", {"project": list(PROJECTS)[1], "httpConfig": {
        "url": deployed.url.rstrip("/"), "signatureSecret": SECRET}})  # fmt: skip
    before = listed(cloud)
    result = rotate(dtconn, deployed, role="organization.admin")
    assert result.exit_code == DONE, result.output
    new, old = json.loads(deployed.text())
    assert old == SECRET
    assert secrets(cloud) == [new, SECRET, ""]
    (there,) = cloud.call("GET", f"/projects/{list(PROJECTS)[1]}/dataconnectors")["dataConnectors"]
    assert there["httpConfig"]["signatureSecret"] == new
    assert [each["httpConfig"].get("headers") for each in listed(cloud)] == [
        each["httpConfig"].get("headers") for each in before
    ]
    assert "DT Studio" not in result.stdout
    assert new not in result.output


def test_the_old_secret_stays_while_a_connector_uses_it(dtconn: Dtconn, cloud: DtCloud, deployed: Deployed) -> None:
    connected(cloud, deployed.url)
    result = rotate(dtconn, deployed, "--no-connector")
    assert (result.exit_code, secrets(cloud)) == (DONE, [SECRET]), result.output
    assert "Enter the new one in DT Studio" in result.stdout
    both = deployed.text()
    new, _ = json.loads(both)
    for options in ((), ("--now",)):
        result = rotate(dtconn, deployed, "--finish", *options)
        assert (result.exit_code, deployed.text()) == (FAILED, both)
        assert "run this command without --finish" in result.stderr
    assert rotate(dtconn, deployed).exit_code == DONE
    assert secrets(cloud) == [new]
    # Project User may finish: nothing is changed in DT Cloud.
    result = rotate(dtconn, deployed, "--finish", role="project.user")
    assert (result.exit_code, deployed.text()) == (FAILED, both)
    assert "signed with the old secret: " in result.stderr
    assert rotate(dtconn, deployed, "--finish", "--now", role="project.user").exit_code == DONE
    assert (deployed.text(), secrets(cloud)) == (new, [new])


def test_without_an_account_or_a_connector_a_person_enters_the_secret(
    dtconn: Dtconn, cloud: DtCloud, deployed: Deployed
) -> None:
    without: dict[str, str | None] = dict.fromkeys(cloud.environment())
    for environ in (without, {}):
        result = rotate(dtconn, deployed, role=DEVELOPER, **environ)
        assert result.exit_code == DONE, result.output
        assert "Enter the new one in DT Studio" in result.stdout


@pytest.mark.parametrize(
    ("secret", "role", "environ", "code", "said"),
    [
        (OTHER, DEVELOPER, {}, FAILED, "signs with another secret. Nothing was changed"),
        (SECRET, "project.user", {}, REFUSED, "dataconnector.update"),
        (SECRET, DEVELOPER, {"DT_API_KEY_SECRET": "wrong-secret-of-somebody"}, REFUSED, "401"),
        (SECRET, DEVELOPER, {"DT_API_KEY_ID": None}, WRONG, "DT_API_KEY_ID"),
        (SECRET, DEVELOPER, dict.fromkeys(("DT_API_URL", "DT_OIDC_TOKEN_ENDPOINT"), "http://127.0.0.1:9"),
         LATER, "cannot be reached"),
    ],
)  # fmt: skip
def test_a_fault_is_one_sentence_and_nothing_is_changed(
    dtconn: Dtconn,
    cloud: DtCloud,
    deployed: Deployed,
    secret: str,
    role: str,
    environ: dict[str, str | None],
    code: int,
    said: str,
) -> None:
    connected(cloud, deployed.url, secret)
    result = rotate(dtconn, deployed, role=role, **environ)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert said in result.stderr
    assert "wrong-secret" not in result.output
    assert (deployed.text(), secrets(cloud)) == (SECRET, [secret])


def test_a_value_that_cannot_be_used_is_replaced_in_the_connector_too(
    dtconn: Dtconn, cloud: DtCloud, deployed: Deployed
) -> None:
    connected(cloud, deployed.url)
    deployed.put("")
    assert rotate(dtconn, deployed, "--replace").exit_code == DONE
    assert secrets(cloud) == [deployed.text()]


REQUIRE, CONFIRM, MARK = 1, 2, 3


@pytest.mark.long
@pytest.mark.parametrize(
    ("held", "options"),
    [
        (REQUIRE, ()),
        (CONFIRM, ()),
        (MARK, ()),
        (0, ()),  # the change of the connector
        (REQUIRE, ("--finish", "--now")),
        (CONFIRM, ("--finish", "--now")),
    ],
)
def test_killed_at_a_step_it_goes_on_when_run_again(
    dtconn: Dtconn, cloud: DtCloud, deployed: Deployed, tmp_path: Path, held: int, options: tuple[str, ...]
) -> None:
    there, front = Between(cloud), Front(deployed, held)
    there.change = {} if held else {("PATCH", "*"): ["held"]}
    if options:
        connected(cloud, deployed.url)
        assert rotate(dtconn, deployed).exit_code == DONE
    before = json.loads(deployed.text())[0] if options else SECRET
    with loopback(there) as api, loopback(front) as server:
        connected(cloud, server.url, before)
        command = ["rotate-secret", "local", "--url", server.url, "--wait", "120", "--watch", "0", *options]
        environ = environment(cloud, DEVELOPER) | {"DT_API_URL": api.url}
        process = spawn([sys.executable, "-m", "cli", *command], env=environ, cwd=tmp_path)
        try:
            assert (front if held else there).is_held.wait(120)
        finally:
            process.kill()
            process.wait()
        result = dtconn(*command, role=DEVELOPER)
    assert result.exit_code == DONE, result.output
    new = deployed.text() if options else json.loads(deployed.text())[0]
    assert (deployed.text() if options else json.loads(deployed.text())) == (before if options else [new, SECRET])
    assert secrets(cloud)[-1] == new


@pytest.mark.long
@pytest.mark.parametrize("step", [REQUIRE, CONFIRM, MARK])
def test_of_two_at_once_one_ends_and_the_connector_signs_with_what_is_accepted(
    dtconn: Dtconn, cloud: DtCloud, deployed: Deployed, tmp_path: Path, step: int
) -> None:
    """The one waits before it writes, before it confirms, or before it changes the connector: the other writes."""
    front = Front(deployed, step)
    connected(cloud, deployed.url)
    command = ["rotate-secret", "local", "--wait", "15", "--watch", "0", "--url"]
    with loopback(front) as server:
        number = connected(cloud, server.url)
        process = start([*command, server.url], environment(cloud, DEVELOPER) | {"DT_API_URL": cloud.url}, tmp_path)
        assert front.is_held.wait(120)
        # As another person's rotation.
        deployed.put(json.dumps([OTHER, SECRET]))
        until(lambda: rotate(dtconn, deployed).exit_code == DONE)
        process.join(120)
        output = (tmp_path / "output").read_text()
        assert (process.exitcode, "was changed meanwhile" in output) == (FAILED, True), output
        assert json.loads(deployed.text()) == [OTHER, SECRET]
        # Run again, it goes on with the other's.
        assert dtconn(*command, server.url).exit_code == DONE
        assert {each["httpConfig"]["signatureSecret"] for each in listed(cloud)} == {OTHER}, number


@pytest.mark.parametrize(
    ("status", "code"), [(401, REFUSED), (403, REFUSED), (404, NOT_FOUND), (409, LATER), (500, LATER)]
)
def test_a_refused_change_leaves_both_secrets_and_is_made_by_the_next_run(
    dtconn: Dtconn, cloud: DtCloud, deployed: Deployed, status: int, code: int
) -> None:
    there = Between(cloud)

    def refuse(call: Call) -> Reply | None:
        if call.method != "PATCH":
            return there(call)
        quoted = json.loads(call.body)["httpConfig"]["signatureSecret"]
        return Reply(status, json.dumps({"error": f"{quoted} is quoted", "code": status, "help": ""}).encode())

    connected(cloud, deployed.url)
    with loopback(refuse) as api:
        result = rotate(dtconn, deployed, DT_API_URL=api.url)
    assert result.exit_code == code, result.output
    assert "does not sign with it yet" in result.stderr
    new, old = json.loads(deployed.text())
    assert (old, secrets(cloud)) == (SECRET, [SECRET])
    assert new not in result.output
    assert rotate(dtconn, deployed).exit_code == DONE
    assert secrets(cloud) == [new]
