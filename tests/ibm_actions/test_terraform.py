"""deploy/terraform/: its expressions by Terraform itself, its resources as data, and nothing by IBM's provider.

`tests.support.terraform` says what stands in for the provider, and what is not validated. Names and values were taken
from its documentation, https://registry.terraform.io/providers/IBM-Cloud/ibm/latest/docs, and are listed here.
"""

import ast
import json
import os
import re
import subprocess
from collections.abc import Iterator
from graphlib import TopologicalSorter
from typing import Any

import pytest

from core.environment import Environment
from core.receiver import DEADLINE
from core.settings import Settings
from tests.support.terraform import ROOT, TERRAFORM, Configuration, Planned, Workspace, needs_terraform

pytestmark = needs_terraform

SOURCE = ROOT / "ibm_actions" / "deploy" / "terraform"
HOST = "abc-bluemix.cloudantnosqldb.appdomain.cloud"
CLOUDANT = {"guid": '"CLOUDANT-GUID"', "extensions": json.dumps({"endpoints.public": HOST}).replace(":", "=")}
PROJECT = {"crn": '"crn:v1:bluemix:public:codeengine:eu-de:a/1:PROJECT-ID::"'}
IBM = Configuration(
    SOURCE,
    ("ibm",),
    {
        "ibm_cloudant": CLOUDANT,
        "ibm_code_engine_app": {"endpoint": '"https://${self.name}.xyz.eu-de.codeengine.appdomain.cloud"'},
        "ibm_code_engine_function": {"endpoint": '"https://${self.name}.xyz.eu-de.codeengine.appdomain.cloud"'},
        # Of the resource; the data source is given it.
        "ibm_code_engine_project": PROJECT | {"project_id": 'try(self.project_id, "PROJECT-ID")'},
        "ibm_iam_trusted_profile": {"id": '"Profile-1234"'},
        "ibm_logs_outgoing_webhook": {"external_id": "7"},
        "ibm_resource_group": {"id": '"GROUP-ID"'},
    },
)

# Each argument of each resource, as the provider's documentation has it; a block's own are below its name.
ENVIRONMENT = {"type", "name", "value", "reference", "key"}
FILTER = {"simple_filter": {"lucene_query": None}}
ALERT: dict[str, Any] = {
    **dict.fromkeys(
        ("instance_id", "region", "name", "description", "enabled", "priority", "type", "group_by_keys"), None
    ),
    "incidents_settings": {"notify_on": None, "minutes": None},
    "notification_group": {
        "group_by_keys": None,
        "webhooks": {"notify_on": None, "minutes": None, "integration": {"integration_id": None}},
    },
    "logs_threshold": {
        "condition_type": None,
        "logs_filter": FILTER,
        "rules": {
            "condition": {"threshold": None, "time_window": {"logs_time_window_specific_value": None}},
            "override": {"priority": None},
        },
    },
    "logs_ratio_threshold": {
        **dict.fromkeys(
            ("condition_type", "group_by_for", "ignore_infinity", "numerator_alias", "denominator_alias"), None
        ),
        "numerator": FILTER,
        "denominator": FILTER,
        "rules": {
            "condition": {"threshold": None, "time_window": {"logs_ratio_time_window_specific_value": None}},
            "override": {"priority": None},
        },
    },
}
DOCUMENTED: dict[str, dict[str, Any]] = {
    "ibm_cloudant": dict.fromkeys(
        ("name", "location", "plan", "resource_group_id", "legacy_credentials", "enable_cors"), None
    ),
    "ibm_code_engine_app": {
        **dict.fromkeys(
            (
                "project_id",
                "name",
                "image_reference",
                "image_secret",
                "image_port",
                "managed_domain_mappings",
                "run_as_user",
                "run_compute_resource_token_enabled",
                "scale_cpu_limit",
                "scale_memory_limit",
                "scale_min_instances",
                "scale_max_instances",
                "scale_concurrency",
                "scale_concurrency_target",
                "scale_request_timeout",
            ),
            None,
        ),
        "probe_liveness": dict.fromkeys(("type", "path", "interval", "timeout", "failure_threshold"), None),
        "run_env_variables": dict.fromkeys(ENVIRONMENT, None),
    },
    "ibm_code_engine_function": {
        **dict.fromkeys(
            (
                "project_id",
                "name",
                "runtime",
                "code_main",
                "code_reference",
                "code_secret",
                "managed_domain_mappings",
                "run_compute_resource_token_enabled",
                "scale_cpu_limit",
                "scale_memory_limit",
                "scale_concurrency",
                "scale_max_execution_time",
                "scale_down_delay",
            ),
            None,
        ),
        "run_env_variables": dict.fromkeys(ENVIRONMENT, None),
    },
    "ibm_code_engine_project": dict.fromkeys(("name", "resource_group_id", "project_id"), None),
    "ibm_code_engine_secret": dict.fromkeys(("project_id", "name", "format", "data"), None),
    "ibm_iam_trusted_profile": dict.fromkeys(("name", "description"), None),
    "ibm_iam_trusted_profile_link": {
        **dict.fromkeys(("profile_id", "name", "cr_type"), None),
        "link": dict.fromkeys(("crn", "component_type", "component_name"), None),
    },
    "ibm_iam_trusted_profile_policy": {
        **dict.fromkeys(("profile_id", "roles", "description"), None),
        "resources": dict.fromkeys(("service", "resource_instance_id"), None),
    },
    "ibm_logs_alert_definition": ALERT,
    "ibm_logs_outgoing_webhook": {
        **dict.fromkeys(("instance_id", "region", "name", "type"), None),
        "ibm_event_notifications": dict.fromkeys(("event_notifications_instance_id", "region_id"), None),
    },
    "ibm_resource_group": {"name": None},
}

