"""What a deployment on Azure makes: resources, permissions, the secret, retention and alerts, as compiled."""

import json
import re
from typing import Any
from unittest.mock import ANY

import pytest

from tests.support import bicep
from tests.support.bicep import APP, GROUP, IDENTITY, INSIGHTS, NAME, SECRET, STORAGE, Deployment, deployment
from tests.support.source import outcomes

pytestmark = [pytest.mark.long, bicep.needs_bicep]

WORKSPACE = f"Microsoft.OperationalInsights/workspaces/{NAME}"
BUS = f"Microsoft.ServiceBus/namespaces/{NAME}"
QUEUE, TABLE = f"{STORAGE}/queueServices/default/queues/events", f"{STORAGE}/tableServices/default/tables"
LOCK = "providers/Microsoft.Authorization/locks/holds-events"
RULES, METRICS = "Microsoft.Insights/scheduledQueryRules/dt-receiver", "Microsoft.Insights/metricAlerts/dt-receiver"
GROUPS = "Microsoft.Insights/actionGroups/dt-receiver-alerts"

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
BLOB_DATA_OWNER = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
METRICS_PUBLISHER = "3913510d-42f4-4e42-8a64-420c390055eb"
SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
SERVICE_BUS_DATA_SENDER = "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39"
QUEUE_DATA_MESSAGE_SENDER = "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a"
TABLE_DATA_CONTRIBUTOR = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"
# The role with which the reader of each store reads, on the queue or table alone.
READ_ROLES = {
    "service_bus": f"{BUS}/queues/events: 4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0",
    "storage_queue": f"{QUEUE}: 19e7f393-937e-4f77-808e-94535e297925",
    "table": f"{TABLE}/events: 76199698-9eea-4c19-bc75-cec21354c6b6",
}
PRINCIPAL = f"reference('{GROUP}/providers/{IDENTITY}', '2024-11-30').principalId"


def role(scope: str, definition: str) -> dict[str, Any]:
    """Return an assignment to the function's identity."""
    return {
        f"{scope}: {definition}": {
            "principalId": f"[{PRINCIPAL}]",
            "principalType": "ServicePrincipal",
            "roleDefinitionId": f"{bicep.SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{definition}",
        }
    }


# Each resource, and its properties. Names never change: Azure would make another resource, and leave the old one.
LOCKED = {"level": "CanNotDelete", "notes": ANY}
NONE: None = None
ALWAYS = {
    f"Microsoft.Web/serverfarms/{NAME}": {"reserved": True},
    APP: ANY,
    f"{APP}/config/appsettings": ANY,
    f"{APP}/basicPublishingCredentialsPolicies/ftp": {"allow": False},
    f"{APP}/basicPublishingCredentialsPolicies/scm": {"allow": False},
    STORAGE: {
        "allowBlobPublicAccess": False,
        "allowCrossTenantReplication": False,
        "allowSharedKeyAccess": False,
        "defaultToOAuthAuthentication": True,
        "minimumTlsVersion": "TLS1_2",
        "supportsHttpsTrafficOnly": True,
    },
    f"{STORAGE}/blobServices/default": NONE,
    f"{STORAGE}/blobServices/default/containers/packages": {"publicAccess": "None"},
    IDENTITY: NONE,
    bicep.VAULT: {
        "tenantId": bicep.WHERE["tenant-id"],
        "sku": {"family": "A", "name": "standard"},
        "enableRbacAuthorization": True,
        "enableSoftDelete": True,
        "enablePurgeProtection": True,
        "softDeleteRetentionInDays": 7,
    },
    # A secure parameter stays an expression in the compiled template.
    SECRET: {"value": "[parameters('signatureSecret')]", "contentType": ANY},
    WORKSPACE: ANY,
    INSIGHTS: ANY,
    f"{RULES}-failed": ANY,
    f"{RULES}-silence": ANY,
    **role(STORAGE, BLOB_DATA_OWNER),
    **role(INSIGHTS, METRICS_PUBLISHER),
    **role(bicep.VAULT, SECRETS_USER),
}
OF_STORE = {
    "service_bus": {
        BUS: {"disableLocalAuth": True, "minimumTlsVersion": "1.2"},
        f"{BUS}/queues/events": {
            "requiresDuplicateDetection": True,
            "enablePartitioning": False,
            "requiresSession": False,
            "duplicateDetectionHistoryTimeWindow": "P2D",
            "defaultMessageTimeToLive": "P14D",
            "deadLetteringOnMessageExpiration": True,
            "lockDuration": "PT1M",
            "maxDeliveryCount": 10,
            "maxSizeInMegabytes": 5120,
        },
        f"{BUS}/{LOCK}": LOCKED,
        f"{METRICS}-dead-letters": ANY,
        f"{METRICS}-waiting": ANY,
        **role(f"{BUS}/queues/events", SERVICE_BUS_DATA_SENDER),
    },
    "storage_queue": {
        f"{STORAGE}/queueServices/default": NONE,
        QUEUE: NONE,
        f"{STORAGE}/tableServices/default": NONE,
        f"{TABLE}/seenKeys": NONE,
        f"{STORAGE}/{LOCK}": LOCKED,
        f"{METRICS}-waiting": ANY,
        **role(QUEUE, QUEUE_DATA_MESSAGE_SENDER),
        **role(f"{TABLE}/seenKeys", TABLE_DATA_CONTRIBUTOR),
    },
    "table": {
        f"{STORAGE}/tableServices/default": NONE,
        f"{TABLE}/events": NONE,
        f"{STORAGE}/{LOCK}": LOCKED,
        **role(f"{TABLE}/events", TABLE_DATA_CONTRIBUTOR),
    },
}


