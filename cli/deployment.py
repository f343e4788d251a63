"""Finds deployed receivers, by the adapters' ``deployment.py``."""

import importlib
from importlib.util import find_spec

from cli import CommandError
from cli.places import adapters
from deployed import DeploymentError
from deployed.contract import Deployment, Place


def clouds() -> dict[str, str]:
    """Return the folder of each adapter that has a ``deployment.py``, as `cli.places.adapters` does."""
    return {name: folder for name, folder in adapters().items() if find_spec(f"{folder}.deployment")}


def find_deployment(cloud: str, place: Place) -> Deployment:
    """Find a deployed receiver.

    Args:
        cloud: A key of `clouds`.
        place: Where it is.

    Raises:
        CommandError: There is no such cloud, or a library is missing.
        deployed.DeploymentError, readers.ReaderError: There is no such receiver, or the platform refuses.
    """
    known = clouds()
    if cloud not in known:
        names = ", ".join(known) or "none: run this in a clone of the repository"
        raise CommandError(f"{cloud} is not a cloud that this finds a receiver on. Those are: {names}.", 2)
    try:
        module = importlib.import_module(f"{known[cloud]}.deployment")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in (*known.values(), "core", "deployed", "readers"):
            raise
        raise CommandError(f"{cloud} needs {error.name}, which is not installed: make readers", 2) from None
    try:
        deployment: Deployment = module.find(place)
    except (LookupError, TypeError):
        raise DeploymentError(
            f"What is deployed on {cloud} under this name is not a receiver of this version: deploy it again, or name "
            "another."
        ) from None
    return deployment
