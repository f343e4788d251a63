"""Reads what a receiver stored, from SQLite or Postgres, without ever writing to either."""

import base64
import csv
import importlib
import json
import re
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import CommandError
from core.environment import SettingsError
from core.event import Event, parse_stored, rfc3339
from core.readings import Reading, readings
from core.text import printable
from heroku.url import is_url, normalized
from local.wiring import is_any_url

_EVENT_COLUMNS = (
    "key", "event_id", "event_type", "device_id", "project_id", "timestamp", "received_at", "signed_by", "parsed",
    "body",
)  # fmt: skip
_READING_COLUMNS = (
    "key", "device_id", "project_id", "event_type", "quantity", "value", "text", "unit", "time", "received_at",
    "is_backfilled", "name", "signed_by",
)  # fmt: skip
_FLAGS = ("parsed", "is_backfilled")

# How much newer than its event a reading may be. DT dates an event when it arrives, after whatever is in it, and so do
# all captured deliveries; what is left is a Cloud Connector whose clock is ahead.
_AHEAD = timedelta(minutes=10)
_CONNECT_TIMEOUT = 10.0
_COLUMNS_THERE = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"
# What begins a formula where a cell does: https://owasp.org/www-community/attacks/CSV_Injection. And the apostrophe
# itself, so that taking one away always gives the text back.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
_FIRST = datetime.min.replace(tzinfo=UTC)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_RELATIVE = re.compile(r"([0-9]+)([smhdw])").fullmatch
# What is not a terminal has no width; wide enough for the longest key that DT's ids make.
_WIDTH = 240

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which rows, newest first.

    Attributes:
        device_id: Of this device only.
        event_types: Of these types only; all if empty.
        since: Not older than this, by event time; by the time of arrival where an event has none.
        until: Older than this.
        limit: At most so many; 0 for all.
        as_readings: One row per reading rather than per event.
    """

    device_id: str | None = None
    event_types: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 20
    as_readings: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """What a row has."""
        return _READING_COLUMNS if self.as_readings else _EVENT_COLUMNS

    @property
    def view(self) -> str:
        """Where the rows are."""
        return "readings" if self.as_readings else "events"

    def sql(self, placeholder: Callable[[int], str], there: Collection[str]) -> tuple[str, list[str | int]]:
        """Return the statement and its arguments.

        Args:
            placeholder: Writes the n-th parameter, n counting from 1.
            there: The columns of `view`, of which a database that an older version made has fewer.
        """
        # As the index events_by_time has it, so that the newest are read from its end.
        time = "time" if self.as_readings else "coalesce(timestamp, received_at)"
        conditions, arguments = [], list[str | int]()

        def parameter(value: str | int) -> str:
            arguments.append(value)
            return placeholder(len(arguments))

        if self.device_id is not None:
            conditions.append(f"device_id = {parameter(self.device_id)}")
        if self.event_types:
            conditions.append(f"event_type IN ({', '.join(parameter(name) for name in self.event_types)})")
        if self.since is not None:
            conditions.append(f"{time} >= {parameter(rfc3339(self.since))}")
            if "event_time" in there and self.since - _FIRST > _AHEAD:
                # The time of a reading is in the body, and that of its event in the index.
                conditions.append(f"event_time >= {parameter(rfc3339(self.since - _AHEAD))}")
        if self.until is not None:
            conditions.append(f"{time} < {parameter(rfc3339(self.until))}")
        columns = [name if name in there else f"NULL AS {name}" for name in self.columns]
        # Only names that are written here are put together; whatever was typed is a parameter.
        statement = f"SELECT {', '.join(columns)} FROM {self.view}"  # noqa: S608
        if conditions:
            statement += f" WHERE {' AND '.join(conditions)}"
        statement += f" ORDER BY {time} DESC{' NULLS LAST' if self.as_readings else ''}, key"
        if self.limit:
            statement += f" LIMIT {parameter(self.limit)}"
        return statement, arguments


def parse_time(text: str, now: datetime) -> datetime:
    """Read RFC 3339, in UTC if it names no offset, or an age such as ``90s``, ``5m``, ``2h``, ``3d``, ``1w``.

    Raises:
        ValueError: It is neither.
    """
    try:
        if age := _RELATIVE(text):
            return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError("It must be a time such as 2026-01-31T12:00:00Z, or an age such as 90s, 5m, 2h, 3d.") from None


async def fetch(database: str, query: Query) -> AsyncIterator[Row]:
    """Yield the rows one by one, with times as RFC 3339 and the body as bytes.

    Args:
        database: A file, or the URL of a Postgres database.
        query: Which rows.

    Raises:
        CommandError: The database cannot be read.
    """
    rows = _fetch_postgres if is_url(database) else _fetch_sqlite
    async for values in rows(database, query):
        row = dict(zip(query.columns, values, strict=True))
        # SQLite has no booleans.
        yield row | {name: bool(row[name]) for name in _FLAGS if name in row}


async def _fetch_sqlite(database: str, query: Query) -> AsyncIterator[Iterable[Any]]:
    try:
        with closing(_open(Path(database))) as connection:
            there = [column[0] for column in connection.execute(f"SELECT * FROM {query.view} LIMIT 0").description]  # noqa: S608
            for row in connection.execute(*query.sql(lambda _: "?", there)):
                yield row
    except sqlite3.Error as error:
        raise CommandError(
            f"Cannot read events from {database}: {error}. Is it the file that the receiver's DT_DATABASE names?"
        ) from None


def _open(path: Path) -> sqlite3.Connection:
    if is_any_url(str(path)):
        # It is not quoted: it may hold a password.
        raise CommandError("That is no URL of Postgres: it begins with postgres:// or postgresql://.")
    if not path.exists():
        raise CommandError(
            f"There is no database at {path} yet. Start the receiver with `make run`, and send it an event with "
            "`make send`."
        )
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    # A lone surrogate is JSON, and no UTF-8: it must not end the list.
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    return connection


async def _fetch_postgres(database: str, query: Query) -> AsyncIterator[Iterable[Any]]:
    try:
        asyncpg = importlib.import_module("asyncpg")
    except ImportError:
        raise CommandError("A Postgres database needs another package: pip install asyncpg") from None
    try:
        connection = await asyncpg.connect(
            normalized(database),
            timeout=_CONNECT_TIMEOUT,
            # Behind a pooler, what has a name may meet another session, and only this setting passes.
            statement_cache_size=0,
            server_settings={"application_name": "dtconn"},
        )
        try:
            # As text: Postgres has times that Python has not, and one of them must not end the list.
            await connection.set_type_codec(
                "timestamptz", schema="pg_catalog", encoder=str, decoder=_postgres_time, format="text"
            )
            async with connection.transaction(readonly=True):
                await connection.execute("SET LOCAL datestyle = ISO; SET LOCAL timezone = UTC")
                there = {row[0] for row in await connection.fetch(_COLUMNS_THERE, query.view)}
                if not there:
                    raise CommandError("This database has no events. Deploy the receiver, which makes the tables.")
                statement, arguments = query.sql(lambda number: f"${number}", there)
                await connection.execute(f"DECLARE listed NO SCROLL CURSOR FOR {statement}", *arguments)
                while rows := await connection.fetch("FETCH 500 FROM listed"):
                    for row in rows:
                        yield row
        finally:
            await connection.close()
    except SettingsError as error:
        raise CommandError(str(error), 2) from None
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        # The class alone: the text may quote the URL, and that has the password.
        raise CommandError(
            f"Cannot read the Postgres database: {type(error).__name__}. Check the URL that --database, DT_DATABASE or "
            "DATABASE_URL gives; Heroku's is what `heroku config:get DATABASE_URL` prints."
        ) from None


def _postgres_time(text: str) -> str:
    # What asyncpg makes of the first and the last microsecond of `datetime`: older versions stored them so.
    if text == "-infinity":
        return rfc3339(_FIRST)
    if text == "infinity":
        return rfc3339(datetime.max.replace(tzinfo=UTC))
    try:
        return rfc3339(datetime.fromisoformat(text))
    except ValueError:
        return text


async def write_json(rows: AsyncIterator[Row]) -> None:
    """Print one JSON object per row and line, with DT's own names, and whatever could steer a terminal escaped."""
    async for row in rows:
        named = {_name(column): value for column, value in _with_text(row).items()}
        line = json.dumps(named, ensure_ascii=False)
        typer.echo("".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in line))


