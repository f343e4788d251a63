"""``dtconn doctor``: why events do not arrive, and the command that mends it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Annotated

import typer

from cli.connectors import checks
from cli.connectors.checks import ILL, NOTE, OK, UNKNOWN, Finding
from cli.connectors.client import ApiError, Client
from cli.connectors.clock import ahead_of_here
from cli.connectors.matching import choose
from cli.connectors.options import AsJson, Chosen, ProjectId, Quiet, asking, connect_to_dt, find_project
from cli.connectors.values import Connector, Project

_COLOURS = {OK: "green", NOTE: "yellow", ILL: "red", UNKNOWN: "magenta"}


def doctor(
    chosen: Chosen = None,
    project_id: ProjectId = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME", show_default="name", help="A label that you want with each event."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Look for every known cause why events do not arrive, and name the command that mends it.

    Without a connector, all of the project are examined. The endpoint gets a signed proof event, which is stored and
    left out of `latest` and `check`.

    Exits 0 if nothing is ill, 1 if something is, 2 if that cannot be told.

    \b
    Examples:
      dtconn doctor
      dtconn doctor https://example.herokuapp.com --label floor --json
    """  # noqa: D301
    with asking(2):
        client = connect_to_dt()
        project = find_project(client, project_id)
        found = list(_findings(client, project, chosen, labels or ["name"]))
    if as_json:
        typer.echo(json.dumps({"project": project.project_id, "findings": [asdict(each) for each in found]}))
    elif not quiet:
        _show(found)
    levels = {each.level for each in found}
    raise typer.Exit(1 if ILL in levels else 2 if UNKNOWN in levels else 0)


def _findings(client: Client, project: Project, chosen: str | None, labels: list[str]) -> Iterator[Finding]:
    dt_ahead = ahead_of_here(client.access)
    yield from checks.of_machine(client.access, dt_ahead)
    connectors = client.connectors(project.project_id)
    yield from checks.of_project(connectors, project)
    if not connectors:
        command = f"dtconn connect URL --project {project.project_id}"
        yield Finding(ILL, "state", f"{project.shown} has no Data Connector.", command)
        return
    devices = client.devices(project.project_id)
    if not devices:
        yield Finding(NOTE, "devices", f"{project.shown} has no device, so there is nothing to send.")
    for connector in [choose(connectors, chosen, project)] if chosen else connectors:
        about = [
            checks.of_state(connector, connectors),
            _of_metrics(client, connector),
            checks.of_filter(connector, devices, labels),
            checks.of_endpoint(connector, dt_ahead),
        ]
        for each in about:
            yield from _named(each, connector)


def _of_metrics(client: Client, connector: Connector) -> Iterator[Finding]:
    try:
        metrics = client.metrics(connector)
    except ApiError as error:
        yield Finding(UNKNOWN, "deliveries", str(error))
    else:
        yield from checks.of_metrics(metrics)


def _named(found: Iterable[Finding], connector: Connector) -> Iterator[Finding]:
    return (replace(each, connector=connector.connector_id) for each in found)


def _show(found: list[Finding]) -> None:
    from rich.console import Console
    from rich.text import Text

    console, last = Console(highlight=False, soft_wrap=True), None
    for each in found:
        if each.connector != last:
            last = each.connector
            console.print(Text(f"connector {last}"))
        console.print(Text(f"{each.level:8}", _COLOURS[each.level]) + Text(f"{each.topic:13}{each.text}"))
        if each.command:
            console.print(Text(f"{'':21}{each.command}"))
