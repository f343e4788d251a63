"""deploy/terraform/: expressions evaluated by Terraform, resources checked as data, without IBM's provider.

`tests.support.terraform` says what stands in for the provider, and what is not validated.
tests/contract/test_terraform_files.py has the tests that every cloud's Terraform shares.
"""

import json
import re

import pytest

from core.environment import Environment
from core.receiver import DEADLINE
from core.settings import Settings
from tests.support.source import functions, outcomes, strings
from tests.support.terraform import ROOT, Configuration, Planned, Workspace, needs_terraform, plan
from tests.support.terraform import workspace as workspace_of

pytestmark = needs_terraform

SOURCE = ROOT / "ibm_actions" / "deploy" / "terraform"
HOST = "abc-bluemix.cloudantnosqldb.appdomain.cloud"
URL = "https://dt-receiver.xyz.eu-de.codeengine.appdomain.cloud"
ENDPOINT = {"endpoint": '"https://${self.name}.xyz.eu-de.codeengine.appdomain.cloud"'}
PROJECT = {"crn": '"crn:v1:bluemix:public:codeengine:eu-de:a/1:PROJECT-ID::"'}
# What the provider adds to the arguments of a resource or a data source.
COMPUTED = {
    "ibm_cloudant": {"guid": '"CLOUDANT-GUID"', "extensions": f'{{"endpoints.public" = "{HOST}"}}'},
    "ibm_code_engine_app": ENDPOINT,
    "ibm_code_engine_function": ENDPOINT,
    "ibm_code_engine_project": PROJECT | {"project_id": 'try(self.project_id, "PROJECT-ID")'},
    "ibm_iam_trusted_profile": {"id": '"Profile-1234"', "iam_id": '"iam-Profile-1234"'},
    "ibm_logs_outgoing_webhook": {"external_id": "7"},
    "ibm_resource_group": {"id": '"GROUP-ID"'},
}
IBM = Configuration(SOURCE, COMPUTED)

LOGS, NOTIFICATIONS = "01234567-89ab-cdef-0123-456789abcdef", "fedcba98-7654-3210-fedc-ba9876543210"
SECRET = {"signature_secret": "THE SECRET"}

workspace = workspace_of(IBM, region="eu-de", reference="private.de.icr.io/ce--1/app:2")
application = plan(**SECRET)
function = plan(form="function", logs_instance=LOGS, tags='["team:facilities"]', **SECRET)
es256 = plan(signature_policy="es256", organization_id="one")
# With every resource that may exist already, the secret included, and everything optional.
existing = plan(
    project_id="11111111-2222-3333-4444-555555555555",
    cloudant="my-cloudant",
    resource_group="my-group",
    registry_secret="ce-auto-icr-private-eu-de",
    min_instances="1",
    organization_id='["one","two"]',
    signature_policy="both",
    accept_expired_for="46800",
    event_types="temperature",
    project_ids="ccol8iuk9smqiha4e8l0",
    database_prefix="dt",
    database_period="month",
    concurrency="8",
    logs_instance=LOGS,
    refused_per_hour="5",
    event_notifications_instance=NOTIFICATIONS,
)


def test_permissions_are_granted_before_the_receiver_starts() -> None:
    """By depends_on, which the evaluated copy leaves out."""
    waits = IBM.waits()
    needed = {"ibm_iam_trusted_profile_link.receiver", "ibm_iam_trusted_profile_policy.cloudant"}
    for what in ("app", "function"):
        assert waits[f"ibm_code_engine_{what}.receiver"] >= needed | {"ibm_code_engine_secret.signature"}


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"signature_policy": "unsigned"}, "any, hs256, es256 or both"),
        ({"name": "d" * 51}, "From 2 to 50"),
        ({"max_instances": "0"}, "At least 1"),
        ({"min_instances": "11"}, "at least min_instances"),
        ({"database_prefix": "Events"}, "Lower-case letters"),
        ({"organization_id": "one", "es256": "false"}, "--build-only --es256"),
        ({"event_notifications_instance": NOTIFICATIONS}, "give logs_instance too"),
    ],
)
def test_invalid_variables_are_refused(workspace: Workspace, variables: dict[str, str], complaint: str) -> None:
    assert complaint in workspace.refused(**SECRET, **variables)