GIVEN = {"region": "eu-de", "reference": "private.de.icr.io/ce--1/app:2", "signature_secret": "THE SECRET"}
LOGS = "01234567-89ab-cdef-0123-456789abcdef"
NOTIFICATIONS = "fedcba98-7654-3210-fedc-ba9876543210"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("terraform"), IBM, GIVEN)


@pytest.fixture(scope="module")
def application(workspace: Workspace) -> Planned:
    """With no variable that may be left out."""
    return workspace.planned()


@pytest.fixture(scope="module")
def function(workspace: Workspace) -> Planned:
    return workspace.planned(form="function", logs_instance=LOGS)


@pytest.fixture(scope="module")
def existing(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """With all that may be there already, the secret too, and all that is optional."""
    given = {name: value for name, value in GIVEN.items() if name != "signature_secret"}
    return Workspace(tmp_path_factory.mktemp("terraform"), IBM, given).planned(
        project_id="11111111-2222-3333-4444-555555555555",
        cloudant="my-cloudant",
        resource_group="my-group",
        registry_secret="ce-auto-icr-private-eu-de",
        organization_id='["one","two"]',
        signature_policy="both",
        accept_expired_for="46800",
        event_types="temperature",
        project_ids="ccol8iuk9smqiha4e8l0",
        database_prefix="dt",
        database_period="month",
        min_instances="1",
        concurrency="8",
        logs_instance=LOGS,
        event_notifications_instance=NOTIFICATIONS,
        refused_per_hour="5",
    )


@pytest.fixture(scope="module")
def es256(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    given = {name: value for name, value in GIVEN.items() if name != "signature_secret"}
    return Workspace(tmp_path_factory.mktemp("terraform"), IBM, given).planned(
        signature_policy="es256", organization_id="one"
    )


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
    for name, body in IBM.named("variable").items():  # its own validations are no use of it
        assert len(re.findall(rf"\bvar\.{name}\b", text)) > json.dumps(body).count(f"var.{name}"), name
    assert set(re.findall(r"\bvar\.(\w+)", text)) == IBM.named("variable").keys()
    assert set(re.findall(r"\blocal\.(\w+)", text)) == IBM.locals.keys()
    assert IBM.referred(text) <= IBM.resources.keys()
    for address, body in IBM.resources.items():
        for reference in body.get("depends_on", []):
            assert reference.removeprefix("${").removesuffix("}") in IBM.resources, address
    assert all(body.get("description") for kind in ("variable", "output") for body in IBM.named(kind).values())


def test_nothing_waits_for_itself() -> None:
    """By references, and by depends_on, which the twin leaves out."""
    waits = {}
    for address, body in ({f"local.{name}": value for name, value in IBM.locals.items()} | IBM.resources).items():
        text = json.dumps(body)
        waits[address] = IBM.referred(text.replace('"', " "))
        waits[address] |= {f"local.{name}" for name in re.findall(r"\blocal\.(\w+)", text)}
    TopologicalSorter(waits).prepare()
    for what in ("app", "function"):
        assert waits[f"ibm_code_engine_{what}.receiver"] >= {
            "ibm_code_engine_secret.signature",
            "ibm_iam_trusted_profile_link.receiver",
            "ibm_iam_trusted_profile_policy.cloudant",
        }


def arguments(body: dict[str, Any], documented: dict[str, Any], where: str) -> Iterator[str]:
    """Return the arguments that are not documented."""
    for key, value in body.items():
        if key.startswith("__") or key in ("count", "for_each", "depends_on", "lifecycle"):
            continue
        if key == "dynamic":
            for block in value:
                for name, it in block.items():
                    yield from arguments({name.strip('"'): it["content"]}, documented, where)
        elif key not in documented:
            yield f"{where}.{key}"
        elif isinstance(documented[key], dict):
            for block in value:
                yield from arguments(block, documented[key], f"{where}.{key}")


def test_resources_and_arguments_are_those_that_the_provider_documents() -> None:
    for address, body in IBM.resources.items():
        of_type = address.split(".")[0]
        assert list(arguments(body, DOCUMENTED[of_type], address)) == []
    assert {it.split(".")[0] for it in IBM.resources} == DOCUMENTED.keys()


def test_only_the_provider_that_is_required_is_used() -> None:
    (required,) = IBM.files["terraform"][0]["required_providers"]
    assert {name for name in required if not name.startswith("__")} == {"ibm"}
    assert required["ibm"]["source"] == '"IBM-Cloud/ibm"'
    assert all(it.startswith("ibm_") for it in IBM.resources)


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"form": "job"}, "application or function"),
        ({"signature_policy": "both"}, "es256 and both need organization_id"),
        ({"signature_policy": "unsigned"}, "any, hs256, es256 or both"),
        ({"name": "dt-receiver-"}, "the last no hyphen"),
        ({"name": "d" * 51}, "From 2 to 50"),
        ({"min_instances": "11"}, "at least min_instances"),
        ({"max_instances": "0"}, "At least 1"),
        ({"concurrency": "0"}, "From 1 to 1000"),
        ({"cloudant_plan": "dedicated"}, "standard or lite"),
        ({"database_prefix": "Events"}, "Lower-case letters"),
        ({"database_period": "day"}, "year, quarter or month"),
        ({"accept_expired_for": "86401"}, "From 0 to 86400"),
        ({"logs_instance": "my-logs"}, "A GUID, which"),
        ({"event_notifications_instance": NOTIFICATIONS}, "give logs_instance too"),
        ({"refused_per_hour": "0"}, "At least 1"),
    ],
)
def test_variables_that_make_no_sense_are_refused(
    workspace: Workspace, variables: dict[str, str], complaint: str
) -> None:
    found = workspace.plan(**variables)

    assert found.returncode == 1
    assert complaint in " ".join(found.stderr.replace("│", " ").split()), found.stderr


