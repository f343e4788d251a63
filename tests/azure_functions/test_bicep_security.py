"""Permissions, the secret, retention and alerts on Azure, in the compiled template."""

import json
import re

import pytest

from tests.support.bicep import (
    BUS,
    GROUP,
    IDENTITY,
    INSIGHTS,
    LOCK,
    RULES,
    SECRET,
    STORAGE,
    STORES,
    SUBSCRIPTION,
    VAULT,
    WORKSPACE,
    Deployment,
    deployment,
    needs_bicep,
    template,
)
from tests.support.source import outcomes

pytestmark = needs_bicep


@pytest.fixture(params=STORES)
def each(request: pytest.FixtureRequest) -> Deployment:
    """Each store, with nothing else that is optional."""
    return deployment(store=request.param)


@pytest.fixture
def bus() -> Deployment:
    return deployment(store="service_bus")


def test_permissions_are_given_only_to_the_identity_of_the_function(each: Deployment) -> None:
    """Which roles there are, and in what, is in test_resources_and_permissions.

    Azure refuses to give an assignment to another principal, such as that of an identity which was deleted and made
    anew; so the principal is part of its name.
    """
    principal = f"reference('{GROUP}/providers/{IDENTITY}', '2023-01-31').principalId"
    for key, it in each.resources.items():
        if it["type"] == "Microsoft.Authorization/roleAssignments":
            assert it["properties"] == {
                "principalId": f"[{principal}]",
                "principalType": "ServicePrincipal",
                "roleDefinitionId": (
                    f"{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{key.rpartition(' ')[2]}"
                ),
            }
            assert it["name"].startswith("[guid(")
            assert principal in it["name"]
            assert key.partition(": ")[0] in each.resources, "nothing to be let in to"


def test_access_by_key_and_public_access_are_off(each: Deployment) -> None:
    assert each.properties(STORAGE) == {
        "allowBlobPublicAccess": False,
        "allowCrossTenantReplication": False,
        "allowSharedKeyAccess": False,
        "defaultToOAuthAuthentication": True,
        "minimumTlsVersion": "TLS1_2",
        "supportsHttpsTrafficOnly": True,
    }
    assert each.properties(f"{STORAGE}/blobServices/default/containers/packages") == {"publicAccess": "None"}
    assert each.properties(INSIGHTS)["DisableLocalAuth"] is True
    assert each.properties(WORKSPACE)["features"] == {"disableLocalAuth": True}
    for it in each.of_type("Microsoft.ServiceBus/namespaces"):
        assert it["properties"] == {"disableLocalAuth": True, "minimumTlsVersion": "1.2"}


def test_key_vault_uses_rbac_and_purge_protection(bus: Deployment) -> None:
    vault = bus.properties(VAULT)
    assert vault["enableRbacAuthorization"] is True
    assert (vault["enableSoftDelete"], vault["enablePurgeProtection"]) == (True, True)
    assert vault["softDeleteRetentionInDays"] == 7
    assert vault.keys() == {
        *("tenantId", "sku", "enableRbacAuthorization", "enableSoftDelete", "enablePurgeProtection"),
        "softDeleteRetentionInDays",
    }


def test_secret_is_only_in_the_key_vault(each: Deployment) -> None:
    """A secure parameter stays an expression in the compiled template."""
    assert each.properties(SECRET)["value"] == "[parameters('signatureSecret')]"
    others = [it["properties"] for key, it in each.resources.items() if key != SECRET and "properties" in it]
    text = json.dumps([others, each.outputs])
    assert "signatureSecret" not in text
    assert "THE SECRET" not in text
    inner = [it["properties"] for it in template()["resources"] if it["type"] == "Microsoft.Resources/deployments"]
    given = [it["parameters"][name] for it in inner for name in it["parameters"]]
    assert [it for it in given if "signatureSecret" in str(it)] == [
        {"value": "[not(empty(parameters('signatureSecret')))]"}
    ], "access.bicep is told whether there is one"


# ---- how events are kept ---------------------------------------------------------------------------------------------


def test_service_bus_detects_duplicates_and_retention_is_14_days(bus: Deployment) -> None:
    assert bus.one(BUS)["sku"]["name"] == "Standard", "Basic does not detect duplicates"
    assert bus.properties(f"{BUS}/queues/events") == {
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


def test_stores_have_a_delete_lock(each: Deployment) -> None:
    """Where the lock is, the table of resources says."""
    (key,) = (it for it in each.resources if it.endswith(LOCK))
    assert each.properties(key)["level"] == "CanNotDelete"


def test_storage_redundancy(bus: Deployment) -> None:
    assert bus.one(STORAGE)["sku"] == {"name": "Standard_ZRS"}
    assert deployment(redundancy="Standard_LRS").one(STORAGE)["sku"] == {"name": "Standard_LRS"}


def test_log_retention_and_daily_cap(bus: Deployment) -> None:
    assert bus.properties(INSIGHTS)["WorkspaceResourceId"] == f"{GROUP}/providers/{WORKSPACE}"
    for found, days, cap in ((bus, 30, 5), (deployment(logRetentionDays=90, logDailyCap=-1), 90, -1)):
        workspace = found.properties(WORKSPACE)
        assert (workspace["retentionInDays"], workspace["workspaceCapping"]) == (days, {"dailyQuotaGb": cap})


# ---- monitoring ------------------------------------------------------------------------------------------------------


def test_alerts_query_what_the_receiver_logs(bus: Deployment) -> None:
    """Which alerts there are, the table of resources says."""
    silence, failed = (bus.properties(f"{RULES}-{it}") for it in ("silence", "failed"))
    (condition,) = silence["criteria"]["allOf"]
    assert set(re.findall(r'"(\w+)"', condition["query"])) == outcomes() - {"refused", "failed"}
    assert (silence["windowSize"], condition["operator"], condition["threshold"]) == ("PT60M", "LessThan", 1)
    (condition,) = failed["criteria"]["allOf"]
    assert "".join(condition["query"].split()) == "requests|wheretoint(resultCode)>=500ortoint(resultCode)==0"
    assert (failed["windowSize"], condition["operator"], condition["threshold"]) == ("PT5M", "GreaterThan", 0)
    for rule in (silence, failed):
        assert rule["scopes"] == [f"{GROUP}/providers/{INSIGHTS}"]
        assert rule["skipQueryValidation"] is True, "a new component has no data to try a query on"
    metrics = [it["properties"]["criteria"]["allOf"][0] for it in bus.of_type("Microsoft.Insights/metricAlerts")]
    assert [it["metricName"] for it in metrics] == ["DeadletteredMessages", "ActiveMessages"]
    assert all(it["dimensions"][0]["values"] == ["events"] for it in metrics)


@pytest.mark.parametrize("email", ["", "somebody@example.com"])
def test_alerts_go_to_the_address_if_there_is_one(email: str) -> None:
    for store in STORES:
        found = deployment(store=store, alarmEmail=email) if email else deployment(store=store)
        groups = found.of_type("Microsoft.Insights/actionGroups")
        for people in groups:
            assert [it["emailAddress"] for it in people["properties"]["emailReceivers"]] == [email]
        ids = [it["id"] for it in groups]
        assert len(ids) == bool(email)
        for rule in found.of_type("Microsoft.Insights/metricAlerts"):
            assert rule["properties"]["actions"] == [{"actionGroupId": it} for it in ids]
        for rule in found.of_type("Microsoft.Insights/scheduledQueryRules"):
            assert rule["properties"]["actions"] == {"actionGroups": ids}
