"""Code Engine's application on this machine, behind a stand-in for the IBM Cloud CLI, storing in a CouchDB.

Its documents are Knative's. IBM documents no form; those of Code Engine's own API are in test_deployment.py.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.deployed import Deployed, Factory
from tests.support.couchdb import CouchDb, Events
from tests.support.restarts import restarting
from tests.support.vendors import Command, RefusedError, vendor

NAME, SECRET, KEY = "a-receiver", "a-receiver-signature", "DT_SIGNATURE_SECRET"
URL = "https://a-receiver.xyz.eu-de.codeengine.appdomain.cloud"


@contextmanager
def ibm(secret: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Deployed]:
    server: CouchDb = request.getfixturevalue("couchdb")
    there = f"http://user:password@127.0.0.1:{server.port}"
    settings = {"DT_CLOUDANT": there, "DT_DATABASE_PREFIX": Events(server).prefix}
    values = {"secret": secret}
    with restarting("ibm_actions.app", folder) as program:

        def restart() -> None:
            program.start({**settings, KEY: values["secret"]})

        def by_hand(text: str) -> None:
            values["secret"] = text
            restart()

        def answer(command: Command) -> Any:
            match command.argv:
                case ["ce", "project", "select", "--name", name] if name == NAME:
                    return "Selecting project..."
                case ["ce", "application", "get", "--name", name, "--output", "json"] if name == NAME:
                    environment = [{"name": key, "value": value} for key, value in settings.items()]
                    template = {"spec": {"containers": [{"name": "user-container", "env": environment}]}}
                    document = {"kind": "Service", "spec": {"template": template}, "status": {"url": URL}}
                    return f"Getting application '{NAME}'...\n\n{json.dumps(document, indent=4)}\n"
                case ["ce", "secret", "get", "--name", name, "--output", "json"] if name == SECRET:
                    encoded = base64.b64encode(values["secret"].encode()).decode()
                    return {"kind": "Secret", "metadata": {"name": SECRET}, "data": {KEY: encoded}}
                case ["ce", "secret", "update", "--name", name, "--from-file", file] if name == SECRET:
                    assert file.startswith(f"{KEY}=/")
                    values["secret"] = command.private()
                    return "Updating secret..."
                case ["ce", "application", "restart", "--name", name] if name == NAME:
                    restart()
                    return "Restarting application..."
            raise RefusedError(f"{command.line} is not an ibmcloud command.")

        restart()
        with vendor("ibmcloud", answer, folder, request) as standing:
            url = f"http://127.0.0.1:{program.port}/"
            yield Deployed(["ibm", NAME], url, lambda: values["secret"], by_hand, standing.commands, settings)


DEPLOYMENTS: dict[str, Factory] = {"ibm": ibm}