def test_a_project_that_is_made_here_is_given_the_secret(tmp_path_factory: pytest.TempPathFactory) -> None:
    given = {name: value for name, value in GIVEN.items() if name != "signature_secret"}
    found = Workspace(tmp_path_factory.mktemp("terraform"), IBM, given).plan()
    assert found.returncode == 1
    assert "or signature_secret" in " ".join(found.stderr.replace("│", " ").split())


def test_it_has_the_variables_of_the_others() -> None:
    """What is the same has the same name."""
    google = (ROOT / "gcp_functions" / "terraform" / "variables.tf").read_text()
    declared = set(re.findall(r'^variable "(\w+)"', google, re.MULTILINE))
    assert IBM.named("variable").keys() & declared == {
        "region",
        "name",
        "memory",
        "min_instances",
        "max_instances",
        "concurrency",
        "signature_policy",
        "organization_id",
        "accept_expired_for",
        "event_types",
        "project_ids",
    }


# ---- the application, the function -----------------------------------------------------------------------------------


def test_the_form_decides_which(application: Planned, function: Planned) -> None:
    assert len(application.resources["ibm_code_engine_app.receiver"]) == 1
    assert application.resources["ibm_code_engine_function.receiver"] == []
    assert function.resources["ibm_code_engine_app.receiver"] == []
    assert len(function.resources["ibm_code_engine_function.receiver"]) == 1


