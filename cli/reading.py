"""``dtconn events``, ``readings``, ``latest`` and ``tail``: what a store has, whichever cloud it is in."""

import gc
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from cli import CommandError
from cli.fail import fail
from cli.places import find

if TYPE_CHECKING:
    from rich.table import Table

    from cli.rows import Row
    from core.event import Event
    from readers.contract import Reader
    from readers.query import Query

T = TypeVar("T")

_NOTHING = "Nothing that is stored matches. `make send` sends an event."
# Keys that tail remembers, so that what a store gives again is shown once; those of the last look, if they are more.
_MAX_KNOWN = 100_000
_LINES = 20
_GARBAGE = 100_000

From = Annotated[
    str,
    typer.Option(
        "--from",
        "--database",
        envvar=["DT_DATABASE", "DATABASE_URL"],
        metavar="URL|FILE",
        help="The store: an SQLite file, or a URL such as postgres://..., dynamodb:TABLE (docs/reading.md lists all).",
    ),
]
DATABASE = "var/events.db"
Device = Annotated[str | None, typer.Option("--device", metavar="ID", help="Of this device only.")]
Types = Annotated[
    list[str] | None, typer.Option("--type", "-t", metavar="TYPE", help="Of this event type only; repeatable.")
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="With this label only; NAME alone for any value; repeatable."),
]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Not older than a time or an age.")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Older than a time or an age.")]
Limit = Annotated[int, typer.Option("--limit", min=0, help="At most this many; 0 for all.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Receive = Annotated[
    bool, typer.Option("--receive", help="Read a queue that cannot be peeked: takes messages and gives them back.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Read without asking, whatever it costs.")]


def events(
    source: From = DATABASE,
    device_id: Device = None,
    types: Types = None,
    labels: Labels = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    receive: Receive = False,
    yes: Yes = False,
) -> None:
    """List stored events, newest first by event time.

    A time is RFC 3339, in UTC if it names no offset; an age is a number and one of s, m, h, d, w.

    With --json and --csv, the body is exactly what DT signed, or what was fetched if signedBy says so; in base64 if it
    is not text: encoding says which.

    \b
    Examples:
      dtconn events                                        the newest 20
      dtconn events --type temperature --since 2h
      dtconn events --label name="Meeting room" --limit 0
      dtconn events --since 2026-01-31 --until 2026-02-01 --limit 0 --csv
      dtconn events --json | jq '.body | fromjson | .labels'
      dtconn events --from dynamodb:dt-receiver-events --device emucdd6ef2eu277bo8f52vg --since 2h
    """  # noqa: D301
    from cli.rows import EVENT_COLUMNS, event_row
    from cli.tables import events_table

    _check_format(as_json, as_csv)
    query = build_query(device_id, types, labels, since, until, limit)
    with opened(source, receive=receive) as reader:
        ask(reader.cost(query), yes)
        found = reader.events(query)
        _write(found, event_row, EVENT_COLUMNS, events_table, as_json, as_csv)


def readings(
    source: From = DATABASE,
    device_id: Device = None,
    types: Types = None,
    labels: Labels = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    receive: Receive = False,
    yes: Yes = False,
) -> None:
    """List readings: one row per value, with its unit and the sensor's name, newest first by their own time.

    \b
    Examples:
      dtconn readings --since 2h
      dtconn readings --device emucdd6ef2eu277bo8f52vg --since 7d --limit 0 --csv > readings.csv
      dtconn readings --from cloudant:https://HOST/events --type temperature --json
    """  # noqa: D301
    from cli.rows import READING_COLUMNS, reading_row
    from cli.tables import readings_table
    from readers.readings import newest_readings, readings_query

    _check_format(as_json, as_csv)
    query = build_query(device_id, types, labels, since, until, limit)
    with opened(source, receive=receive) as reader:
        ask(reader.cost(readings_query(query)), yes)
        found = newest_readings(reader, query)
        _write(found, reading_row, READING_COLUMNS, readings_table, as_json, as_csv)


def latest(
    source: From = DATABASE,
    device_id: Device = None,
    types: Types = None,
    labels: Labels = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    yes: Yes = False,
) -> None:
    """List the latest reading of each quantity of each sensor, with its age.

    \b
    Examples:
      dtconn latest
      dtconn latest --label floor=2 --json
      dtconn latest --from postgres://...
    """  # noqa: D301
    from cli.rows import READING_COLUMNS, reading_row
    from cli.tables import latest_table
    from readers.readings import newest_rows

    _check_format(as_json, as_csv)
    query = build_query(device_id, types, labels)
    with opened(source, needs_history=True) as reader:
        ask(reader.latest_cost(query), yes)
        found = sorted(
            newest_rows(latest_events(reader, query)),
            key=lambda row: (row.reading.name or "", row.reading.device_id or "", row.reading.event_type),
        )
        _write(found, reading_row, READING_COLUMNS, latest_table, as_json, as_csv)


def tail(
    source: From = DATABASE,
    device_id: Device = None,
    types: Types = None,
    labels: Labels = None,
    limit: Annotated[int, typer.Option("--limit", min=0, max=1_000, help="Start with this many.")] = 10,
    as_json: AsJson = False,
    yes: Yes = False,
) -> None:
    """Show events as they are stored, until Ctrl-C: a live table on a terminal, lines elsewhere.

    \b
    Examples:
      dtconn tail
      dtconn tail --type temperature --json | jq .deviceId
    """  # noqa: D301
    query = build_query(device_id, types, labels, limit=limit)
    with opened(source, needs_history=True) as reader:
        if limit:
            ask(reader.cost(query), yes)
        if reader.poll_seconds is None:
            fail(
                CommandError(
                    "This store cannot be followed, because each look would read all of it. Copy it with "
                    "`dtconn mirror`, and follow the copy.",
                    2,
                )
            )
        arriving = _arriving(reader, query)
        try:
            if as_json or not sys.stdout.isatty():
                _print_lines(arriving, as_json)
            else:
                _show_live(arriving, max(limit, _LINES))
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


def _write(
    found: Iterable[T],
    to_row: "Callable[[T], Row]",
    columns: Sequence[str],
    to_table: "Callable[[Iterable[T]], Table]",
    as_json: bool,
    as_csv: bool,
) -> None:
    """Print what was found, in the form that was asked for."""
    from cli.rows import write_csv, write_json
    from cli.tables import show

    if as_json:
        write_json(map(to_row, found))
    elif as_csv:
        write_csv(map(to_row, found), columns)
    else:
        show(to_table(found), _NOTHING)


def _arriving(reader: "Reader", query: "Query") -> "Iterator[list[Event]]":
    """Yield the newest events, oldest first, and then what arrives, as often as the store is asked."""
    from dataclasses import replace

    position = reader.end()
    # What follow gives again because it arrived shortly before.
    known = dict.fromkeys(event.key for batch in reader.follow(position) for event in batch.events)
    first = list(reader.events(query)) if query.limit else []
    known |= dict.fromkeys(event.key for event in first)
    yield first[::-1]
    query = replace(query, limit=0)
    while True:
        new, given = [], 0
        for batch in reader.follow(position):
            position = batch.position or position
            for event in batch.events:
                given += 1
                if event.key not in known and query.matches(event):
                    new.append(event)
                # Last, so that the next look still knows it.
                known.pop(event.key, None)
                known[event.key] = None
        while len(known) > max(_MAX_KNOWN, given):
            del known[next(iter(known))]
        yield new
        time.sleep(reader.poll_seconds or 1)


def _print_lines(arriving: "Iterator[list[Event]]", as_json: bool) -> None:
    from cli.rows import event_row, json_line
    from cli.tables import event_cells

    for events in arriving:
        for event in events:
            line = json_line(event_row(event)) if as_json else "  ".join(cell.plain for cell in event_cells(event))
            print(line, flush=True)


def _show_live(arriving: "Iterator[list[Event]]", lines: int) -> None:
    from rich.console import Console
    from rich.live import Live

    from cli.tables import events_table

    shown: deque[Event] = deque(maxlen=lines)
    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        for events in arriving:
            shown.extend(events)
            live.update(events_table(reversed(shown)), refresh=True)


@contextmanager
def opened(
    source: str,
    *,
    receive: bool = False,
    needs_history: bool = False,
    exit_code: int = 1,
    opening: "Callable[[str], Reader] | None" = None,
) -> "Iterator[Reader]":
    """Open the reader of a store, or end the command with one sentence.

    Args:
        source: Its URL.
        receive: Whether a queue that cannot be peeked may be read.
        needs_history: Whether a queue is of no use.
        exit_code: Of the command if the store cannot be read.
        opening: In place of `readers.sources.open_reader`.
    """
    from readers import ReaderError
    from readers.sources import open_reader

    if source == DATABASE:
        source = str(find(Path(source)))
    # Rows have no cycles, and looking for them takes a sixth of a listing.
    gc.set_threshold(_GARBAGE)
    try:
        with (opening or open_reader)(source) as reader:
            if needs_history and reader.is_queue:
                fail(CommandError("A queue has no history: the worker of its cloud processes what it takes.", 2))
            if reader.receiving:
                if not receive:
                    fail(CommandError(f"This queue cannot be peeked. {reader.receiving} Add --receive to do that.", 2))
                typer.echo(reader.receiving, err=True)
            yield reader
    except ReaderError as error:
        fail(CommandError(str(error), exit_code))


def latest_events(reader: "Reader", query: "Query") -> "Iterator[Event]":
    """Yield the newest events of each device and type, without those by which dtconn proves an endpoint."""
    from itertools import filterfalse

    from readers.query import is_proof

    return filterfalse(is_proof, reader.latest(query))


def ask(cost: str | None, yes: bool) -> None:
    """Print what a query reads and costs, and ask; without a terminal, --yes answers."""
    if cost is None:
        return
    typer.echo(cost, err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        fail(CommandError("Add --yes to read it.", 2))
    typer.confirm("Read it?", abort=True, err=True)


def build_query(
    device_id: str | None,
    types: list[str] | None,
    labels: list[str] | None,
    since: str | None = None,
    until: str | None = None,
    limit: int = 0,
) -> "Query":
    """Return the query of a command's options."""
    from core.event import EVENT_TYPES
    from core.spelling import nearest
    from readers.query import Query

    for name in types or ():
        # A type that is not known may be a new one.
        if name not in EVENT_TYPES and (meant := nearest(name, EVENT_TYPES)):
            _refuse(f"{name} is not an event type. Do you mean {meant}?", "--type")

    return Query(
        device_id=device_id,
        event_types=types or (),
        labels=dict(label.partition("=")[::2] for label in labels or ()),
        since=_time(since, "--since"),
        until=_time(until, "--until"),
        limit=limit,
    )


def _time(text: str | None, option: str) -> datetime | None:
    from cli.times import parse_time

    try:
        return parse_time(text, datetime.now(UTC)) if text else None
    except ValueError as error:
        _refuse(str(error), option)


def _check_format(as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise typer.BadParameter("Choose one.", param_hint=["--json", "--csv"])


def _refuse(message: str, option: str) -> NoReturn:
    raise typer.BadParameter(message, param_hint=option) from None
