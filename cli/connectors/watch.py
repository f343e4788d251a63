"""``dtconn watch``: says in time that DT Cloud will disable a Data Connector."""

import json
import os
import shlex
import subprocess
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import CommandError
from cli.connectors.client import ApiError, Client
from cli.connectors.options import AsJson, ProjectId, Quiet, asking, connect_to_dt
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


@dataclass(slots=True)
class Seen:
    """What was known of a connector at the last look.

    Attributes:
        status: Its status.
        successes: Those of the three hours before.
        errors: Likewise.
        failing_since: Since when no success was seen, as RFC 3339; None while there are some.
        warned: How many of `WARNINGS` were given.
    """

    status: str
    successes: int = 0
    errors: int = 0
    failing_since: str | None = None
    warned: int = 0


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

    Exits 0 if all deliver, 1 if one is failing, disabled or deleted, 2 if that cannot be told or there is none; until
    then it runs for ever, unless --once is given.

    \b
    Examples:
      dtconn watch
      dtconn watch --once --webhook https://example.com/alarm       from cron or a systemd timer
      dtconn watch --exec 'mail -s "Data Connector" me@example.com'
    """  # noqa: D301
    code = 0
    with asking(2):
        outlet = _Outlet(as_json, quiet, _command(command), webhook)
        client = connect_to_dt()
        seen = _read(state)
        try:
            while True:
                code = _look(client, project_id, seen, outlet)
                _write(state, seen)
                if once:
                    break
                time.sleep(every)
        except KeyboardInterrupt:
            pass
    raise typer.Exit(code)


@dataclass(slots=True)
class _Outlet:
    """Where changes are told, and whether it was told that DT Cloud does not answer."""

    as_json: bool
    quiet: bool
    command: list[str] | None
    webhook: str | None
    is_blind: bool = False

    def tell(self, change: Change) -> None:
        document = asdict(change) | {"time": rfc3339(datetime.now(UTC))}
        if self.as_json:
            print(json.dumps(document), flush=True)
        elif not self.quiet:
            print(f"{document['time'][:19]}Z  {change.text}", flush=True)
        try:
            if self.webhook:
                post(self.webhook, document)
            if self.command:
                _run(self.command, document)
        except CommandError as error:
            # The next change is told all the same.
            typer.echo(str(error), err=True)


def _look(client: Client, project_id: str | None, seen: dict[str, Seen], outlet: _Outlet) -> int:
    """Look at every connector once, tell what changed, and return the exit code."""
    is_ill, there = False, set()
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
        if not outlet.is_blind:
            outlet.tell(Change("unknown", "", project_id or "", str(error)))
        outlet.is_blind = True
        return 2
    outlet.is_blind = False
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
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DT_")}
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, without a shell
            command, input=json.dumps(document).encode(), timeout=_EXEC_TIMEOUT, env=environ, check=False
        )
    except OSError as error:
        raise CommandError(f"--exec: {command[0]} cannot be run: {error.strerror}.", 2) from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"--exec: {command[0]} did not end in {_EXEC_TIMEOUT:.0f} s.") from None
    if done.returncode:
        raise CommandError(f"--exec: {command[0]} ended with {done.returncode}.")


def _read(path: Path) -> dict[str, Seen]:
    try:
        return {key: Seen(**each) for key, each in json.loads(path.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError):
        raise CommandError(
            f"{path} is not a state of dtconn watch. Remove it, or name another file with --state.", 2
        ) from None


def _write(path: Path, seen: dict[str, Seen]) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({key: asdict(each) for key, each in seen.items()}), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}. Name another file with --state.") from None
