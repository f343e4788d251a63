"""The deployed receiver that a Data Connector is made for: its address, its secret and its store."""

from dataclasses import dataclass, field
from typing import Annotated

import typer

from cli.remote import deployed, deployed_secrets
from deployed.contract import NAME, Place

Cloud = Annotated[
    str | None,
    typer.Option(
        "--cloud",
        metavar="CLOUD",
        help="The receiver is deployed there, as by `make deploy-CLOUD`: use its address, its secret and its store.",
    ),
]
CloudName = Annotated[
    str | None,
    typer.Option("--cloud-name", metavar="NAME", show_default=NAME, help="With --cloud: what the platform calls it."),
]
CloudProject = Annotated[
    str | None,
    typer.Option("--cloud-project", metavar="ID", show_default="the vendor's", help="With --cloud: its project."),
]
CloudRegion = Annotated[
    str | None,
    typer.Option("--cloud-region", metavar="NAME", show_default="the vendor's", help="With --cloud: its region."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A deployed receiver.

    Attributes:
        url: Its address.
        source: The URL of its store; empty if there is nothing to read.
        secret: Its newest signature secret; None if it is not wanted.
    """

    url: str
    source: str = field(repr=False)
    secret: str | None = field(repr=False)


def find_receiver(cloud: str, place: Place, url: str | None, wants_secret: bool) -> Receiver:
    """Find a deployed receiver; a fault ends the command with its sentence.

    Args:
        cloud: As in `make deploy-CLOUD`.
        place: Where it is.
        url: Its address, if that is not the platform's.
        wants_secret: Whether to read its secret.
    """
    with deployed(cloud, place, url) as found:
        secret = deployed_secrets(found)[0] if wants_secret else None
    return Receiver(url=found.url, source=found.source, secret=secret)
