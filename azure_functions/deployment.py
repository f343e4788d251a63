"""Finds a deployed function app, its secret and its store, for dtconn, by the Azure CLI.

The app's settings say in which key vault its secret is, and where it stores events, however it was deployed.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deployed import DeniedError, DeploymentError
from deployed.contract import NAME, Deployment, Place
from deployed.vendor import Tool, private_file

_SECRET = "DT_SIGNATURE_SECRET"  # noqa: S105 - its name
# https://learn.microsoft.com/azure/app-service/app-service-key-vault-references
_REFERENCE = re.compile(
    r"@Microsoft\.KeyVault\(SecretUri=https://([^./]+)\.vault\.[^/]+/secrets/([^/)]+)/?[^)]*\)"
).fullmatch
_REFRESH = "config/configreferences/appsettings/refresh?api-version=2022-03-01"
_FOLDER = Path(__file__).resolve().parent
_AZ = Tool("az", "https://learn.microsoft.com/cli/azure/install-azure-cli", "az login")
_AZD = Tool("azd", "https://learn.microsoft.com/azure/developer/azure-developer-cli/install-azd", "azd auth login")


def find(place: Place) -> Deployment:
    """Return the function app of that resource group; without a name, of the one that azd deployed to."""
    group = place.name or _group_of_azd() or NAME
    apps = _AZ.json("functionapp", "list", "--resource-group", group, "--output", "json")
    if len(apps) != 1:
        raise DeploymentError(
            f"The resource group {group} has {len(apps) or 'no'} function apps: name the group that has the receiver "
            "alone. `az group list --output table` lists the groups of this subscription."
        )
    return _FunctionApp(group, apps[0])


def _group_of_azd() -> str | None:
    if not shutil.which("azd") or not (_FOLDER / ".azure").is_dir():
        return None
    return _AZD.run("env", "get-value", "AZURE_RESOURCE_GROUP", folder=_FOLDER).strip()


class _FunctionApp(Deployment):
    # The host of the old settings answers until the new one has started.
    settle_seconds = 60.0

    def __init__(self, group: str, app: Mapping[str, str]) -> None:
        self._place = ("--resource-group", group, "--name", app["name"])
        self._id = app["id"]
        self.url = f"https://{app['defaultHostName']}/events"
        listed = _AZ.json("functionapp", "config", "appsettings", "list", *self._place, "--output", "json")
        settings = {str(each["name"]): str(each["value"] or "") for each in listed}
        self.source = _source(settings)
        reference = _REFERENCE(settings.get(_SECRET, ""))
        if reference is None:
            raise DeploymentError(f"{_SECRET} of {app['name']} is not in a key vault: deploy it again.")
        self._secret = ("--vault-name", reference[1], "--name", reference[2])
        self.secret_command = f"az keyvault secret show {' '.join(self._secret)} --query value --output tsv"

    def read_text(self) -> str:
        with _needing_a_role(self._secret[1], "Key Vault Secrets User"):
            return str(_AZ.json("keyvault", "secret", "show", *self._secret, "--output", "json")["value"])

    def write_text(self, text: str) -> str:
        with private_file(text) as path, _needing_a_role(self._secret[1], "Key Vault Secrets Officer"):
            _AZ.run(
                *("keyvault", "secret", "set", *self._secret),
                *("--file", str(path), "--encoding", "utf-8", "--output", "none"),
            )
        _AZ.run("rest", "--method", "post", "--url", f"{self._id}/{_REFRESH}", "--output", "none")
        _AZ.run("functionapp", "restart", *self._place, "--output", "none")
        return f"The key vault {self._secret[1]} has the new value, and the function app is restarted."


@contextmanager
def _needing_a_role(vault: str, role: str) -> Iterator[None]:
    """Say which role it takes, if the key vault refuses."""
    try:
        yield
    except DeploymentError as error:
        if "(Forbidden)" not in str(error):
            raise
        raise DeniedError(
            f"{error}\nIt takes the role {role}, which Owner does not include. Once, and a minute "
            f'before the next try:\naz role assignment create --role "{role}" \\\n'
            '    --assignee "$(az ad signed-in-user show --query id --output tsv)" \\\n'
            f'    --scope "$(az keyvault show --name {vault} --query id --output tsv)"'
        ) from None


def _source(settings: Mapping[str, str]) -> str:
    store, queue = settings.get("DT_STORE") or "service_bus", settings.get("DT_QUEUE") or "events"
    if store == "service_bus":
        bus = settings.get("DT_SERVICE_BUS", "")
        return f"servicebus:{_in(bus, r'Endpoint=sb://([^/;]+)') or bus}/{queue}"
    storage = settings.get("DT_STORAGE", "")
    if store == "table":
        table = settings.get("DT_TABLE") or "events"
        return f"azure-table:{_in(storage, 'TableEndpoint=([^;]+)') or _endpoint(storage, 'table')}/{table}"
    return f"storage-queue:{_in(storage, 'QueueEndpoint=([^;]+)') or _endpoint(storage, 'queue')}/{queue}"


def _endpoint(storage: str, service: str) -> str:
    return f"https://{_in(storage, 'AccountName=([^;]+)') or storage}.{service}.core.windows.net"


def _in(connection_string: str, part: str) -> str | None:
    found = re.search(part, connection_string)
    return found[1].rstrip("/") if found else None
