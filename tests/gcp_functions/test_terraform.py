"""terraform/: expressions evaluated by Terraform, resources checked as data, without Google's provider.

`tests.support.terraform` says what stands in for the provider, and what is not validated.
tests/contract/test_terraform_files.py has the tests that every cloud's Terraform shares.
"""

import json
import re

import pytest

from core.receiver import DEADLINE
from core.settings import Settings
from tests.support.source import functions, outcomes, strings
from tests.support.terraform import ROOT, Configuration, Planned, Workspace, needs_terraform, plan
from tests.support.terraform import workspace as workspace_of

pytestmark = needs_terraform

SOURCE = ROOT / "gcp_functions" / "terraform"
# What the provider adds to the arguments. An id is what its documentation says an id is; `self` are the arguments.
ACCOUNT = "${self.account_id}@${var.project}.iam.gserviceaccount.com"
GCP = Configuration(
    SOURCE,
    {
        "google_cloudfunctions2_function": {
            "service_config": '[merge(self.service_config[0], {uri = "https://dt-receiver-abc.a.run.app"})]'
        },
        "google_firestore_database": {"id": '"projects/${var.project}/databases/${self.name}"'},
        "google_logging_metric": {"id": "self.name"},
        "google_monitoring_dashboard": {"id": '"projects/1234/dashboards/abcd"'},
        "google_monitoring_notification_channel": {"id": '"projects/p/notificationChannels/1"'},
        "google_project": {"number": '"1234"'},
        "google_project_iam_custom_role": {"id": '"projects/${var.project}/roles/${self.role_id}"'},
        "google_pubsub_subscription": {"id": '"projects/${var.project}/subscriptions/${self.name}"'},
        "google_pubsub_topic": {"id": '"projects/${var.project}/topics/${self.name}"'},
        "google_secret_manager_secret": {"id": '"projects/${var.project}/secrets/${self.secret_id}"'},
        "google_secret_manager_secret_version": {"version": '"1"'},
        "google_service_account": {
            "email": f'"{ACCOUNT}"',
            "id": f'"projects/${{var.project}}/serviceAccounts/{ACCOUNT}"',
        },
        "random_id": {"hex": '"0a1b2c3d"'},
        "random_password": {"result": '"THE SECRET"'},
    },
)


workspace = workspace_of(GCP, project="some-project", package="package.zip")
topic = plan()
firestore = plan(store="firestore")
# Store pubsub, with everything optional, and with nothing.
everything = plan(
    subscription="true",
    ordering="device",
    alarm_email="somebody@example.com",
    keep_days="0",
    public_access="all_users",
    secret_version="2",
    retention_days="31",
    concurrency="8",
    organization_id='["one","two"]',
    project_ids="ccol8iuk9smqiha4e8l0",
    event_types="temperature",
    budget_amount="20",
    billing_account="012345-6789AB-CDEF01",
)
bare = plan(bigquery="false", subscription="true", seen_keys="none", public_access="none")


def test_permissions_are_granted_before_the_function_starts() -> None:
    """By depends_on, which the evaluated copy leaves out."""
    waits = GCP.waits()
    assert waits["google_cloudfunctions2_function.receiver"] >= {"time_sleep.permissions", "local.secret_version"}
    assert "local.messages" in waits["google_pubsub_subscription.bigquery"]
    named = {address for address, needed in waits.items() if "local.pubsub_agent" in needed}
    assert len(named) == 4
    assert all("time_sleep.pubsub_agent" in waits[it] for it in named), "Google refuses an account that is not there"
    # Whatever calls an API waits until it was enabled, and until that is known everywhere.
    alone = {"google_project.this", "google_project_service.apis", "random_id.role", "random_password.signature"}
    ready = {"time_sleep.apis", *alone}
    for _ in waits:
        ready |= {address for address, needed in waits.items() if needed & ready - {"google_project.this"}}
    assert GCP.resources.keys() <= ready


# Combinations that would acknowledge events and lose them, and values that Google refuses after some minutes.
@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"store": "firestore", "subscription": "true"}, "there is no topic: set subscription = false"),
        ({"store": "firestore", "ordering": "device"}, "needs store"),
        ({"bigquery": "false"}, "not processed: set bigquery = true"),
        ({"secret_version": "latest"}, "A number, such as"),
        ({"min_instances": "11"}, "at least min_instances"),
        ({"name": "dt"}, "from 5 to 23 lower-case letters"),
        ({"database": "(default)"}, "From 4 to 63"),
        ({"budget_amount": "20"}, "needs billing_account"),
    ],
)
def test_invalid_variables_are_refused(workspace: Workspace, variables: dict[str, str], complaint: str) -> None:
    assert complaint in workspace.refused(**variables)


