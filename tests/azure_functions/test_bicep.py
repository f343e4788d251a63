"""infra/, read and worked out by `tests.support.bicep`, and asserted as data; and what checkov says of it.

Not compiled, not validated against Azure: neither Bicep's compiler nor a subscription is to be had here. Names of
resources, properties, roles and metrics were taken from their documentation and from
https://github.com/Azure/bicep-types-az. What a name that does not exist would do, only a deployment shows.
"""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
from pycep import BicepParser

from core.settings import Settings
from tests.support.bicep import (
    COMPUTED,
    GROUP,
    INFRA,
    ROOT,
    TOOLS,
    BicepError,
    Deployment,
    File,
    Made,
    names,
    needs_tools,
)

MAIN = INFRA / "main.bicep"
FILES = {path.name: File(path) for path in sorted(INFRA.glob("*.bicep"))}
TEXT = {name: file.path.read_text() for name, file in FILES.items()}
STORES = ("service_bus", "storage_queue", "table")
SECRET = "THE SECRET"


def deployment(**given: Any) -> Deployment:
    return Deployment(MAIN, **{"signatureSecret": SECRET} | given)


@pytest.fixture(scope="module")
def stores() -> dict[str, Deployment]:
    """Each store, with nothing else that is optional."""
    return {store: deployment(store=store) for store in STORES}


@pytest.fixture(scope="module")
def bus(stores: dict[str, Deployment]) -> Deployment:
    """With no parameter but the secret."""
    return stores["service_bus"]


# ---- the files -------------------------------------------------------------------------------------------------------


def test_the_files_are_these() -> None:
    assert set(FILES) == {"main.bicep", "store.bicep", "access.bicep", "alerts.bicep"}
    assert {path.name for path in INFRA.iterdir()} == {*FILES, "main.parameters.json"}


@pytest.mark.parametrize("name", FILES)
def test_another_parser_reads_them_too(name: str) -> None:
    parsed = BicepParser(add_line_numbers=False).parse(text=TEXT[name])

    assert list(parsed["resources"]) == list(FILES[name].of_kind("resource"))
    assert list(parsed["parameters"]) == list(FILES[name].of_kind("param"))


