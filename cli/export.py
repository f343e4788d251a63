"""``dtconn export``: writes what a store has to files."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from cli import CommandError
from cli.fail import fail
from cli.reading import DATABASE, Device, From, Labels, Types, Yes, ask, build_query, opened

if TYPE_CHECKING:
    from cli.rows import Row
    from cli.spool import Spool
    from core.event import Event
    from readers.contract import Reader
    from readers.query import Query

# Its settings, so that one folder has one export; and how far it is.
_SETTINGS = "export.json"
_SPOOL = "export.db"
_DAY = re.compile(r"-\d{4}-\d\d-\d\d").fullmatch


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

    With --partition day, a later run adds what arrived since, also to days that are over, and leaves other days alone.
    A file gets its name when it is complete.

    \b
    Examples:
      dtconn export --to readings.csv
      dtconn export --to lake --format parquet --partition day
      dtconn export --from dynamodb:dt-receiver-events --to events.jsonl --format jsonl --rows events
    """  # noqa: D301
    from cli.files import FORMATS

    for value, allowed, option in (
        (file_format, FORMATS, "--format"),
        (partition, (None, "day"), "--partition"),
        (rows, ("readings", "events"), "--rows"),
    ):
        if value not in allowed:
            known = ", ".join(filter(None, allowed))
            raise typer.BadParameter(f"It must be one of: {known}.", param_hint=option)
    settings = {
        "format": file_format,
        "rows": rows,
        "device": device_id,
        "types": types,
        "labels": labels,
    }
    query = build_query(device_id, types, labels)
    try:
        if not partition and to.is_dir():
            raise CommandError(f"{to} is a folder. Name a file, or add --partition day.", 2)
        with opened(source, needs_history=True) as reader:
            if partition:
                said = _write_days(reader, query, to, {"source": reader.identity()} | settings, yes)
            else:
                ask(reader.arrived_cost(None), yes)
                said = _write_file(reader, query, to, file_format, rows)
    except CommandError as error:
        fail(error)
    except OSError as error:
        fail(CommandError(f"{to} cannot be written: {error.strerror or type(error).__name__}."))
    except KeyboardInterrupt:
        typer.echo("Interrupted. Run the command again.", err=True)
        raise typer.Exit(130) from None
    typer.echo(said)


def _write_file(reader: "Reader", query: "Query", path: Path, file_format: str, rows: str) -> str:
    from cli.files import open_file

    count = 0
    with _Chosen(query) as chosen, open_file(path, file_format, _columns(rows)) as file:
        for event in chosen.of(reader.arrived(None)):
            for row in _rows_of(event, rows):
                file.write(row)
                count += 1
    return f"{count:,} {rows} written to {path}{chosen.others()}."


def _write_days(reader: "Reader", query: "Query", folder: Path, settings: dict[str, Any], yes: bool) -> str:
    from cli.spool import Spool

    rows, suffix = settings["rows"], settings["format"]
    folder.mkdir(parents=True, exist_ok=True)
    with Spool(folder / _SPOOL) as spool:
        _claim(folder, settings)
        for left in folder.glob(f"{rows}-*.{suffix}.*.part"):  # of an export that was killed
            left.unlink()
        ask(reader.follow_cost(spool.position), yes)
        with _Chosen(query) as chosen:
            for batch in reader.follow(spool.position):
                spool.add(chosen.of(batch.events), batch.position)
        count = 0
        for day in spool.days():
            count += _write_day(spool, day, folder / f"{rows}-{day}.{suffix}", settings)
        spool.shrink()
    days = sum(bool(_DAY(path.stem[-11:])) for path in folder.glob(f"{rows}-*.{suffix}"))
    return f"{folder} is up to date: {days:,} days, and {count:,} {rows} are new{chosen.others()}."


def _write_day(spool: "Spool", day: str, path: Path, settings: dict[str, Any]) -> int:
    """Add to the file of a day what it does not have yet; return the number of rows."""
    from cli.files import keys_of, open_file

    rows, suffix = settings["rows"], settings["format"]
    if path.exists():
        spool.drop(day, keys_of(path, suffix))
    found = (row for event in spool.events(day) for row in _rows_of(event, rows))
    count = 0
    # Without a row, the file stays as it is.
    if first := next(found, None):
        with open_file(path, suffix, _columns(rows)) as file:
            if path.exists():
                file.copy()
            for row in chain([first], found):
                file.write(row)
                count += 1
    spool.finish(day)
    return count


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings of an export into its folder, or compare them.

    Raises:
        CommandError: The folder has another export.
    """
    path = folder / _SETTINGS
    try:
        if path.exists():
            if json.loads(path.read_text(encoding="utf-8")) != settings:
                raise CommandError(f"{folder} has an export with other options: {path} says which. Choose another.", 2)
        else:
            path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    except ValueError as error:
        raise CommandError(f"{path} cannot be read: {type(error).__name__}.") from None


class _Chosen:
    """Chooses the events to export, counts the rows of others, and shows progress. A context manager."""

    def __init__(self, query: "Query") -> None:
        from cli.progress import Progress

        self._query = query
        self._progress = Progress("{} events read")
        self._count = self._foreign = 0

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__(None, None, None)

    def of(self, events: "Iterable[Event]") -> "Iterator[Event]":
        """Yield those events that match and that the receiver wrote."""
        from readers.rows import FOREIGN

        for event in events:
            self._count += 1
            self._progress.show(self._count)
            if event.fault == FOREIGN:
                self._foreign += 1
            elif self._query.matches(event):
                yield event

    def others(self) -> str:
        """Return what to say of rows that are not exported."""
        return f"; {self._foreign:,} rows were not written by the receiver, and not exported" if self._foreign else ""


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
