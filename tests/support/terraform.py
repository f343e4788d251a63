"""terraform/ of gcp_functions, worked out by Terraform itself, without Google's provider.

What stands in for the provider, which is not to be had here: each resource becomes a local value, an object of its
arguments and of the attributes in `COMPUTED`, and Terraform works out all of them for a set of variables, with every
function, condition, count and for_each. So each reference resolves, to an argument or to one of those attributes.

Not validated: whether the provider knows a resource and its arguments by these names and takes these values, whether
Google does, and whether a permission is enough.
"""

import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import hcl2
import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "gcp_functions" / "terraform"
TERRAFORM = shutil.which("terraform")

needs_terraform = pytest.mark.skipif(TERRAFORM is None, reason="no terraform on PATH: install Terraform 1.11 or newer")

# What the provider adds to the arguments. An id is what its documentation says an id is; `self` are the arguments.
COMPUTED = {
    "google_firestore_database": {"id": '"projects/${var.project}/databases/${self.name}"'},
    "google_logging_metric": {"id": "self.name"},
    "google_monitoring_dashboard": {"id": '"projects/1234/dashboards/abcd"'},
    "google_monitoring_notification_channel": {"id": '"projects/p/notificationChannels/1"'},
    "google_project": {"number": '"1234"'},
    "google_project_iam_custom_role": {"id": '"projects/${var.project}/roles/${self.role_id}"'},
    "google_pubsub_subscription": {"id": '"projects/${var.project}/subscriptions/${self.name}"'},
    "google_pubsub_topic": {"id": '"projects/${var.project}/topics/${self.name}"'},
    "google_secret_manager_secret": {"id": '"projects/${var.project}/secrets/${self.secret_id}"'},
    "google_secret_manager_secret_version": {"version": '"1"'},
    "google_service_account": {
        "email": '"${self.account_id}@${var.project}.iam.gserviceaccount.com"',
        "id": '"projects/${var.project}/serviceAccounts/${self.account_id}@${var.project}.iam.gserviceaccount.com"',
    },
    "random_password": {"result": '"THE SECRET"'},
}
META = {"count", "for_each", "depends_on", "lifecycle", "provisioner", "__is_block__", "__comments__"}
REFERENCE = re.compile(r"(?<![\w.\"])(?:(?:data|ephemeral)\.)?((?:google|random|time|terraform)_\w+)\.(\w+)")
BLOCKS = ("data", "ephemeral", "resource")


