"""``dtconn export``: writes what a store has to files."""

import json
import time as clock
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import CommandError
from cli.fail import fail
from cli.reading import DATABASE, Device, From, Labels, Types, Yes, ask, build_query, opened

if TYPE_CHECKING:
    from cli.files import ExportFile
    from cli.rows import Row
    from core.event import Event
    from readers.contract import Reader
    from readers.query import Query

_DAY = timedelta(days=1)
# Rows in memory, over all days: a store without an order of arrival has all of them open.
_MAX_BUFFERED = 20_000
# Its settings, so that one folder has one export.
_SETTINGS = "export.json"


def export(
    to: Annotated[Path, typer.Option("--to", metavar="FILE|FOLDER", help="The file; with --partition, the folder.")],
    source: From = DATABASE,
    file_format: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="csv, jsonl or parquet.", show_default=True)
    ] = "csv",
    partition: Annotated[
        str | None, typer.Option(metavar="day", help="day: one file for each day of arrival, in UTC.")
    ] = None,
    rows: Annotated[str, typer.Option(metavar="ROWS", help="readings or events.")] = "readings",
    device_id: Device = None,
    types: Types = None,
    labels: Labels = None,
    yes: Yes = False,
) -> None:
    """Write readings or events to CSV, JSON lines or Parquet, in no more memory than a few thousand of them.

    With --partition day, a later run writes the days that are new or were not over the last time, and only those. A
    file gets its name when it is complete.

    \b
    Examples:
      dtconn export --to readings.csv
      dtconn export --to lake --format parquet --partition day
      dtconn export --from dynamodb:dt-receiver-events --to events.jsonl --format jsonl --rows events
    """  # noqa: D301
    from cli.files import FORMATS
    from readers.sources import identity

    for value, allowed, option in (
        (file_format, FORMATS, "--format"),
        (partition, (None, "day"), "--partition"),
        (rows, ("readings", "events"), "--rows"),
    ):
        if value not in allowed:
            known = ", ".join(filter(None, allowed))
            raise typer.BadParameter(f"It must be one of: {known}.", param_hint=option)
    settings = {
        "source": identity(source),
        "format": file_format,
        "rows": rows,
        "device": device_id,
        "types": types,
        "labels": labels,
    }
    query = build_query(device_id, types, labels)
    try:
        with opened(source, needs_history=True) as reader:
            if partition:
                _write_days(reader, query, to, settings, yes)
            else:
                ask(reader.arrived_cost(None), yes)
                _write_file(reader, query, to, file_format, rows)
    except CommandError as error:
        fail(error)
    except KeyboardInterrupt:
        typer.echo("Interrupted. Run the command again.", err=True)
        raise typer.Exit(130) from None


def _write_file(reader: "Reader", query: "Query", path: Path, file_format: str, rows: str) -> None:
    from cli.files import open_file

    with ExitStack() as stack:
        file = open_file(path, file_format, _columns(rows))
        stack.callback(file.discard)
        count = 0
        for event in _matching(reader, query, None):
            for row in _rows_of(event, rows):
                file.write(row)
                count += 1
        stack.pop_all()
        file.close()
    typer.echo(f"{count:,} {rows} written to {path}.")


def _write_days(reader: "Reader", query: "Query", folder: Path, settings: dict[str, Any], yes: bool) -> None:
    from cli.files import open_file

    _claim(folder, settings)
    started = clock.time()
    rows, suffix = settings["rows"], settings["format"]
    since = _first_open_day(folder, f"{rows}-*.{suffix}")
    ask(reader.arrived_cost(since), yes)
    files: dict[str, ExportFile] = {}
    count = 0
    with ExitStack() as stack:
        for event in _matching(reader, query, since):
            day = event.received_at.strftime("%Y-%m-%d")
            if since and event.received_at < since:
                continue
            if day not in files:
                if reader.is_in_order:
                    # A later arrival: the days before are complete.
                    stack.pop_all()
                    _close(files, started)
                files[day] = open_file(folder / f"{rows}-{day}.{suffix}", suffix, _columns(rows))
                stack.callback(files[day].discard)
            for row in _rows_of(event, rows):
                files[day].write(row)
                count += 1
                if count % _MAX_BUFFERED == 0:
                    for file in files.values():
                        file.flush()
        stack.pop_all()
        _close(files, started)
    days = len(list(folder.glob(f"{rows}-*.{suffix}")))
    typer.echo(f"{folder} is up to date: {days:,} days.")


def _close(files: "dict[str, ExportFile]", started: float) -> None:
    """Complete files, with the time at which their export began: they have what arrived before."""
    for day in list(files):
        files.pop(day).close(started)


def _first_open_day(folder: Path, pattern: str) -> datetime | None:
    """Return the start of the first day to write: after the last one whose file was begun when the day was over."""
    from readers.contract import OVERLAP

    complete = []
    for path in folder.glob(pattern):
        start = datetime.combine(datetime.fromisoformat(path.stem[-10:]), time(), UTC)
        if datetime.fromtimestamp(path.stat().st_mtime, UTC) > start + _DAY + OVERLAP:
            complete.append(start)
    return max(complete) + _DAY if complete else None


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings of an export into its folder, or compare them.

    Raises:
        CommandError: The folder has another export.
    """
    path = folder / _SETTINGS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if json.loads(path.read_text(encoding="utf-8")) != settings:
                raise CommandError(f"{folder} has an export with other options: {path} says which. Choose another.", 2)
        else:
            path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CommandError(f"{folder} cannot be used: {type(error).__name__}.") from None


def _matching(reader: "Reader", query: "Query", since: datetime | None) -> "Iterator[Event]":
    from cli.progress import Progress
    from readers.rows import FOREIGN

    with Progress("{} events read") as progress:
        for count, event in enumerate(reader.arrived(since)):
            progress.show(count)
            if event.fault != FOREIGN and query.matches(event):
                yield event


def _columns(rows: str) -> Sequence[str]:
    from cli.rows import EVENT_COLUMNS, READING_COLUMNS

    return EVENT_COLUMNS if rows == "events" else READING_COLUMNS


def _rows_of(event: "Event", rows: str) -> "Iterator[Row]":
    from cli.rows import event_row, reading_row
    from readers.readings import rows_of

    if rows == "events":
        yield event_row(event)
    else:
        yield from map(reading_row, rows_of(event))
