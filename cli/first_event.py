"""``dtconn first-event``: sends one event to a deployed receiver, and reads it back from its store."""

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache
from typing import Annotated, TypeVar

import typer

import readers
from cli import CommandError
from cli.connectors.options import AsJson, Quiet
from cli.connectors.values import shown_url
from cli.remote import (
    Cloud,
    Name,
    NotTakenError,
    Project,
    Region,
    Show,
    Url,
    Wait,
    deployed,
    deployed_secrets,
    report_of,
    wait_until_taken,
    waiting,
)
from core.event import Event, rfc3339
from deployed import DeniedError
from deployed.contract import Deployment, Place

T = TypeVar("T")
_WAIT = 180.0
_EVERY = 1.0
# How often a queue is read whose readings count as deliveries.
_READINGS = 3


def first_event(
    cloud: Cloud,
    name: Name = None,
    project: Project = None,
    region: Region = None,
    url: Url = None,
    show: Show = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Read the store without asking, whatever it costs.")] = False,
    wait: Wait = _WAIT,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Send one signed event to a deployed receiver, read it back from its store, and say how to connect DT Cloud.

    The event is that of an emulator, with the label dtconn=proof. A queue that cannot be peeked is read by taking its
    messages and giving them back.

    \b
    Examples:
      dtconn first-event aws
      dtconn first-event heroku my-app --show
      dtconn first-event azure --yes --json | jq -r .url
    """  # noqa: D301
    from cli.proof import Proof
    from cli.send import outcome_of

    report = report_of(as_json, quiet, show)
    with deployed(cloud, Place(name=name, project=project, region=region), url) as deployment:
        secrets = _permitted(lambda: deployed_secrets(deployment), time.monotonic() + wait)
        proof = Proof(deployment.url)
        try:
            answer = wait_until_taken(proof, deployment.url, {"sent": secrets[0]}, wait)["sent"]
        except NotTakenError as error:
            raise CommandError(
                f"{error.refused['sent']} It was signed with what this prints: {deployment.secret_command}"
            ) from None
        if outcome_of(answer) == "dropped":
            raise CommandError(
                "The receiver took the event and dropped it, because DT_EVENT_TYPES or DT_PROJECT_ID does not name "
                "what it is. So all works, as far as this can see; touch a sensor to see the rest."
            )
        report.say(f"sent    {_line(proof.event)}")
        stored = _read_back(deployment, proof.event, wait, yes)
        report.say(f"stored  {_line(stored)}  {stored.signed_by}")
        secret = secrets[0] if show else f"run this again with --show, or: {deployment.secret_command}"
        report.say(
            "\nIt works. In DT Studio > API Integrations > Data Connectors > Add Data Connector:\n"
            f"  Endpoint URL      {deployment.url if show else shown_url(deployment.url)}\n"
            f"  Signature secret  {secret}"
        )
    report.found = {
        "url": shown_url(deployment.url),
        "source": _without_password(deployment.source),
        "key": stored.key,
        "receivedAt": rfc3339(stored.received_at),
        "signedBy": stored.signed_by,
        "secretCommand": deployment.secret_command,
    }
    report.close()


def _without_password(source: str) -> str:
    from readers.sources import identity, scheme_of

    # The others have no password: who is logged in may read them.
    return identity(source) if scheme_of(source) == "postgres" else source


def _line(event: Event) -> str:
    from cli.tables import event_cells

    return "  ".join(cell.plain for cell in event_cells(event))


def _read_back(deployment: Deployment, sent: Event, wait: float, yes: bool) -> Event:
    from rich.console import Console

    from cli.reading import ask, opened
    from readers.query import Query
    from readers.sources import open_reader

    if not deployment.source:
        raise CommandError("It was acknowledged, so it is stored; but there is no store here that can be read.")
    assert sent.timestamp is not None
    query = Query(device_id=sent.device_id, since=sent.timestamp - timedelta(minutes=1))
    ends = time.monotonic() + wait
    with opened(
        deployment.source, receive=True, opening=lambda source: _permitted(lambda: open_reader(source), ends)
    ) as reader:
        ask(_permitted(lambda: reader.cost(query), ends), yes)
        # Where a reading counts as a delivery of each message, few are made: too many make dead letters.
        every = max(_EVERY, wait / _READINGS) if reader.receiving else _EVERY
        with Console(stderr=True).status("Reading it back"):
            while True:
                is_over = time.monotonic() >= ends
                if found := _permitted(lambda: _same(reader.events(query), sent), ends):
                    return found
                if is_over:
                    break
                time.sleep(every)
    raise CommandError(
        f"It was acknowledged, but is not in the store after {waiting(wait)}. Did a consumer take it, or is this the "
        "store of another receiver? Look at the log."
    )


def _permitted(call: Callable[[], T], ends: float) -> T:
    """Make a call, again and again while it is denied: a new role takes minutes to be in effect."""
    while True:
        is_over = time.monotonic() >= ends
        try:
            return call()
        except (DeniedError, readers.DeniedError) as error:
            if is_over:
                raise
            why = str(error).partition("\n")[0]
            _say_once(f"{why} A new role takes minutes to be in effect: trying again.")
        time.sleep(_EVERY)


@cache
def _say_once(text: str) -> None:
    typer.echo(text, err=True)


def _same(events: Iterable[Event], sent: Event) -> Event | None:
    return next((event for event in events if event.key == sent.key), None)