def parsed() -> dict[str, list[dict[str, Any]]]:
    """Return all blocks of all files."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(SOURCE.glob("*.tf")):
        for kind, blocks in hcl2.loads(path.read_text()).items():
            if kind != "__comments__":
                found.setdefault(kind, []).extend(blocks)
    return found


FILES = parsed()


def named(kind: str) -> dict[str, Any]:
    """Return the blocks of a kind with one name: variables, outputs."""
    return {name.strip('"'): body for block in FILES[kind] for name, body in block.items() if name[0] == '"'}


def resources() -> dict[str, dict[str, Any]]:
    """Return everything that has a type and a name, as ``type.name``."""
    found = {}
    for kind in BLOCKS:
        for block in FILES[kind]:
            for of_type, names in block.items():
                for name, body in names.items():
                    found[f"{of_type}.{name}".replace('"', "")] = body
    return found


LOCALS = {name: value for block in FILES["locals"] for name, value in block.items() if not name.startswith("__")}
RESOURCES = resources()


def expression(value: Any) -> str:
    """Write what python-hcl2 read as an expression."""
    if isinstance(value, dict):
        lines = (f"{key} = {expression(it)}" for key, it in value.items() if not key.startswith("__"))
        return "{\n" + "\n".join(lines) + "\n}"
    if isinstance(value, list):
        return "[" + ", ".join(map(expression, value)) + "]"
    if isinstance(value, str):
        text = value[2:-1] if value.startswith("${") else value
        return REFERENCE.sub(lambda match: f"local.{match[1]}__{match[2]}", text)
    return json.dumps(value)


def twin() -> str:
    """Return a configuration without resources that says what the real one would make of the same variables."""
    lines = ["locals {"]
    lines += [f"{name} = {expression(value)}" for name, value in LOCALS.items()]
    for address, body in RESOURCES.items():
        of_type, name = address.split(".")
        arguments = {key: value for key, value in body.items() if key not in META}
        if of_type == "google_cloudfunctions2_function":
            arguments["service_config"][0]["uri"] = '"https://dt-receiver-abc.a.run.app"'
        computed = {key: re.sub(r"\bself\b", "arguments", value) for key, value in COMPUTED.get(of_type, {}).items()}
        text = f"[for arguments in [{expression(arguments)}] : merge(arguments, {expression(computed)})][0]"
        if "count" in body:
            text = f"[for place in range({expression(body['count'])}) : {text}]"
        if "for_each" in body:
            text = re.sub(r"\beach\.(key|value)\b", r"each_\1", text)
            text = f"{{ for each_key, each_value in {expression(body['for_each'])} : each_key => {text} }}"
        lines.append(f"{of_type}__{name} = {text}")
    lines += ["}", 'output "_resources" {', "value = {"]
    lines += [f'"{address}" = local.{address.replace(".", "__")}' for address in RESOURCES]
    lines += ["}", "}"]
    for name, body in named("output").items():
        lines += [f'output "{name}" {{', f"value = {expression(body['value'])}", "}"]
    return "\n".join(lines)


class Workspace:
    """A folder with the twin, where Terraform plans it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for pattern in ("variables.tf", "*.tftpl"):
            for path in SOURCE.glob(pattern):
                shutil.copy(path, folder)
        (folder / "twin.tf").write_text(twin())
        self.package = folder / "package.zip"
        with zipfile.ZipFile(self.package, "w") as package:
            package.writestr("main.py", "")
        found = self._run("init", "-no-color", "-input=false")
        assert found.returncode == 0, found.stderr

    def _run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "CHECKPOINT_DISABLE": "1",
            "TF_CLI_CONFIG_FILE": os.devnull,
        }
        return subprocess.run(
            [str(TERRAFORM), *arguments],
            cwd=self.folder,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def plan(self, **variables: str) -> "subprocess.CompletedProcess[str]":
        given = {"project": "some-project", "package": str(self.package)} | variables
        return self._run(
            "plan", "-no-color", "-input=false", "-out=plan", *(f"-var={name}={value}" for name, value in given.items())
        )

    def planned(self, **variables: str) -> "Planned":
        found = self.plan(**variables)
        assert found.returncode == 0, found.stderr
        shown = self._run("show", "-json", "plan")
        assert shown.returncode == 0, shown.stderr
        outputs = json.loads(shown.stdout)["planned_values"]["outputs"]
        return Planned({name: it.get("value") for name, it in outputs.items()})


class Planned:
    """What Terraform made of a set of variables."""

    def __init__(self, outputs: dict[str, Any]) -> None:
        self.resources: dict[str, Any] = outputs.pop("_resources")
        self.outputs = outputs

    def one(self, address: str) -> dict[str, Any]:
        found = self.resources[address]
        if isinstance(found, list):
            (found,) = found
        assert isinstance(found, dict)
        return found

    def instances(self, of_type: str) -> dict[str, dict[str, Any]]:
        """Return what there is of a type, counted and each-ed, by a name that shows which."""
        instances: dict[str, dict[str, Any]] = {}
        for address, found in self.resources.items():
            if address.split(".")[0] == of_type:
                if isinstance(found, list):
                    instances |= {f"{address}[{place}]": it for place, it in enumerate(found)}
                elif "for_each" in RESOURCES[address]:
                    instances |= {f"{address}[{key}]": it for key, it in found.items()}
                else:
                    instances[address] = found
        return instances

    @property
    def grants(self) -> set[tuple[str, str, str]]:
        """Everything that anybody may do: on what, which role, who."""
        found = set()
        for of_type in {it.split(".")[0] for it in RESOURCES if it.split(".")[0].endswith("_iam_member")}:
            for it in self.instances(of_type).values():
                where = ("dataset_id", "table_id", "topic", "subscription", "secret_id", "name", "project")
                on = "/".join(str(it[key]) for key in where if it.get(key))
                found.add((on, it["role"], it["member"]))
        return found
