"""The parts of tests/<adapter>/deployments.py: a deployed receiver, and what holds its secret."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.found import found


@dataclass
class Deployed:
    """A receiver that runs behind a socket of this machine.

    Attributes:
        arguments: What a user types after the name of the command: the cloud, and the name of the deployment.
        url: The receiver's address.
        text: Returns the text of its secret, as its platform has it.
        put: Replaces that text, as a person does by hand; the receiver uses it when this returns, or soon after.
        commands: The command lines of the vendor's program so far.
        settings: Names the store to the platform's own code; empty if the store is a database that dtconn writes.
    """

    arguments: Sequence[str]
    url: str
    text: Callable[[], str]
    put: Callable[[str], object]
    commands: Sequence[Sequence[str]] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


# With a signature secret: starts a receiver that uses it.
Factory = Callable[[str, Path, pytest.FixtureRequest], AbstractContextManager[Deployed]]


def factories() -> dict[str, Factory]:
    """Return `DEPLOYMENTS` of every tests/<adapter>/deployments.py."""
    return {name: factory for module in found("deployments") for name, factory in module.DEPLOYMENTS.items()}
