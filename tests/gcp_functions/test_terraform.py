"""terraform/: its expressions by Terraform itself, its resources as data, and nothing by Google's provider.

`tests.support.terraform` says what stands in for the provider, and what is not validated. Names and values were taken
from their documentation.
"""

import ast
import json
import os
import re
import subprocess
from graphlib import TopologicalSorter
from typing import Any

import pytest

from core.receiver import DEADLINE
from core.settings import Settings
from tests.support.terraform import (
    FILES,
    LOCALS,
    REFERENCE,
    RESOURCES,
    ROOT,
    SOURCE,
    TERRAFORM,
    Planned,
    Workspace,
    named,
    needs_terraform,
)

pytestmark = needs_terraform


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("terraform"))


@pytest.fixture(scope="module")
def topic(workspace: Workspace) -> Planned:
    """With no variable but the project."""
    return workspace.planned()


@pytest.fixture(scope="module")
def everything(workspace: Workspace) -> Planned:
    """Store pubsub, with all that is optional there."""
    return workspace.planned(
        subscription="true",
        ordering="device",
        alarm_email="somebody@example.com",
        public_access="all_users",
        secret_version="2",
        keep_days="0",
        retention_days="31",
        organization_id='["one","two"]',
        project_ids="ccol8iuk9smqiha4e8l0",
        event_types="temperature",
        concurrency="8",
    )


@pytest.fixture(scope="module")
def bare(workspace: Workspace) -> Planned:
    """Store pubsub, with nothing that is optional there."""
    return workspace.planned(bigquery="false", subscription="true", seen_keys="none", public_access="none")


@pytest.fixture(scope="module")
def firestore(workspace: Workspace) -> Planned:
    return workspace.planned(store="firestore")


# ---- the files -------------------------------------------------------------------------------------------------------


def test_format() -> None:
    assert TERRAFORM is not None
    environ = {"PATH": os.environ["PATH"], "CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull}
    found = subprocess.run(
        [TERRAFORM, "fmt", "-check", "-diff", str(SOURCE)], env=environ, capture_output=True, text=True, check=False
    )

    assert (found.returncode, found.stdout) == (0, "")


def test_everything_that_is_declared_is_used_and_nothing_else() -> None:
    """What the twin leaves out is held to the same here: depends_on, lifecycle, and references without an attribute."""
    text = "\n".join(re.sub(r"#.*", "", path.read_text()) for path in sorted(SOURCE.glob("*.tf")))
    used = set(re.findall(r"\bvar\.(\w+)", text))
    for name, body in named("variable").items():  # its own validations are no use of it
        assert len(re.findall(rf"\bvar\.{name}\b", text)) > json.dumps(body).count(f"var.{name}"), name
    assert used == named("variable").keys()
    assert set(re.findall(r"\blocal\.(\w+)", text)) == LOCALS.keys()
    assert {f"{of_type}.{name}" for of_type, name in REFERENCE.findall(text)} <= RESOURCES.keys()
    for address, body in RESOURCES.items():
        for reference in body.get("depends_on", []):
            assert reference.removeprefix("${").removesuffix("}") in RESOURCES, address
    assert all(body.get("description") for kind in ("variable", "output") for body in named(kind).values())


def test_nothing_waits_for_itself() -> None:
    """By references, and by depends_on, which the twin leaves out."""
    graph = {f"local.{name}": value for name, value in LOCALS.items()} | RESOURCES
    waits = {}
    for address, body in graph.items():
        text = json.dumps(body)
        waits[address] = {f"{of_type}.{name}" for of_type, name in REFERENCE.findall(text.replace('"', " "))}
        waits[address] |= {f"local.{name}" for name in re.findall(r"\blocal\.(\w+)", text)}
    TopologicalSorter(waits).prepare()
    assert waits["google_cloudfunctions2_function.receiver"] >= {"time_sleep.permissions", "local.secret_version"}
    assert "local.messages" in waits["google_pubsub_subscription.bigquery"]


def test_only_the_providers_that_are_required_are_used() -> None:
    (required,) = FILES["terraform"][0]["required_providers"]
    providers = {name for name in required if not name.startswith("__")}
    assert providers == {address.split("_")[0] for address in RESOURCES} - {"terraform"}
    assert FILES["terraform"][0]["required_version"] == '">= 1.11"', "write-only arguments"
    assert required["google"]["version"] == '">= 6.23"', "secret_data_wo"
    assert required["random"]["version"] == '">= 3.7.1"', "ephemeral random_password"


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"store": "firestore", "subscription": "true"}, "there is none: take subscription = false"),
        ({"store": "firestore", "ordering": "device"}, "needs store"),
        ({"bigquery": "false"}, "reach nobody: take bigquery = true"),
        ({"signature_policy": "both"}, "es256 and both need organization_id"),
        ({"silence_minutes": "1411"}, "From 1 to 1410"),
        ({"store": "kafka"}, "pubsub or firestore"),
        ({"seen_keys": "redis"}, "firestore or none"),
        ({"secret_version": "latest"}, "A number, such as"),
        ({"retention_days": "32"}, "A whole number from 1 to 31"),
        ({"min_instances": "11"}, "at least min_instances"),
        ({"name": "dt"}, "from 5 to 23 lower-case letters"),
        ({"name": "dt-receiver-"}, "the last no hyphen"),
        ({"database": "(default)"}, "From 4 to 63"),
        ({"public_access": "everybody"}, "no_iam_check, all_users or none"),
    ],
)
def test_variables_that_make_no_sense_are_refused(
    workspace: Workspace, variables: dict[str, str], complaint: str
) -> None:
    found = workspace.plan(**variables)

    assert found.returncode == 1
    assert complaint in " ".join(found.stderr.replace("│", " ").split()), found.stderr