def test_application(application: Planned, existing: Planned) -> None:
    app = application.one("ibm_code_engine_app.receiver")
    assert DEADLINE < app["scale_request_timeout"] < 10
    assert (app["image_reference"], app["image_secret"]) == (GIVEN["reference"], None)
    assert app["run_compute_resource_token_enabled"] is True
    assert app["managed_domain_mappings"] == "local_public"
    # https://cloud.ibm.com/docs/codeengine?topic=codeengine-mem-cpu-combo
    assert (app["scale_cpu_limit"], app["scale_memory_limit"]) == ("0.25", "0.5G")
    assert (app["scale_min_instances"], app["scale_max_instances"]) == (0, 10)
    assert app["scale_concurrency"] == app["scale_concurrency_target"] == 32
    (probe,) = app["probe_liveness"]
    assert (probe["type"], probe["path"]) == ("http", "/healthz")
    other = existing.one("ibm_code_engine_app.receiver")
    assert other["scale_concurrency"] == other["scale_concurrency_target"] == 8
    assert (other["scale_min_instances"], other["image_secret"]) == (1, "ce-auto-icr-private-eu-de")


def test_the_application_runs_as_the_user_of_its_image(application: Planned) -> None:
    dockerfile = (ROOT / "ibm_actions" / "Dockerfile").read_text()
    assert re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE) == [
        str(application.one("ibm_code_engine_app.receiver")["run_as_user"])
    ]


def test_function(function: Planned) -> None:
    it = function.one("ibm_code_engine_function.receiver")
    assert (it["runtime"], it["code_main"]) == ("python-3.13", "main")
    tree = ast.parse((ROOT / "ibm_actions" / "__main__.py").read_text())
    assert it["code_main"] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert it["scale_max_execution_time"] == 120, "the longest there is: a 299 is a receipt"
    assert it["run_compute_resource_token_enabled"] is True
    assert it["scale_concurrency"] == 1
    assert (it["scale_cpu_limit"], it["scale_memory_limit"]) == ("0.25", "1G")


def variables(planned: Planned) -> list[dict[str, str]]:
    """Return the environment of the one application or function that there is."""
    forms = (planned.resources[f"ibm_code_engine_{it}.receiver"] for it in ("app", "function"))
    ((found,),) = (it for it in forms if it)
    listed: list[dict[str, str]] = found["run_env_variables"]
    return listed


def environment(planned: Planned) -> dict[str, str]:
    """Return the literal variables of what runs."""
    return {it["name"]: it["value"] for it in variables(planned) if it["type"] == "literal"}


COMMON = {
    "DT_CLOUDANT": f"https://{HOST}",
    "DT_TRUSTED_PROFILE": "Profile-1234",
    "DT_DATABASE_PREFIX": "events",
    "DT_DATABASE_PERIOD": "year",
    "DT_SIGNATURE_POLICY": "any",
    "DT_ACCEPT_EXPIRED_FOR": "0",
}


def test_environment(application: Planned, function: Planned, existing: Planned) -> None:
    """What is empty is not set."""
    assert environment(application) == environment(function) == COMMON
    assert environment(existing) == {
        "DT_CLOUDANT": f"https://{HOST}",
        "DT_TRUSTED_PROFILE": "Profile-1234",
        "DT_DATABASE_PREFIX": "dt",
        "DT_DATABASE_PERIOD": "month",
        "DT_ORGANIZATION_ID": '["one","two"]',
        "DT_SIGNATURE_POLICY": "both",
        "DT_ACCEPT_EXPIRED_FOR": "46800",
        "DT_EVENT_TYPES": "temperature",
        "DT_PROJECT_ID": "ccol8iuk9smqiha4e8l0",
    }


# Not for Code Engine: for a CouchDB of one's own, and for whoever has DT's keys pinned, other clocks, another issuer.
BY_HAND = {"DT_JWKS", "DT_ISSUER", "DT_LEEWAY", "DT_ACCEPT_SHA1", "DT_CLOUDANT_API_KEY", "DT_IAM_URL"}


def test_environment_is_what_the_code_reads(existing: Planned) -> None:
    """Each variable that the receiver reads is set, and none that it does not: by the names in its source."""
    read = set()
    names = ("ibm_actions/wiring.py", "ibm_actions/app.py", "ibm_actions/__main__.py", "core/settings.py")
    for path in (ROOT / name for name in names):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                read |= set(re.findall(r"\A(?:DT_[A-Z0-9_]+)\Z", node.value))
    assert read - BY_HAND == environment(existing).keys() | {"DT_SIGNATURE_SECRET"}


