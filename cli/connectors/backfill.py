"""``dtconn backfill``: fetches from DT's event history what a disabled Data Connector did not send."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import CommandError
from cli.connectors.client import Client
from cli.connectors.fetched import fetched
from cli.connectors.gap import QUEUED
from cli.connectors.options import (
    AsJson,
    Chosen,
    ProjectId,
    Quiet,
    asking,
    connect_to_dt,
    find_connector,
    find_project,
    require,
)
from cli.connectors.values import Connector, device_id
from cli.places import find
from cli.reading import DATABASE, From, opened
from cli.times import age, parse_time
from core.event import Event, rfc3339
from readers.query import Query
from readers.sources import identity, scheme_of

if TYPE_CHECKING:
    from cli.targets import Writer

# DT Cloud keeps events for 30 days.
KEPT = timedelta(days=30)
# The window that --verify compares, and of how many devices.
_COMPARED = timedelta(hours=24)
_DEVICES = 5
_BATCH = 500
_WRITABLE = ("sqlite", "postgres")


@dataclass(slots=True)
class Job:
    """A backfill, of which each device is a step. It is the content of the checkpoint.

    Attributes:
        given: What was asked for, so that the same command goes on.
        since: The beginning, RFC 3339: 12 h before the gap.
        until: The end.
        done: The ids of the devices that are complete.
        counts: Events by outcome.
    """

    given: list[str]
    since: str
    until: str
    done: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def backfill(
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="When the gap began: a time or an age.")],
    chosen: Chosen = None,
    project_id: ProjectId = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", show_default="now", help="When it ended.")
    ] = None,
    source: From = DATABASE,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="STORE",
            show_default="that of --from",
            help="sqlite:PATH, postgres://..., or a platform such as aws, whose settings are in this environment.",
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="First compare the ids of the day before with those that are stored.")
    ] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default="var/backfill-ID.json", help="Remembers how far it is.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fetch what was missed from DT's event history into the same store, under the same keys.

    It begins 12 h before the gap, because what waited for delivery was lost too. An event that is stored already is not
    changed. A fetched event has no signature: its `signedBy` is `fetched`. If it is interrupted, the same command goes
    on with the next device. DT Cloud keeps events for 30 days, without `labelsChanged`.

    \b
    Examples:
      dtconn backfill --since 2026-01-30T12:00:00Z --until 2026-01-31T12:00:00Z --verify
      dtconn backfill --since 3d --to postgres://...
      dtconn backfill --since 3d --from dynamodb:dt-receiver-events --to aws
    """  # noqa: D301
    from cli.targets import open_writer

    with asking():
        begin, end = _window(since, until)
        target = _target(source, to)
        client = connect_to_dt(burst=1)
        project = find_project(client, project_id)
        require(client, project, "dataconnector.read", "device.read", "sensor.read")
        connector = find_connector(client, project, chosen)
        path = checkpoint or Path(f"var/backfill-{connector.connector_id}.json")
        given = [since, until or "", identity(target)]
        job = _resumed(path, given) or Job(given, rfc3339(begin), rfc3339(end))
        devices = sorted(client.devices(project.project_id), key=device_id)
        recognised = _verify(client, connector, devices, job, source) if verify else None
        if recognised and not quiet and not as_json:
            typer.echo(f"{recognised[0]} of {recognised[1]} events of the day before are stored under the same id.")
        with open_writer(target) as writer:
            _run(client, connector, devices, job, writer, path)
    document: dict[str, Any] = {"connector": connector.connector_id, "since": job.since, "until": job.until,
                                "devices": len(devices),
                                "stored": 0, "duplicate": 0, "refused": 0, **job.counts}  # fmt: skip
    if recognised:
        document |= {"recognised": recognised[0], "compared": recognised[1]}
    if as_json:
        typer.echo(json.dumps(document))
    elif not quiet:
        stored, known, refused = (job.counts.get(name, 0) for name in ("stored", "duplicate", "refused"))
        text = f"{stored:,} events fetched, {known:,} were stored already"
        text += f", {refused:,} were refused by the store" if refused else ""
        typer.echo(f"{text}: {len(devices):,} devices, {job.since[:19]}Z to {job.until[:19]}Z.")
    raise typer.Exit(1 if job.counts.get("refused") else 0)


