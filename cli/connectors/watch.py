"""``dtconn watch``: says in time that DT Cloud will disable a Data Connector."""

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import CommandError
from cli.connectors.client import ApiError, Client
from cli.connectors.options import AsJson, ProjectId, Quiet, asking, connect_to_dt
from cli.connectors.seen import Seen, State
from cli.connectors.status import STATES
from cli.connectors.values import ACTIVE, Connector, Metrics
from cli.times import age
from cli.webhook import Webhook, post
from core.event import read_time, rfc3339

_STATE = Path("var/watch.json")
_EVERY = 60
# DT Cloud disables a connector after five days without a success.
PATIENCE = timedelta(days=5)
WARNINGS = (timedelta(hours=1), timedelta(days=1), timedelta(days=4))
_EXEC_TIMEOUT = 60.0
# Changes kept for a webhook, or a command, that fails.
_MOST_UNTOLD = 20


@dataclass(frozen=True, slots=True)
class Change:
    """Something to tell.

    Attributes:
        kind: ``state``, ``failing``, ``recovered``, ``gone``, or ``unknown`` if DT Cloud does not tell.
        connector: The connector's id; empty if unknown.
        project: Its project's id, likewise.
        text: What happened, as a sentence.
    """

    kind: str
    connector: str
    project: str
    text: str


