"""The store of a function app, from its settings; and what a refusal of the key vault says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.deployment import find_deployment
from deployed import DeniedError, DeploymentError
from deployed.contract import Place
from tests.support.vendors import Command, RefusedError, vendor

REFERENCE = "@Microsoft.KeyVault(SecretUri=https://a-vault.vault.azure.net/secrets/signature-secret/0123abcd)"
BUS = "a-bus.servicebus.windows.net"
KEYS = f"Endpoint=sb://{BUS}/;SharedAccessKeyName=Root;SharedAccessKey=a-key="
STORAGE = "DefaultEndpointsProtocol=https;AccountName=anaccount;AccountKey=a-key=="


def answer(command: Command, settings: Mapping[str, str], apps: int = 1) -> Any:
    if command.argv[:2] == ["functionapp", "list"]:
        app = {"name": "an-app", "id": "/subscriptions/0", "defaultHostName": "an-app.azurewebsites.net"}
        return [app] * apps
    if command.argv[:2] == ["functionapp", "config"]:
        return [{"name": name, "value": value} for name, value in settings.items()]
    raise RefusedError("(Forbidden) The user does not have secrets get permission on key vault 'a-vault'.")


@pytest.mark.parametrize(
    ("settings", "source"),
    [
        ({"DT_STORE": "service_bus", "DT_SERVICE_BUS": BUS, "DT_QUEUE": "q"}, f"servicebus:{BUS}/q"),
        ({"DT_SERVICE_BUS": KEYS}, f"servicebus:{BUS}/events"),
        (
            {"DT_STORE": "table", "DT_STORAGE": "anaccount", "DT_TABLE": "t"},
            "azure-table:https://anaccount.table.core.windows.net/t",
        ),
        (
            {"DT_STORE": "storage_queue", "DT_STORAGE": STORAGE},
            "storage-queue:https://anaccount.queue.core.windows.net/events",
        ),
    ],
)
def test_source_is_that_of_the_settings(
    settings: dict[str, str], source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    all_settings = {"DT_SIGNATURE_SECRET": REFERENCE, **settings}
    with vendor("az", lambda it: answer(it, all_settings), tmp_path, request):
        found = find_deployment("azure", Place(name="a-group"))
        assert (found.source, found.url) == (source, "https://an-app.azurewebsites.net/events")
        assert "a-key" not in found.source
        for call, role in ((found.read_secrets, "User"), (lambda: found.write_text("a"), "Officer")):
            with pytest.raises(
                DeniedError, match=rf"(?s)\(Forbidden\).*Key Vault Secrets {role}.*keyvault show --name a-v"
            ):
                call()


@pytest.mark.parametrize(("apps", "said"), [(0, "has no function apps"), (2, "has 2 function apps")])
def test_group_without_the_one_app_is_named(
    apps: int, said: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with (
        vendor("az", lambda it: answer(it, {}, apps), tmp_path, request),
        pytest.raises(DeploymentError, match=f"a-group {said}"),
    ):
        find_deployment("azure", Place(name="a-group"))


def test_secret_outside_of_a_key_vault_is_named(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    settings = {"DT_SIGNATURE_SECRET": "plain", "DT_SERVICE_BUS": BUS}
    with (
        vendor("az", lambda it: answer(it, settings), tmp_path, request),
        pytest.raises(DeploymentError, match="is not in a key vault"),
    ):
        find_deployment("azure", Place(name="a-group"))