def test_it_has_the_variables_of_aws() -> None:
    """What is the same has the same name."""
    aws = (ROOT / "aws_lambda" / "terraform" / "variables.tf").read_text()
    declared = set(re.findall(r'^variable "(\w+)"', aws, re.MULTILINE))
    others = {"queue", "fifo", "max_message_size", "architecture", "memory_size", "reserved_concurrency"}
    assert declared - named("variable").keys() == others | {"log_retention_days"}


# ---- the function ----------------------------------------------------------------------------------------------------


def test_function(topic: Planned) -> None:
    function = topic.one("google_cloudfunctions2_function.receiver")
    (build,), (service,) = function["build_config"], function["service_config"]

    assert (build["runtime"], build["entry_point"]) == ("python313", "receive")
    tree = ast.parse((ROOT / "gcp_functions" / "main.py").read_text())
    assert build["entry_point"] in {it.name for it in tree.body if isinstance(it, ast.FunctionDef)}
    assert DEADLINE < service["timeout_seconds"] < 10
    assert (service["available_memory"], service["available_cpu"]) == ("512Mi", "1")
    assert (service["min_instance_count"], service["max_instance_count"]) == (0, 10)
    assert service["max_instance_request_concurrency"] == 20
    assert service["environment_variables"]["THREADS"] == "20"
    assert service["ingress_settings"] == "ALLOW_ALL"
    assert service["service_account_email"] == "dt-receiver@some-project.iam.gserviceaccount.com"
    assert build["service_account"].endswith("/dt-receiver-build@some-project.iam.gserviceaccount.com")
    (source,) = build["source"][0]["storage_source"]
    assert source["bucket"] == topic.one("google_storage_bucket.source")["name"]
    assert re.fullmatch(r"receiver-[0-9a-f]{16}\.zip", source["object"])


COMMON = {
    "DT_KEEP_DAYS": "365",
    "DT_SIGNATURE_POLICY": "any",
    "DT_ACCEPT_EXPIRED_FOR": "0",
    "THREADS": "20",
    "LOG_EXECUTION_ID": "false",
}


def environment(planned: Planned) -> dict[str, str]:
    found: dict[str, str] = planned.one("google_cloudfunctions2_function.receiver")["service_config"][0][
        "environment_variables"
    ]
    return found


