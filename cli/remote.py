"""What the commands on a deployed receiver share: their options, and waiting until it answers."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cli import CommandError
from cli.connectors.options import asking
from cli.connectors.values import shown_url
from cli.deployment import find_deployment
from cli.report import Report
from core.verify.secret_text import read_secrets
from deployed import DeploymentError
from deployed.contract import NAME, Deployment, Place
from readers import ReaderError

if TYPE_CHECKING:
    from cli.proof import Proof
    from dt_cloud.sender import Answer

_EVERY = 1.0

Cloud = Annotated[str, typer.Argument(metavar="CLOUD", help="As in `make deploy-CLOUD`.")]
Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        show_default=NAME,
        help="What the platform calls it: the stack, service, resource group or app.",
    ),
]
Project = Annotated[
    str | None, typer.Option(show_default="the vendor's", help="The project, where there are projects.")
]
Region = Annotated[str | None, typer.Option(show_default="the vendor's", help="The region.")]
Url = Annotated[
    str | None,
    typer.Option(show_default="the platform's", help="The address to send to, such as one in a domain of your own."),
]
Show = Annotated[bool, typer.Option("--show", help="Print the signature secret, for DT Studio.")]
Wait = Annotated[float, typer.Option("--wait", min=0, metavar="SECONDS", help="How long to wait for the receiver.")]


@contextmanager
def deployed(cloud: str, place: Place, url: str | None) -> Iterator[Deployment]:
    """Find a deployed receiver; an error within ends the command with its sentence."""
    with asking():
        try:
            deployment = find_deployment(cloud, place)
            deployment.url = url or deployment.url
            yield deployment
        except (DeploymentError, ReaderError) as error:
            raise CommandError(str(error)) from None


def deployed_secrets(deployment: Deployment) -> tuple[str, ...]:
    """Return the signature secrets: those that are deployed, or else those of the terminal that deployed them.

    Raises:
        CommandError: The receiver has none.
        deployed.DeploymentError, readers.ReaderError: They cannot be read, or not be used.
    """
    try:
        secrets = deployment.read_secrets()
    except DeploymentError:
        secrets, faults = read_secrets(os.environ.get("DT_SIGNATURE_SECRET", ""))
        if faults or not secrets:
            raise
        typer.echo("The deployed secret cannot be read, so the variable DT_SIGNATURE_SECRET is used.", err=True)
    if not secrets:
        raise CommandError("The receiver has no signature secret, so only DT can sign for it: touch a sensor, or "
                           "dtconn connect URL --no-secret --test.")  # fmt: skip
    return secrets


class NotTakenError(Exception):
    """Not every delivery was acknowledged in time.

    Attributes:
        refused: Why, by the name of the secret.
    """

    def __init__(self, refused: Mapping[str, str]) -> None:
        super().__init__()
        self.refused = refused


def wait_until_taken(
    proof: "Proof", url: str, secrets: Mapping[str, str], wait: float, watch: float = 0
) -> "dict[str, Answer]":
    """Deliver an event, signed with each secret, until each delivery is acknowledged; return the last answers.

    Args:
        proof: The event.
        url: The receiver's address, for messages.
        secrets: The secrets, by the name that messages give them.
        wait: How long to try, in seconds.
        watch: For how many seconds every delivery must be acknowledged, because instances may differ.

    Raises:
        NotTakenError: One was not, until the end.
    """
    from rich.console import Console

    from cli.answers import understood

    ends = time.monotonic() + wait
    taken_since: float | None = None
    where = shown_url(url)
    with Console(stderr=True).status(f"Waiting for {where}") as status:
        while True:
            answers = {name: proof.deliver(secret) for name, secret in secrets.items()}
            now = time.monotonic()
            said = {name: understood(answer) for name, answer in answers.items()}
            refused = {name: f"{where}: {one.text}" for name, one in said.items() if not one.is_stored}
            taken_since = None if refused else taken_since or now
            if taken_since is not None and now - taken_since >= watch:
                return answers
            if taken_since is None and now >= ends:
                raise NotTakenError(refused)
            status.update("; ".join(f"{name}: {one.status or ''} {one.kind.value}" for name, one in said.items()))
            time.sleep(_EVERY)


def report_of(as_json: bool, quiet: bool, show: bool) -> Report:
    """Return the report of a command on a deployed receiver. `--show` needs the plain form."""
    if show and (as_json or quiet):
        raise typer.BadParameter("It prints the secret, which --json and --quiet never do.", param_hint="--show")
    return Report(quiet, as_json)


def waiting(seconds: float) -> str:
    """Return a duration for a person."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