async def write_csv(rows: AsyncIterator[Row], columns: Sequence[str]) -> None:
    """Print CSV with a header line, with DT's own names, and no cell that is a formula; see decision 29."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([_name(column) for column in columns] + ["encoding"] * ("body" in columns))
    async for row in rows:
        writer.writerow(map(_csv_cell, _with_text(row).values()))


def _csv_cell(value: object) -> object:
    if isinstance(value, bool):
        return json.dumps(value)
    if not isinstance(value, str):
        return value
    text = f"'{value}" if value.startswith(_FORMULA) else value
    return printable(text) if sys.stdout.isatty() else text


async def write_events(rows: AsyncIterator[Row]) -> None:
    """Print a table of events."""
    table = _table("time (UTC)", "type", "device", "value", "delay")
    # The one column that shrinks in a narrow terminal: it repeats two others.
    table.add_column("key", overflow="ellipsis")
    async for row in rows:
        event = parse_stored(row["body"], datetime.fromisoformat(row["received_at"]))
        if row["parsed"]:
            value = Text(_summary(event))
        else:
            value = Text(f"unparsed: {event.fault or 'by the version that stored it'}", "yellow")
        delay = _delay(event.received_at - event.timestamp) if event.timestamp else ""
        table.add_row(
            _time(row["timestamp"] or row["received_at"]),
            _cell(row["event_type"]),
            _cell(row["device_id"]),
            value,
            delay,
            _cell(row["key"]),
        )
    _print(table)


async def write_readings(rows: AsyncIterator[Row]) -> None:
    """Print a table of readings."""
    table = _table("time (UTC)", "type", "quantity", "device", "value", "name", "")
    async for row in rows:
        table.add_row(
            _time(row["time"]),
            _cell(row["event_type"]),
            _cell(row["quantity"]),
            _cell(row["device_id"]),
            Text(_value(row["value"], row["text"], row["unit"])),
            _cell(row["name"]),
            "backfilled" if row["is_backfilled"] else "",
        )
    _print(table)


def _table(*headers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, no_wrap=True)
    return table


def _print(table: Table) -> None:
    if not table.row_count:
        typer.echo("Nothing that is stored matches. `make send` sends an event.", err=True)
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(table)


def _name(column: str) -> str:
    first, *rest = column.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _with_text(row: Row) -> Row:
    """Write the body as text: exactly the bytes that DT signed, in base64 where they are no UTF-8."""
    if "body" not in row:
        return row
    try:
        return row | {"body": row["body"].decode(), "encoding": "utf-8"}
    except UnicodeDecodeError:
        return row | {"body": base64.b64encode(row["body"]).decode(), "encoding": "base64"}


def _summary(event: Event) -> str:
    """Return the newest reading of each unit, at most two: temperature and humidity, signal strength and RSSI."""
    newest: dict[str | None, Reading] = {}
    for reading in readings(event):
        newest.setdefault(reading.unit, reading)
    return ", ".join(_value(reading.value, reading.text, reading.unit) for reading in list(newest.values())[:2])


def _value(value: float | None, text: str | None, unit: str | None) -> str:
    if value is None:
        return _cell(text).plain
    return f"{value:.10g}" if unit in (None, "1") else f"{value:.10g} {unit}"


def _time(text: str | None) -> Text:
    return _cell(text and text[:19].replace("T", " "))


def _delay(delay: timedelta) -> str:
    seconds = delay.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if abs(seconds) >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _cell(text: str | None) -> Text:
    """Show text that came from outside: no markup, and nothing that steers a terminal."""
    return Text(printable(text or ""))