@pytest.fixture(params=bicep.STORES)
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def each(store: str) -> Deployment:
    """Each store, with nothing else that is optional."""
    return deployment(store=store)


def test_resources_with_permissions_and_retention(each: Deployment, store: str) -> None:
    assert {key: it.get("properties") for key, it in each.resources.items()} == ALWAYS | OF_STORE[store]


SOURCES = {
    "service_bus": f"servicebus:{NAME}.servicebus.windows.net/events",
    "storage_queue": rf".*'storage-queue:\{{0\}}\{{1\}}'.*{STORAGE}'.*\.primaryEndpoints\.queue, 'events'.*",
    "table": rf".*'azure-table:\{{0\}}\{{1\}}'.*{STORAGE}'.*\.primaryEndpoints\.table, 'events'.*",
}


def test_outputs(each: Deployment, store: str) -> None:
    found = each.outputs
    assert found["functionApp"] == found["applicationInsights"] == NAME
    assert (found["vault"], found["storage"]) == (bicep.VAULT.rpartition("/")[2], STORAGE.rpartition("/")[2])
    assert (found["serviceBus"], found["queue"], found["table"]) == {
        "service_bus": (NAME, "events", ""),
        "storage_queue": ("", "events", ""),
        "table": ("", "", "events"),
    }[store]
    assert re.fullmatch(rf".*https://\{{0\}}/events.*{APP}'.*defaultHostName.*", found["url"])
    # An endpoint ends in a slash, and only Azure knows it.
    assert re.fullmatch(SOURCES[store], found["source"])


def test_names_of_role_assignments_have_the_principal(each: Deployment) -> None:
    """Azure refuses to give an assignment to another principal, such as that of an identity that was made anew."""
    for key, it in each.resources.items():
        if it["type"] == "Microsoft.Authorization/roleAssignments":
            assert it["name"].startswith("[guid(")
            assert PRINCIPAL in it["name"]
            assert key.partition(": ")[0] in each.resources, "nothing to be let in to"


def test_optional_resources(each: Deployment, store: str) -> None:
    email = deployment(store=store, alarmEmail="somebody@example.com").resources.keys()
    assert (each.resources.keys() - email, email - each.resources.keys()) == (set(), {GROUPS})
    less = deployment(store=store, silenceMinutes=0, lock=False, **LESS).resources.keys()
    (lock,) = (key for key in OF_STORE[store] if key.endswith(LOCK))
    assert (each.resources.keys() - less, less - each.resources.keys()) == ({f"{RULES}-silence", lock}, set())


def test_principal_that_deploys_may_read_the_store_and_the_secret_and_nothing_else(
    each: Deployment, store: str
) -> None:
    """Owner does not include it, and `make first-event-azure` reads. A service principal gets it too."""
    somebody = "00000000-0000-0000-0000-000000000003"
    with_reader = deployment(store=store, principalId=somebody).resources
    added = with_reader.keys() - each.resources.keys()
    assert added == {it + bicep.OF_WHO_DEPLOYS for it in (READ_ROLES[store], f"{bicep.VAULT}: {SECRETS_USER}")}
    for key in added:
        properties = with_reader[key]["properties"]
        assert properties.keys() == {"principalId", "roleDefinitionId"}, "a type has to be the right one"
        assert properties["principalId"] == somebody
    assert deployment(store=store, principalId=somebody, readAccess=False).resources.keys() == each.resources.keys()


