"""Finds a deployed Code Engine application or function, its secret and its store, for dtconn, by the IBM Cloud CLI.

Everything has the names that deploy/code_engine.sh gives: those of its options --name and --project.
"""

import base64
from collections.abc import Iterator
from typing import Any

from deployed import DeploymentError
from deployed.contract import NAME, Deployment, Place
from deployed.vendor import Tool, private_file

_SECRET = "DT_SIGNATURE_SECRET"  # noqa: S105 - its name
_IBMCLOUD = Tool(
    "ibmcloud",
    "https://cloud.ibm.com/docs/cli?topic=cli-install-ibmcloud-cli, and its plug-in code-engine",
    "ibmcloud login, and ibmcloud target -r REGION -g GROUP",
)


def find(place: Place) -> Deployment:
    """Return the application of that name; if there is none, the function."""
    name = place.name or NAME
    if place.region:
        _IBMCLOUD.run("target", "-r", place.region)
    _IBMCLOUD.run("ce", "project", "select", "--name", place.project or name)
    try:
        return _Receiver(
            name, "application", _IBMCLOUD.json("ce", "application", "get", "--name", name, "--output", "json")
        )
    except DeploymentError as error:
        try:
            found = _IBMCLOUD.json("ce", "function", "get", "--name", name, "--output", "json")
        except DeploymentError:
            raise error from None
        return _Receiver(name, "function", found)


class _Receiver(Deployment):
    # The instances of the revision before answer until they have no request left.
    settle_seconds = 60.0

    def __init__(self, name: str, kind: str, found: Any) -> None:
        self._name, self._kind = name, kind
        self._secret = f"{name}-signature"
        # Code Engine's own form and Knative's differ.
        addresses = [
            text for key in ("endpoint", "url") for text in _strings(found, key) if text.startswith("https://")
        ]
        variables = {each["name"]: each["value"] for each in _variables(found)}
        if not addresses or "DT_CLOUDANT" not in variables:
            raise DeploymentError(
                f"The address or the store of {name} is not in what ibmcloud prints: deploy it again."
            )
        self.url = addresses[0]
        self.source = (
            f"cloudant:{variables['DT_CLOUDANT'].rstrip('/')}/{variables.get('DT_DATABASE_PREFIX') or 'events'}"
        )
        self.secret_command = f"ibmcloud ce secret get --name {self._secret} --decode"

    def read_text(self) -> str:
        found = _IBMCLOUD.json("ce", "secret", "get", "--name", self._secret, "--output", "json")
        try:
            text = str(found["data"][_SECRET])
            # Knative's form is encoded, Code Engine's own is not.
            return base64.b64decode(text, validate=True).decode() if "kind" in found else text
        except (LookupError, TypeError, ValueError):
            raise DeploymentError(f"The secret {self._secret} has no {_SECRET}: deploy it again.") from None

    def write_text(self, text: str) -> str:
        with private_file(text) as path:
            _IBMCLOUD.run(*("ce", "secret", "update", "--name", self._secret), "--from-file", f"{_SECRET}={path}")
        if self._kind == "application":
            _IBMCLOUD.run("ce", "application", "restart", "--name", self._name)
        else:
            # A new revision: an instance reads the secret when it starts.
            reference = f"{self._secret}:{_SECRET}"
            _IBMCLOUD.run("ce", "function", "update", "--name", self._name, "--env-from-secret", reference)
        return f"The secret {self._secret} has the new value, and the {self._kind} is restarted."


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a document."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(each)


def _strings(value: Any, key: str) -> Iterator[str]:
    return (each[key] for each in _objects(value) if isinstance(each.get(key), str))


def _variables(value: Any) -> Iterator[dict[str, str]]:
    return (
        each for each in _objects(value) if isinstance(each.get("name"), str) and isinstance(each.get("value"), str)
    )