# Each is right for something else than a public URL whose every request is signed.
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
    "CKV_AZURE_78": "FTP: this plan has none, and its passwords are off: test_nobody_publishes_with_a_password",
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
def test_checkov_has_nothing_else_to_say(stores: dict[str, Deployment], tmp_path: Path) -> None:
    """Of what was worked out. In Bicep itself it reads no value of a variable, and nothing below an `if`."""
    for store, found in stores.items():
        template = {
            "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
            "contentVersion": "1.0.0.0",
            "resources": [made.as_template for made in found.resources.values()],
        }
        (tmp_path / f"{store}.json").write_text(json.dumps(template))
    command = [str(TOOLS / "checkov"), "--directory", str(tmp_path)]
    command += ["--framework", "arm", "--skip-download", "--output", "json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    report = json.loads(run.stdout)

    assert report["summary"]["parsing_errors"] == 0
    looked_at = {it["file_path"] for it in report["results"]["passed_checks"]}
    assert looked_at == {f"/{store}.json" for store in STORES}
    failed = {it["check_id"]: f"{it['resource']}: {it['check_name']}" for it in report["results"]["failed_checks"]}
    assert {check: it for check, it in failed.items() if check not in ACCEPTED} == {}
    assert ACCEPTED.keys() - failed.keys() == set(), "accepted, and no longer said"


@pytest.mark.parametrize("name", FILES)
def test_everything_is_described(name: str) -> None:
    outputs = FILES[name].outputs
    for one in [*FILES[name].of_kind("param").values(), *outputs.values()]:
        (_, text) = one.decorators.get("description") or ("", "")
        assert len(text) > 10, one.name
        assert text.endswith((".", "list-flexconsumption-locations")), one.name


@pytest.mark.parametrize("name", FILES)
def test_everything_that_is_declared_is_used(name: str) -> None:
    file = FILES[name]
    used = {it for one in [*file.declared.values(), *file.outputs.values()] for it in names((one.value, one.condition))}
    needed = {key for key, one in file.declared.items() if one.kind in ("param", "var") or one.existing}
    assert needed <= used


@pytest.mark.parametrize("name", FILES)
def test_nothing_waits_for_itself(name: str) -> None:
    declared = FILES[name].declared
    graph = {key: set(names((one.value, one.condition))) & declared.keys() for key, one in declared.items()}
    TopologicalSorter(graph).prepare()
    if name == "main.bicep":
        assert "access" in graph["app"], "it must not start without what it may do"
        assert graph["access"] >= {"secret", "place"}, "there is nothing to be let in to yet"


def test_no_key_is_read_and_no_version_is_a_preview() -> None:
    for name, text in TEXT.items():
        code = re.sub(r"(?m)^\s*//.*$", "", text)
        assert not re.search(r"(?i)\blist\w*\(|getSecret|AccountKey|SharedAccess|InstrumentationKey", code), name
        for version in re.findall(r"'Microsoft\.[\w./]+@([^']+)'", code):
            assert re.fullmatch(r"20\d\d-\d\d-\d\d", version), version


def test_one_parameter_is_secure_and_it_has_no_value_of_its_own() -> None:
    secure = {
        (name, it.name): it.value
        for name, file in FILES.items()
        for it in file.of_kind("param").values()
        if "secure" in it.decorators
    }

    assert secure == {("main.bicep", "signatureSecret"): ("value", "")}


# ---- parameters ------------------------------------------------------------------------------------------------------

# Those that have the name of a setting. `azd env set` knows them by the names in main.parameters.json.
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


def test_azd_has_each_parameter_from_a_variable_and_none_twice() -> None:
    """Left out where the variable is missing, and the default in main.bicep is the only one."""
    parameters = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert list(parameters) == [name for name in FILES["main.bicep"].of_kind("param") if name != "location"]
    variables = {}
    for name, it in parameters.items():
        assert it.keys() == {"value"}
        found = re.fullmatch(r"\$\{(DT_[A-Z_]+)\}", it["value"])
        assert found, name
        variables[name] = found[1]
    assert len({*variables.values()}) == len(variables)
    assert {name: variables[name] for name in SETTINGS} == SETTINGS


def test_azd_asks_for_nothing_and_so_keeps_nothing() -> None:
    """What it is told for a parameter without a default, the secret too, it would give to each deployment again."""
    assert all(it.value is not None for it in FILES["main.bicep"].of_kind("param").values())


@pytest.mark.parametrize(
    "given",
    [
        {"store": "kafka"},
        {"redundancy": "Premium_LRS"},
        {"authLevel": "admin"},
        {"signaturePolicy": "unsigned"},
        {"acceptExpiredFor": -1},
        {"acceptExpiredFor": 86401},
        {"instanceMemory": 1024},
        {"maxInstances": 0},
        {"maxInstances": 1001},
        {"alwaysReady": -1},
        {"silenceMinutes": 61},
        {"waitingMessages": 0},
        {"logRetentionDays": 29},
        {"logRetentionDays": 731},
        {"logDailyCap": -2},
        {"lock": "yes"},
    ],
)
def test_parameters_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BicepError, match=next(iter(given))):
        deployment(**given)


# ---- what there is ---------------------------------------------------------------------------------------------------