def _window(since: str, until: str | None) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    try:
        gap, end = parse_time(since, now), parse_time(until, now) if until else now
    except ValueError as error:
        raise CommandError(f"--since and --until: {error}", 2) from None
    if gap >= end:
        raise CommandError("--since must be before --until, or before now without it.", 2)
    if now - gap > KEPT:
        raise CommandError("DT Cloud keeps events for 30 days: name a later --since.", 2)
    return max(gap - QUEUED, now - KEPT), end


def _target(source: str, to: str | None) -> str:
    """Return what to write to: by default the store of --from, if it is a database."""
    if to:
        return to
    if source == DATABASE:
        path = find(Path(source))
        if path.exists():
            return f"sqlite:{path}"
        raise CommandError("Name the store: --from or --to sqlite:PATH or postgres://..., or --to with a platform.", 2)
    scheme = scheme_of(source)
    if scheme in _WRITABLE or (scheme is None and "://" not in source):
        if scheme != "postgres" and not Path(source.removeprefix("sqlite:")).exists():
            raise CommandError("There is no database at --from. To make one, name it with --to.", 2)
        return source
    raise CommandError(f"{scheme or 'This store'} is written by its platform's own code: name that with --to, such as "
                       "--to aws, with the settings of the deployment in this environment.", 2)  # fmt: skip


# ---- one device after the other ----


def _run(
    client: Client, connector: Connector, devices: Sequence[dict[str, Any]], job: Job, writer: "Writer", path: Path
) -> None:
    from rich.console import Console

    begin, end = datetime.fromisoformat(job.since), datetime.fromisoformat(job.until)
    left = [device for device in devices if device_id(device) not in set(job.done)]
    started, counts = time.monotonic(), Counter(job.counts)
    with Console(stderr=True).status("") as status:
        for number, device in enumerate(left):
            status.update(_progress(number, len(left), counts.total(), time.monotonic() - started))
            # DT gives the newest first.
            events = list(_history(client, connector, device, begin, end))[::-1]
            waiting = iter(events)
            while batch := list(islice(waiting, _BATCH)):
                counts += writer.write(batch)
            job.done.append(device_id(device))
            job.counts = dict(counts)
            _save(path, job)
    path.unlink(missing_ok=True)


def _history(
    client: Client, connector: Connector, device: dict[str, Any], begin: datetime, end: datetime
) -> Iterator[Event]:
    for raw in client.history(connector.project_id, device_id(device), begin, end):
        event = fetched(raw, device, connector, datetime.now(UTC))
        if event.event_type is None or connector.sends(event.event_type):
            yield event


def _progress(number: int, total: int, events: int, seconds: float) -> str:
    left = f", about {age(seconds / number * (total - number))} left" if number else ""
    return f"{number:,} of {total:,} devices, {events:,} events{left}"


# ---- what was delivered ----


def _verify(
    client: Client, connector: Connector, devices: Sequence[dict[str, Any]], job: Job, source: str
) -> tuple[int, int]:
    """Return how many events of the day before the window are stored under the same key, and how many there are.

    Raises:
        CommandError: None of them is: then a backfill would store everything a second time. Or there are none.
    """
    end = datetime.fromisoformat(job.since)
    known = compared = seen = 0
    with opened(source, needs_history=True) as reader:
        for device in devices:
            keys = {event.key for event in _history(client, connector, device, end - _COMPARED, end)}
            if not keys:
                continue
            query = Query(device_id=device_id(device), since=end - _COMPARED, until=end)
            known += len(keys & {event.key for event in reader.events(query)})
            compared += len(keys)
            seen += 1
            if seen == _DEVICES:
                break
    if not compared:
        raise CommandError("DT Cloud has no event of the day before the window to compare. Nothing was written. Leave "
                           "--verify out to fetch all the same.")  # fmt: skip
    if not known:
        raise CommandError(
            f"None of {compared} events of the day before the window is stored under DT's id, so a backfill would "
            "store each event twice. Nothing was written. Is --from the store of this connector, and --since right?"
        )
    return known, compared


# ---- the checkpoint ----


def _resumed(path: Path, given: list[str]) -> Job | None:
    """Return the job of an interrupted run of the same command."""
    try:
        job = Job(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        raise CommandError(
            f"{path} is not a checkpoint of a backfill. Remove it, or name another: --checkpoint.", 2
        ) from None
    return job if job.given == given else None


def _save(path: Path, job: Job) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(asdict(job)), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written: {error.strerror}. Name another file with --checkpoint."
        ) from None
