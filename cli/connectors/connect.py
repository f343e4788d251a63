"""``dtconn connect``: makes the Data Connector of a receiver, proven before DT Cloud sends to it."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from cli import CommandError
from cli.answers import Kind
from cli.connectors import trial
from cli.connectors.client import ApiError, Client
from cli.connectors.endpoint import ask_forged, ask_signed
from cli.connectors.matching import at_url, only_one, twins
from cli.connectors.options import (
    AsJson,
    ProjectId,
    Quiet,
    asking,
    check_organization,
    connect_to_dt,
    find_project,
    require,
)
from cli.connectors.receiver import Cloud, CloudName, CloudProject, CloudRegion, find_receiver
from cli.connectors.values import ACTIVE, HTTP_PUSH, MOST, USER_DISABLED, Connector, Project, shown_url
from cli.places import find
from cli.reading import DATABASE, From
from cli.report import Report
from cli.secret import SECRET_FILE, Secret, SecretFile, find_secret
from core.environment import is_secure_url
from core.event import EVENT_TYPES
from core.spelling import nearest
from deployed.contract import Place

_NAME = "dtconn"
# RFC 9110, 5.6.2: a token.
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OF_DT = ("host", "content-length", "content-type", "transfer-encoding", "x-dt-signature", "dt-asymmetric-signature")
_FIELDS = ("status", "name", "events", "labels", "headers", "secret")


def connect(
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="[URL]", show_default="with --cloud: the platform's", help="The address, as DT Cloud reaches it."
        ),
    ] = None,
    project_id: ProjectId = None,
    name: Annotated[
        str | None, typer.Option("--name", show_default=_NAME, help="The name that DT Studio shows.")
    ] = None,
    events: Annotated[
        list[str] | None,
        typer.Option(
            "--event", "-e", metavar="TYPE", show_default="all", help="Send this type only; repeatable; all for all."
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="NAME",
            show_default="name",
            help="Send this label of the sensors; repeatable; '' for none.",
        ),
    ] = None,
    headers: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="NAME:VALUE", help="Send this HTTP header; repeatable; '' for none."),
    ] = None,
    secret: Secret = None,
    secret_file: SecretFile = SECRET_FILE,
    no_secret: Annotated[
        bool, typer.Option("--no-secret", help="No secret: DT's asymmetric signature alone. Needs --test.")
    ] = False,
    cloud: Cloud = None,
    cloud_name: CloudName = None,
    cloud_project: CloudProject = None,
    cloud_region: CloudRegion = None,
    test: Annotated[
        bool,
        typer.Option("--test", help="Touch an emulated sensor, and look for it in DT's metrics and in the store."),
    ] = False,
    source: From = DATABASE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would change, and change nothing.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Let DT Cloud send events to a receiver: make its Data Connector, or change the one that sends to this URL.

    A new connector is disabled until the endpoint is proven: a request with the right secret is answered 200, and one
    with another secret 401. Run it again to go on where it ended, or to change events, labels and headers.

    \b
    Examples:
      dtconn connect https://example.herokuapp.com
      dtconn connect https://example.herokuapp.com --event temperature --label name --label floor --dry-run
      dtconn connect --cloud aws --test             its URL, its secret and its store, by your login
      dtconn connect http://127.0.0.1:8000 --test       with `make cloud` and `make run`
    """  # noqa: D301
    report = Report(quiet, as_json)
    with asking():
        client = connect_to_dt()
        place, receiver = Place(name=cloud_name, project=cloud_project, region=cloud_region), None
        if cloud:
            receiver = find_receiver(cloud, place, url, not no_secret)
            url = receiver.url
            source = source if source != DATABASE else receiver.source or source
        elif not url or place != Place():
            raise CommandError("Give the receiver's URL, or --cloud to find a deployed one.", 2)
        url = _checked_url(url, client)
        given = {
            "name": name,
            "events": _events(events),
            "labels": None if labels is None else tuple(dict.fromkeys(filter(None, labels))),
            "headers": _headers(headers),
        }
        if no_secret and not test:
            raise CommandError("Only DT can sign without a secret: add --test, which lets it.", 2)
        project = find_project(client, project_id)
        need = ["dataconnector.read", "dataconnector.create", "dataconnector.update", "dataconnector.delete"]
        require(client, project, *need, *(["emulator.create", "emulator.delete", "emulator.update"] if test else []))
        organization = check_organization(project)
        text = receiver.secret if receiver else None if no_secret else _secret(secret, find(secret_file))
        connectors = client.connectors(project.project_id)
        present = _present(client, connectors, url, dry_run)
        wanted = _wanted(present, project, url, given, "" if no_secret else text)
        if test and not wanted.sends("touch"):
            raise CommandError("--test publishes a touch, which the filter withholds: add --event touch.", 2)
        changes = _differences(present, wanted)
        report.found = {
            "project": project.project_id,
            "connector": present and present.connector_id,
            "isNew": present is None,
            "changes": changes,
            "organization": project.organization_id,
            "dryRun": dry_run,
        }
        if dry_run:
            _show(report, project, present, wanted, changes)
            if present is None and len(connectors) >= MOST:
                # Only DT Cloud knows its limit, so the real run asks it.
                raise CommandError(f"DT Cloud refuses to create the Data Connector. {_room(project.project_id)}", 2)
            report.close()
            return
        if present is None:
            present = _create(client, wanted, report)
            if text is None and wanted.secret:
                # Shown once, because it was made here and is nowhere else.
                typer.echo(f"Give this new secret to the receiver: DT_SIGNATURE_SECRET={wanted.secret}", err=True)
        report.found["connector"] = present.connector_id
        is_proven = _prove(present, wanted, report, test and "secret" not in changes)
        before, present = present, _apply(client, present, wanted)
        if test and not trial.run(client, present, source, report.say, report.found):
            if not is_proven:
                _apply(client, present, before)
            raise CommandError(f"The test touch did not arrive{'' if is_proven else ', so nothing is changed'}. "
                               f"dtconn doctor {present.argument}")  # fmt: skip
        report.found["status"] = present.status
        report.say(f"{present.shown} sends the events of {project.shown} to {shown_url(url)}.")
        if organization:
            report.say(f"For DT's asymmetric signature, the receiver needs: {organization}")
    report.close()


