"""The store of a Cloud Run function, from its variables and the topic's subscriptions."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import gcp_functions.deployment
from cli.deployment import find_deployment
from deployed import DeploymentError
from deployed.contract import Place
from tests.gcp_functions.deployments import service
from tests.support.vendors import Command, vendor

TOPIC = "projects/p/topics/dt-receiver-events"
OTHER = {"name": "projects/p/subscriptions/other", "topic": "projects/p/topics/other"}
PULLED = {"name": "projects/p/subscriptions/events", "topic": TOPIC}
TABLE = {
    "name": "projects/p/subscriptions/table",
    "topic": TOPIC,
    "bigqueryConfig": {"table": "p.dt_receiver.messages"},
}


def test_gcloud_knows_the_commands(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an account it refuses after it has parsed them."""
    monkeypatch.setattr(gcp_functions.deployment, "_TERRAFORM", tmp_path)
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        pytest.skip("no gcloud: install the Google Cloud CLI")

    def answer(command: Command) -> Any:
        if command.argv[:3] == ["secrets", "versions", "add"]:
            return {"name": "projects/1/secrets/a-receiver-signature/versions/2"}
        return [service({"DT_TOPIC": TOPIC}, 1)] if command.argv[:2] == ["run", "services"] else [PULLED]

    with vendor("gcloud", answer, tmp_path, request) as standing:
        deployment = find_deployment("gcp", Place(name="a-receiver", project="p", region="europe-west1"))
        deployment.read_text()
        deployment.write_text("a text")
    environ = {**os.environ, "CLOUDSDK_CONFIG": str(tmp_path / "config"), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
    assert len(standing.commands) == 5
    for arguments in [*standing.commands, ["run", "services", "update", "a-receiver", "--update-secret=x"]]:
        done = subprocess.run([gcloud, *arguments], env=environ, input="", capture_output=True, text=True, check=False)
        is_ours = arguments in standing.commands
        assert ("You do not currently have an active account selected" in done.stderr) == is_ours, done.stderr
        assert ("unrecognized arguments" in done.stderr) != is_ours, done.stderr


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