ALWAYS = {
    "plan": "Microsoft.Web/serverfarms",
    "app": "Microsoft.Web/sites",
    "appSettings": "Microsoft.Web/sites/config",
    "noPassword[0]": "Microsoft.Web/sites/basicPublishingCredentialsPolicies",
    "noPassword[1]": "Microsoft.Web/sites/basicPublishingCredentialsPolicies",
    "storage": "Microsoft.Storage/storageAccounts",
    "blobs": "Microsoft.Storage/storageAccounts/blobServices",
    "packages": "Microsoft.Storage/storageAccounts/blobServices/containers",
    "identity": "Microsoft.ManagedIdentity/userAssignedIdentities",
    "vault": "Microsoft.KeyVault/vaults",
    "workspace": "Microsoft.OperationalInsights/workspaces",
    "applicationInsights": "Microsoft.Insights/components",
    "access.ofStorage": "Microsoft.Authorization/roleAssignments",
    "access.ofApplicationInsights": "Microsoft.Authorization/roleAssignments",
    "alerts.failed": "Microsoft.Insights/scheduledQueryRules",
    "alerts.silence": "Microsoft.Insights/scheduledQueryRules",
}
OF_SECRET = {
    "secret": "Microsoft.KeyVault/vaults/secrets",
    "access.ofSecret": "Microsoft.Authorization/roleAssignments",
}
OF_TABLE = {
    "place.tables": "Microsoft.Storage/storageAccounts/tableServices",
    "place.table": "Microsoft.Storage/storageAccounts/tableServices/tables",
    "place.storageLock": "Microsoft.Authorization/locks",
    "access.ofTable": "Microsoft.Authorization/roleAssignments",
}
OF_STORE = {
    "service_bus": {
        "place.serviceBus": "Microsoft.ServiceBus/namespaces",
        "place.events": "Microsoft.ServiceBus/namespaces/queues",
        "place.serviceBusLock": "Microsoft.Authorization/locks",
        "access.ofServiceBusQueue": "Microsoft.Authorization/roleAssignments",
        "alerts.serviceBusAlerts[0]": "Microsoft.Insights/metricAlerts",
        "alerts.serviceBusAlerts[1]": "Microsoft.Insights/metricAlerts",
    },
    "storage_queue": OF_TABLE
    | {
        "place.queues": "Microsoft.Storage/storageAccounts/queueServices",
        "place.storageQueue": "Microsoft.Storage/storageAccounts/queueServices/queues",
        "access.ofStorageQueue": "Microsoft.Authorization/roleAssignments",
        "alerts.storageQueueAlert": "Microsoft.Insights/metricAlerts",
    },
    "table": OF_TABLE,
}


@pytest.mark.parametrize("store", STORES)
def test_resources_are_these_and_no_others(stores: dict[str, Deployment], store: str) -> None:
    found = {name: it.type for name, it in stores[store].resources.items()}
    assert found == ALWAYS | OF_SECRET | OF_STORE[store]


def test_what_is_optional_is_there_when_it_is_wanted(bus: Deployment) -> None:
    def change(**given: Any) -> tuple[set[str], set[str]]:
        others = deployment(**given).resources.keys()
        return bus.resources.keys() - others, others - bus.resources.keys()

    assert change(signatureSecret="") == (set(OF_SECRET), set())
    assert change(alarmEmail="somebody@example.com") == (set(), {"alerts.people"})
    assert change(silenceMinutes=0) == ({"alerts.silence"}, set())
    assert change(lock=False) == ({"place.serviceBusLock"}, set())
    assert "place.storageLock" not in deployment(store="table", lock=False).resources


# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
NAMES = {
    "Microsoft.Web/sites": "[a-z][a-z0-9-]{0,58}[a-z0-9]",
    "Microsoft.Storage/storageAccounts": "[a-z0-9]{3,24}",
    "Microsoft.Storage/storageAccounts/blobServices/containers": "[a-z0-9](-?[a-z0-9]){2,62}",
    "Microsoft.Storage/storageAccounts/queueServices/queues": "[a-z0-9](-?[a-z0-9]){2,62}",
    "Microsoft.Storage/storageAccounts/tableServices/tables": "[A-Za-z][A-Za-z0-9]{2,62}",
    "Microsoft.KeyVault/vaults": "[a-z](-?[a-z0-9]){2,23}",
    "Microsoft.KeyVault/vaults/secrets": "[A-Za-z0-9-]{1,127}",
    "Microsoft.ServiceBus/namespaces": "[a-z][a-z0-9-]{4,48}[a-z0-9]",
    "Microsoft.ServiceBus/namespaces/queues": "[A-Za-z0-9][A-Za-z0-9._/-]{0,258}",
    "Microsoft.Authorization/roleAssignments": "[0-9a-f-]{36}",
}


@pytest.mark.parametrize("store", STORES)
def test_names_are_such_as_azure_takes(stores: dict[str, Deployment], store: str) -> None:
    resources = stores[store].resources.values()
    for made in resources:
        assert re.fullmatch(NAMES.get(made.type, ".+"), made.name), made.id
    assert len({made.id for made in resources}) == len(resources)