def test_function_runs_as_its_own_service_account(topic: Planned) -> None:
    function = topic.one("google_cloudfunctions2_function.receiver")
    (build,), (service,) = function["build_config"], function["service_config"]
    assert build["entry_point"] in functions("gcp_functions/main.py")
    assert build["runtime"] == "python313"
    assert DEADLINE < service["timeout_seconds"] < 10
    assert service["max_instance_count"] == 10, "what a flood costs"
    assert str(service["max_instance_request_concurrency"]) == service["environment_variables"]["THREADS"] == "20"
    assert service["service_account_email"] == "dt-receiver@some-project.iam.gserviceaccount.com"
    assert build["service_account"].endswith("/dt-receiver-build@some-project.iam.gserviceaccount.com")
    assert build["source"][0]["storage_source"][0]["bucket"] == topic.one("google_storage_bucket.source")["name"]


def environment(planned: Planned) -> dict[str, str]:
    (service,) = planned.one("google_cloudfunctions2_function.receiver")["service_config"]
    found: dict[str, str] = service["environment_variables"]
    return found


# Not for a function: for tests, pinned keys, skewed clocks and another issuer; and for the worker.
BY_HAND = {"DT_JWKS", "DT_ISSUER", "DT_LEEWAY", "DT_ACCEPT_SHA1", "PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"}
BY_HAND |= {"DT_SUBSCRIPTION"}


def test_environment(topic: Planned, bare: Planned, firestore: Planned, everything: Planned) -> None:
    """An empty variable is not set; exactly the variables that the code reads are set."""
    store = {"DT_STORE": "pubsub", "DT_TOPIC": "projects/some-project/topics/dt-receiver-events"}
    database = {"DT_FIRESTORE": "projects/some-project/databases/dt-events"}
    for planned, expected in (
        (topic, store | database | {"DT_SEEN_KEYS": "firestore", "DT_ORDERING": "none", "DT_KEEP_DAYS": "365"}),
        (firestore, database | {"DT_STORE": "firestore", "DT_SIGNATURE_POLICY": "any"}),
        (bare, store | {"DT_SEEN_KEYS": "none"}),
    ):
        assert environment(planned).items() >= expected.items()
    assert "DT_FIRESTORE" not in environment(bare)
    assert "DT_TOPIC" not in environment(firestore)
    found = environment(everything)
    assert Settings.load(found | {"DT_SIGNATURE_SECRET": '["new","old"]'}) is not None
    sources = ("gcp_functions/*.py", "core/settings.py", "core/environment.py")
    read = strings("DT_[A-Z0-9_]+|[A-Z]+_EMULATOR_HOST", *sources)
    assert read - BY_HAND == (found.keys() | {"DT_SIGNATURE_SECRET"}) - {"THREADS", "LOG_EXECUTION_ID"}


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
IN_FIRESTORE = {("some-project", "projects/some-project/roles/dt_receiver_0a1b2c3d", RECEIVER)}
IN_BIGQUERY = {
    ("dt_receiver/messages", "roles/bigquery.dataEditor", PUBSUB),
    (f"{SUBSCRIPTIONS}-bigquery", "roles/pubsub.subscriber", PUBSUB),
}
SUBSCRIBED = {(f"{SUBSCRIPTIONS}-events", "roles/pubsub.subscriber", PUBSUB)}
EVERYBODY = {("dt-receiver", "roles/run.invoker", "allUsers")}


def test_permissions(topic: Planned, bare: Planned, firestore: Planned, everything: Planned) -> None:
    assert topic.grants == ALWAYS | IN_TOPIC | IN_FIRESTORE | IN_BIGQUERY
    assert bare.grants == ALWAYS | IN_TOPIC | SUBSCRIBED
    assert firestore.grants == ALWAYS | IN_FIRESTORE
    assert everything.grants == ALWAYS | IN_TOPIC | IN_FIRESTORE | IN_BIGQUERY | SUBSCRIBED | EVERYBODY
    granting = {it.split(".")[0] for it in GCP.resources if "_iam_" in it.split(".")[0]}
    assert all(it.endswith(("_iam_member", "_iam_custom_role")) for it in granting), "those add, and take nothing away"


def test_permissions_in_firestore(topic: Planned, firestore: Planned) -> None:
    """https://cloud.google.com/firestore/docs/security/iam: createDocument, get."""
    create, role = ["datastore.entities.create"], "google_project_iam_custom_role.receiver"
    assert GCP.resources[role]["lifecycle"][0]["ignore_changes"] == ["role_id"], "an older one keeps its id"
    assert firestore.one(role)["permissions"] == create
    assert topic.one(role)["permissions"] == [*create, "datastore.entities.get"]
    for planned in (topic, firestore):
        (condition,) = planned.one("google_project_iam_member.firestore")["condition"]
        assert condition["expression"] == 'resource.name == "projects/some-project/databases/dt-events"'


