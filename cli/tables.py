"""Events and readings as tables for a person."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.rows import received_at
from cli.times import age
from core.event import FETCHED, Event, rfc3339
from core.readings import Reading, readings
from core.text import printable
from readers.readings import ReadingRow

if TYPE_CHECKING:
    from cli.check import Seen

# Without a terminal there is no width; wide enough for the longest key of DT's ids.
_WIDTH = 240
EVENT_HEADERS = ("time (UTC)", "type", "device", "name", "value", "delay")
_READING_HEADERS = ("time (UTC)", "type", "quantity", "device", "value", "name", "")
_LATEST_HEADERS = ("name", "device", "type", "quantity", "value", "time (UTC)", "age", "")


def events_table(events: Iterable[Event]) -> Table:
    """Return a table of events."""
    table = new_table(*EVENT_HEADERS)
    # The only column that shrinks in a narrow terminal: it repeats two others.
    table.add_column("key", overflow="ellipsis")
    for event in events:
        table.add_row(*event_cells(event), cell(event.key))
    return table


def event_cells(event: Event) -> tuple[Text, ...]:
    """Return an event's cells below `EVENT_HEADERS`."""
    value = Text(_summary(event)) if event.parsed else Text(f"unparsed: {event.fault}", "yellow")
    delay = age((event.received_at - event.timestamp).total_seconds()) if event.timestamp else ""
    if event.signed_by == FETCHED:
        delay = FETCHED
    return (
        _time(rfc3339(event.timestamp) if event.timestamp else received_at(event)),
        cell(event.event_type),
        cell(event.device_id),
        cell(event.labels.get("name")),
        value,
        Text(delay),
    )


def readings_table(rows: Iterable[ReadingRow]) -> Table:
    """Return a table of readings."""
    table = new_table(*_READING_HEADERS)
    for row in rows:
        reading = row.reading
        table.add_row(
            _time(reading.time),
            cell(reading.event_type),
            cell(reading.quantity),
            cell(reading.device_id),
            Text(_value(reading)),
            cell(reading.name),
            _mark(row),
        )
    return table


def latest_table(rows: Iterable[ReadingRow]) -> Table:
    """Return a table of the latest readings, with their age now."""
    table, now = new_table(*_LATEST_HEADERS), datetime.now(UTC)
    for row in rows:
        reading = row.reading
        time = datetime.fromisoformat(reading.time) if reading.time else None
        table.add_row(
            cell(reading.name),
            cell(reading.device_id),
            cell(reading.event_type),
            cell(reading.quantity),
            Text(_value(reading)),
            _time(reading.time),
            age((now - time).total_seconds()) if time else "",
            _mark(row),
        )
    return table


def seen_table(seen: "Sequence[Seen]", late: "Sequence[Seen]", now: datetime) -> Table:
    """Return a table of when each sensor was last heard of."""
    table = new_table("name", "device", "last seen (UTC)", "age", "")
    for one in seen:
        mark = Text("silent", "red") if one in late else Text()
        if one.at is None:
            table.add_row(cell(one.name), cell(one.device_id), "", "", mark)
        else:
            elapsed = age((now - one.at).total_seconds())
            table.add_row(cell(one.name), cell(one.device_id), _time(rfc3339(one.at)), elapsed, mark)
    return table


def show(table: Table, advice: str) -> None:
    """Print a table, or ``advice`` on standard error if it is empty."""
    if not table.row_count:
        typer.echo(advice, err=True)
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(table)


def new_table(*headers: str) -> Table:
    """Return an empty table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, no_wrap=True)
    return table


def _summary(event: Event) -> str:
    """Return the newest reading of each unit, at most two: temperature and humidity, signal strength and RSSI."""
    newest: dict[str | None, Reading] = {}
    for reading in readings(event):
        newest.setdefault(reading.unit, reading)
    return ", ".join(_value(reading) for reading in list(newest.values())[:2])


def _value(reading: Reading) -> str:
    if reading.value is None:
        return printable(reading.text or "")
    return f"{reading.value:.10g}" if reading.unit in (None, "1") else f"{reading.value:.10g} {reading.unit}"


def _mark(row: ReadingRow) -> str:
    marks = ("backfilled", row.reading.is_backfilled), (FETCHED, row.event.signed_by == FETCHED)
    return ", ".join(mark for mark, is_so in marks if is_so)


def _time(text: str | None) -> Text:
    return cell(text and text[:19].replace("T", " "))


def cell(text: str | None) -> Text:
    """Return untrusted text without markup and control characters."""
    return Text(printable(text or ""))
