"""The Cloud Run function: functions-framework on this machine, behind a stand-in for gcloud, storing in Firestore."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import gcp_functions.deployment
from tests.contract.deployed import Deployed, Factory
from tests.support.google import Emulator, Firestore
from tests.support.processes import ROOT
from tests.support.restarts import restarting
from tests.support.vendors import Command, RefusedError, vendor

NAME, REGION, SECRET = "a-receiver", "europe-west1", "a-receiver-signature"


@contextmanager
def gcp(secret: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Deployed]:
    emulator: Emulator = request.getfixturevalue("firestore")
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator.host)
    monkeypatch.setattr(gcp_functions.deployment, "_TERRAFORM", folder)
    settings = {"DT_STORE": "firestore", "DT_FIRESTORE": Firestore(emulator.host).database}
    source = {"FUNCTION_SOURCE": str(ROOT / "gcp_functions" / "main.py"), "FUNCTION_TARGET": "receive"}
    # The versions of the secret, and which of them the service uses.
    versions = [secret]
    used = [1]
    with restarting("functions_framework", folder) as program:

        def deploy(version: int) -> None:
            used[0] = version
            emulated = {"FIRESTORE_EMULATOR_HOST": emulator.host}
            program.start({**source, **settings, **emulated, "DT_SIGNATURE_SECRET": versions[version - 1]})

        def by_hand(text: str) -> None:
            versions.append(text)
            deploy(len(versions))

        def answer(command: Command) -> Any:
            match command.argv:
                case ["run", "services", "list", *_]:
                    return [service(settings, used[0])] if command.option("--filter") == f"metadata.name={NAME}" else []
                case ["secrets", "versions", "access", version, *_] if command.option("--secret") == SECRET:
                    return versions[int(version) - 1]
                case ["secrets", "versions", "add", found, *_] if found == SECRET:
                    assert command.option("--data-file") == "-"
                    versions.append(command.stdin)
                    return {"name": f"projects/123456789012/secrets/{SECRET}/versions/{len(versions)}"}
                case ["run", "services", "update", found, *_, "--quiet"] if found == NAME:
                    assert command.option("--region") == REGION
                    name, _, version = command.option("--update-secrets").rpartition(":")
                    assert name == f"DT_SIGNATURE_SECRET={SECRET}"
                    deploy(int(version))
                    return ""
            raise RefusedError(f"{command.line} is not a gcloud command.")

        deploy(1)
        with vendor("gcloud", answer, folder, request) as standing:
            url = f"http://127.0.0.1:{program.port}/"
            yield Deployed(["gcp", NAME], url, lambda: versions[used[0] - 1], by_hand, standing.commands, settings)


def service(settings: dict[str, str], version: int) -> dict[str, Any]:
    """Return a service as `gcloud run services list --format=json` prints it."""
    reference = {"secretKeyRef": {"name": SECRET, "key": str(version)}}
    environment: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in settings.items()]
    environment.append({"name": "DT_SIGNATURE_SECRET", "valueFrom": reference})
    return {
        "metadata": {"name": NAME, "labels": {"cloud.googleapis.com/location": REGION}},
        "spec": {"template": {"spec": {"containers": [{"env": environment}]}}},
        "status": {"url": "https://a-receiver-abc-ew.a.run.app"},
    }


DEPLOYMENTS: dict[str, Factory] = {"gcp": gcp}