def watch(
    project_id: ProjectId = None,
    every: Annotated[int, typer.Option(min=10, metavar="SECONDS", help="The time between two looks.")] = _EVERY,
    once: Annotated[bool, typer.Option("--once", help="Look once, for a timer; the state file remembers.")] = False,
    state: Annotated[Path, typer.Option(metavar="FILE", help="What was seen at the last look.")] = _STATE,
    command: Annotated[
        str | None,
        typer.Option("--exec", metavar="COMMAND", help="Run this for each change, with its JSON on standard input."),
    ] = None,
    webhook: Webhook = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Look at the Data Connectors again and again, print what changes, and warn before DT Cloud disables one.

    DT Cloud disables a connector after five days without a success: warnings come after an hour, a day and four days.
    Run it where the receiver does not run: what stops the one would stop the other.

    A change that the webhook or the command does not take is passed on again at the next look.

    Exits 0 if all deliver, 1 if one is failing, disabled or deleted, 2 if that cannot be told or passed on, or there is
    none; until then it runs for ever, unless --once is given.

    \b
    Examples:
      dtconn watch
      dtconn watch --once --webhook https://example.com/alarm       from cron or a systemd timer
      dtconn watch --exec 'mail -s "Data Connector" me@example.com'
    """  # noqa: D301
    code = 0
    with asking(2):
        program = _command(command)
        client = connect_to_dt()
        remembered = State.read(state)
        outlet = _Outlet(as_json, quiet, program, webhook, remembered)
        try:
            while True:
                code = _look(client, project_id, remembered, outlet)
                if not outlet.pass_on():
                    code = 2
                remembered.write(state)
                if once:
                    break
                time.sleep(every)
        except KeyboardInterrupt:
            pass
    raise typer.Exit(code)


@dataclass(slots=True)
class _Outlet:
    """Where changes are told."""

    as_json: bool
    quiet: bool
    command: list[str] | None
    webhook: str | None
    state: State

    def tell(self, change: Change) -> None:
        document = asdict(change) | {"time": rfc3339(datetime.now(UTC))}
        if self.as_json:
            print(json.dumps(document), flush=True)
        elif not self.quiet:
            print(f"{document['time'][:19]}Z  {change.text}", flush=True)
        for way in self._ways():
            self.state.untold.setdefault(way, []).append(document)

    def pass_on(self) -> bool:
        """Pass on what is untold; what fails is kept for the next look. Return whether nothing failed."""
        failed = False
        for way, send in self._ways().items():
            left, failure = [], None
            for document in self.state.untold.pop(way, []):
                try:
                    send(document)
                except CommandError as error:
                    failure = error
                    left.append(document)
            if failure:
                typer.echo(f"{failure} It gets the change again at the next look.", err=True)
                self.state.untold[way] = left[-_MOST_UNTOLD:]
                failed = True
        return not failed

    def _ways(self) -> dict[str, Callable[[dict[str, Any]], None]]:
        webhook, command = self.webhook, self.command
        ways: dict[str, Callable[[dict[str, Any]], None]] = {}
        if webhook:
            ways["webhook"] = lambda document: post(webhook, document)
        if command:
            ways["exec"] = lambda document: _run(command, document)
        return ways


def _look(client: Client, project_id: str | None, state: State, outlet: _Outlet) -> int:
    """Look at every connector once, tell what changed, and return the exit code."""
    is_ill, there, seen = False, set(), state.connectors
    try:
        projects = [project_id] if project_id else [each.project_id for each in client.projects()]
        connectors = [each for project in projects for each in client.connectors(project)]
        for connector in connectors:
            there.add(_key(connector))
            metrics = client.metrics(connector)
            known = seen.get(_key(connector))
            now, changes = step(connector, metrics, known, datetime.now(UTC))
            seen[_key(connector)] = now
            # One failed attempt is no alarm: it is repeated.
            is_ill = is_ill or now.status != ACTIVE or now.warned > 0 or metrics.is_failing
            for change in changes:
                outlet.tell(change)
    except ApiError as error:
        if not state.is_blind:
            outlet.tell(Change("unknown", "", project_id or "", str(error)))
        state.is_blind = True
        return 2
    if state.is_blind:
        outlet.tell(Change("recovered", "", project_id or "", "DT Cloud answers again."))
    state.is_blind = False
    for key in [key for key in seen if key not in there and (not project_id or key.startswith(f"{project_id}/"))]:
        del seen[key]
        project, _, connector_id = key.partition("/")
        outlet.tell(Change("gone", connector_id, project, f"{connector_id} was deleted."))
        is_ill = True
    if not connectors and not is_ill:
        typer.echo("There is no Data Connector to watch: dtconn connect URL makes one.", err=True)
        return 2
    return 1 if is_ill else 0


def _key(connector: Connector) -> str:
    return f"{connector.project_id}/{connector.connector_id}"


def step(connector: Connector, metrics: Metrics, known: Seen | None, now: datetime) -> tuple[Seen, list[Change]]:
    """Compare a connector with what was known of it.

    Metrics are of the last three hours, so a success is new only if there are more than before; and a connector fails
    if all attempts of three hours failed, or if errors were added and no success was.

    Returns:
        What is known now, and what to tell.
    """
    changes: list[tuple[str, str]] = []
    since = known and read_time(known.failing_since)
    if connector.status != ACTIVE or metrics.errors == 0 or (known and metrics.successes > known.successes):
        since = None
    elif metrics.is_failing or (known and metrics.errors > known.errors):
        since = since or now
    if not known:
        if connector.status != ACTIVE:
            changes.append(("state", f"{connector.shown} is {_state(connector)}."))
        elif metrics.is_failing:
            changes.append(("failing", f"{connector.shown}: all {metrics.errors} attempts of the last 3 h failed."))
    elif known.status != connector.status:
        changes.append(
            ("state", f"{connector.shown} is {_state(connector)}; it was {STATES.get(known.status, known.status)}.")
        )
    elif known.failing_since and since is None and connector.status == ACTIVE:
        changes.append(("recovered", f"{connector.shown} delivers again."))
    warned = known.warned if known and since else 0
    if since:
        due = sum(now - since >= limit for limit in WARNINGS)
        if due > warned:
            changes.append(("failing", _warning(connector, now - since)))
        warned = max(due, warned)
    seen = Seen(connector.status, metrics.successes, metrics.errors, rfc3339(since) if since else None, warned)
    return seen, [Change(kind, connector.connector_id, connector.project_id, text) for kind, text in changes]


def _state(connector: Connector) -> str:
    state = STATES.get(connector.status, connector.status)
    if connector.status == ACTIVE:
        return state
    return f"{state}: events are lost until `dtconn enable {connector.argument}`"


def _warning(connector: Connector, failing: timedelta) -> str:
    left = (PATIENCE - failing).total_seconds()
    when = f"in {age(left)} at most" if left > 0 else "at any moment"
    return (
        f"{connector.shown} has had no success for {age(failing.total_seconds())} or longer: DT Cloud disables it "
        f"{when}. `dtconn doctor {connector.argument}` looks for the cause."
    )


# ---- what it is told by, and remembers ----


def _command(text: str | None) -> list[str] | None:
    try:
        words = shlex.split(text) if text else None
    except ValueError:
        words = []
    if words == []:
        raise CommandError("--exec must be a command, quoted as in a shell.", 2)
    return words


def _run(command: list[str], document: dict[str, Any]) -> None:
    # Without the account's credentials: a command that sends a mail needs none.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("DT_", "DTCONN_"))}
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, without a shell
            # On standard error, because standard output has the changes alone.
            command,
            input=json.dumps(document).encode(),
            stdout=2,
            timeout=_EXEC_TIMEOUT,
            env=environ,
            check=False,
        )
    except OSError as error:
        raise CommandError(f"--exec: {command[0]} cannot be run: {error.strerror}.", 2) from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"--exec: {command[0]} did not end in {_EXEC_TIMEOUT:.0f} s.") from None
    if done.returncode:
        raise CommandError(f"--exec: {command[0]} ended with {done.returncode}.")