def test_new_project_needs_the_secret(workspace: Workspace) -> None:
    assert "or signature_secret" in workspace.refused()


def test_form_and_names(application: Planned, function: Planned, existing: Planned) -> None:
    """Names never change: Terraform would create a new resource, with another URL or an empty database."""
    given = ("ibm_cloudant.events", "ibm_code_engine_project.receiver", "ibm_code_engine_secret.signature")
    for planned, form, other in ((application, "app", "function"), (function, "function", "app")):
        assert planned.resources[f"ibm_code_engine_{other}.receiver"] == []
        named = (*given, "ibm_iam_trusted_profile.receiver", f"ibm_code_engine_{form}.receiver")
        assert {planned.one(it)["name"].removesuffix("-signature") for it in named} == {"dt-receiver"}
        assert planned.outputs == {
            "url": URL,
            "cloudant": f"https://{HOST}",
            "source": f"cloudant:https://{HOST}/events",
            "trusted_profile": "Profile-1234",
            "secret": "dt-receiver-signature",
            "project_id": "PROJECT-ID",
        }
    assert [existing.resources[it] for it in given] == [[], [], []]
    cloudant = existing.one("ibm_cloudant.given")
    assert (cloudant["name"], cloudant["resource_group_id"]) == ("my-cloudant", "GROUP-ID")


def test_size_and_time_limits(application: Planned, function: Planned, existing: Planned) -> None:
    app, it = application.one("ibm_code_engine_app.receiver"), function.one("ibm_code_engine_function.receiver")
    assert DEADLINE < app["scale_request_timeout"] < 10
    assert it["scale_max_execution_time"] == 120, "the longest there is: a 299 is a receipt"
    for found, concurrency, least in ((app, 32, 0), (existing.one("ibm_code_engine_app.receiver"), 8, 1)):
        assert found["scale_concurrency"] == found["scale_concurrency_target"] == concurrency
        assert (found["scale_min_instances"], found["scale_max_instances"]) == (least, 10)
    dockerfile = (ROOT / "ibm_actions" / "Dockerfile").read_text()
    assert re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE) == [str(app["run_as_user"])]
    assert it["code_main"] in functions("ibm_actions/__main__.py")


def variables(planned: Planned, kind: str) -> list[dict[str, str]]:
    """Return the environment of the only application or function, literal or by reference."""
    forms = (planned.resources[f"ibm_code_engine_{it}.receiver"] for it in ("app", "function"))
    ((found,),) = (it for it in forms if it)
    return [it for it in found["run_env_variables"] if (it["type"] == "literal") == (kind == "literal")]


def environment(planned: Planned) -> dict[str, str]:
    return {it["name"]: it["value"] for it in variables(planned, "literal")}


# Not for Code Engine: for another CouchDB, pinned keys, skewed clocks and another issuer.
BY_HAND = {"DT_JWKS", "DT_ISSUER", "DT_LEEWAY", "DT_ACCEPT_SHA1", "DT_CLOUDANT_API_KEY", "DT_IAM_URL"}


def test_environment(application: Planned, function: Planned, existing: Planned) -> None:
    """An empty variable is not set; exactly the variables that the code reads are set."""
    common = {"DT_CLOUDANT": f"https://{HOST}", "DT_TRUSTED_PROFILE": "Profile-1234", "DT_DATABASE_PREFIX": "events"}
    common |= {"DT_DATABASE_PERIOD": "year", "DT_SIGNATURE_POLICY": "any", "DT_ACCEPT_EXPIRED_FOR": "0"}
    assert environment(application) == environment(function) == common
    found = environment(existing)
    assert found.items() >= {"DT_DATABASE_PERIOD": "month", "DT_ORGANIZATION_ID": '["one","two"]'}.items()
    sources = ("ibm_actions/wiring.py", "ibm_actions/app.py", "ibm_actions/__main__.py", "core/settings.py")
    read = strings("DT_[A-Z0-9_]+", *sources)
    assert read - BY_HAND == found.keys() | {"DT_SIGNATURE_SECRET"}
    build_store = pytest.importorskip("ibm_actions.wiring", reason="needs IBM's SDK: make test").build_store
    assert Settings.load(found | {"DT_SIGNATURE_SECRET": '["new","old"]'}) is not None
    assert build_store(Environment(found)) is not None


