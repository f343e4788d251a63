"""The contract of every adapter's ``deployment.py``, which has ``find(place) -> Deployment``."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from core.verify.secret_text import read_secrets
from deployed import DeploymentError

NAME = "dt-receiver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a receiver is deployed, as far as a user says it; the vendor's own configuration says the rest.

    Attributes:
        name: What the platform calls it: a stack, a service, a resource group, an application.
        project: The project that it is in, on a platform that has projects.
        region: The region that it is in.
    """

    name: str | None = None
    project: str | None = None
    region: str | None = None


class Deployment(ABC):
    """A deployed receiver, found by whoever is logged in to its platform.

    Every method raises `deployed.DeploymentError` or `readers.ReaderError` if the platform refuses.

    Attributes:
        url: The address of the receiver.
        source: The URL of its store, for `readers.sources.open_reader`; empty if there is nothing to read.
        secret_command: A command that prints the signature secret, or several as a JSON array.
        settle_seconds: For how long after a write an instance may still use the value before it.
        todo: What a person has to do after a write, as a sentence; empty if the platform does it.
    """

    url: str
    source: str
    secret_command: str
    settle_seconds: float = 30.0
    todo: str = ""

    @abstractmethod
    def read_text(self) -> str:
        """Return the text that holds the signature secrets, unchanged."""

    @abstractmethod
    def write_text(self, text: str) -> str:
        """Replace that text, and have the receiver use it; return a sentence that says what was done.

        The text is passed in a request, on standard input or in a private file: a command line is visible to every
        user of the machine.
        """

    def read_secrets(self) -> tuple[str, ...]:
        """Return the signature secrets, the newest first; none if the receiver has no secret.

        Raises:
            DeploymentError: They cannot be used.
        """
        secrets, faults = read_secrets(self.read_text())
        if faults:
            raise DeploymentError(f"The signature secret that is deployed {'; '.join(faults)}.")
        return secrets

    def write_secrets(self, secrets: Sequence[str]) -> str:
        """Replace the signature secrets; return a sentence that says what was done."""
        if len(secrets) == 1 and not secrets[0].startswith(("[", "{")):
            return self.write_text(secrets[0])
        return self.write_text(json.dumps(list(secrets), ensure_ascii=False))