def test_all_of_it_is_in_one_region(bus: Deployment) -> None:
    """But for alerts of metrics, and whom they are sent to, which are in none."""
    elsewhere = deployment(location="elsewhere", alarmEmail="somebody@example.com")
    found = {made.body["location"] for made in elsewhere.resources.values() if "location" in made.body}
    assert found == {"elsewhere", "global"}
    assert bus.resources["app"].body["location"] == "norwayeast", "the resource group's"
    for made in elsewhere.resources.values():
        if made.body.get("location") == "global":
            assert made.type in ("Microsoft.Insights/metricAlerts", "Microsoft.Insights/actionGroups")


# ---- the function ----------------------------------------------------------------------------------------------------

NAME = Deployment(MAIN).outputs["functionApp"]
SUFFIX = NAME.removeprefix("dt-receiver-")
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{NAME}"
STORAGE = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/dt{SUFFIX}"
CLIENT, PRINCIPAL = f"CLIENT OF {NAME}", f"PRINCIPAL OF {NAME}"


def test_function(bus: Deployment) -> None:
    plan, app = bus.resources["plan"], bus.resources["app"]
    assert (plan.body["sku"], plan.properties) == ({"name": "FC1", "tier": "FlexConsumption"}, {"reserved": True})
    assert app.body["kind"] == "functionapp,linux"
    assert app.body["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}
    assert app.properties == {
        "serverFarmId": plan.id,
        "httpsOnly": True,
        "clientAffinityEnabled": False,
        "keyVaultReferenceIdentity": IDENTITY,
        "functionAppConfig": {
            "runtime": {"name": "python", "version": "3.13"},
            "deployment": {
                "storage": {
                    "type": "blobContainer",
                    "value": f"https://dt{SUFFIX}.blob.core.windows.net/packages",
                    "authentication": {
                        "type": "UserAssignedIdentity",
                        "userAssignedIdentityResourceId": IDENTITY,
                    },
                }
            },
            "scaleAndConcurrency": {
                "instanceMemoryMB": 512,
                "maximumInstanceCount": 40,
                "alwaysReady": [],
                "triggers": {"http": {"perInstanceConcurrency": 16}},
            },
        },
        "siteConfig": {"minTlsVersion": "1.2", "scmMinTlsVersion": "1.2"},
    }


def test_function_of_another_size() -> None:
    app = deployment(instanceMemory=2048, maxInstances=100, alwaysReady=1).resources["app"]

    assert app.properties["functionAppConfig"]["scaleAndConcurrency"] == {
        "instanceMemoryMB": 2048,
        "maximumInstanceCount": 100,
        "alwaysReady": [{"name": "http", "instanceCount": 1}],
        "triggers": {"http": {"perInstanceConcurrency": 16}},
    }


def test_nobody_publishes_with_a_password(bus: Deployment) -> None:
    found = {it.name: it.properties for key, it in bus.resources.items() if key.startswith("noPassword")}
    assert found == {"ftp": {"allow": False}, "scm": {"allow": False}}
    assert all(it.id.startswith(bus.resources["app"].id) for key, it in bus.resources.items() if "noPass" in key)


REFERENCE = f"@Microsoft.KeyVault(SecretUri=https://dt-{SUFFIX}.vault.azure.net/secrets/signature-secret)"
COMMON = {
    "DT_AUTH_LEVEL": "anonymous",
    "DT_SIGNATURE_POLICY": "any",
    "DT_SIGNATURE_SECRET": REFERENCE,
    "DT_ORGANIZATION_ID": "",
    "DT_ACCEPT_EXPIRED_FOR": "0",
    "DT_EVENT_TYPES": "",
    "DT_PROJECT_ID": "",
    "AZURE_CLIENT_ID": CLIENT,
}
SETTINGS_OF = {
    "service_bus": {"DT_SERVICE_BUS": f"{NAME}.servicebus.windows.net", "DT_QUEUE": "events"},
    "storage_queue": {"DT_STORAGE": f"dt{SUFFIX}", "DT_QUEUE": "events", "DT_SEEN_TABLE": "seenKeys"},
    "table": {"DT_STORAGE": f"dt{SUFFIX}", "DT_TABLE": "events"},
}
PLATFORM = {
    "AzureWebJobsStorage__accountName": f"dt{SUFFIX}",
    "AzureWebJobsStorage__credential": "managedidentity",
    "AzureWebJobsStorage__clientId": CLIENT,
    "APPLICATIONINSIGHTS_CONNECTION_STRING": f"CONNECTION OF {NAME}",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": f"ClientId={CLIENT};Authorization=AAD",
    "PYTHON_THREADPOOL_THREAD_COUNT": "16",
}


@pytest.mark.parametrize("store", STORES)
def test_settings(stores: dict[str, Deployment], store: str) -> None:
    settings = stores[store].resources["appSettings"]

    assert settings.id == f"{stores[store].resources['app'].id}/config/appsettings"
    assert settings.properties == COMMON | PLATFORM | {"DT_STORE": store} | SETTINGS_OF[store]


def test_what_a_setting_names_is_there(stores: dict[str, Deployment]) -> None:
    for store, kinds in (
        ("service_bus", {"DT_QUEUE": "events"}),
        ("storage_queue", {"DT_QUEUE": "storageQueue", "DT_SEEN_TABLE": "table"}),
        ("table", {"DT_TABLE": "table"}),
    ):
        settings, resources = stores[store].resources["appSettings"].properties, stores[store].resources
        for setting, symbol in kinds.items():
            assert resources[f"place.{symbol}"].name == settings[setting]
        if store == "service_bus":
            assert settings["DT_SERVICE_BUS"].partition(".")[0] == resources["place.serviceBus"].name
        else:
            assert settings["DT_STORAGE"] == resources["storage"].name


GIVEN: dict[str, Any] = {
    "authLevel": "function",
    "signaturePolicy": "both",
    "organizationId": '["one","two"]',
    "acceptExpiredFor": 46800,
    "eventTypes": "temperature",
    "projectIds": "ccol8iuk9smqiha4e8l0",
}


def test_parameters_become_settings() -> None:
    settings = deployment(**GIVEN).resources["appSettings"].properties

    assert {name: settings[SETTINGS[name]] for name in GIVEN} == {name: str(it) for name, it in GIVEN.items()}
    assert Settings.load(settings | {"DT_SIGNATURE_SECRET": '["new","old"]'}) is not None


def test_without_a_use_for_the_secret_there_is_no_reference_to_it() -> None:
    """Where Azure cannot resolve one, the setting is its text: an address, which is no secret."""
    settings = deployment(signaturePolicy="es256", organizationId="one").resources["appSettings"].properties

    assert "DT_SIGNATURE_SECRET" not in settings


# Azure Storage has no time to live, DT's keys are pinned by hand, and the rest is for tests.
BY_HAND = {"DT_KEEP_DAYS", "DT_JWKS", "DT_ISSUER", "DT_LEEWAY", "DT_ACCEPT_SHA1"}


def test_settings_are_what_the_code_reads(stores: dict[str, Deployment]) -> None:
    """Each variable that the function reads is set with some store, and none that it does not."""
    read = set()
    for path in [*(ROOT / "azure_functions").glob("*.py"), ROOT / "core" / "settings.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                read |= set(re.findall(r"\A(?:DT_[A-Z0-9_]+|AZURE_[A-Z_]+)\Z", node.value))
    written = {name for it in stores.values() for name in it.resources["appSettings"].properties}
    assert read - BY_HAND == written - PLATFORM.keys()


# ---- who may do what -------------------------------------------------------------------------------------------------

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39": "Azure Service Bus Data Sender",
    "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a": "Storage Queue Data Message Sender",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
}
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/dt-{SUFFIX}"
TO_RUN = {
    ("Storage Blob Data Owner", STORAGE),
    ("Monitoring Metrics Publisher", f"{GROUP}/providers/Microsoft.Insights/components/{NAME}"),
    ("Key Vault Secrets User", f"{VAULT}/secrets/signature-secret"),
}
TO_STORE = {
    "service_bus": {
        ("Azure Service Bus Data Sender", f"{GROUP}/providers/Microsoft.ServiceBus/namespaces/{NAME}/queues/events")
    },
    "storage_queue": {
        ("Storage Queue Data Message Sender", f"{STORAGE}/queueServices/default/queues/events"),
        ("Storage Table Data Contributor", f"{STORAGE}/tableServices/default/tables/seenKeys"),
    },
    "table": {("Storage Table Data Contributor", f"{STORAGE}/tableServices/default/tables/events")},
}


def assignments(found: Deployment) -> Iterator[Made]:
    return (it for it in found.resources.values() if it.type == "Microsoft.Authorization/roleAssignments")


@pytest.mark.parametrize("store", STORES)
def test_roles_are_these_and_no_others(stores: dict[str, Deployment], store: str) -> None:
    found, ids = stores[store], {it.id for it in stores[store].resources.values()}
    granted = set()
    for it in assignments(found):
        assert it.properties.keys() == {"principalId", "principalType", "roleDefinitionId"}
        assert (it.properties["principalId"], it.properties["principalType"]) == (PRINCIPAL, "ServicePrincipal")
        assert it.scope in ids, "nothing to be let in to"
        where, _, role = it.properties["roleDefinitionId"].rpartition("/")
        assert where == "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions"
        granted.add((ROLES[role], it.scope))
    assert granted == TO_RUN | TO_STORE[store]
    assert len([*assignments(found)]) == len(granted)


def test_another_principal_has_other_assignments(bus: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure refuses to give one to another principal, such as that of an identity which was deleted and made anew."""
    before = {it.name for it in assignments(bus)}
    computed = COMPUTED["userAssignedIdentities"] | {"principalId": "ANOTHER"}
    monkeypatch.setitem(COMPUTED, "userAssignedIdentities", computed)

    assert not before & {it.name for it in assignments(deployment())}


def test_nobody_gets_in_with_a_key(stores: dict[str, Deployment]) -> None:
    for found in stores.values():
        assert found.resources["storage"].properties == {
            "allowBlobPublicAccess": False,
            "allowCrossTenantReplication": False,
            "allowSharedKeyAccess": False,
            "defaultToOAuthAuthentication": True,
            "minimumTlsVersion": "TLS1_2",
            "supportsHttpsTrafficOnly": True,
        }
        assert found.resources["packages"].properties == {"publicAccess": "None"}
        assert found.resources["applicationInsights"].properties["DisableLocalAuth"] is True
        assert found.resources["workspace"].properties["features"] == {"disableLocalAuth": True}
    assert stores["service_bus"].resources["place.serviceBus"].properties == {
        "disableLocalAuth": True,
        "minimumTlsVersion": "1.2",
    }


# ---- the secret ------------------------------------------------------------------------------------------------------


def test_the_secret(bus: Deployment) -> None:
    vault, secret = bus.resources["vault"], bus.resources["secret"]
    assert (vault.id, secret.id) == (VAULT, f"{VAULT}/secrets/signature-secret")
    assert vault.properties == {
        "tenantId": "t",
        "sku": {"family": "A", "name": "standard"},
        "enableRbacAuthorization": True,
        "enableSoftDelete": True,
        "enablePurgeProtection": True,
        "softDeleteRetentionInDays": 7,
    }
    assert secret.properties.keys() == {"value", "contentType"}


def test_the_secret_is_nowhere_else(bus: Deployment) -> None:
    assert bus.resources["secret"].properties["value"] == SECRET
    bodies = [it.body for name, it in bus.resources.items() if name != "secret"]
    assert SECRET not in json.dumps([bodies, bus.outputs])
    assert not any("signatureSecret" in names(it.value) for it in FILES["main.bicep"].outputs.values())
    assert "signatureSecret" not in "".join(text for name, text in TEXT.items() if name != "main.bicep")


# ---- where events go -------------------------------------------------------------------------------------------------


def test_service_bus_takes_each_event_once(bus: Deployment) -> None:
    namespace, queue = bus.resources["place.serviceBus"], bus.resources["place.events"]
    assert namespace.body["sku"] == {"name": "Standard", "tier": "Standard"}, "Basic does not detect duplicates"
    assert queue.properties == {
        "requiresDuplicateDetection": True,
        "enablePartitioning": False,
        "requiresSession": False,
        "duplicateDetectionHistoryTimeWindow": "P2D",
        "defaultMessageTimeToLive": "P14D",
        "deadLetteringOnMessageExpiration": True,
        "lockDuration": "PT1M",
        "maxDeliveryCount": 10,
        "maxSizeInMegabytes": 5120,
    }


@pytest.mark.parametrize(
    ("store", "holder", "lock"),
    [
        ("service_bus", "place.serviceBus", "place.serviceBusLock"),
        ("storage_queue", "storage", "place.storageLock"),
        ("table", "storage", "place.storageLock"),
    ],
)
def test_what_holds_events_is_locked(stores: dict[str, Deployment], store: str, holder: str, lock: str) -> None:
    found = stores[store].resources
    assert found[lock].scope == found[holder].id
    assert found[lock].properties["level"] == "CanNotDelete"


def test_copies_are_in_three_zones(bus: Deployment) -> None:
    assert bus.resources["storage"].body["sku"] == {"name": "Standard_ZRS"}
    assert deployment(redundancy="Standard_LRS").resources["storage"].body["sku"] == {"name": "Standard_LRS"}


# ---- watching it -----------------------------------------------------------------------------------------------------


def test_log(bus: Deployment) -> None:
    component = bus.resources["applicationInsights"]
    assert component.properties["WorkspaceResourceId"] == bus.resources["workspace"].id
    for found, days, cap in ((bus, 30, 5), (deployment(logRetentionDays=90, logDailyCap=-1), 90, -1)):
        workspace = found.resources["workspace"].properties
        assert workspace["sku"] == {"name": "PerGB2018"}
        assert (workspace["retentionInDays"], workspace["workspaceCapping"]) == (days, {"dailyQuotaGb": cap})


def rules(found: Deployment) -> dict[str, Made]:
    return {
        it.name.removeprefix("dt-receiver-"): it for key, it in found.resources.items() if key.startswith("alerts.")
    }


@pytest.mark.parametrize(
    ("store", "others"),
    [("service_bus", {"dead-letters", "waiting"}), ("storage_queue", {"waiting"}), ("table", set())],
)
def test_alerts_are_these_and_no_others(stores: dict[str, Deployment], store: str, others: set[str]) -> None:
    found = rules(stores[store])
    assert found.keys() == {"failed", "silence"} | others
    for it in found.values():
        assert len(it.properties["description"]) > 20
        assert it.properties["autoMitigate"] is True


def test_outcomes_in_queries_are_those_that_the_receiver_writes(bus: Deployment) -> None:
    (named,) = re.findall(r"outcome: (``.*?``) or ``health``", (ROOT / "core" / "log.py").read_text())
    written = set(re.findall(r"``(\w+)``", named))
    (silence,) = rules(bus)["silence"].properties["criteria"]["allOf"]

    asked = set(re.findall(r'"(\w+)"', silence["query"]))
    assert asked == written - {"refused", "failed"} == {"stored", "duplicate", "dropped"}
    assert "".join(silence["query"].split()) == (
        'traces|wheretostring(parse_json(message).outcome)in("stored","duplicate","dropped")'
    )


def test_silence(bus: Deployment) -> None:
    for minutes in (15, 60, 2880):
        rule = rules(deployment(silenceMinutes=minutes))["silence"]
        (condition,) = rule.properties["criteria"]["allOf"]
        assert (condition["timeAggregation"], condition["operator"], condition["threshold"]) == ("Count", "LessThan", 1)
        assert (rule.properties["windowSize"], rule.properties["evaluationFrequency"]) == (f"PT{minutes}M", "PT15M")
        assert f"for {minutes} minutes" in rule.properties["description"]
    assert rules(bus)["silence"].properties["windowSize"] == "PT60M"


def test_failed(bus: Deployment) -> None:
    rule = rules(bus)["failed"]
    (condition,) = rule.properties["criteria"]["allOf"]
    assert "".join(condition["query"].split()) == "requests|wheretoint(resultCode)>=500ortoint(resultCode)==0"
    assert (condition["timeAggregation"], condition["operator"], condition["threshold"]) == ("Count", "GreaterThan", 0)
    assert (rule.properties["windowSize"], rule.properties["evaluationFrequency"]) == ("PT5M", "PT5M")


def test_log_alerts_ask_the_log_of_the_function(bus: Deployment) -> None:
    for name in ("failed", "silence"):
        rule = rules(bus)[name]
        assert rule.body["kind"] == "LogAlert"
        assert rule.properties["scopes"] == [bus.resources["applicationInsights"].id]
        assert rule.properties["skipQueryValidation"] is True
        (condition,) = rule.properties["criteria"]["allOf"]
        assert condition["failingPeriods"] == {"numberOfEvaluationPeriods": 1, "minFailingPeriodsToAlert": 1}


# https://learn.microsoft.com/azure/azure-monitor/reference/metrics-index: namespace, name, an aggregation that it has.
METRICS = {
    ("Microsoft.ServiceBus/namespaces", "DeadletteredMessages", "Maximum"),
    ("Microsoft.ServiceBus/namespaces", "ActiveMessages", "Maximum"),
    ("Microsoft.Storage/storageAccounts/queueServices", "QueueMessageCount", "Average"),
}


def test_metric_alerts(stores: dict[str, Deployment]) -> None:
    asked, thresholds = set(), {}
    for store in STORES:
        found = stores[store]
        for name, it in rules(found).items():
            if it.type == "Microsoft.Insights/metricAlerts":
                criteria = it.properties["criteria"]
                assert criteria["odata.type"] == "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"
                (condition,) = criteria["allOf"]
                asked.add((condition["metricNamespace"], condition["metricName"], condition["timeAggregation"]))
                thresholds[store, name] = condition["threshold"]
                assert (condition["criterionType"], condition["operator"]) == (
                    "StaticThresholdCriterion",
                    "GreaterThan",
                )
                assert it.properties["enabled"] is True
                if store == "service_bus":
                    assert it.properties["scopes"] == [found.resources["place.serviceBus"].id]
                    assert condition["dimensions"] == [
                        {"name": "EntityName", "operator": "Include", "values": ["events"]}
                    ]
                else:
                    assert it.properties["scopes"] == [found.resources["place.queues"].id]
    assert asked == METRICS
    assert thresholds == {
        ("service_bus", "dead-letters"): 0,
        ("service_bus", "waiting"): 10000,
        ("storage_queue", "waiting"): 10000,
    }
    (condition,) = rules(deployment(waitingMessages=5))["waiting"].properties["criteria"]["allOf"]
    assert condition["threshold"] == 5


@pytest.mark.parametrize("store", STORES)
def test_alerts_go_to_the_address_if_there_is_one(stores: dict[str, Deployment], store: str) -> None:
    found = rules(deployment(store=store, alarmEmail="somebody@example.com"))
    people = found.pop("alerts")
    assert people.properties["emailReceivers"] == [
        {"name": "email", "emailAddress": "somebody@example.com", "useCommonAlertSchema": True}
    ]
    assert people.properties["enabled"] is True
    assert len(people.properties["groupShortName"]) <= 12
    for rule, group in [(it, people.id) for it in found.values()] + [(it, "") for it in rules(stores[store]).values()]:
        if rule.type == "Microsoft.Insights/metricAlerts":
            assert rule.properties["actions"] == ([{"actionGroupId": group}] if group else [])
        else:
            assert rule.properties["actions"] == {"actionGroups": [group] if group else []}


# ---- what comes out --------------------------------------------------------------------------------------------------

OUTPUTS = {
    "url": f"https://{NAME}.azurewebsites.net/events",
    "functionApp": NAME,
    "vault": f"dt-{SUFFIX}",
    "storage": f"dt{SUFFIX}",
    "applicationInsights": NAME,
}


@pytest.mark.parametrize(
    ("store", "others"),
    [
        ("service_bus", {"serviceBus": NAME, "queue": "events", "table": ""}),
        ("storage_queue", {"serviceBus": "", "queue": "events", "table": ""}),
        ("table", {"serviceBus": "", "queue": "", "table": "events"}),
    ],
)
def test_outputs(stores: dict[str, Deployment], store: str, others: dict[str, str]) -> None:
    assert stores[store].outputs == OUTPUTS | others


def test_azd_finds_the_app_by_the_name_of_its_service(bus: Deployment) -> None:
    """And no other: https://learn.microsoft.com/azure/developer/azure-developer-cli/faq"""
    tagged = {it.type: it.body["tags"] for it in bus.resources.values() if "tags" in it.body}
    assert tagged == {"Microsoft.Web/sites": {"azd-service-name": "receiver"}}
    assert re.search(r"(?m)^services:\n(?:  #.*\n)*  receiver:$", Path(INFRA.parent, "azure.yaml").read_text())