def test_source_is_a_store_that_dtconn_reads(topic: Planned, bare: Planned, firestore: Planned) -> None:
    assert topic.outputs["source"] == "bigquery:some-project.dt_receiver.messages"
    assert bare.outputs["source"] == "pubsub:projects/some-project/subscriptions/dt-receiver-events"
    assert firestore.outputs["source"] == "firestore:projects/some-project/databases/dt-events"


def test_public_access_follows_the_variable(topic: Planned, bare: Planned, everything: Planned) -> None:
    for planned, command, binding in ((topic, 1, 0), (everything, 0, 1), (bare, 0, 0)):
        assert len(planned.resources["terraform_data.no_iam_check"]) == command
        assert ("allUsers" in json.dumps(planned.resources)) is bool(binding)
        assert planned.outputs["make_public"].endswith(" --no-invoker-iam-check --quiet")
        bucket = planned.one("google_storage_bucket.source")
        assert bucket["public_access_prevention"] == "enforced"
        assert bucket["uniform_bucket_level_access"] is True
        (service,) = planned.one("google_cloudfunctions2_function.receiver")["service_config"]
        assert service["ingress_settings"] == "ALLOW_ALL", "DT is on the public network"
    body = GCP.resources["terraform_data.no_iam_check"]
    assert body["provisioner"][0]['"local-exec"']["command"] == "${local.make_public}"
    # An update of the function may reset the setting, so it is set again.
    assert body["lifecycle"][0]["replace_triggered_by"] == ["${google_cloudfunctions2_function.receiver}"]
    assert not any("allAuthenticatedUsers" in path.read_text() for path in SOURCE.glob("*.tf"))


def test_secret_is_write_only(topic: Planned, everything: Planned) -> None:
    """It is in one write-only argument, which is not in the state."""
    version = dict(topic.one("google_secret_manager_secret_version.signature"))
    assert version.pop("secret_data_wo") == "THE SECRET"
    assert set(version) == {"secret", "secret_data_wo_version", "deletion_policy", "version"}
    # Terraform forgets the first one once another is chosen, and must not destroy it: it may still be in use.
    assert version["deletion_policy"] == "ABANDON"
    held = {address for address, it in topic.resources.items() if "THE SECRET" in json.dumps(it)}
    assert held == {"google_secret_manager_secret_version.signature", "random_password.signature"}
    assert "THE SECRET" not in json.dumps(topic.outputs)
    assert 'ephemeral "random_password"' in (SOURCE / "main.tf").read_text()
    assert topic.one("random_password.signature")["length"] == 64
    assert everything.resources["google_secret_manager_secret_version.signature"] == []


def test_secret_version_is_pinned(topic: Planned, everything: Planned) -> None:
    for planned, version in ((topic, "1"), (everything, "2")):
        (service,) = planned.one("google_cloudfunctions2_function.receiver")["service_config"]
        secret = {"key": "DT_SIGNATURE_SECRET", "secret": "dt-receiver-signature", "version": version}
        assert service["secret_environment_variables"][0].items() >= secret.items()


HOLDS_EVENTS = {
    "google_bigquery_dataset.events": ("dataset_id", "dt_receiver"),
    "google_bigquery_table.messages": ("table_id", "messages"),
    "google_firestore_database.events": ("name", "dt-events"),
    "google_pubsub_subscription.bigquery": ("name", "dt-receiver-bigquery"),
    "google_pubsub_subscription.dead_letters": ("name", "dt-receiver-dead-letters"),
    "google_pubsub_subscription.events": ("name", "dt-receiver-events"),
    "google_pubsub_topic.dead_letters": ("name", "dt-receiver-dead-letters"),
    "google_pubsub_topic.events": ("name", "dt-receiver-events"),
}
NAMES = HOLDS_EVENTS | {
    "google_cloudfunctions2_function.receiver": ("name", "dt-receiver"),
    "google_secret_manager_secret.signature": ("secret_id", "dt-receiver-signature"),
}


def test_addresses_and_names_of_resources_do_not_change(everything: Planned) -> None:
    assert {address: (key, everything.one(address)[key]) for address, (key, _) in NAMES.items()} == NAMES


def test_stores_are_protected_from_destroy() -> None:
    assert GCP.kept == HOLDS_EVENTS.keys()
    types = r"google_(bigquery_dataset|firestore_database|pubsub_subscription|pubsub_topic)\."
    assert {name for name in GCP.resources if re.match(types, name)} <= GCP.kept