def test_environment(topic: Planned, bare: Planned, firestore: Planned, everything: Planned) -> None:
    """What is empty is not set."""
    of_topic = {"DT_STORE": "pubsub", "DT_TOPIC": "projects/some-project/topics/dt-receiver-events"}
    database = {"DT_FIRESTORE": "projects/some-project/databases/dt-events"}
    assert environment(topic) == COMMON | of_topic | database | {"DT_SEEN_KEYS": "firestore", "DT_ORDERING": "none"}
    assert environment(bare) == COMMON | of_topic | {"DT_SEEN_KEYS": "none", "DT_ORDERING": "none"}
    assert environment(firestore) == COMMON | database | {"DT_STORE": "firestore"}
    more = {
        "DT_SEEN_KEYS": "firestore",
        "DT_ORDERING": "device",
        "DT_KEEP_DAYS": "0",
        "DT_ORGANIZATION_ID": '["one","two"]',
        "DT_PROJECT_ID": "ccol8iuk9smqiha4e8l0",
        "DT_EVENT_TYPES": "temperature",
        "THREADS": "8",
    }
    assert environment(everything) == COMMON | of_topic | database | more


# Not for a function: for tests, and for whoever has DT's keys pinned, other clocks, another issuer.
BY_HAND = {"DT_JWKS", "DT_ISSUER", "DT_LEEWAY", "DT_ACCEPT_SHA1", "PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"}


