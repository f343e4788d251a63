"""``dtconn status``: every Data Connector, and what became of its deliveries, on one screen."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import typer
from rich.text import Text

from cli.answers import Said
from cli.connectors.client import ApiError, Client
from cli.connectors.endpoint import ask_unsigned
from cli.connectors.newest import Newest, newest_events
from cli.connectors.options import AsJson, ProjectId, Quiet, asking, connect_to_dt
from cli.connectors.values import (
    ACTIVE,
    HTTP_PUSH,
    SYSTEM_DISABLED,
    USER_DISABLED,
    Connector,
    Metrics,
    Project,
    shown_url,
)
from cli.reading import DATABASE, From, Yes
from cli.times import age

WELL, ILL, UNKNOWN = range(3)
# DT waits 10 s for an answer, and what takes half of that is on its way there.
DEADLINE = 10.0
SLOW = 5.0

STATES = {ACTIVE: "active", USER_DISABLED: "disabled", SYSTEM_DISABLED: "disabled by DT"}
_HEADERS = ("project", "connector", "state", "events", "labels", "ok", "errors", "p99", "endpoint", "newest")


@dataclass(slots=True)
class Row:
    """A connector, or a project without one.

    Attributes:
        project: The project.
        connector: The connector; None if the project has none.
        metrics: Its metrics; None if unknown.
        said: The endpoint's answer; None if it was not asked.
        ills: What is wrong, as sentences.
        unknown: What could not be told, likewise.
    """

    project: Project
    connector: Connector | None = None
    metrics: Metrics | None = None
    said: Said | None = None
    ills: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return it for a script, without secrets."""
        connector, metrics, said = self.connector, self.metrics, self.said
        return {
            "project": self.project.project_id,
            "projectName": self.project.name,
            "connector": connector and connector.connector_id,
            "name": connector and connector.name,
            "type": connector and connector.kind,
            "url": connector and connector.url and shown_url(connector.url),
            "state": connector and connector.status,
            "events": connector and list(connector.events),
            "labels": connector and list(connector.labels),
            "successes": metrics and metrics.successes,
            "errors": metrics and metrics.errors,
            "p99Seconds": metrics and metrics.p99,
            "endpoint": said and {"status": said.status, "kind": said.kind.value, "seconds": round(said.seconds, 3)},
            "ills": self.ills,
            "unknown": self.unknown,
        }


def status(
    project_id: ProjectId = None,
    source: From = DATABASE,
    yes: Yes = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show every Data Connector of every project: state, filter, answers of the last 3 h, endpoint, newest event.

    Each endpoint is asked by one request without signature, which a receiver refuses, and logs as refused.

    Exits 0 if all is well, 1 if something is ill, 2 if that cannot be told.

    \b
    Examples:
      dtconn status
      dtconn status --project c0md3pm0p7bet3vico8g --from postgres://... --json
    """  # noqa: D301
    with asking(UNKNOWN):
        client = connect_to_dt()
        rows = look(client, [client.project(project_id)] if project_id else client.projects())
        newest = newest_events(source, yes)
    code = verdict(rows, newest)
    if as_json:
        document = {"rows": [row.document() for row in rows], "stored": newest.document(datetime.now(UTC))}
        typer.echo(json.dumps(document | {"exitCode": code}))
    elif not quiet:
        _show(rows, newest)
    raise typer.Exit(code)


def look(client: Client, projects: Sequence[Project]) -> list[Row]:
    """Return the connectors of some projects with their metrics and endpoints."""
    rows = []
    for project in projects:
        try:
            connectors = client.connectors(project.project_id)
        except ApiError as error:
            rows.append(Row(project, unknown=[str(error)]))
            continue
        rows += [_row(client, project, connector) for connector in connectors] or [Row(project)]
    return rows


def _row(client: Client, project: Project, connector: Connector) -> Row:
    row = Row(project, connector)
    if connector.status != ACTIVE:
        row.ills.append(f"{connector.shown} is {STATES.get(connector.status, connector.status)}: it loses events. "
                        f"dtconn enable {connector.argument}")  # fmt: skip
    try:
        row.metrics = client.metrics(connector)
    except ApiError as error:
        row.unknown.append(str(error))
    else:
        row.ills += ills_of(connector, row.metrics)
    if connector.kind == HTTP_PUSH:
        row.said = ask_unsigned(connector)
        if not row.said.is_receiver:
            row.ills.append(f"{connector.shown}: {row.said.text}")
    return row


def ills_of(connector: Connector, metrics: Metrics) -> list[str]:
    """Return what is wrong with the deliveries of the last three hours."""
    ills = []
    if metrics.is_failing:
        ills.append(f"{connector.shown}: all {metrics.errors} attempts of the last 3 h failed. "
                    f"dtconn doctor {connector.argument}")  # fmt: skip
    if metrics.p99 is not None and metrics.p99 >= DEADLINE:
        ills.append(f"{connector.shown}: answers take {metrics.p99:.1f} s, and DT waits for 10 s only. "
                    f"dtconn doctor {connector.argument}")  # fmt: skip
    return ills


def verdict(rows: Sequence[Row], newest: Newest) -> int:
    """Return the exit code."""
    if any(row.ills for row in rows):
        return ILL
    has_connector = any(row.connector for row in rows)
    if not has_connector or any(row.unknown for row in rows) or (newest.is_asked and newest.fault):
        return UNKNOWN
    return WELL


def _show(rows: Sequence[Row], newest: Newest) -> None:
    from cli.tables import cell, new_table, show

    shown, now = new_table(*_HEADERS), datetime.now(UTC)
    for row in rows:
        arrived = newest.arrived.get(row.project.project_id)
        ago = age((now - arrived).total_seconds()) if arrived else ""
        shown.add_row(cell(row.project.name or row.project.project_id), *_cells(row), Text(ago))
    show(shown, "The service account sees no project. Give it a role in one, in DT Studio.")
    for row in rows:
        for text in row.ills:
            typer.echo(f"ill: {text}")
        for text in row.unknown:
            typer.echo(f"cannot tell: {text}")
    if not any(row.connector for row in rows):
        typer.echo("There is no Data Connector: dtconn connect URL")
    typer.echo(f"store: {newest.store or ''}{(newest.fault and f' ({newest.fault})') or ''}")


def _cells(row: Row) -> list[Text]:
    from cli.tables import cell

    connector, metrics, said = row.connector, row.metrics, row.said
    if connector is None:
        return [Text("no connector"), *[Text()] * 7]
    is_well = connector.status == ACTIVE
    slow = metrics is not None and metrics.p99 is not None and metrics.p99 >= SLOW
    return [
        cell(connector.name or connector.connector_id),
        Text(STATES.get(connector.status, connector.status), "green" if is_well else "red"),
        cell(", ".join(connector.events) or "all"),
        cell(", ".join(connector.labels) or "none"),
        Text("?" if metrics is None else f"{metrics.successes:,}"),
        Text("?" if metrics is None else f"{metrics.errors:,}", "red" if metrics and metrics.errors else ""),
        Text("?" if metrics is None or metrics.p99 is None else f"{metrics.p99:.1f} of 10 s", "yellow" if slow else ""),
        Text("" if said is None else _endpoint(said), "" if said is None or said.is_receiver else "red"),
    ]


def _endpoint(said: Said) -> str:
    if said.status is None:
        return "no answer"
    return f"{said.status} in {said.seconds:.1f} s" if said.is_receiver else f"{said.status}, not the receiver's"
