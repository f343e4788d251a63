"""A platform's terraform/, evaluated by Terraform itself, without the provider.

The provider is replaced: each resource becomes a local value, an object of its arguments and of the attributes in
``computed``, and Terraform evaluates all of them for a set of variables, with every function, condition, count,
for_each and dynamic block. So each reference resolves, to an argument or to one of those attributes.

Not validated: whether the provider and the cloud accept these values, and whether the permissions are sufficient. The
names of the arguments are in ``tests.support.provider_schemas``.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hcl2
import pytest
from hcl2.utils import SerializationOptions

ROOT = Path(__file__).parents[2]
TERRAFORM = shutil.which("terraform")

needs_terraform = pytest.mark.skipif(TERRAFORM is None, reason="no terraform on PATH: install Terraform 1.11 or newer")

PLAIN = SerializationOptions(with_comments=False, explicit_blocks=False)
META = {"count", "for_each", "depends_on", "lifecycle", "provider", "provisioner"}


def provider_of(address: str, body: Mapping[str, Any]) -> str:
    """Return the name of the provider of a resource; its address may be its type alone."""
    name: str = body.get("provider", address.partition("_")[0])
    return name.strip("${}").partition(".")[0]


class Configuration:
    """A parsed folder; ``computed`` is what the provider adds to the arguments, ``self``, of a type."""

    def __init__(self, source: Path, computed: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.source = source
        self._computed = computed or {}
        self.files: dict[str, list[dict[str, Any]]] = {}
        for path in sorted(source.glob("*.tf")):
            for kind, blocks in hcl2.loads(path.read_text(), serialization_options=PLAIN).items():
                self.files.setdefault(kind, []).extend(blocks)
        self.required: dict[str, Any] = self.files["terraform"][0]["required_providers"][0]
        providers = "|".join([*self.required, "terraform"])
        self.reference = re.compile(rf"(?<![\w.\"])(?:(?:data|ephemeral)\.)?((?:{providers})_\w+)\.(\w+)")
        self.locals = {name: value for block in self.files["locals"] for name, value in block.items()}
        self.resources: dict[str, dict[str, Any]] = {}
        for block in (it for kind in ("data", "ephemeral", "resource") for it in self.files.get(kind, [])):
            for of_type, names in block.items():
                for name, body in names.items():
                    address = f"{of_type}.{name}".replace('"', "")
                    assert address not in self.resources, f"{address} is declared twice: call one of them otherwise"
                    self.resources[address] = body

    @property
    def kept(self) -> set[str]:
        """Return the resources that Terraform refuses to destroy."""
        lifecycles = {address: body.get("lifecycle", [{}])[0] for address, body in self.resources.items()}
        return {address for address, it in lifecycles.items() if it.get("prevent_destroy") is True}

    def named(self, kind: str) -> dict[str, Any]:
        """Return the blocks of a kind with one name: variables, outputs."""
        return {name.strip('"'): body for block in self.files[kind] for name, body in block.items()}

    def referred(self, text: str) -> set[str]:
        """Return the resources referenced in a text, as ``type.name``."""
        return {f"{of_type}.{name}" for of_type, name in self.reference.findall(text)}

    def waits(self) -> dict[str, set[str]]:
        """Return the references of each resource and local value, including depends_on, which the twin omits."""
        waits = {}
        for address, body in ({f"local.{name}": value for name, value in self.locals.items()} | self.resources).items():
            text = json.dumps(body)
            waits[address] = self.referred(text.replace('"', " "))
            waits[address] |= {f"local.{name}" for name in re.findall(r"\blocal\.(\w+)", text)}
        return waits

    def _expression(self, value: Any) -> str:
        """Convert a value of python-hcl2 to an expression."""
        if isinstance(value, dict):
            lines = [f"{key} = {self._expression(it)}" for key, it in value.items() if key != "dynamic"]
            for block in value.get("dynamic", []):
                ((name, body),) = ((key.strip('"'), it) for key, it in block.items())
                content = re.sub(rf"\b{name}\.(key|value)\b", rf"{name}_\1", self._expression(body["content"][0]))
                each = self._expression(body["for_each"])
                lines.append(f"{name} = [for {name}_key, {name}_value in {each} : {content}]")
            return "{\n" + "\n".join(lines) + "\n}"
        if isinstance(value, list):
            return "[" + ", ".join(map(self._expression, value)) + "]"
        if isinstance(value, str):
            text = value[2:-1] if value.startswith("${") else value
            return self.reference.sub(lambda match: f"local.{match[1]}__{match[2]}", text)
        return json.dumps(value)

    def twin(self) -> str:
        """Return a configuration without resources that evaluates the same expressions."""
        lines = ["locals {"]
        lines += [f"{name} = {self._expression(value)}" for name, value in self.locals.items()]
        for address, body in self.resources.items():
            of_type, name = address.split(".")
            arguments = {key: value for key, value in body.items() if key not in META}
            computed = self._expression({**self._computed.get(of_type, {})})
            computed = re.sub(r"\bself\b", "arguments", computed)
            text = f"[for arguments in [{self._expression(arguments)}] : merge(arguments, {computed})][0]"
            if "count" in body:
                text = f"[for place in range({self._expression(body['count'])}) : {text}]"
            if "for_each" in body:
                text = re.sub(r"\beach\.(key|value)\b", r"each_\1", text)
                text = f"{{ for each_key, each_value in {self._expression(body['for_each'])} : each_key => {text} }}"
            lines.append(f"{of_type}__{name} = {text}")
        lines += ["}", 'output "_resources" {', "value = {"]
        lines += [f'"{address}" = local.{address.replace(".", "__")}' for address in self.resources]
        lines += ["}", "sensitive = true", "}"]  # a plan's JSON shows it anyway
        for name, body in self.named("output").items():
            lines += [f'output "{name}" {{', f"value = {self._expression(body['value'])}", "}"]
        return "\n".join(lines)


class Terraform:
    """Terraform in a folder, with a file to use as ~/.terraformrc, and additional variables."""

    def __init__(self, folder: Path, config: str = os.devnull, environ: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        basics = {"PATH": os.environ["PATH"], "HOME": str(folder), "TF_CLI_CONFIG_FILE": config}
        self._environ = {**basics, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", **(environ or {})}

    def run(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        plain = [] if command in ("show", "output", "state", "fmt") else ["-no-color", "-input=false"]
        return subprocess.run(
            [str(TERRAFORM), command, *plain, *arguments],
            cwd=self.folder,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )

    def must(self, command: str, *arguments: str) -> str:
        found = self.run(command, *arguments)
        assert found.returncode == 0, f"{command} {arguments}\n{found.stdout[-3000:]}\n{found.stderr[-6000:]}"
        return found.stdout

    def must_not_plan(self, *arguments: str) -> str:
        """Assert that the plan fails; return Terraform's message on one line."""
        found = self.run("plan", *arguments)
        assert found.returncode == 1
        return " ".join(found.stderr.replace("│", " ").split())

    def shown(self, *plan: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.must("show", "-json", *plan))
        return found