def test_retention_of_topics_and_subscriptions(topic: Planned, bare: Planned, everything: Planned) -> None:
    week, month = (f"{days * 86400}s" for days in (7, 31))
    for planned, retention, names in (
        (topic, week, ["bigquery"]),
        (bare, week, ["events"]),
        (everything, month, ["bigquery", "events"]),
    ):
        topics = {it["name"]: it for it in planned.instances("google_pubsub_topic")}
        kept = {name: it["message_retention_duration"] for name, it in topics.items()}
        assert kept == {"dt-receiver-events": retention, "dt-receiver-dead-letters": month}
        region = [{"allowed_persistence_regions": ["europe-west1"]}]
        assert all(it["message_storage_policy"] == region for it in topics.values())
        found = {it["name"]: it for it in planned.instances("google_pubsub_subscription")}
        assert found.keys() == {f"dt-receiver-{it}" for it in [*names, "dead-letters"]}
        for name, it in found.items():
            is_dead = name == "dt-receiver-dead-letters"
            assert it["expiration_policy"] == [{"ttl": ""}], "never"
            assert it["message_retention_duration"] == (month if is_dead else retention)
            letters = [policy["dead_letter_topic"] for policy in it.get("dead_letter_policy", [])]
            assert letters == ([] if is_dead else [f"{TOPICS}-dead-letters"])
    assert everything.one("google_pubsub_subscription.events")["enable_message_ordering"] is True


def test_bigquery_retention_and_protection(topic: Planned, firestore: Planned, everything: Planned) -> None:
    table = topic.one("google_bigquery_table.messages")
    # https://cloud.google.com/pubsub/docs/bigquery: what write_metadata writes, and where the body goes.
    columns = "subscription_name STRING, message_id STRING, publish_time TIMESTAMP, data BYTES, attributes JSON"
    assert ", ".join(f"{it['name']} {it['type']}" for it in json.loads(table["schema"])) == columns
    assert table["deletion_protection"] is True
    for planned, expiry in ((topic, 365 * 86400000), (everything, None)):
        (partition,) = planned.one("google_bigquery_table.messages")["time_partitioning"]
        assert (partition["field"], partition["expiration_ms"]) == ("publish_time", expiry)
    (config,) = topic.one("google_pubsub_subscription.bigquery")["bigquery_config"]
    assert config == {"table": "some-project.dt_receiver.messages", "write_metadata": True}
    assert not any(it for name, it in firestore.resources.items() if name.startswith("google_bigquery_"))


def test_firestore_retention_and_protection(topic: Planned, bare: Planned, firestore: Planned) -> None:
    for planned in (topic, firestore):
        database = planned.one("google_firestore_database.events")
        assert database["delete_protection_state"] == "DELETE_PROTECTION_ENABLED"
        assert database["point_in_time_recovery_enablement"] == "POINT_IN_TIME_RECOVERY_ENABLED"
        fields = planned.resources["google_firestore_field.expires_at"].values()
        assert {it["collection"]: it["field"] for it in fields} == {"events": "expiresAt", "seenKeys": "expiresAt"}
        assert all(it["ttl_config"] == it["index_config"] == [{}] for it in fields)
    # The names are those that the code writes.
    code = strings(".*", "core/event.py", "gcp_functions/firestore.py", "gcp_functions/seen_keys.py")
    index = {it["field_path"] for it in firestore.one("google_firestore_index.events")["fields"]}
    assert {firestore.one("google_firestore_field.body")["field"], "expiresAt", *index} <= code
    assert all(any(it.endswith(f"/{name}") for it in code) for name in ("events", "seenKeys"))
    assert not any(it for name, it in bare.resources.items() if name.startswith("google_firestore_"))


USER = "logging.googleapis.com/user/"


def test_alerts_and_budget(topic: Planned, everything: Planned) -> None:
    assert topic.instances("google_monitoring_alert_policy")[0]["notification_channels"] == []
    channels = ["projects/p/notificationChannels/1"]
    assert all(it["notification_channels"] == channels for it in everything.instances("google_monitoring_alert_policy"))
    (silence,) = topic.one("google_monitoring_alert_policy.silence")["conditions"][0]["condition_threshold"]
    assert (silence["comparison"], silence["threshold_value"], silence["duration"]) == ("COMPARISON_LT", 1, "3600s")
    assert silence["evaluation_missing_data"] == "EVALUATION_MISSING_DATA_ACTIVE", "nothing logged is silence too"
    assert topic.resources["google_billing_budget.project"] == []
    budget = everything.one("google_billing_budget.project")
    assert budget["amount"] == [{"specified_amount": [{"units": "20"}]}]
    assert budget["all_updates_rule"] == [{"monitoring_notification_channels": channels}]


def test_alerts_count_what_the_receiver_logs(everything: Planned) -> None:
    logged = everything.resources["google_logging_metric.outcomes"]
    assert logged.keys() == outcomes()
    assert all(metric["filter"].endswith(f' AND jsonPayload.outcome="{it}"') for it, metric in logged.items())
    text = json.dumps(list(everything.instances("google_monitoring_alert_policy")))
    assert set(re.findall(rf"{USER}([\w/-]+)", text)) <= {it["name"] for it in logged.values()}
