"""Finds a deployed Cloud Run function, its secret and its store, for dtconn, by the gcloud CLI.

The service says itself which version of which secret it uses, and where it stores events, however it was deployed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployed import DeploymentError
from deployed.contract import NAME, Deployment, Place
from deployed.vendor import Tool

_SECRET = "DT_SIGNATURE_SECRET"  # noqa: S105 - its name
_TERRAFORM = Path(__file__).resolve().parent / "terraform"
_GCLOUD = Tool("gcloud", "https://cloud.google.com/sdk/docs/install", "gcloud auth login")
_OUTPUTS = Tool(
    "terraform", "https://developer.hashicorp.com/terraform/install", "gcloud auth application-default login"
)


def find(place: Place) -> Deployment:
    """Return the function of that name."""
    project = [f"--project={place.project}"] if place.project else []
    region = [f"--region={place.region}"] if place.region else []
    name = place.name or NAME
    services = _GCLOUD.json(
        "run", "services", "list", f"--filter=metadata.name={name}", *region, *project, "--format=json"
    )
    if not services:
        raise DeploymentError(f"There is no Cloud Run service {name} in this project. Is it the right one? --project")
    if len(services) > 1:
        raise DeploymentError(f"There is a Cloud Run service {name} in several regions. Name one: --region")
    return _Function(services[0], project)


class _Function(Deployment):
    def __init__(self, service: Mapping[str, Any], project: list[str]) -> None:
        self._name = str(service["metadata"]["name"])
        self._project = project
        self._region = f"--region={service['metadata']['labels']['cloud.googleapis.com/location']}"
        self.url = str(service["status"]["url"])
        variables = {each["name"]: each for each in service["spec"]["template"]["spec"]["containers"][0].get("env", ())}
        reference = variables.get(_SECRET, {}).get("valueFrom", {}).get("secretKeyRef")
        if reference is None:
            raise DeploymentError(f"{self._name} has no {_SECRET} from Secret Manager: deploy it again.")
        self._secret, self._version = str(reference["name"]), str(reference["key"])
        self.source = self._source({name: str(each.get("value", "")) for name, each in variables.items()})

    @property
    def secret_command(self) -> str:  # type: ignore[override]
        """The command; it names the version, which a write changes."""
        return " ".join(("gcloud", *self._access()))

    def read_text(self) -> str:
        return _GCLOUD.run(*self._access())

    def write_text(self, text: str) -> str:
        added = _GCLOUD.json(
            "secrets", "versions", "add", self._secret, "--data-file=-", *self._project, "--format=json", stdin=text
        )
        self._version = str(added["name"]).rpartition("/")[2]
        reference = f"--update-secrets={_SECRET}={self._secret}:{self._version}"
        _GCLOUD.run("run", "services", "update", self._name, reference, self._region, *self._project, "--quiet")
        done = f"Version {self._version} of {self._secret} is deployed, in a new revision of {self._name}."
        return f"{done}{self._tell_terraform()}"

    def _tell_terraform(self) -> str:
        """Set Terraform's variable if this secret is Terraform's: else its next deployment would use an older version.

        Returns:
            A sentence if it was not set, after a space.
        """
        if not (_TERRAFORM / ".terraform").is_dir():
            return ""
        line = f'secret_version = "{self._version}"'
        file = _TERRAFORM / "secret.auto.tfvars"
        try:
            outputs = _OUTPUTS.json("output", "-json", folder=_TERRAFORM)
            known = [str(outputs[name]["value"]) for name in ("project", "secret")]
            project = self._project[0].partition("=")[2] if self._project else _GCLOUD.run("config", "get", "project")
        except (DeploymentError, LookupError, TypeError):
            return f" Whether Terraform deployed it is not known: if so, write the line {line} to {file}."
        if known != [project.strip(), self._secret]:
            return f" {file} is unchanged: Terraform has the secret {known[1]} of the project {known[0]}."
        file.write_text(f"{line}\n")
        return ""

    def _access(self) -> tuple[str, ...]:
        return ("secrets", "versions", "access", self._version, f"--secret={self._secret}", *self._project)

    def _source(self, variables: Mapping[str, str]) -> str:
        if variables.get("DT_STORE") == "firestore":
            return f"firestore:{variables['DT_FIRESTORE']}"
        found = [
            each
            for each in _GCLOUD.json("pubsub", "subscriptions", "list", *self._project, "--format=json")
            if each.get("topic") == variables.get("DT_TOPIC")
        ]
        tables = [each["bigqueryConfig"]["table"] for each in found if "bigqueryConfig" in each]
        if tables:
            return f"bigquery:{tables[0]}"
        return f"pubsub:{found[0]['name']}" if found else ""
