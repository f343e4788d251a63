"""infra/, compiled by Microsoft's compiler. The tests check the compiled template; nothing is deployed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings
from tests.support import bicep
from tests.support.bicep import APP, GROUP, IDENTITY, INFRA, NAME, STORES, deployment, template
from tests.support.source import strings

pytestmark = [bicep.needs_bicep, pytest.mark.long]


def test_bicep_compiler_and_linter_have_no_warning() -> None:
    """Types, properties, API versions, names of parameters, what is declared and not used, secrets in outputs."""
    assert template()["resources"]
    for path in INFRA.glob("*.bicep"):
        assert bicep.compiler("format", str(path), "--stdout").stdout == path.read_text(), path.name


def test_script_registers_the_providers_of_all_resources() -> None:
    """Whoever owns a resource group alone cannot, and Azure registers some by itself, not all."""
    text = json.dumps(template())
    used = set(re.findall(r'"type": "(\w+\.\w+)/', text, re.IGNORECASE)) - {
        "Microsoft.Resources",
        "Microsoft.Authorization",
    }
    (loop,) = re.findall("for provider in (.*?); do", (INFRA.parent / "deploy.sh").read_text(), re.DOTALL)
    assert set(loop.replace("\\", "").split()) == used


# What checkov advises, and why it is not for an app with a public URL and signed requests.
ACCEPTED = {
    "DT has no account at Microsoft and no certificate; a signature says who sends, from any network": (13, 17, 222),
    "a store closed to all networks takes a virtual network; without keys, a role is needed": (35, 36, 109, 189),
    "a secret that runs out by itself would refuse every event from that day on": (41,),
    "the log has every request, and nobody asked for HTTP/2 and error pages": (18, 63, 65, 67),
    "not on this plan, which has Linux, Python, no FTP, and replaces instances by itself": (66, 78, 80, 88, 212, 213),
    "three zones are what the other clouds have, and DT sends again what a lost zone did not answer": (206, 225),
}


@bicep.TOOLS.needed
def test_checkov_finds_no_other_policy_violation(tmp_path: Path) -> None:
    """In the compiled template: in Bicep itself checkov reads no variable and nothing below an `if`."""
    for store in STORES:
        content = {
            "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
            "contentVersion": "1.0.0.0",
            "resources": deployment(store=store).predicted,
        }
        (tmp_path / f"{store}.json").write_text(json.dumps(content))
    options = ("--framework", "arm", "--skip-download", "--output", "json")
    run = bicep.TOOLS.run("checkov", "--directory", str(tmp_path), *options)
    report = json.loads(run.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert {it["file_path"] for it in report["results"]["passed_checks"]} == {f"/{store}.json" for store in STORES}
    failed = {it["check_id"]: f"{it['resource']}: {it['check_name']}" for it in report["results"]["failed_checks"]}
    accepted = {f"CKV_AZURE_{number}" for numbers in ACCEPTED.values() for number in numbers}
    assert {check: it for check, it in failed.items() if check not in accepted} == {}
    assert accepted - failed.keys() == set(), "accepted, and no longer said"


def test_permissions_are_granted_before_the_function_starts() -> None:
    depends = {str(it["name"]): str(it.get("dependsOn", "")) for it in template()["resources"]}
    (app,) = (it for it in template()["resources"] if it["type"] == "Microsoft.Web/sites")
    assert "-access'" in str(app["dependsOn"])
    (access,) = (it for name, it in depends.items() if "-access'" in name)
    assert "-store'" in access


def test_no_list_keys_and_no_preview_api_version() -> None:
    text = json.dumps(template())
    assert not re.search(r"(?i)\blist\w*\(|getSecret|AccountKey|SharedAccess|InstrumentationKey|-preview", text)


def setting(parameter: str) -> str:
    """Return the variable that azd takes a parameter from, which is also the function's, if it has one."""
    by_name = {"projectIds": "DT_PROJECT_ID", "principalId": "AZURE_PRINCIPAL_ID"}
    return by_name.get(parameter) or "DT" + re.sub("(^|(?=[A-Z]))", "_", parameter).upper()


