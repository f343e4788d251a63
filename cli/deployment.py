"""Deployed receivers: what a command needs to know of one, and where each adapter says how to find it."""

import importlib
import json
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli import CommandError
from core.verify.secret_text import read_secrets

_CLONE = Path(__file__).resolve().parent.parent
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

    Every method raises `cli.CommandError` or `readers.ReaderError`, with a sentence, if the platform refuses.

    Attributes:
        url: The address of the receiver.
        source: The URL of its store, for `readers.sources.open_reader`; empty if there is nothing to read.
        secret_command: A command that prints the signature secret, or several as a JSON array.
        settle_seconds: For how long after a write an instance may still use the value before it.
    """

    url: str
    source: str
    secret_command: str
    settle_seconds: float = 30.0

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
            CommandError: They cannot be used.
        """
        secrets, faults = read_secrets(self.read_text())
        if faults:
            raise CommandError(f"The signature secret that is deployed {'; '.join(faults)}.")
        return secrets

    def write_secrets(self, secrets: Sequence[str]) -> str:
        """Replace the signature secrets; return a sentence that says what was done."""
        if len(secrets) == 1 and not secrets[0].startswith(("[", "{")):
            return self.write_text(secrets[0])
        return self.write_text(json.dumps(list(secrets), ensure_ascii=False))


def clouds() -> dict[str, str]:
    """Return the folder of each adapter that has a ``deployment.py``, by the name of its package, if it has one."""
    found = {}
    for path in sorted(_CLONE.glob("*/deployment.py")):
        package = path.with_name("package.toml")
        if path.with_name("wiring.py").is_file():
            name = path.parent.name
            found[tomllib.loads(package.read_text("utf-8"))["name"] if package.is_file() else name] = name
    return found


def find_deployment(cloud: str, place: Place) -> Deployment:
    """Find a deployed receiver.

    Args:
        cloud: A key of `clouds`.
        place: Where it is.

    Raises:
        CommandError: There is no such cloud, library or receiver.
        readers.ReaderError: The platform refuses.
    """
    known = clouds()
    if cloud not in known:
        names = ", ".join(known) or "none: run this in a clone of the repository"
        raise CommandError(f"{cloud} is not a cloud that this finds a receiver on. Those are: {names}.", 2)
    try:
        module = importlib.import_module(f"{known[cloud]}.deployment")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in (*known.values(), "cli", "core", "readers"):
            raise
        raise CommandError(f"{cloud} needs {error.name}, which is not installed: make readers", 2) from None
    deployment: Deployment = module.find(place)
    return deployment
