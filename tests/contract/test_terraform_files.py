"""Tests of every cloud's Terraform files."""

import json
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.provider_schemas import faults, provider_schemas, used
from tests.support.terraform import ROOT, Configuration, Terraform, needs_terraform, provider_of

FOLDERS = {path.parts[len(ROOT.parts)]: path.parent for path in sorted(ROOT.glob("*_*/**/versions.tf"))}


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest) -> Path:
    return FOLDERS[request.param]


@needs_terraform
def test_format(folder: Path) -> None:
    found = Terraform(folder).run("fmt", "-check", "-diff")

    assert (found.returncode, found.stdout) == (0, "")


def test_versions_of_providers_have_an_upper_bound(folder: Path) -> None:
    """The lock file is ignored by git, so an upper bound keeps out new major versions."""
    configuration = Configuration(folder)
    (terraform,) = configuration.files["terraform"]
    for name, provider in configuration.required.items():
        bounds = re.fullmatch(r'">= (\d+)[\d.]*, < (\d+)"', provider["version"])
        assert bounds, name
        assert int(bounds[1]) < int(bounds[2]), name
    assert re.fullmatch(r'">= 1\.\d+"', terraform["required_version"])
    used = {provider_of(address, body) for address, body in configuration.resources.items()}
    assert configuration.required.keys() == used - {"terraform"}
    for name in (f"{folder.relative_to(ROOT).parts[0]}/README.md", ".gitignore"):  # a fork commits it
        assert ".terraform.lock.hcl" in (ROOT / name).read_text()


def test_oldest_and_newest_providers_have_the_arguments(folder: Path) -> None:
    """By ``tests.support.provider_schemas``. AWS's oldest is run itself: tests/aws_lambda/test_terraform.py.

    No registry of packages has IBM's, so its arguments are those that IBM documents.
    """
    configuration = Configuration(folder)
    for name, provider in configuration.required.items():
        least, below = re.findall(r"[\d.]+", provider["version"])
        known = provider_schemas(folder.relative_to(ROOT).parts[0], name)
        assert any(f"{version}.".startswith(f"{least}.") for version in known) or name in ("aws", "ibm")
        assert any(version.split(".")[0] == str(int(below) - 1) for version in known) or name == "ibm"
        for schemas in known.values():
            for of_type, bodies in used(configuration, name).items():
                for body in bodies:
                    assert faults(body, schemas[of_type], of_type) == []
                    assert faults({**body, "misspelt": "1"}, schemas[of_type], of_type) == [
                        f"{of_type}.misspelt is unknown"
                    ]


def test_declarations_are_used_and_described(folder: Path) -> None:
    configuration = Configuration(folder)
    text = "\n".join(re.sub(r"#.*", "", path.read_text()) for path in sorted(folder.glob("*.tf")))
    variables = configuration.named("variable")
    for name, body in variables.items():  # its own validations are no use of it
        assert len(re.findall(rf"\bvar\.{name}\b", text)) > json.dumps(body).count(f"var.{name}"), name
    assert set(re.findall(r"\bvar\.(\w+)", text)) == variables.keys()
    assert set(re.findall(r"\blocal\.(\w+)", text)) == configuration.locals.keys()
    assert configuration.referred(re.sub(r"[\w.]*/[\w./]*", "", text)) <= configuration.resources.keys()
    assert all(body.get("description") for body in [*variables.values(), *configuration.named("output").values()])


def test_documented_command_forgets_what_is_protected_from_destroy(folder: Path) -> None:
    configuration = Configuration(folder)
    ((search, name),) = re.findall(
        r"#   terraform state (?:list \| grep -E '(.*)' \| xargs terraform state rm|rm '(.*)')",
        (folder / "main.tf").read_text(),
    )
    named = {it for it in configuration.resources if re.search(search or f"^{re.escape(name)}", f"{it}[0]")}
    assert named == configuration.kept != set()


def test_outputs_and_common_variables_are_the_same_everywhere(folder: Path) -> None:
    configurations = [Configuration(it) for it in FOLDERS.values()]
    assert {"url", "secret"} <= Configuration(folder).named("output").keys()
    variables = [it.named("variable") for it in configurations]
    common = set.intersection(*(set(it) for it in variables))
    assert common >= {"signature_policy", "organization_id", "accept_expired_for", "event_types", "project_ids"}
    own = Configuration(folder).named("variable")
    for name in common - {"name"}:
        for part in ("type", "default", "validation"):
            assert own[name].get(part) == variables[0][name].get(part), name


def test_no_dependency_cycle(folder: Path) -> None:
    TopologicalSorter(Configuration(folder).waits()).prepare()