def test_permissions_are_limited_to_one_component_and_instance(
    application: Planned, function: Planned, existing: Planned
) -> None:
    for planned, form in ((application, "application"), (function, "function"), (existing, "application")):
        link = planned.one("ibm_iam_trusted_profile_link.receiver")
        assert (link["profile_id"], link["cr_type"]) == ("Profile-1234", "CE")
        crn = "crn:v1:bluemix:public:codeengine:eu-de:a/1:PROJECT-ID::"
        assert link["link"] == [{"crn": crn, "component_type": form, "component_name": "dt-receiver"}]
        (policy,) = planned.instances("ibm_iam_trusted_profile_policy")
        assert policy["roles"] == ["Manager"]
        assert policy["resources"] == [{"service": "cloudantnosqldb", "resource_instance_id": "CLOUDANT-GUID"}]
        (component,) = planned.instances(f"ibm_code_engine_{form.removesuffix('lication')}")
        assert component["run_compute_resource_token_enabled"] is True
        assert component["managed_domain_mappings"] == "local_public", "public access: DT calls it"


def test_secret_is_in_one_place(application: Planned, function: Planned, existing: Planned, es256: Planned) -> None:
    address = "ibm_code_engine_secret.signature"
    for planned in (application, function):
        assert planned.one(address)["data"] == {"DT_SIGNATURE_SECRET": "THE SECRET"}
        others = {name: it for name, it in planned.resources.items() if name != address}
        assert "THE SECRET" not in json.dumps([others, planned.outputs])
    for planned in (application, function, existing):
        (reference,) = variables(planned, "reference")
        assert reference == {
            "type": "secret_key_reference",
            "name": "DT_SIGNATURE_SECRET",
            "value": None,
            "reference": "dt-receiver-signature",
            "key": "DT_SIGNATURE_SECRET",
        }
    assert (variables(es256, "reference"), es256.outputs["secret"], es256.resources[address]) == ([], None, [])
    sensitive = {name for name, body in IBM.named("variable").items() if body.get("sensitive") is True}
    assert sensitive == {"signature_secret"}
    assert not any("signature_secret" in json.dumps(body["value"]) for body in IBM.named("output").values())


def test_cloudant_has_no_passwords_and_is_protected_from_destroy(application: Planned) -> None:
    instance = application.one("ibm_cloudant.events")
    assert (instance["plan"], instance["location"]) == ("standard", "eu-de")
    assert (instance["legacy_credentials"], instance["enable_cors"], instance["tags"]) == (False, False, None)
    assert IBM.kept == {"ibm_cloudant.events"}


def test_alerts_query_what_the_receiver_logs(application: Planned, function: Planned, existing: Planned) -> None:
    assert application.instances("ibm_logs_alert_definition") == []
    both = {"failed", "refused", "databases"}
    for planned, names in ((function, {*both, "platform"}), (existing, both)):
        alerts = planned.resources["ibm_logs_alert_definition.more_than"]
        assert {alert["name"] for alert in alerts.values()} == {f"dt-receiver-{name}" for name in names}
    (ratio,) = existing.one("ibm_logs_alert_definition.none_stored")["logs_ratio_threshold"]
    kept, every = (ratio[it][0]["simple_filter"][0]["lucene_query"] for it in ("numerator", "denominator"))
    assert set(re.findall(r'message\.outcome:"(\w+)"', kept)) == {"stored", "duplicate"}
    # No request of DT's is a look at its health, and what is dropped was not to be stored.
    assert set(re.findall(r'message\.outcome:"(\w+)"', every)) == outcomes() - {"dropped"}
    text = json.dumps(function.instances("ibm_logs_alert_definition"))
    # As the notes of ibm_actions.databases and ibm_actions.capacity begin.
    assert "message.note:databases*" in text
