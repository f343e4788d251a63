"""A function of Code Engine is found, where there is no application of that name."""

from pathlib import Path
from typing import Any

import pytest

from cli.deployment import find_deployment
from deployed import DeploymentError
from deployed.contract import Place
from tests.support.deliveries import SECRET
from tests.support.ibmcloud import HOST
from tests.support.vendors import Command, RefusedError, vendor


def test_function_is_found_and_updated_after_a_change(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    # Code Engine's own form of a document; that of an application is in deployments.py.
    values = {"data": {"DT_SIGNATURE_SECRET": SECRET}, "format": "generic"}

    def answer(command: Command) -> Any:
        match command.argv[1:3]:
            case ["project", "select"]:
                assert command.option("--name") == "a-project"
                return ""
            case ["function", "get"]:
                return {
                    "run_env_variables": [{"name": "DT_CLOUDANT", "type": "literal", "value": f"https://{HOST}"}],
                    "endpoint": "https://f.xyz.eu-de.codeengine.appdomain.cloud",
                }
            case ["secret", "get"]:
                return values
            case ["secret", "update"]:
                values["data"] = {"DT_SIGNATURE_SECRET": command.private()}
                return ""
            case ["function", "update"]:
                assert command.option("--env-from-secret") == "f-signature:DT_SIGNATURE_SECRET"
                return ""
        raise RefusedError("There is no such thing.")

    with vendor("ibmcloud", answer, tmp_path, request) as standing:
        found = find_deployment("ibm", Place(name="f", project="a-project"))
        assert found.url == "https://f.xyz.eu-de.codeengine.appdomain.cloud"
        assert found.source == f"cloudant:https://{HOST}/events"
        assert found.read_secrets() == (SECRET,)
        found.write_secrets([SECRET[::-1], SECRET])
        assert found.read_secrets() == (SECRET[::-1], SECRET)
        assert ["ce", "function", "update"] in [command[:3] for command in standing.commands]
        assert SECRET not in str(standing.commands)


def test_vendors_refusal_is_a_sentence(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    def answer(command: Command) -> Any:
        raise RefusedError("Project a-project was not found")

    with (
        vendor("ibmcloud", answer, tmp_path, request),
        pytest.raises(DeploymentError, match=r"project select .* failed: ERROR: Project a-project was not found\. "),
    ):
        find_deployment("ibm", Place(name="a-project"))


def test_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeploymentError, match="ibmcloud is not installed"):
        find_deployment("ibm", Place())