def test_the_receiver_takes_the_settings(existing: Planned) -> None:
    build_store = pytest.importorskip("ibm_actions.wiring", reason="needs IBM's SDK: make test").build_store
    assert Settings.load(environment(existing) | {"DT_SIGNATURE_SECRET": '["new","old"]'}) is not None
    assert build_store(Environment(environment(existing))) is not None


# ---- who may do what -------------------------------------------------------------------------------------------------


def test_the_link_is_of_this_one_component(application: Planned, function: Planned, existing: Planned) -> None:
    for planned, form in ((application, "application"), (function, "function"), (existing, "application")):
        link = planned.one("ibm_iam_trusted_profile_link.receiver")
        assert (link["profile_id"], link["cr_type"]) == ("Profile-1234", "CE")
        assert link["link"] == [
            {
                "crn": "crn:v1:bluemix:public:codeengine:eu-de:a/1:PROJECT-ID::",
                "component_type": form,
                "component_name": "dt-receiver",
            }
        ]


def test_the_only_role_is_in_the_one_instance(application: Planned, existing: Planned) -> None:
    for planned in (application, existing):
        policies = planned.instances("ibm_iam_trusted_profile_policy")
        assert [it["roles"] for it in policies.values()] == [["Manager"]]
        assert [it["resources"] for it in policies.values()] == [
            [{"service": "cloudantnosqldb", "resource_instance_id": "CLOUDANT-GUID"}]
        ]
    assert {it for it in DOCUMENTED if it.startswith("ibm_iam_")} == {
        "ibm_iam_trusted_profile",
        "ibm_iam_trusted_profile_link",
        "ibm_iam_trusted_profile_policy",
    }


# ---- the secret ------------------------------------------------------------------------------------------------------


def references(planned: Planned) -> list[dict[str, str]]:
    """Return the variables of what runs that are no literals."""
    return [it for it in variables(planned) if it["type"] != "literal"]


def test_the_secret_is_in_one_place(application: Planned, function: Planned, existing: Planned, es256: Planned) -> None:
    for planned in (application, function):
        secret = planned.one("ibm_code_engine_secret.signature")
        assert secret["data"] == {"DT_SIGNATURE_SECRET": "THE SECRET"}
        others = {name: it for name, it in planned.resources.items() if name != "ibm_code_engine_secret.signature"}
        assert "THE SECRET" not in json.dumps([others, planned.outputs])
    for planned in (application, function, existing):
        (reference,) = references(planned)
        assert reference == {
            "type": "secret_key_reference",
            "name": "DT_SIGNATURE_SECRET",
            "reference": "dt-receiver-signature",
            "key": "DT_SIGNATURE_SECRET",
            "value": None,
        }
        assert planned.outputs["secret"] == "dt-receiver-signature"
    assert existing.resources["ibm_code_engine_secret.signature"] == []
    assert (references(es256), es256.outputs["secret"]) == ([], None)
    assert es256.resources["ibm_code_engine_secret.signature"] == []


def test_the_secret_is_marked_and_no_output_is_of_it() -> None:
    sensitive = {name for name, body in IBM.named("variable").items() if body.get("sensitive") is True}
    assert sensitive == {"signature_secret"}
    assert not any("signature_secret" in json.dumps(body["value"]) for body in IBM.named("output").values())


# ---- where events go -------------------------------------------------------------------------------------------------


def test_cloudant(application: Planned, existing: Planned) -> None:
    instance = application.one("ibm_cloudant.events")
    assert (instance["plan"], instance["location"]) == ("standard", "eu-de")
    assert instance["legacy_credentials"] is False
    assert instance["enable_cors"] is False
    assert IBM.resources["ibm_cloudant.events"]["lifecycle"][0]["prevent_destroy"] is True
    assert existing.resources["ibm_cloudant.events"] == []
    assert existing.one("ibm_cloudant.given")["name"] == "my-cloudant"
    assert existing.one("ibm_cloudant.given")["resource_group_id"] == "GROUP-ID"


def test_projects(application: Planned, existing: Planned) -> None:
    assert application.one("ibm_code_engine_project.receiver")["name"] == "dt-receiver"
    assert existing.resources["ibm_code_engine_project.receiver"] == []
    assert application.outputs["project_id"] == "PROJECT-ID"
    assert existing.outputs["project_id"] == "11111111-2222-3333-4444-555555555555"


# ---- watching it -----------------------------------------------------------------------------------------------------