# ---- what is wanted ----


def _checked_url(url: str, client: Client) -> str:
    """Return the URL, with its scheme in lower case."""
    try:
        parts = urlsplit(url)
        url = f"{parts.scheme}{url[len(parts.scheme) :]}" if url.isprintable() else ""
        is_endpoint = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_plain = not (parts.username or parts.password or parts.fragment)
    except ValueError:
        is_endpoint = is_plain = False
    if is_endpoint and not is_plain:
        # Not quoted, because of the password.
        raise CommandError("URL must have no user name, no password and no fragment: what the receiver or its platform "
                           "wants to know goes into the query, or into --header.", 2)  # fmt: skip
    if not is_endpoint or not is_secure_url(url):
        raise CommandError("URL must begin with https:// and name a host: DT Cloud sends over HTTPS only.", 2)
    if parts.scheme == "http" and not client.access.is_desk:
        raise CommandError(
            "DT Cloud cannot reach this machine, and sends over HTTPS only. Use the https address of a deployment or "
            "of a tunnel; or paste the lines of `make cloud`, which is DT Cloud on your desk.",
            2,
        )
    return url


def _events(given: Sequence[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    for each in given:
        if each not in EVENT_TYPES and each != "all":
            meant = nearest(each, EVENT_TYPES)
            raise CommandError(f"--event: {each} is not an event type.{f' Do you mean {meant}?' if meant else ''}", 2)
    return () if "all" in given else tuple(dict.fromkeys(given))


def _headers(given: Sequence[str] | None) -> dict[str, str] | None:
    if given is None:
        return None
    found = {}
    for each in filter(None, given):
        name, colon, value = each.partition(":")
        name = name.strip()
        if not colon or not _HEADER.fullmatch(name) or not each.isprintable():
            raise CommandError("--header must be NAME:VALUE, with a name such as x-functions-key.", 2)
        if name.lower() in _OF_DT:
            raise CommandError(f"--header: {name} is set by DT Cloud itself. Choose another name.", 2)
        found[name] = value.strip()
    return found


def _secret(text: str | None, path: Path) -> str | None:
    """Return the receiver's secret; None if it is not on this machine."""
    if not (text and text.strip()) and not path.is_file():
        return None
    try:
        return find_secret(text, path).decode()
    except UnicodeDecodeError:
        raise CommandError("The signature secret must be text in UTF-8: DT sends it as JSON.", 2) from None


def _wanted(
    present: Connector | None, project: Project, url: str, given: dict[str, Any], secret: str | None
) -> Connector:
    """Return the connector as it shall be: what is not given stays as it is."""
    base = present or Connector(
        project_id=project.project_id,
        connector_id="",
        name=_NAME,
        kind=HTTP_PUSH,
        status=USER_DISABLED,
        events=(),
        labels=("name",),
        url=url,
        secret="",
        headers={},
    )
    if secret is None:
        secret = base.secret or secrets.token_urlsafe(32)
    fields = {name: value for name, value in given.items() if value is not None}
    return replace(base, secret=secret, status=ACTIVE, **fields)


def _differences(present: Connector | None, wanted: Connector) -> list[str]:
    """Return the fields of an existing connector that change."""
    return [name for name in _FIELDS if present and getattr(present, name) != getattr(wanted, name)]


def _show(
    report: Report, project: Project, present: Connector | None, wanted: Connector, changes: Sequence[str]
) -> None:
    """Print what would change, without secrets and the values of headers."""
    if present and not changes:
        report.say(f"Nothing: {present.shown} is as it should be.")
        return
    report.say(f"{'~' if present else '+'} {present.shown if present else wanted.name} in {project.shown}")
    if not present:
        report.say(f"  + url      {shown_url(wanted.url)}")
    for name in changes or _FIELDS:
        before = f"{_text(present, name)} -> " if present else ""
        report.say(f"  {'~' if present else '+'} {name:8} {before}{_text(wanted, name)}")


def _text(connector: Connector, name: str) -> str:
    value = getattr(connector, name)
    if name == "secret":
        return "(a secret)" if value else "(none)"
    if name == "events" and not value:
        return "all"
    return ", ".join(value) or "(none)" if name in ("events", "labels", "headers") else str(value)


# ---- what is done ----


def _present(client: Client, connectors: Sequence[Connector], url: str, dry_run: bool) -> Connector | None:
    """Return the connector of the URL, after the twins of an interrupted run are removed."""
    found = at_url(connectors, url)
    if not dry_run and found:
        found = _without_twins(client, found, found[0])
    return only_one(found, url)


def _without_twins(client: Client, found: Sequence[Connector], kept: Connector) -> list[Connector]:
    gone = twins(found, kept) if kept.status == USER_DISABLED else []
    for each in gone:
        client.delete(each)
    return [each for each in found if each not in gone]


def _create(client: Client, wanted: Connector, report: Report) -> Connector:
    """Create a connector that is disabled, once: whatever happens to the request, the list says what there is."""
    disabled = replace(wanted, status=USER_DISABLED)
    made, failure = None, None
    try:
        made = client.create(disabled)
    except ApiError as error:
        # An answer with a status is a refusal; without one, the request may have been carried out.
        if error.status is not None:
            raise _with_room(error, client, wanted) from None
        failure = error
    found = at_url(client.connectors(wanted.project_id), wanted.url)
    made = made or (found[0] if found else None)
    if made is None:
        assert failure
        raise failure
    # Of several the oldest, by its id: whoever else runs this command now keeps the same.
    made = min([made, *twins(found, made)], key=lambda each: each.connector_id)
    # Its URL may have others by now: then none is switched on.
    only_one(_without_twins(client, found, made), wanted.url)
    report.say(f"{made.shown} is created, and disabled until the endpoint is proven.")
    return made


def _with_room(error: ApiError, client: Client, wanted: Connector) -> CommandError:
    """Return the error; of a project that is full, with the command that makes room."""
    if error.status in (400, 409, 429) and len(client.connectors(wanted.project_id)) >= MOST:
        return CommandError(f"{error} {_room(wanted.project_id)}", error.exit_code)
    return error


def _room(project_id: str) -> str:
    return (
        f"The project has {MOST} connectors, as many as DT Cloud allows: `dtconn status --project {project_id}` lists "
        f"them, and `dtconn disconnect ID --project {project_id}` removes one."
    )


def _prove(present: Connector, wanted: Connector, report: Report, dt_can: bool) -> bool:
    """Return whether our own requests prove the endpoint.

    Args:
        present: The connector as it is.
        wanted: As it shall be.
        report: Gets the answers.
        dt_can: Whether a receiver that refuses the secret may still be proven, by DT's own signature.

    Raises:
        CommandError: It does not answer as a receiver with this secret does.
    """
    if not wanted.secret:
        return False
    right = ask_signed(wanted, wanted.secret)
    report.found["proof"] = {"right": right.status, "wrong": None}
    if right.kind is Kind.UNVERIFIED:
        if dt_can:
            report.say("The receiver does not take this secret: DT's own signature must prove it.")
            return False
        raise CommandError(f"The receiver does not accept the secret. Set DT_SIGNATURE_SECRET here to the receiver's, "
                           f"or name its --cloud, and run the command again. {_state(present)}")  # fmt: skip
    if right.kind is not Kind.STORED:
        raise CommandError(f"The endpoint is not proven. {right.text} {_state(present)}")
    wrong = ask_forged(wanted)
    report.found["proof"]["wrong"] = wrong.status
    if wrong.kind is not Kind.UNVERIFIED:
        raise CommandError(
            f"The endpoint answered {wrong.status or 'nothing'} to a request with a wrong secret, where a receiver "
            f"answers 401. {wrong.text if wrong.kind is not Kind.STORED else 'It does not verify signatures.'} "
            f"{_state(present)}"
        )
    report.say(f"The endpoint is proven: 200 in {right.seconds:.1f} s for the right secret, 401 for a wrong one.")
    return True


def _state(present: Connector) -> str:
    if present.status == ACTIVE:
        return "The connector was not changed."
    return "The connector stays disabled; the same command goes on from here."


def _apply(client: Client, present: Connector, wanted: Connector) -> Connector:
    changes = {name: getattr(wanted, name) for name in _differences(present, wanted)}
    return client.update(present, patient=True, **changes) if changes else present
