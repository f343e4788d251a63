"""The store of a Cloud Run function, from its variables and the topic's subscriptions."""

import json
from pathlib import Path
from typing import Any

import pytest

import gcp_functions.deployment
from cli.deployment import find_deployment
from deployed import DeploymentError
from deployed.contract import Place
from tests.gcp_functions.deployments import service
from tests.support.terraform import needs_terraform
from tests.support.vendors import Command, vendor

TOPIC = "projects/p/topics/dt-receiver-events"
OTHER = {"name": "projects/p/subscriptions/other", "topic": "projects/p/topics/other"}
PULLED = {"name": "projects/p/subscriptions/events", "topic": TOPIC}
TABLE = {
    "name": "projects/p/subscriptions/table",
    "topic": TOPIC,
    "bigqueryConfig": {"table": "p.dt_receiver.messages"},
}


def found(services: list[Any], subscriptions: list[Any], folder: Path, request: pytest.FixtureRequest) -> Any:
    def answer(command: Command) -> Any:
        assert command.option("--project") == "p"
        return services if command.argv[0] == "run" else subscriptions

    with vendor("gcloud", answer, folder, request):
        return find_deployment("gcp", Place(project="p"))


@pytest.mark.parametrize(
    ("subscriptions", "source"),
    [
        ([OTHER, PULLED, TABLE], "bigquery:p.dt_receiver.messages"),
        ([OTHER, PULLED], "pubsub:projects/p/subscriptions/events"),
        ([OTHER], ""),
    ],
)
def test_source_is_where_the_topic_leads(
    subscriptions: list[Any], source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    deployment = found([service({"DT_TOPIC": TOPIC}, 3)], subscriptions, tmp_path, request)
    assert deployment.source == source
    assert deployment.secret_command.startswith("gcloud secrets versions access 3 --secret=a-receiver-signature")


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ([], "There is no Cloud Run service dt-receiver"),
        ([service({}, 1)] * 2, "in several regions. Name one: --region"),
        ([{**service({}, 1), "spec": {"template": {"spec": {"containers": [{}]}}}}], "from Secret Manager"),
        ([{"metadata": {"name": "dt-receiver"}}], "is not a receiver of this version"),
    ],
)
def test_what_is_not_the_one_receiver_is_named(
    services: list[Any], said: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(DeploymentError, match=said):
        found(services, [], tmp_path, request)


MINE = {"project": "p", "secret": "a-receiver-signature"}


@needs_terraform
@pytest.mark.parametrize(
    ("place", "outputs", "said"),
    [
        (Place(project="p"), MINE, ""),
        (Place(), MINE, ""),
        (Place(project="other"), MINE, "has the secret a-receiver-signature of the project p."),
        (Place(project="p"), MINE | {"secret": "its"}, "has the secret its of the project p."),
        (Place(project="p"), {"secret": "a-receiver-signature"}, 'if so, write the line secret_version = "9" to'),
        (Place(project="p"), {}, "is not known"),
        (Place(project="p"), None, "is not known"),
    ],
)
def test_rotation_sets_the_version_of_the_secret_that_terraform_has(
    place: Place,
    outputs: dict[str, str] | None,
    said: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Terraform itself reads the state; None is one that it cannot read."""
    monkeypatch.setattr(gcp_functions.deployment, "_TERRAFORM", tmp_path)
    (tmp_path / ".terraform").mkdir()
    values = {name: {"value": value, "type": "string"} for name, value in (outputs or {}).items()}
    state = {"version": 4, "terraform_version": "1.11.0", "serial": 1, "lineage": "x", "outputs": values}
    (tmp_path / "terraform.tfstate").write_text("{" if outputs is None else json.dumps(state | {"resources": []}))

    def answer(command: Command) -> Any:
        if command.argv[:2] == ["secrets", "versions"]:
            return {"name": "projects/123456789012/secrets/a-receiver-signature/versions/9"}
        return "p\n" if command.argv[0] == "config" else [service({"DT_STORE": "firestore", "DT_FIRESTORE": "x"}, 8)]

    with vendor("gcloud", answer, tmp_path, request):
        done = find_deployment("gcp", place).write_text("a secret of the tests")
    written = tmp_path / "secret.auto.tfvars"
    assert said in done
    assert written.exists() == (not said)
    assert said or (written.read_text(), done[-11:]) == ('secret_version = "9"\n', "a-receiver.")
