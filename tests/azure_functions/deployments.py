"""The function app: the tests' stand-in for Azure's host, behind a stand-in for the Azure CLI, storing in Azurite."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.deployed import Deployed, Factory
from tests.support.azurite import KEY, Azurite, Storage, connection_string
from tests.support.processes import ROOT
from tests.support.restarts import restarting
from tests.support.vendors import Command, RefusedError, vendor

GROUP, APP, VAULT, NAME = "a-group", "an-app", "a-vault", "signature-secret"
ID = f"/subscriptions/0/resourceGroups/{GROUP}/providers/Microsoft.Web/sites/{APP}"


@contextmanager
def azure(secret: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Deployed]:
    azurite: Azurite = request.getfixturevalue("azurite")
    request.getfixturevalue("monkeypatch").setenv("AZURE_STORAGE_KEY", KEY)
    shutil.copy(ROOT / "azure_functions" / "function_app.py", folder)
    settings = {
        "DT_STORE": "table",
        "DT_STORAGE": connection_string(azurite.queue_port, azurite.table_port),
        "DT_TABLE": Storage(azurite).table,
    }
    # The value in the vault, and the one that the app has from its last refresh.
    values = {"vault": secret, "app": secret}
    with restarting("tests.support.azure_host", folder) as program:

        def restart() -> None:
            environ = {"AzureWebJobsScriptRoot": str(folder), "DT_SIGNATURE_SECRET": values["app"]}
            program.start({**environ, **settings})

        def by_hand(text: str) -> None:
            values.update(vault=text, app=text)
            restart()

        def answer(command: Command) -> Any:
            match command.argv:
                case ["functionapp", "list", "--resource-group", group, "--output", "json"]:
                    host = {"name": APP, "id": ID, "defaultHostName": f"{APP}.azurewebsites.net"}
                    return [host] if group == GROUP else []
                case ["functionapp", "config", "appsettings", "list", *place] if place[:4] == PLACE:
                    reference = f"@Microsoft.KeyVault(SecretUri=https://{VAULT}.vault.azure.net/secrets/{NAME})"
                    found = {**settings, "DT_SIGNATURE_SECRET": reference}
                    return [{"name": name, "value": value, "slotSetting": False} for name, value in found.items()]
                case ["keyvault", "secret", "show", *place] if place[:4] == SECRET:
                    for each in folder.glob(f"{DENIED}*"):
                        each.unlink()
                        raise RefusedError("(Forbidden) Caller is not authorized to perform action on resource.")
                    return {"name": NAME, "value": values["vault"]}
                case ["keyvault", "secret", "set", *place] if place[:4] == SECRET:
                    assert command.option("--encoding") == "utf-8"
                    values["vault"] = command.private()
                    return ""
                case ["rest", "--method", "post", *_]:
                    assert command.option("--url").startswith(f"{ID}/config/configreferences/appsettings/refresh?")
                    values["app"] = values["vault"]
                    return ""
                case ["functionapp", "restart", *place] if place[:4] == PLACE:
                    restart()
                    return ""
            raise RefusedError(f"{command.line} is not an az command.")

        restart()
        with vendor("az", answer, folder, request) as standing:
            url = f"http://127.0.0.1:{program.port}/events"
            yield Deployed(["azure", GROUP], url, lambda: values["vault"], by_hand, standing.commands, settings)


PLACE = ["--resource-group", GROUP, "--name", APP]
# Each file of this name refuses the secret once.
DENIED = "denied-"
SECRET = ["--vault-name", VAULT, "--name", NAME]
DEPLOYMENTS: dict[str, Factory] = {"azure": azure}
