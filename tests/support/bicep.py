"""azure_functions/infra compiled by Microsoft's Bicep compiler: the ARM template, and a snapshot of a deployment.

A snapshot has each resource as it would be sent to Azure, with all parameters, conditions and loops evaluated. Values
that only Azure knows (a principal, a host name) stay expressions such as ``[reference(...).principalId]``.

The compiler is ``bicep`` on the PATH, or among the tools beside the repository.
"""

import json
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.tools import Tools

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "azure_functions" / "infra"
MAIN = INFRA / "main.bicep"
COMPILER = shutil.which("bicep") or shutil.which(ROOT.parent / "shared" / "tools" / "bicep")

TOOLS = Tools("azure", "checkov")
needs_bicep = pytest.mark.skipif(COMPILER is None, reason="no Bicep compiler: install `bicep` on the PATH")

SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000001"
GROUP = f"{SUBSCRIPTION}/resourceGroups/g"
WHERE = {
    "subscription-id": SUBSCRIPTION.rpartition("/")[2],
    "resource-group": "g",
    "tenant-id": "00000000-0000-0000-0000-000000000002",
    "location": "norwayeast",
}


STORES = ("service_bus", "storage_queue", "table")
# Names never change: otherwise Azure would create another resource, and leave the one with the events. The last part is
# unique to the resource group, and the same with every deployment to it.
SUFFIX = "k2z5hjdedlhp6"
NAME = f"dt-receiver-{SUFFIX}"
APP = f"Microsoft.Web/sites/{NAME}"
STORAGE = f"Microsoft.Storage/storageAccounts/dt{SUFFIX}"
VAULT = f"Microsoft.KeyVault/vaults/dt-{SUFFIX}"
SECRET = f"{VAULT}/secrets/signature-secret"
IDENTITY = f"Microsoft.ManagedIdentity/userAssignedIdentities/{NAME}"
OF_WHO_DEPLOYS = " of who deploys"
INSIGHTS = f"Microsoft.Insights/components/{NAME}"


def compiler(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = os.environ | {"DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}
    command = [str(COMPILER), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)


@cache
def template() -> dict[str, Any]:
    """Return the ARM template of all files; a warning of the compiler is an error."""
    done = compiler("build", str(MAIN), "--stdout")
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Deployment:
    """What a deployment sends to Azure, by id in the resource group; role assignments by ``SCOPE: ROLE``."""

    def __init__(self, **parameters: Any) -> None:
        lines = [f"param {name} = {_literal(it)}" for name, it in parameters.items()]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "main.bicepparam"
            file.write_text("\n".join([f"using '{os.path.relpath(MAIN, folder)}'", *lines]))
            where = [it for name, value in WHERE.items() for it in (f"--{name}", value)]
            done = compiler("snapshot", str(file), "--mode", "overwrite", *where)
            assert (done.returncode, done.stderr) == (0, "")
            found = json.loads(file.with_suffix(".snapshot.json").read_text())
        assert found["diagnostics"] == []
        self.outputs: dict[str, Any] = found["outputs"]
        self.predicted: list[dict[str, Any]] = found["predictedResources"]
        self.resources: dict[str, Any] = {self._key(it): it for it in self.predicted}
        assert len(self.resources) == len(self.predicted), "two resources have one id"

    @staticmethod
    def _key(resource: dict[str, Any]) -> str:
        key: str = resource["id"]
        if resource["type"] == "Microsoft.Authorization/roleAssignments":
            # An expression, or a plain id if the principal is a parameter.
            scope = key.removeprefix("[extensionResourceId('").partition("'")[0]
            scope = scope.partition("/providers/Microsoft.Authorization/")[0]
            key = f"{scope}: {resource['properties']['roleDefinitionId'].rpartition('/')[2]}"
            # Whoever deploys may be a person or not, so the type is left out.
            key += "" if "principalType" in resource["properties"] else OF_WHO_DEPLOYS
        return key.removeprefix(f"{GROUP}/providers/")

    def one(self, key: str) -> Any:
        return self.resources[key]

    def properties(self, key: str) -> Any:
        return self.resources[key]["properties"]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [it for it in self.predicted if it["type"] == kind]


def _literal(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) else "'" + value.replace("'", "\\'") + "'"


@cache
def _deployment(parameters: tuple[tuple[str, Any], ...]) -> Deployment:
    return Deployment(**dict(parameters))


def deployment(**parameters: Any) -> Deployment:
    """Return the deployment with these parameters and a signature secret; each is compiled once."""
    return _deployment(tuple(({"signatureSecret": "THE SECRET"} | parameters).items()))