def options(variables: Mapping[str, str]) -> list[str]:
    return [f"-var={name}={value}" for name, value in variables.items()]


class Workspace(Terraform):
    """An empty folder in which Terraform plans the twin; ``given`` has the variables without a default."""

    def __init__(self, folder: Path, configuration: Configuration, given: Mapping[str, str]) -> None:
        super().__init__(folder)
        self.configuration, self.given = configuration, dict(given)
        for pattern in ("variables.tf", "*.tftpl"):
            for path in configuration.source.glob(pattern):
                shutil.copy(path, folder)
        (folder / "twin.tf").write_text(configuration.twin())
        (folder / "package.zip").write_bytes(b"")
        self.must("init")

    def refused(self, **variables: str) -> str:
        return self.must_not_plan(*options(self.given | variables))

    def planned(self, **variables: str) -> "Planned":
        self.must("plan", "-out=plan", *options(self.given | variables))
        outputs = self.shown("plan")["planned_values"]["outputs"]
        return Planned({name: it.get("value") for name, it in outputs.items()}, self.configuration)


def workspace(configuration: Configuration, **given: str) -> Any:
    """Return a fixture, to be called ``workspace``, of a configuration with the variables that have no default."""

    @pytest.fixture(scope="module", name="workspace")
    def fixture(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
        return Workspace(tmp_path_factory.mktemp("terraform"), configuration, given)

    return fixture


def plan(**variables: str) -> Any:
    """Return a fixture of what Terraform makes of some variables."""

    @pytest.fixture(scope="module")
    def planned(workspace: Workspace) -> Planned:
        return workspace.planned(**variables)

    return planned


class Planned:
    """Terraform's plan for a set of variables."""

    def __init__(self, outputs: dict[str, Any], configuration: Configuration) -> None:
        self._declared = configuration.resources
        self.resources: dict[str, Any] = outputs.pop("_resources")
        self.outputs = outputs

    def one(self, address: str) -> dict[str, Any]:
        found = self.resources[address]
        if isinstance(found, list):
            (found,) = found
        assert isinstance(found, dict)
        return found

    def instances(self, of_type: str) -> list[dict[str, Any]]:
        """Return the instances of a type, including count and for_each."""
        instances: list[dict[str, Any]] = []
        for address, found in self.resources.items():
            if address.split(".")[0] == of_type:
                several = found.values() if "for_each" in self._declared[address] else found
                instances += several if several is not found or isinstance(found, list) else [found]
        return instances

    @property
    def grants(self) -> set[tuple[str, str, str]]:
        """Return every grant of a permission: resource, role, member."""
        found = set()
        for of_type in {it.split(".")[0] for it in self._declared if it.split(".")[0].endswith("_iam_member")}:
            for it in self.instances(of_type):
                where = ("dataset_id", "table_id", "topic", "subscription", "secret_id", "name", "project")
                on = "/".join(str(it[key]) for key in where if it.get(key))
                found.add((on, it["role"], it["member"]))
        return found
