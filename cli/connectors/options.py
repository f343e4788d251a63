"""The options that the commands for Data Connectors share."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from cli import CommandError
from cli.connectors.access import load_access
from cli.connectors.client import Client
from cli.connectors.matching import choose
from cli.connectors.values import Connector, Project
from cli.fail import fail
from core.environment import parse_names

_INTERRUPTED = 130
# Ids are xids; older ones may be words.
_ID = re.compile(r"[A-Za-z0-9_-]+")


def _checked_id(project_id: str | None) -> str | None:
    """Return a project's id; end the command if it would change the path of a request."""
    if project_id and not _ID.fullmatch(project_id):
        fail(CommandError("--project must be a project's id, such as c0md3pm0p7bet3vico8g: DT Studio shows it.", 2))
    return project_id


ProjectId = Annotated[
    str | None,
    typer.Option(
        "--project",
        envvar="DT_CLOUD_PROJECT",
        metavar="ID",
        callback=_checked_id,
        show_default="the only one that the account sees",
        help="The project.",
    ),
]
Chosen = Annotated[
    str | None,
    typer.Argument(
        metavar="[URL|ID|NAME]", show_default="the project's only one", help="The Data Connector: its URL, id or name."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
Sure = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


@contextmanager
def asking(exit_code: int | None = None) -> Iterator[None]:
    """End the command with one sentence if it cannot go on.

    Args:
        exit_code: In place of the error's own.
    """
    try:
        yield
    except CommandError as error:
        fail(error if exit_code is None else CommandError(str(error), exit_code))
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


def connect_to_dt(burst: int | None = None) -> Client:
    """Return a client for the account of the environment."""
    access = load_access()
    return Client(access) if burst is None else Client(access, burst)


def find_project(client: Client, project_id: str | None) -> Project:
    """Return the project that is named, or else the only one.

    Raises:
        CommandError: There are several, or none.
    """
    if project_id:
        return client.project(project_id)
    found = client.projects()
    if len(found) == 1:
        return found[0]
    if not found:
        raise CommandError("The service account sees no project. Give it a role in one, in DT Studio.", 3)
    names = ", ".join(project.shown for project in found[:5])
    raise CommandError(f"The service account sees {len(found)} projects: choose with --project. {names}", 2)


def find_connector(client: Client, project: Project, chosen: str | None) -> Connector:
    """Return the connector that is named, or else the project's only one.

    Raises:
        CommandError: There is none, or there are several.
    """
    return choose(client.connectors(project.project_id), chosen, project)


def require(client: Client, project: Project, *permissions: str) -> None:
    """Check the account's role before anything is changed.

    Raises:
        CommandError: A permission is missing; the text names it, and the role that has it.
    """
    granted = client.permissions(project.project_id)
    missing = sorted(set(permissions) - granted)
    if missing:
        # DT's documents name two roles that may create a connector.
        role = "Project Administrator" if "dataconnector.update" in granted else "Project Developer"
        raise CommandError(
            f"The service account has no {', '.join(missing)} in {project.shown}. It needs the role {role} there: DT "
            "Studio, Service Accounts.",
            3,
        )


def check_organization(project: Project) -> str | None:
    """Return the line that sets DT_ORGANIZATION_ID, if this environment does not have it.

    Raises:
        CommandError: It has the id of another organization.
    """
    text = os.environ.get("DT_ORGANIZATION_ID", "").strip()
    if project.organization_id in (parse_names(text) or ()):
        return None
    if text:
        raise CommandError(
            f"DT_ORGANIZATION_ID does not have the organization of {project.shown}, so a receiver with this setting "
            f"refuses DT's asymmetric signature. Set it: DT_ORGANIZATION_ID={project.organization_id}",
            2,
        )
    return f"DT_ORGANIZATION_ID={project.organization_id}"


def confirm(question: str, yes: bool) -> None:
    """Ask on a terminal; elsewhere, --yes answers.

    Raises:
        CommandError: There is nobody to ask.
    """
    import sys

    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question.rstrip('?')}: add --yes to do it.", 2)
    typer.confirm(question, abort=True, err=True)