def test_environment_is_what_the_code_reads(everything: Planned) -> None:
    """Each variable that the function reads is set, and none that it does not: by the names in its source."""
    read = set()
    for path in [
        *(ROOT / "gcp_functions").glob("*.py"),
        *(ROOT / "core" / name for name in ("settings.py", "environment.py")),
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                read |= set(re.findall(r"\A(?:DT_[A-Z0-9_]+|[A-Z]+_EMULATOR_HOST)\Z", node.value))
    assert read - BY_HAND == (environment(everything).keys() | {"DT_SIGNATURE_SECRET"}) - {
        "THREADS",
        "LOG_EXECUTION_ID",
    }


def test_the_core_takes_the_settings(everything: Planned) -> None:
    settings = Settings.load(environment(everything) | {"DT_SIGNATURE_SECRET": '["new","old"]'})
    assert settings is not None


# ---- who may do what -------------------------------------------------------------------------------------------------

RECEIVER = "serviceAccount:dt-receiver@some-project.iam.gserviceaccount.com"
BUILD = "serviceAccount:dt-receiver-build@some-project.iam.gserviceaccount.com"
PUBSUB = "serviceAccount:service-1234@gcp-sa-pubsub.iam.gserviceaccount.com"
SUBSCRIPTIONS = "projects/some-project/subscriptions/dt-receiver"
TOPICS = "projects/some-project/topics/dt-receiver"

ALWAYS = {
    ("projects/some-project/secrets/dt-receiver-signature", "roles/secretmanager.secretAccessor", RECEIVER),
    ("some-project", "roles/artifactregistry.writer", BUILD),
    ("some-project", "roles/logging.logWriter", BUILD),
    ("some-project", "roles/storage.objectViewer", BUILD),
}
IN_TOPIC = {
    (f"{TOPICS}-events", "roles/pubsub.publisher", RECEIVER),
    (f"{TOPICS}-dead-letters", "roles/pubsub.publisher", PUBSUB),
}
IN_FIRESTORE = {("some-project", "projects/some-project/roles/dt_receiver", RECEIVER)}
IN_BIGQUERY = {
    ("dt_receiver/messages", "roles/bigquery.dataEditor", PUBSUB),
    (f"{SUBSCRIPTIONS}-bigquery", "roles/pubsub.subscriber", PUBSUB),
}
SUBSCRIBED = {(f"{SUBSCRIPTIONS}-events", "roles/pubsub.subscriber", PUBSUB)}
EVERYBODY = {("dt-receiver", "roles/run.invoker", "allUsers")}


def test_roles_are_these_and_no_others(topic: Planned, bare: Planned, firestore: Planned, everything: Planned) -> None:
    assert topic.grants == ALWAYS | IN_TOPIC | IN_FIRESTORE | IN_BIGQUERY
    assert bare.grants == ALWAYS | IN_TOPIC | SUBSCRIBED
    assert firestore.grants == ALWAYS | IN_FIRESTORE
    assert everything.grants == ALWAYS | IN_TOPIC | IN_FIRESTORE | IN_BIGQUERY | SUBSCRIBED | EVERYBODY


def test_no_other_way_to_grant_is_used() -> None:
    granting = {it.split(".")[0] for it in RESOURCES if "_iam_" in it.split(".")[0]}
    assert all(it.endswith(("_iam_member", "_iam_custom_role")) for it in granting), "those add, and take nothing away"


def test_firestore_role(topic: Planned, firestore: Planned) -> None:
    """https://cloud.google.com/firestore/docs/security/iam: createDocument, get."""
    create = ["datastore.entities.create"]
    assert firestore.one("google_project_iam_custom_role.receiver")["permissions"] == create
    assert topic.one("google_project_iam_custom_role.receiver")["permissions"] == [
        *create,
        "datastore.entities.get",
    ]
    for planned in (topic, firestore):
        (condition,) = planned.one("google_project_iam_member.firestore")["condition"]
        assert condition["expression"] == 'resource.name == "projects/some-project/databases/dt-events"'


def test_anybody_may_call_it_as_the_variable_says(topic: Planned, bare: Planned, everything: Planned) -> None:
    for planned, command, binding in ((topic, 1, 0), (everything, 0, 1), (bare, 0, 0)):
        assert len(planned.resources["terraform_data.no_iam_check"]) == command
        assert len(planned.resources["google_cloud_run_v2_service_iam_member.everybody"]) == binding
        assert ("allUsers" in json.dumps(planned.resources)) is bool(binding)
        assert planned.outputs["make_public"] == (
            "gcloud run services update dt-receiver --project=some-project --region=europe-west1 "
            "--no-invoker-iam-check --quiet"
        )
    body = RESOURCES["terraform_data.no_iam_check"]
    assert body["provisioner"][0]['"local-exec"']["command"] == "${local.make_public}"
    # Whatever the function's API makes of the setting when it changes the service, it is set again.
    assert body["lifecycle"][0]["replace_triggered_by"] == ["${google_cloudfunctions2_function.receiver}"]
    text = "\n".join(path.read_text() for path in SOURCE.glob("*.tf"))
    assert not re.search(r"allAuthenticatedUsers", text)


# ---- the secret ------------------------------------------------------------------------------------------------------


def test_the_secret_is_nowhere(topic: Planned, everything: Planned) -> None:
    """It is in one argument, which Terraform writes and never keeps."""
    version = topic.one("google_secret_manager_secret_version.signature")
    assert version.pop("secret_data_wo") == "THE SECRET"
    del topic.resources["random_password.signature"]["result"]
    assert "THE SECRET" not in json.dumps([topic.resources, topic.outputs])
    assert "secret_data" not in version
    assert set(version) == {"secret", "secret_data_wo_version", "deletion_policy", "version"}
    assert 'ephemeral "random_password"' in (SOURCE / "main.tf").read_text()
    assert everything.resources["google_secret_manager_secret_version.signature"] == []
    assert RESOURCES["random_password.signature"] == {"length": 64, "special": False, "__is_block__": True}


def test_the_version_is_pinned(topic: Planned, everything: Planned) -> None:
    for planned, version in ((topic, "1"), (everything, "2")):
        function = planned.one("google_cloudfunctions2_function.receiver")
        assert function["service_config"][0]["secret_environment_variables"] == [
            {
                "key": "DT_SIGNATURE_SECRET",
                "project_id": "some-project",
                "secret": "dt-receiver-signature",
                "version": version,
            }
        ]
        assert planned.outputs["secret_version"] == version
    # Terraform gives the first one up once another is chosen, and must not destroy it: it may still be in use.
    assert topic.one("google_secret_manager_secret_version.signature")["deletion_policy"] == "ABANDON"


# ---- where events go -------------------------------------------------------------------------------------------------

HOLDS_EVENTS = {
    "google_bigquery_dataset.events",
    "google_bigquery_table.messages",
    "google_firestore_database.events",
    "google_pubsub_subscription.bigquery",
    "google_pubsub_subscription.dead_letters",
    "google_pubsub_subscription.events",
    "google_pubsub_topic.dead_letters",
    "google_pubsub_topic.events",
}


def test_what_holds_events_is_not_destroyed() -> None:
    kept = {name for name, body in RESOURCES.items() if body.get("lifecycle", [{}])[0].get("prevent_destroy") is True}
    assert kept == HOLDS_EVENTS
    types = {
        "google_bigquery_dataset",
        "google_firestore_database",
        "google_pubsub_subscription",
        "google_pubsub_topic",
    }
    assert {name for name in RESOURCES if name.split(".")[0] in types} <= kept
    (pattern,) = re.findall(
        r"terraform state list \| grep -E '(.*)' \| xargs terraform state rm", (SOURCE / "main.tf").read_text()
    )
    assert {name for name in RESOURCES if re.search(pattern, f"{name}[0]")} == HOLDS_EVENTS


def test_topics(topic: Planned, everything: Planned) -> None:
    for planned, days in ((topic, 7), (everything, 31)):
        events, dead = planned.one("google_pubsub_topic.events"), planned.one("google_pubsub_topic.dead_letters")
        assert events["message_retention_duration"] == f"{days * 86400}s"
        assert dead["message_retention_duration"] == f"{31 * 86400}s"
        for one in (events, dead):
            assert one["message_storage_policy"] == [{"allowed_persistence_regions": ["europe-west1"]}]
            assert "schema_settings" not in one


def test_subscriptions(topic: Planned, bare: Planned, everything: Planned) -> None:
    def names(planned: Planned) -> set[str]:
        return {it["name"] for it in planned.instances("google_pubsub_subscription").values()}

    assert names(topic) == {"dt-receiver-bigquery", "dt-receiver-dead-letters"}
    assert names(bare) == {"dt-receiver-events", "dt-receiver-dead-letters"}
    assert names(everything) == names(topic) | names(bare)
    for planned in (topic, bare, everything):
        for it in planned.instances("google_pubsub_subscription").values():
            assert it["expiration_policy"] == [{"ttl": ""}], "never"
            if it["name"] != "dt-receiver-dead-letters":
                assert it["topic"] == f"{TOPICS}-events"
                (dead,) = it["dead_letter_policy"]
                assert dead["dead_letter_topic"] == f"{TOPICS}-dead-letters"
                attempts = 100 if it["name"].endswith("bigquery") else 10
                assert dead["max_delivery_attempts"] == attempts
    (dead,) = topic.resources["google_pubsub_subscription.dead_letters"]
    assert (dead["topic"], dead["message_retention_duration"]) == (f"{TOPICS}-dead-letters", f"{31 * 86400}s")
    assert bare.one("google_pubsub_subscription.events")["enable_message_ordering"] is False
    assert everything.one("google_pubsub_subscription.events")["enable_message_ordering"] is True
    assert everything.one("google_pubsub_subscription.events")["message_retention_duration"] == f"{31 * 86400}s"


def test_bigquery(topic: Planned, bare: Planned, firestore: Planned, everything: Planned) -> None:
    table = topic.one("google_bigquery_table.messages")
    columns = {it["name"]: it["type"] for it in json.loads(table["schema"])}
    # https://cloud.google.com/pubsub/docs/bigquery: what write_metadata writes, and where the body goes.
    assert columns == {
        "subscription_name": "STRING",
        "message_id": "STRING",
        "publish_time": "TIMESTAMP",
        "data": "BYTES",
        "attributes": "JSON",
    }
    assert table["deletion_protection"] is True
    assert table["time_partitioning"] == [{"type": "DAY", "field": "publish_time", "expiration_ms": 365 * 86400000}]
    assert everything.one("google_bigquery_table.messages")["time_partitioning"][0]["expiration_ms"] is None
    assert topic.one("google_bigquery_dataset.events")["delete_contents_on_destroy"] is False
    assert topic.one("google_pubsub_subscription.bigquery")["bigquery_config"] == [
        {"table": "some-project.dt_receiver.messages", "write_metadata": True}
    ]
    for view in ("readings", "latest"):
        (query,) = topic.one(f"google_bigquery_table.{view}")["view"]
        assert query["use_legacy_sql"] is False
        assert "`some-project.dt_receiver.messages`" in query["query"]
        assert "${" not in query["query"]
        assert topic.outputs[view] == f"some-project.dt_receiver.{view}"
    assert "`some-project.dt_receiver.readings`" in topic.one("google_bigquery_table.latest")["view"][0]["query"]
    for planned in (bare, firestore):
        assert not any(planned.resources[name] for name in RESOURCES if name.startswith("google_bigquery_"))


def test_firestore(topic: Planned, bare: Planned, firestore: Planned) -> None:
    for planned in (topic, firestore):
        database = planned.one("google_firestore_database.events")
        assert (database["name"], database["type"]) == ("dt-events", "FIRESTORE_NATIVE")
        assert database["delete_protection_state"] == "DELETE_PROTECTION_ENABLED"
        assert database["point_in_time_recovery_enablement"] == "POINT_IN_TIME_RECOVERY_ENABLED"
        fields = planned.resources["google_firestore_field.expires_at"]
        assert {it["collection"]: it["field"] for it in fields.values()} == dict.fromkeys(
            ("events", "seenKeys"), "expiresAt"
        )
        assert all(it["ttl_config"] == it["index_config"] == [{}] for it in fields.values())
    # The names are those that the code writes.
    files = ("core/event.py", "gcp_functions/firestore.py", "gcp_functions/seen_keys.py")
    code = "".join((ROOT / file).read_text() for file in files)
    assert all(
        name in code for name in ('/events"', "/seenKeys", '"expiresAt"', '"body"', '"eventType"', '"timestamp"')
    )
    body = firestore.one("google_firestore_field.body")
    assert (body["collection"], body["field"], body["index_config"]) == ("events", "body", [{}])
    index = firestore.one("google_firestore_index.events")
    assert [(it["field_path"], it["order"]) for it in index["fields"]] == [
        ("eventType", "ASCENDING"),
        ("timestamp", "DESCENDING"),
    ]
    assert not any(bare.resources[name] for name in RESOURCES if name.startswith("google_firestore_"))


def test_apis(topic: Planned, bare: Planned, firestore: Planned) -> None:
    def enabled(planned: Planned) -> set[str]:
        found = planned.resources["google_project_service.apis"].values()
        assert all(it["disable_on_destroy"] is False for it in found)
        return {it["service"].removesuffix(".googleapis.com") for it in found}

    always = {"artifactregistry", "cloudbuild", "cloudfunctions", "iam", "logging", "monitoring", "run"}
    always |= {"secretmanager", "storage"}
    assert enabled(topic) == always | {"pubsub", "bigquery", "firestore"}
    assert enabled(bare) == always | {"pubsub"}
    assert enabled(firestore) == always | {"firestore"}


# ---- watching it -----------------------------------------------------------------------------------------------------

USER = "logging.googleapis.com/user/"
# https://cloud.google.com/monitoring/api/metrics_gcp
GOOGLES = {
    "run.googleapis.com/request_count",
    "run.googleapis.com/request_latencies",
    "pubsub.googleapis.com/subscription/num_undelivered_messages",
    "pubsub.googleapis.com/subscription/oldest_unacked_message_age",
}


def test_metrics_are_of_the_lines_that_the_receiver_writes(topic: Planned) -> None:
    metrics = topic.resources["google_logging_metric.outcomes"]
    log = (ROOT / "core" / "log.py").read_text()
    (named_in_log,) = re.findall(r"outcome: (``.*?``) or ``health``", log)
    assert set(metrics) == set(re.findall(r"``(\w+)``", named_in_log))
    for outcome, metric in metrics.items():
        assert metric["name"] == f"dt-receiver/{outcome}"
        assert metric["filter"] == (
            'resource.type="cloud_run_revision" AND resource.labels.service_name="dt-receiver" '
            f'AND resource.labels.location="europe-west1" AND jsonPayload.outcome="{outcome}"'
        )
        (descriptor,) = metric["metric_descriptor"]
        assert (descriptor["metric_kind"], descriptor["value_type"]) == ("DELTA", "INT64")
        assert metric["label_extractors"].keys() == {it["key"] for it in descriptor["labels"]} == {"reason"}


def condition(policy: dict[str, Any]) -> dict[str, Any]:
    (found,) = policy["conditions"]
    (threshold,) = found["condition_threshold"]
    result: dict[str, Any] = threshold
    return result


def test_alerts(topic: Planned, bare: Planned, firestore: Planned, everything: Planned) -> None:
    always = {"failed", "url-5xx", "throttles"}
    for planned, names in (
        (topic, {"bigquery-age", "dead-letters"}),
        (bare, {"age", "dead-letters"}),
        (firestore, set()),
        (everything, {"age", "bigquery-age", "dead-letters"}),
    ):
        policies = planned.resources["google_monitoring_alert_policy.more_than"]
        assert policies.keys() == always | names
        for policy in policies.values():
            found = condition(policy)
            assert (found["comparison"], found["duration"]) == ("COMPARISON_GT", "0s")
        channels = ["projects/p/notificationChannels/1"] if planned is everything else []
        for policy in planned.instances("google_monitoring_alert_policy").values():
            assert policy["notification_channels"] == channels
            assert policy["documentation"][0]["content"]
    ages = {key: condition(it)["threshold_value"] for key, it in policies.items()}
    assert ages == dict.fromkeys(always | {"dead-letters"}, 0) | {"age": 86400, "bigquery-age": 3600}
    assert 'response_code_class = "5xx"' in condition(policies["url-5xx"])["filter"]
    assert 'response_code = "429"' in condition(policies["throttles"])["filter"]
    (channel,) = everything.resources["google_monitoring_notification_channel.email"]
    assert (channel["type"], channel["labels"]) == ("email", {"email_address": "somebody@example.com"})


def test_silence(topic: Planned, workspace: Workspace) -> None:
    for planned, seconds in ((topic, 3600), (workspace.planned(silence_minutes="1410"), 84600)):
        found = condition(planned.one("google_monitoring_alert_policy.silence"))
        assert f'"{USER}dt-receiver/stored"' in found["filter"]
        assert (found["comparison"], found["threshold_value"]) == ("COMPARISON_LT", 1)
        assert found["duration"] == f"{seconds}s"
        assert found["evaluation_missing_data"] == "EVALUATION_MISSING_DATA_ACTIVE", "nothing logged is silence too"


def test_every_filter_names_a_metric_and_a_resource_that_exist(everything: Planned) -> None:
    metrics = GOOGLES | {
        f"{USER}{it['name']}" for it in everything.resources["google_logging_metric.outcomes"].values()
    }
    subscriptions = {it["name"] for it in everything.instances("google_pubsub_subscription").values()}
    text = json.dumps(
        [
            *everything.instances("google_monitoring_alert_policy").values(),
            json.loads(everything.one("google_monitoring_dashboard.receiver")["dashboard_json"]),
        ]
    ).replace('\\"', "'")
    assert set(re.findall(r"metric\.type = '([^']+)'", text)) == metrics
    assert set(re.findall(r"subscription_id = '([^']+)'", text)) == subscriptions
    assert set(re.findall(r"service_name = '([^']+)'", text)) == {"dt-receiver"}
    assert set(re.findall(r"resource\.type = '([^']+)'", text)) == {"cloud_run_revision", "pubsub_subscription"}


def test_dashboard(topic: Planned, firestore: Planned) -> None:
    for planned, titles in (
        (topic, {"Events", "Time to answer", "Failed requests", "Oldest message (s)", "Dead letters"}),
        (firestore, {"Events", "Time to answer", "Failed requests"}),
    ):
        dashboard = json.loads(planned.one("google_monitoring_dashboard.receiver")["dashboard_json"])
        widgets = {it["title"]: it["xyChart"]["dataSets"] for it in dashboard["gridLayout"]["widgets"]}
        assert widgets.keys() == titles
        assert {it["legendTemplate"] for it in widgets["Events"]} == {
            f"dt-receiver/{it}" for it in ("stored", "duplicate", "dropped", "refused", "failed")
        }


# ---- what comes out --------------------------------------------------------------------------------------------------


def test_outputs(topic: Planned, firestore: Planned, everything: Planned) -> None:
    secret = {"secret": "dt-receiver-signature", "secret_version": "1"}
    always = {
        **secret,
        "url": "https://dt-receiver-abc.a.run.app",
        "database": "dt-events",
        "dashboard": "https://console.cloud.google.com/monitoring/dashboards/builder/abcd?project=some-project",
        "make_public": topic.outputs["make_public"],
    }
    of_topic = {
        "topic": f"{TOPICS}-events",
        "subscription": None,
        "dead_letters": f"{SUBSCRIPTIONS}-dead-letters",
        "table": "some-project.dt_receiver.messages",
        "readings": "some-project.dt_receiver.readings",
        "latest": "some-project.dt_receiver.latest",
    }
    assert topic.outputs == always | of_topic
    assert firestore.outputs == always | dict.fromkeys(of_topic)
    assert everything.outputs["subscription"] == f"{SUBSCRIPTIONS}-events"