def test_azd_takes_each_parameter_from_its_own_variable() -> None:
    """Left out where the variable is missing; the default in main.bicep is the only one."""
    parameters = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert list(parameters) == [name for name in template()["parameters"] if name not in ("location", "budgetStart")]
    assert {name: it["value"] for name, it in parameters.items()} == {it: f"${{{setting(it)}}}" for it in parameters}


def test_only_the_secret_parameter_is_secure() -> None:
    """A parameter without a default azd would ask for, and keep."""
    parameters = template()["parameters"]
    assert [name for name, it in parameters.items() if it["type"] == "securestring"] == ["signatureSecret"]
    assert parameters["signatureSecret"]["defaultValue"] == ""
    described = [*parameters.values(), *template()["outputs"].values()]
    assert all("defaultValue" in it for it in parameters.values())
    assert all(len(it["metadata"]["description"]) > 10 for it in described)


def test_function_runs_as_its_own_identity_over_https() -> None:
    bus = deployment(store="service_bus")
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


CLIENT = f"reference('{GROUP}/providers/{IDENTITY}', '2024-11-30').clientId"
OF_VAULT = f"reference('{GROUP}/providers/{bicep.VAULT}', '2025-05-01').vaultUri"
KEY_VAULT = "@Microsoft.KeyVault(SecretUri={0}secrets/{1})"
# All others are empty, or the code's own default.
GIVEN = {
    "DT_SIGNATURE_SECRET": f"[format('{KEY_VAULT}', {OF_VAULT}, 'signature-secret')]",
    "DT_SIGNATURE_POLICY": "any",
    "AZURE_CLIENT_ID": f"[{CLIENT}]",
    "AzureWebJobsStorage__accountName": f"dt{bicep.SUFFIX}",
    "AzureWebJobsStorage__credential": "managedidentity",
    "AzureWebJobsStorage__clientId": f"[{CLIENT}]",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": f"[format('ClientId={{0}};Authorization=AAD', {CLIENT})]",
}
SETTINGS_OF = {
    "service_bus": {"DT_SERVICE_BUS": f"{NAME}.servicebus.windows.net", "DT_QUEUE": "events"},
    "storage_queue": {"DT_STORAGE": f"dt{bicep.SUFFIX}", "DT_QUEUE": "events", "DT_SEEN_TABLE": "seenKeys"},
    "table": {"DT_STORAGE": f"dt{bicep.SUFFIX}", "DT_TABLE": "events"},
}


def settings(**given: Any) -> dict[str, str]:
    found: dict[str, str] = deployment(**given).properties(f"{APP}/config/appsettings")
    return found


@pytest.mark.parametrize("store", STORES)
def test_settings_name_the_store_and_hold_no_secret(store: str) -> None:
    found = settings(store=store)
    assert found.items() >= (GIVEN | {"DT_STORE": store} | SETTINGS_OF[store]).items()
    assert "THE SECRET" not in str(found)


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
    assert {name: found[setting(name)] for name in given} == {name: str(it) for name, it in given.items()}
    assert Settings.load(found | {"DT_SIGNATURE_SECRET": '["new","old"]'}) is not None
    # Azure would leave an unresolved reference in the setting as text.
    assert "DT_SIGNATURE_SECRET" not in settings(signaturePolicy="es256", organizationId="one")


# Azure Storage has no time to live, DT's keys are pinned by hand, and the rest is for tests.
BY_HAND = {"DT_KEEP_DAYS", "DT_JWKS", "DT_ISSUER", "DT_LEEWAY", "DT_ACCEPT_SHA1"}


def test_settings_are_what_the_code_reads() -> None:
    """Each variable that the function reads, deployment.py apart, is set with some store, and none that it does not."""
    read = strings("DT_[A-Z0-9_]+|AZURE_[A-Z_]+", "azure_functions/[!d]*.py", "core/settings.py")
    made = {name for store in STORES for name in settings(store=store)}
    assert read - BY_HAND == {name for name in made if name.startswith(("DT_", "AZURE_"))}
