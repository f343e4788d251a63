"""``dtconn enable``, ``disable``, ``sync`` and ``disconnect``: the switches of a Data Connector."""

import json
import sys
import time
from typing import Annotated, Any

import typer

from cli import CommandError
from cli.connectors.backfill import backfill
from cli.connectors.client import ApiError, Client
from cli.connectors.fresh import Freshness, freshness
from cli.connectors.gap import Gap, find_gap
from cli.connectors.options import (
    AsJson,
    Chosen,
    ProjectId,
    Quiet,
    Sure,
    asking,
    confirm,
    connect_to_dt,
    find_connector,
    find_project,
    require,
)
from cli.connectors.values import ACTIVE, USER_DISABLED, Connector
from cli.reading import DATABASE, From, Yes

# Seconds between two looks at the store.
_EVERY = 1.0


def enable(
    chosen: Chosen = None,
    project_id: ProjectId = None,
    source: From = DATABASE,
    yes: Yes = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Enable a Data Connector, say what was missed, and how to fetch it.

    What happened while it was disabled is not sent, and neither is what was waiting when it was disabled.

    \b
    Examples:
      dtconn enable
      dtconn enable https://example.herokuapp.com --from postgres://...
    """  # noqa: D301
    with asking():
        client, connector = _find(project_id, chosen, "dataconnector.update")
        was_active = connector.status == ACTIVE
        gap = None if was_active else find_gap(source, connector, yes)
        if gap and not quiet and not as_json:
            # First, because an active connector does not tell any more that it was disabled.
            _tell_gap(gap, connector)
        if not was_active:
            try:
                connector = client.update(connector, status=ACTIVE)
            except ApiError as error:
                if error.status is None and isinstance(gap, Gap):
                    text = f"{error} What was missed is fetched by: {gap.command(connector)}"
                    raise CommandError(text, error.exit_code) from None
                raise
    found: dict[str, Any] = {"connector": connector.connector_id, "status": connector.status, "wasActive": was_active}
    if isinstance(gap, Gap):
        found |= {"gapSince": gap.arrived.isoformat(), "backfill": gap.command(connector)}
    _tell(found, as_json, quiet, f"{connector.shown} is active.")
    can_ask = not quiet and not as_json and sys.stdin.isatty()
    if isinstance(gap, Gap) and can_ask and typer.confirm("Fetch it now?", err=True):
        backfill(gap.since, connector.connector_id, connector.project_id, source=source)


def _tell_gap(gap: Gap | str, connector: Connector) -> None:
    if isinstance(gap, Gap):
        typer.echo(f"The newest stored event arrived {gap}. What was missed can be fetched for 30 days:")
        typer.echo(gap.command(connector))
    else:
        typer.echo(f"How long it was disabled is not known: {gap}. What was missed can be fetched for 30 days:")
        typer.echo(f"dtconn backfill {connector.argument} --since TIME")


def disable(
    chosen: Chosen = None,
    project_id: ProjectId = None,
    yes: Sure = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Disable a Data Connector. DT Cloud drops what waits for delivery, and queues nothing until it is enabled.

    \b
    Examples:
      dtconn disable --yes
    """  # noqa: D301
    with asking():
        client, connector = _find(project_id, chosen, "dataconnector.update")
        if connector.status == ACTIVE:
            confirm(f"Disable {connector.shown}, and lose what waits for delivery?", yes)
            connector = client.update(connector, status=USER_DISABLED)
    _tell(
        {"connector": connector.connector_id, "status": connector.status},
        as_json,
        quiet,
        f"{connector.shown} is disabled.",
    )


def sync(
    chosen: Chosen = None,
    project_id: ProjectId = None,
    source: From = DATABASE,
    wait: Annotated[int, typer.Option(min=0, metavar="SECONDS", help="How long to look for the events.")] = 60,
    yes: Yes = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Send the newest event of each type of each device again, and look how many of the devices the store then has.

    Exits 0 if all are fresh, 1 if not, 2 if the store cannot tell.

    \b
    Examples:
      dtconn sync
      dtconn sync https://example.herokuapp.com --from postgres://... --wait 120
    """  # noqa: D301
    with asking():
        client, connector = _find(project_id, chosen, "dataconnector.update", "device.read")
        if connector.status != ACTIVE:
            raise CommandError(f"{connector.shown} is disabled: dtconn enable {connector.argument}")
        client.sync(connector)
        found = _wait_for(client, connector, source, wait, yes)
    document = {"connector": connector.connector_id, "devices": found.devices, "fresh": found.fresh,
                "late": found.late, "fault": found.fault}  # fmt: skip
    _tell(document, as_json, quiet, found.text)
    raise typer.Exit(2 if found.fault else 0 if found.fresh == found.devices else 1)


def disconnect(
    chosen: Annotated[str, typer.Argument(metavar="URL|ID|NAME", help="The Data Connector: its URL, id or name.")],
    project_id: ProjectId = None,
    name: Annotated[
        str | None, typer.Option("--confirm", metavar="NAME", help="Its name or id, instead of asking for it.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Disable a Data Connector, and delete it with what waits for delivery. Asks for its name.

    \b
    Examples:
      dtconn disconnect https://example.herokuapp.com
      dtconn disconnect c16pegipidie7lltrefg --confirm Office
    """  # noqa: D301
    with asking():
        client, connector = _find(project_id, chosen, "dataconnector.update", "dataconnector.delete")
        if name is None:
            if not sys.stdin.isatty():
                raise CommandError(f"Add --confirm with the name or id of {connector.shown}.", 2)
            name = typer.prompt(f"{connector.shown} will be deleted. Its name or id", err=True)
        if name not in (connector.name or None, connector.connector_id):
            raise CommandError(f"That is not the name or id of {connector.shown}. Nothing was changed.", 2)
        if connector.status == ACTIVE:
            client.update(connector, status=USER_DISABLED)
        client.delete(connector)
    _tell({"connector": connector.connector_id, "deleted": True}, as_json, quiet, f"{connector.shown} is deleted.")


def _find(project_id: str | None, chosen: str | None, *permissions: str) -> tuple[Client, Connector]:
    client = connect_to_dt()
    project = find_project(client, project_id)
    require(client, project, "dataconnector.read", *permissions)
    return client, find_connector(client, project, chosen)


def _wait_for(client: Client, connector: Connector, source: str, wait: int, yes: bool) -> Freshness:
    devices, end = client.devices(connector.project_id), time.monotonic() + wait
    while True:
        found = freshness(devices, connector, source, yes)
        if found.fault or found.fresh == found.devices or time.monotonic() >= end:
            return found
        time.sleep(_EVERY)


def _tell(document: dict[str, Any], as_json: bool, quiet: bool, text: str) -> None:
    if as_json:
        typer.echo(json.dumps(document))
    elif not quiet:
        typer.echo(text)
