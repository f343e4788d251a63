"""azure_functions/deploy.sh and github.sh, with stand-ins for azd and az that keep a resource group in a folder."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

if sys.platform == "win32":
    pytest.skip("needs a POSIX shell", allow_module_level=True)

# An environment is a folder, with a file for each value.
AZD = """#!/bin/sh
echo "azd $*" >>calls
case "$1 $2" in
"auth login") if [ -e logged-out ]; then echo '{"status": "unauthenticated"}'; else echo '{"status": "success"}'; fi ;;
"env get-values") [ -d environment ] || exit 1 ;;
"env new") mkdir environment && echo SUBSCRIPTION >environment/AZURE_SUBSCRIPTION_ID ;;
"env get-value") cat "environment/$3" 2>/dev/null || { echo "ERROR: key not found"; exit 1; } ;;
"env set") echo "$4" >"environment/$3" ;;
"provision --no-state")
    echo dtabc | tee group/app >environment/url
    [ ! -e environment/DT_STORE ] || cp environment/DT_STORE group/store
    [ -z "${DT_SIGNATURE_SECRET-}" ] || echo "$DT_SIGNATURE_SECRET" >group/secret ;;
esac
"""
AZ = """#!/bin/sh
echo "az $*" >>calls
case "$*" in "${FAILING:-nothing}"*) exit 1 ;; esac
case "$1 $2" in
"account show") echo "${SUBSCRIPTION:-SUBSCRIPTION}" ;;
"provider list") printf 'Microsoft.KeyVault\\nmicrosoft.insights\\n' ;;
"group exists") if [ -d group ]; then echo true; else echo false; fi ;;
"group create") mkdir group ;;
"group show") echo westeurope ;;
"functionapp list-flexconsumption-locations") printf 'westeurope\\neastus\\n' ;;
"keyvault list") [ ! -e group/secret ] || echo /subscriptions/0/vaults/dt-abc ;;
"rest --method") [ ! -e denied ] && echo /subscriptions/0/vaults/dt-abc/secrets/signature-secret ;;
"functionapp list") [ ! -e group/app ] || echo app ;;
"functionapp config") if [ -e group/store ]; then cat group/store; else echo service_bus; fi ;;
"storage account") [ ! -e group/app ] || echo Standard_ZRS ;;
"ad app")
    case "$3 $4" in
    "create "*) echo CLIENT | tee client ;;
    "list "*) [ ! -e client ] || cat client ;;
    "federated-credential list") [ ! -e credential ] || cat credential ;;
    "federated-credential "*) touch credential && echo "$*" >>credential ;;
    esac ;;
