"""infra/, compiled by Microsoft's compiler. The tests check the compiled template; nothing is deployed."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings
from tests.support.bicep import (
    APP,
    BUS,
    GROUP,
    IDENTITY,
    INFRA,
    INSIGHTS,
    LOCK,
    METRICS,
    NAME,
    QUEUE,
    RULES,
    SECRET,
    STORAGE,
    STORES,
    SUFFIX,
    TABLE,
    TOOLS,
    VAULT,
    WORKSPACE,
    Deployment,
    deployment,
    needs_bicep,
    needs_tools,
    snapshot,
    template,
)
from tests.support.source import strings

pytestmark = needs_bicep

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
BLOB_DATA_OWNER = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
METRICS_PUBLISHER = "3913510d-42f4-4e42-8a64-420c390055eb"
SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
SERVICE_BUS_DATA_SENDER = "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39"
QUEUE_DATA_MESSAGE_SENDER = "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a"
TABLE_DATA_CONTRIBUTOR = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"

OF_SECRET = {SECRET, f"{SECRET}: {SECRETS_USER}"}
ALWAYS = OF_SECRET | {
    *(f"Microsoft.Web/serverfarms/{NAME}", APP, f"{APP}/config/appsettings"),
    *(f"{APP}/basicPublishingCredentialsPolicies/{it}" for it in ("ftp", "scm")),
    *(STORAGE, f"{STORAGE}/blobServices/default", f"{STORAGE}/blobServices/default/containers/packages"),
    *(IDENTITY, VAULT, WORKSPACE, INSIGHTS, f"{RULES}-failed", f"{RULES}-silence"),
    *(f"{STORAGE}: {BLOB_DATA_OWNER}", f"{INSIGHTS}: {METRICS_PUBLISHER}"),
}
OF_STORE = {
    "service_bus": {
        *(BUS, f"{BUS}/queues/events", f"{BUS}/{LOCK}", f"{METRICS}-dead-letters", f"{METRICS}-waiting"),
        f"{BUS}/queues/events: {SERVICE_BUS_DATA_SENDER}",
    },
    "storage_queue": {
        *(f"{STORAGE}/queueServices/default", QUEUE, f"{QUEUE}: {QUEUE_DATA_MESSAGE_SENDER}", f"{METRICS}-waiting"),
        *(f"{STORAGE}/tableServices/default", f"{TABLE}/seenKeys", f"{TABLE}/seenKeys: {TABLE_DATA_CONTRIBUTOR}"),
        f"{STORAGE}/{LOCK}",
    },
    "table": {
        *(f"{STORAGE}/tableServices/default", f"{TABLE}/events", f"{TABLE}/events: {TABLE_DATA_CONTRIBUTOR}"),
        f"{STORAGE}/{LOCK}",
    },
}


@pytest.fixture
def bus() -> Deployment:
    """With no parameter but the secret."""
    return deployment(store="service_bus")


# ---- the files -------------------------------------------------------------------------------------------------------


def test_bicep_compiler_and_linter_have_no_warning() -> None:
    """Types, properties, names of parameters, what is declared and not used, secrets in outputs."""
    assert template()["resources"]
    assert {path.name for path in INFRA.iterdir()} == {
        *("main.bicep", "store.bicep", "access.bicep", "alerts.bicep", "main.parameters.json")
    }


# Each suits other apps than one with a public URL and signed requests.
ACCEPTED = {
    "CKV_AZURE_13": "App Service authentication: DT has no account at Microsoft; a signature says who sends",
    "CKV_AZURE_17": "client certificates: DT has none",
    "CKV_AZURE_18": "HTTP/2: nobody asked for it",
    "CKV_AZURE_35": "a storage account closed to all networks takes a virtual network; without keys, a role is needed",
    "CKV_AZURE_36": "an exception for Microsoft's services: nothing is closed, see CKV_AZURE_35",
    "CKV_AZURE_41": "a secret that runs out by itself would refuse every event from that day on",
    "CKV_AZURE_63": "HTTP logging: the table `requests` has it",
    "CKV_AZURE_65": "detailed error pages: they are for people",
    "CKV_AZURE_66": "failed request tracing: there is none on Linux",
    "CKV_AZURE_67": "HTTP/2: see CKV_AZURE_18",
    "CKV_AZURE_78": "FTP: this plan has none, and its passwords are off: test_publishing_by_password_is_off",
    "CKV_AZURE_80": "the version of .NET: it is Python",
    "CKV_AZURE_88": "Azure Files: nothing is kept in the instance",
    "CKV_AZURE_109": "a vault closed to all networks takes a virtual network; a role is needed to read it",
    "CKV_AZURE_189": "the public network of the vault: see CKV_AZURE_109",
    "CKV_AZURE_206": "replication to another region: three zones are what the other clouds have",
    "CKV_AZURE_212": "two instances: the plan has as many as there are requests for",
    "CKV_AZURE_213": "health check: this plan replaces instances by itself",
    "CKV_AZURE_222": "no public network: DT is on it",
    "CKV_AZURE_225": "a zone redundant plan: DT sends again what a zone that is lost did not answer",
}


@needs_tools
def test_checkov_finds_no_other_policy_violation(tmp_path: Path) -> None:
    """In the compiled template: in Bicep itself checkov reads no variable and nothing below an `if`."""
    for store in STORES:
        content = {
            "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
            "contentVersion": "1.0.0.0",
            "resources": deployment(store=store).predicted,
        }
        (tmp_path / f"{store}.json").write_text(json.dumps(content))
    command = [str(TOOLS / "checkov"), "--directory", str(tmp_path), "--framework", "arm"]
    command += ["--skip-download", "--output", "json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    report = json.loads(run.stdout)

    assert report["summary"]["parsing_errors"] == 0
    assert {it["file_path"] for it in report["results"]["passed_checks"]} == {f"/{store}.json" for store in STORES}
    failed = {it["check_id"]: f"{it['resource']}: {it['check_name']}" for it in report["results"]["failed_checks"]}
    assert {check: it for check, it in failed.items() if check not in ACCEPTED} == {}
    assert ACCEPTED.keys() - failed.keys() == set(), "accepted, and no longer said"


def test_permissions_are_granted_before_the_function_starts() -> None:
    depends = {str(it["name"]): str(it.get("dependsOn", "")) for it in template()["resources"]}
    (app,) = (it for it in template()["resources"] if it["type"] == "Microsoft.Web/sites")
    assert "-access'" in str(app["dependsOn"])
    (access,) = (it for name, it in depends.items() if "-access'" in name)
    assert "vaults/secrets" in access, "a role needs something to be a role in"
    assert "-store'" in access


def test_no_list_keys_and_no_preview_api_version() -> None:
    text = json.dumps(template())
    assert not re.search(r"(?i)\blist\w*\(|getSecret|AccountKey|SharedAccess|InstrumentationKey", text)
    versions = re.findall(r'"apiVersion": "([^"]+)"', text)
    assert versions
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\d", it) for it in versions)


# ---- parameters ------------------------------------------------------------------------------------------------------

SETTINGS = {
    "store": "DT_STORE",
    "signatureSecret": "DT_SIGNATURE_SECRET",
    "authLevel": "DT_AUTH_LEVEL",
    "signaturePolicy": "DT_SIGNATURE_POLICY",
    "organizationId": "DT_ORGANIZATION_ID",
    "acceptExpiredFor": "DT_ACCEPT_EXPIRED_FOR",
    "eventTypes": "DT_EVENT_TYPES",
    "projectIds": "DT_PROJECT_ID",
}


def test_azd_takes_each_parameter_from_its_own_variable() -> None:
    """Left out where the variable is missing; the default in main.bicep is the only one."""
    parameters = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert list(parameters) == [name for name in template()["parameters"] if name != "location"]
    variables = {name: it["value"].removeprefix("${").removesuffix("}") for name, it in parameters.items()}
    assert all(re.fullmatch("DT_[A-Z_]+", it) for it in variables.values())
    assert len({*variables.values()}) == len(variables)
    assert {name: variables[name] for name in SETTINGS} == SETTINGS


def test_only_the_secret_parameter_is_secure() -> None:
    """A parameter without a default azd would ask for, and keep."""
    parameters = template()["parameters"]
    assert [name for name, it in parameters.items() if it["type"] == "securestring"] == ["signatureSecret"]
    assert parameters["signatureSecret"]["defaultValue"] == ""
    described = [*parameters.values(), *template()["outputs"].values()]
    assert all("defaultValue" in it for it in parameters.values())
    assert all(len(it["metadata"]["description"]) > 10 for it in described)


@pytest.mark.parametrize(
    "wrong",
    [
        {
            "store": "kafka",
            "redundancy": "Premium_LRS",
            "authLevel": "admin",
            "signaturePolicy": "unsigned",
            "acceptExpiredFor": -1,
            "instanceMemory": 1024,
            "maxInstances": 0,
            "alwaysReady": -1,
            "lock": "yes",
            "silenceMinutes": 61,
            "waitingMessages": 0,
            "logRetentionDays": 29,
            "logDailyCap": -2,
        },
        {"acceptExpiredFor": 86401, "maxInstances": 1001, "logRetentionDays": 731},
    ],
)
def test_parameters_out_of_bounds_are_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    done = snapshot(tmp_path, wrong)

    assert done.returncode == 1
    lines = {int(it) for it in re.findall(r"bicepparam\((\d+),\d+\) : Error", done.stderr)}
    assert lines == {*range(2, len(wrong) + 2)}, done.stderr


# ---- what there is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", STORES)
def test_resources_and_permissions(store: str) -> None:
    assert deployment(store=store).resources.keys() == ALWAYS | OF_STORE[store]


def test_optional_resources(bus: Deployment) -> None:
    def change(**given: Any) -> tuple[set[str], set[str]]:
        others = deployment(store="service_bus", **given).resources.keys()
        return bus.resources.keys() - others, others - bus.resources.keys()

    assert change(alarmEmail="somebody@example.com") == (set(), {"Microsoft.Insights/actionGroups/dt-receiver-alerts"})
    assert change(silenceMinutes=0) == ({f"{RULES}-silence"}, set())
    assert change(lock=False) == ({f"{BUS}/{LOCK}"}, set())
    assert f"{STORAGE}/{LOCK}" not in deployment(store="table", lock=False).resources
    # A secure parameter stays an expression: without it, the secret in the vault is not changed.
    conditional = {key for key, it in bus.resources.items() if "condition" in it}
    assert conditional == OF_SECRET
    assert {bus.one(key)["condition"] for key in conditional} == {"[not(empty(parameters('signatureSecret')))]"}


# ---- the function ----------------------------------------------------------------------------------------------------


def test_function_runs_as_its_own_identity_over_https(bus: Deployment) -> None:
    app, identity = bus.one(APP), f"{GROUP}/providers/{IDENTITY}"
    properties, config = app["properties"], app["properties"]["functionAppConfig"]
    assert app["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}
    assert properties["keyVaultReferenceIdentity"] == identity
    assert properties["httpsOnly"] is True
    assert properties["siteConfig"] == {"minTlsVersion": "1.2", "scmMinTlsVersion": "1.2"}
    assert config["deployment"]["storage"]["authentication"] == {
        "type": "UserAssignedIdentity",
        "userAssignedIdentityResourceId": identity,
    }
    assert config["runtime"] == {"name": "python", "version": "3.13"}
    threads = bus.properties(f"{APP}/config/appsettings")["PYTHON_THREADPOOL_THREAD_COUNT"]
    assert str(config["scaleAndConcurrency"]["triggers"]["http"]["perInstanceConcurrency"]) == threads
    assert config["scaleAndConcurrency"]["maximumInstanceCount"] == 40, "what a flood costs"
    assert app["tags"] == {"azd-service-name": "receiver"}, "azd deploys to the app that has the name of its service"
    assert re.search(r"(?m)^services:\n(?:  #.*\n)*  receiver:$", Path(INFRA.parent, "azure.yaml").read_text())


def test_publishing_by_password_is_off(bus: Deployment) -> None:
    policies = bus.of_type("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    assert [it["properties"] for it in policies] == [{"allow": False}] * 2


CLIENT = f"reference('{GROUP}/providers/{IDENTITY}', '2023-01-31').clientId"
OF_VAULT = f"reference('{GROUP}/providers/{VAULT}', '2023-07-01').vaultUri"
COMMON = {
    "DT_AUTH_LEVEL": "anonymous",
    "DT_SIGNATURE_POLICY": "any",
    "DT_SIGNATURE_SECRET": (
        f"[format('@Microsoft.KeyVault(SecretUri={{0}}secrets/{{1}})', {OF_VAULT}, 'signature-secret')]"
    ),
    "DT_ORGANIZATION_ID": "",
    "DT_ACCEPT_EXPIRED_FOR": "0",
    "DT_EVENT_TYPES": "",
    "DT_PROJECT_ID": "",
    "AZURE_CLIENT_ID": f"[{CLIENT}]",
}
SETTINGS_OF = {
    "service_bus": {"DT_SERVICE_BUS": f"{NAME}.servicebus.windows.net", "DT_QUEUE": "events"},
    "storage_queue": {"DT_STORAGE": f"dt{SUFFIX}", "DT_QUEUE": "events", "DT_SEEN_TABLE": "seenKeys"},
    "table": {"DT_STORAGE": f"dt{SUFFIX}", "DT_TABLE": "events"},
}
PLATFORM = {
    "AzureWebJobsStorage__accountName": f"dt{SUFFIX}",
    "AzureWebJobsStorage__credential": "managedidentity",
    "AzureWebJobsStorage__clientId": f"[{CLIENT}]",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": (
        f"[reference('{GROUP}/providers/{INSIGHTS}', '2020-02-02').ConnectionString]"
    ),
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": f"[format('ClientId={{0}};Authorization=AAD', {CLIENT})]",
    "PYTHON_THREADPOOL_THREAD_COUNT": "16",
}


def settings(**given: Any) -> dict[str, str]:
    found: dict[str, str] = deployment(**given).properties(f"{APP}/config/appsettings")
    return found


@pytest.mark.parametrize("store", STORES)
def test_settings_name_the_store_and_hold_no_secret(store: str) -> None:
    assert settings(store=store) == COMMON | PLATFORM | {"DT_STORE": store} | SETTINGS_OF[store]


def test_parameters_become_settings() -> None:
    given = {
        "authLevel": "function",
        "signaturePolicy": "both",
        "organizationId": '["one","two"]',
        "acceptExpiredFor": 46800,
        "eventTypes": "temperature",
        "projectIds": "ccol8iuk9smqiha4e8l0",
    }
    found = settings(**given)

    assert {name: found[SETTINGS[name]] for name in given} == {name: str(it) for name, it in given.items()}
    assert Settings.load(found | {"DT_SIGNATURE_SECRET": '["new","old"]'}) is not None


def test_es256_only_has_no_reference_to_the_secret() -> None:
    """Azure would leave an unresolved reference in the setting as text."""
    assert "DT_SIGNATURE_SECRET" not in settings(signaturePolicy="es256", organizationId="one")


# Azure Storage has no time to live, DT's keys are pinned by hand, and the rest is for tests.
BY_HAND = {"DT_KEEP_DAYS", "DT_JWKS", "DT_ISSUER", "DT_LEEWAY", "DT_ACCEPT_SHA1"}


def test_settings_are_what_the_code_reads() -> None:
    """Each variable that the function reads is set with some store, and none that it does not."""
    read = strings("DT_[A-Z0-9_]+|AZURE_[A-Z_]+", "azure_functions/*.py", "core/settings.py")
    assert read - BY_HAND == {name for store in STORES for name in settings(store=store)} - PLATFORM.keys()
