"""The store of a Cloud Run function, from its variables and the topic's subscriptions."""

from pathlib import Path
from typing import Any

import pytest

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