LESS: dict[str, Any] = {"redundancy": "Standard_LRS", "logRetentionDays": 90, "logDailyCap": -1}


def test_sizes_follow_the_parameters(each: Deployment, store: str) -> None:
    """Three zones where events lie in the account, unless it is told otherwise. The log has no key either."""
    less = deployment(store=store, silenceMinutes=0, lock=False, **LESS)
    copies = "Standard_LRS" if store == "service_bus" else "Standard_ZRS"
    for found, redundancy, days, cap in ((each, copies, 30, 5), (less, *LESS.values())):
        workspace, insights = found.properties(WORKSPACE), found.properties(INSIGHTS)
        assert found.one(STORAGE)["sku"] == {"name": redundancy}
        assert (workspace["retentionInDays"], workspace["workspaceCapping"]) == (days, {"dailyQuotaGb": cap})
        assert workspace["features"]["disableLocalAuth"] is insights["DisableLocalAuth"] is True
        if store == "service_bus":
            assert found.one(BUS)["sku"]["name"] == "Standard", "Basic does not detect duplicates"


# Parts of other resources.
UNTAGGED = (
    "roleAssignments",
    "locks",
    "config",
    "Policies",
    "Services",
    "containers",
    "queues",
    "tables",
    "secrets",
    "budgets",
)


def test_everything_has_the_tags(store: str) -> None:
    found = deployment(store=store, tags="team=facilities, cost=1", budgetAmount=20, alarmEmail="a@example.com")
    tagged = {it["type"]: it.get("tags", {}) for it in found.predicted if not it["type"].endswith(UNTAGGED)}
    assert {(it["team"], it["cost"]) for it in tagged.values()} == {("facilities", "1")}
    assert tagged["Microsoft.Web/sites"]["azd-service-name"] == "receiver"
    (budget,) = found.of_type("Microsoft.Consumption/budgets")
    assert budget["properties"]["amount"] == 20
    mails = budget["properties"]["notifications"].values()
    assert {(it["threshold"], *it["contactEmails"], *it["contactRoles"]) for it in mails} == {
        (percent, "a@example.com", "Owner") for percent in (50, 100)
    }


def test_secret_is_only_in_the_key_vault(each: Deployment) -> None:
    """Without the parameter, the secret in the vault is not changed."""
    others = [it["properties"] for key, it in each.resources.items() if key != SECRET and "properties" in it]
    text = json.dumps([others, each.outputs])
    assert "signatureSecret" not in text
    assert "THE SECRET" not in text
    conditions = {key.partition(": ")[0]: it["condition"] for key, it in each.resources.items() if "condition" in it}
    assert conditions == {SECRET: "[not(empty(parameters('signatureSecret')))]"}


def test_alerts_query_what_the_receiver_logs() -> None:
    bus = deployment(store="service_bus")
    silence, failed = (bus.properties(f"{RULES}-{it}")["criteria"]["allOf"][0] for it in ("silence", "failed"))
    assert set(re.findall(r'"(\w+)"', silence["query"])) == outcomes() - {"refused", "failed"}
    assert (silence["operator"], silence["threshold"]) == ("LessThan", 1)
    assert "".join(failed["query"].split()) == "requests|wheretoint(resultCode)>=500ortoint(resultCode)==0"
    assert (failed["operator"], failed["threshold"]) == ("GreaterThan", 0)
    metrics = [it["properties"]["criteria"]["allOf"][0] for it in bus.of_type("Microsoft.Insights/metricAlerts")]
    assert [it["metricName"] for it in metrics] == ["DeadletteredMessages", "ActiveMessages"]


@pytest.mark.parametrize("given", [{}, {"alarmEmail": "somebody@example.com"}])
def test_alerts_go_to_the_address_if_there_is_one(store: str, given: dict[str, str]) -> None:
    found = deployment(store=store, **given)
    groups = found.of_type("Microsoft.Insights/actionGroups")
    assert [one["emailAddress"] for it in groups for one in it["properties"]["emailReceivers"]] == [*given.values()]
    for rule in found.predicted:
        if rule["type"].endswith(("/metricAlerts", "/scheduledQueryRules")):
            actions = rule["properties"]["actions"]
            assert [it["id"] for it in groups] == (
                actions["actionGroups"] if isinstance(actions, dict) else [it["actionGroupId"] for it in actions]
            )