"ad sp") case "$*" in *" --query id "*) echo PRINCIPAL ;; esac ;;
esac
"""
DEPLOYED = ["azd provision --no-state", "azd deploy"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "azd").write_text(AZD)
    (tmp_path / "az").write_text(AZ)
    for name in ("azd", "az"):
        (tmp_path / name).chmod(0o755)
    for name in ("deploy.sh", "github.sh", "new_secret.sh"):
        shutil.copy(ROOT / "azure_functions" / name, tmp_path)
    return tmp_path


def deploy(folder: Path, answer: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
    (folder / "calls").unlink(missing_ok=True)
    environ = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **environ}
    return subprocess.run(
        [shutil.which("sh") or "sh", str(folder / "deploy.sh")],
        env=environ, cwd="/", input=answer, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def changes(folder: Path) -> list[str]:
    """Return the calls that change anything."""
    asking = ("azd auth", "azd env get-", "az account", "az provider list", "az group exists", "az group show",
              "az functionapp", "az keyvault list", "az rest --method get", "az storage")  # fmt: skip
    return [it for it in (folder / "calls").read_text().splitlines() if not it.startswith(asking)]


def test_first_deployment_asks_for_a_region_and_makes_the_rest(folder: Path) -> None:
    done = deploy(folder, "westeurope\n")
    assert done.returncode == 0, done.stderr
    assert "eastus westeurope" in done.stdout
    assert changes(folder) == [
        "azd env new dt-receiver --subscription SUBSCRIPTION",
        *(
            f"az provider register --namespace Microsoft.{name}"
            for name in ("Consumption", "ManagedIdentity", "OperationalInsights", "ServiceBus", "Storage", "Web")
        ),
        "az group create --name dt-receiver --location westeurope --output none",
        "azd env set AZURE_LOCATION westeurope",
        "azd env set AZURE_RESOURCE_GROUP dt-receiver",
        *DEPLOYED,
    ]
    secret = (folder / "group" / "secret").read_text().strip()
    assert len(secret) == 64
    assert secret not in done.stdout + done.stderr + (folder / "calls").read_text()


def test_deployment_is_never_skipped_and_keeps_secret_and_redundancy(folder: Path) -> None:
    deploy(folder, AZURE_LOCATION="westeurope")
    secret = (folder / "group" / "secret").read_text()
    done = deploy(folder, DT_SIGNATURE_SECRET="a secret of another terminal, 43 bytes long")
    assert done.returncode == 0, done.stderr
    assert "signature secret in dt-abc stays" in done.stderr
    assert "make rotate-secret-azure" in done.stderr
    assert changes(folder) == ["azd env set DT_REDUNDANCY Standard_ZRS", *DEPLOYED], "as an earlier version made it"
    assert (folder / "group" / "secret").read_text() == secret


def test_another_copy_deploys_only_with_the_settings_of_the_first(folder: Path) -> None:
    deploy(folder, AZURE_LOCATION="westeurope")
    shutil.rmtree(folder / "environment")
    for _ in range(2):
        done = deploy(folder)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "copy azure_functions/.azure from where it was deployed" in done.stderr
        assert not any("AZURE_RESOURCE_GROUP" in it or "group create" in it for it in changes(folder))
        assert not set(DEPLOYED) & set(changes(folder))
    (folder / "environment" / "AZURE_RESOURCE_GROUP").write_text("dt-receiver")
    assert deploy(folder).returncode == 0
    assert [it for it in changes(folder) if "register" not in it] == [
        *("azd env set AZURE_LOCATION westeurope", "azd env set DT_REDUNDANCY Standard_ZRS"),
        *DEPLOYED,
    ]


def test_store_is_never_changed_to_the_default_silently(folder: Path) -> None:
    (folder / "environment").mkdir()
    (folder / "environment" / "DT_STORE").write_text("table")
    assert deploy(folder, AZURE_LOCATION="westeurope").returncode == 0
    (folder / "environment" / "DT_STORE").unlink()
    done = deploy(folder)
    assert done.returncode == 1
    assert done.stderr.endswith("stores in table: azd env set DT_STORE table --cwd azure_functions\n")
    assert not set(DEPLOYED) & set(changes(folder))
    (folder / "environment" / "DT_STORE").write_text("service_bus")
    assert deploy(folder).returncode == 0, "somebody asks for it"


@pytest.mark.parametrize(
    "failing", ["group exists", "group show", "functionapp list --", "functionapp config", "storage account"]
)
def test_look_up_that_fails_ends_the_deployment(folder: Path, failing: str) -> None:
    deploy(folder, AZURE_LOCATION="westeurope")
    (folder / "environment" / "AZURE_LOCATION").unlink()
    if failing == "group exists":
        (folder / "environment" / "AZURE_RESOURCE_GROUP").unlink()
    assert deploy(folder, FAILING=failing).returncode != 0
    assert (folder / "calls").read_text().splitlines()[-1].startswith(f"az {failing}")
    assert not any("group create" in it for it in changes(folder))
    assert not set(DEPLOYED) & set(changes(folder))


def test_values_of_azd_that_cannot_be_read_are_a_sentence(folder: Path) -> None:
    deploy(folder, AZURE_LOCATION="westeurope")
    (folder / "azd").write_text(AZD.replace('cat "environment/$3"', "false"))
    done = deploy(folder)
    assert (done.returncode, done.stderr) == (
        *(1, "azd's values cannot be read: azd env get-values --cwd azure_functions says why.\n"),
    )


def test_given_secret_is_that_of_the_first_deployment(folder: Path) -> None:
    given = "a secret of the first deployment, 43 bytes!"
    assert deploy(folder, AZURE_LOCATION="westeurope", DT_SIGNATURE_SECRET=given).returncode == 0
    assert (folder / "group" / "secret").read_text() == f"{given}\n"


def test_no_secret_is_made_where_only_dt_signs(folder: Path) -> None:
    assert deploy(folder, AZURE_LOCATION="westeurope", DT_SIGNATURE_POLICY="es256").returncode == 0
    assert not (folder / "group" / "secret").exists()


def test_nothing_is_deployed_while_it_is_unknown_whether_there_is_a_secret(folder: Path) -> None:
    deploy(folder, AZURE_LOCATION="westeurope")
    (folder / "denied").touch()
    assert deploy(folder).returncode != 0
    assert not set(DEPLOYED) & set(changes(folder))


def test_region_subscription_and_kept_secret_that_cannot_be_are_named(folder: Path) -> None:
    done = deploy(folder)
    assert (done.returncode, done.stderr) == (1, "Say in which region, such as AZURE_LOCATION=westeurope.\n")
    done = deploy(folder, SUBSCRIPTION="ANOTHER")
    assert done.returncode == 1
    assert "az account set --subscription SUBSCRIPTION" in done.stderr
    (folder / "environment" / "DT_SIGNATURE_SECRET").write_text("kept by azd")
    done = deploy(folder, AZURE_LOCATION="westeurope")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "take it out of azure_functions/.azure" in done.stderr
    assert not set(DEPLOYED) & set(changes(folder))


def test_everything_that_is_missing_is_named_at_once(folder: Path, tmp_path: Path) -> None:
    (folder / "az").write_text("#!/bin/sh\nexit 1\n")
    (folder / "logged-out").touch()
    done = deploy(folder)
    assert (done.returncode, done.stderr) == (
        *(1, "az is not logged in: az login\nazd is not logged in: azd auth login\n"),
    )
    (folder / "azd").unlink()
    # What the script itself needs, and no more.
    for name in ("dirname", "sh"):
        (folder / name).symlink_to(shutil.which(name) or name)
    done = deploy(folder, PATH=str(folder))
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "az is not logged in",
        "No azd",
        "No openssl, which makes the signature secret",
    ]


def test_workflow_of_one_repository_is_let_in(folder: Path) -> None:
    script = [shutil.which("sh") or "sh", "github.sh"]
    environ = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    for subject, verb in (("repo:me/mine:environment:azure", "create"), ("repo:me/other:environment:azure", "update")):
        (folder / "calls").unlink(missing_ok=True)
        done = subprocess.run(
            [*script, subject, "a-group"],
            env=environ,
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout == "CLIENT\n"
        calls = (folder / "calls").read_text()
        assert ("az ad app create" in calls) is (verb == "create")
        (credential,) = re.findall(rf"federated-credential {verb} .*?--parameters (\{{.*?\}})", calls, re.DOTALL)
        assert json.loads(credential)["subject"] == subject
        assert "--role Owner --scope westeurope" in calls, "of the group alone"