OF_RECEIVER = 'message.serviceName:"codeengine" AND message._app:"dt-receiver" AND '
WINDOWS = {"minutes_5_or_unspecified", "minutes_10", "minutes_20", "minutes_15", "minutes_30", "hour_1"}


def test_alerts(application: Planned, function: Planned, existing: Planned) -> None:
    assert application.instances("ibm_logs_alert_definition") == {}
    both = {"failed", "refused", "databases"}
    for planned, names in ((function, {*both, "platform"}), (existing, both)):
        alerts = planned.resources["ibm_logs_alert_definition.more_than"]
        assert alerts.keys() == names
        for name, alert in alerts.items():
            (threshold,) = alert["logs_threshold"]
            (rule,) = threshold["rules"]
            assert (alert["name"], alert["type"]) == (f"dt-receiver-{name}", "logs_threshold")
            assert threshold["condition_type"] == "more_than_or_unspecified"
            assert rule["condition"][0]["time_window"][0]["logs_time_window_specific_value"] in WINDOWS
            assert rule["override"] == [{"priority": alert["priority"]}]
            assert threshold["logs_filter"][0]["simple_filter"][0]["lucene_query"].startswith(OF_RECEIVER)
        values = {name: it["logs_threshold"][0]["rules"][0]["condition"][0]["threshold"] for name, it in alerts.items()}
        assert values == dict.fromkeys(names, 0) | {"refused": 100 if planned is function else 5}


def test_an_alert_when_requests_come_and_nothing_is_stored(existing: Planned) -> None:
    alert = existing.one("ibm_logs_alert_definition.none_stored")
    (ratio,) = alert["logs_ratio_threshold"]
    (rule,) = ratio["rules"]
    assert (alert["type"], ratio["condition_type"]) == ("logs_ratio_threshold", "less_than")
    assert rule["condition"][0]["time_window"] == [{"logs_ratio_time_window_specific_value": "hour_1"}]
    assert rule["condition"][0]["threshold"] == 0.0001
    kept, every = (ratio[it][0]["simple_filter"][0]["lucene_query"] for it in ("numerator", "denominator"))
    assert set(re.findall(r'message\.outcome:"(\w+)"', kept)) == {"stored", "duplicate"}
    # No request of DT's is a look at its health, and what is dropped was not to be stored.
    assert set(re.findall(r'message\.outcome:"(\w+)"', every)) == {"stored", "duplicate", "refused", "failed"}


def test_queries_are_of_the_lines_that_the_receiver_writes(function: Planned) -> None:
    text = json.dumps(function.instances("ibm_logs_alert_definition")).replace('\\"', "'")
    (named_in_log,) = re.findall(r"outcome: (``.*?``) or ``health``", (ROOT / "core" / "log.py").read_text())
    outcomes = set(re.findall(r"``(\w+)``", named_in_log))
    assert set(re.findall(r"message\.outcome:'(\w+)'", text)) <= outcomes
    assert set(re.findall(r"'outcome (\w+)'", text)) <= outcomes
    assert all(f'"{it}"' in IBM.locals["outcome"] for it in outcomes)
    # As the notes of ibm_actions.databases and ibm_actions.capacity begin.
    assert "(message.note:databases* OR 'note databases')" in text


def test_alerts_are_sent_on_if_there_is_somewhere_to(function: Planned, existing: Planned) -> None:
    (webhook,) = existing.resources["ibm_logs_outgoing_webhook.alerts"]
    assert webhook["type"] == "ibm_event_notifications"
    assert webhook["ibm_event_notifications"] == [
        {"event_notifications_instance_id": NOTIFICATIONS, "region_id": "eu-de"}
    ]
    for planned, ids in ((existing, [7]), (function, [])):
        for alert in planned.instances("ibm_logs_alert_definition").values():
            (group,) = alert["notification_group"]
            assert [it["integration"] for it in group["webhooks"]] == [[{"integration_id": one}] for one in ids]


# ---- what comes out --------------------------------------------------------------------------------------------------


def test_outputs(application: Planned, function: Planned) -> None:
    for planned in (application, function):
        assert planned.outputs == {
            "url": "https://dt-receiver.xyz.eu-de.codeengine.appdomain.cloud",
            "cloudant": f"https://{HOST}",
            "trusted_profile": "Profile-1234",
            "secret": "dt-receiver-signature",
            "project_id": "PROJECT-ID",
        }
