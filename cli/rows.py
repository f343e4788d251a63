"""Events and readings as rows with DT's own names, written as JSON lines or CSV."""

import base64
import csv
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from core.event import Event, rfc3339
from core.text import printable
from readers.readings import ReadingRow
from readers.rows import UNKNOWN_TIME

EVENT_COLUMNS = (
    "key", "eventId", "eventType", "deviceId", "projectId", "timestamp", "receivedAt", "signedBy", "parsed", "body",
    "encoding",
)  # fmt: skip
READING_COLUMNS = (
    "key", "deviceId", "projectId", "eventType", "quantity", "value", "text", "unit", "time", "receivedAt",
    "isBackfilled", "name", "signedBy",
)  # fmt: skip

# The characters that begin a formula in a spreadsheet: https://owasp.org/www-community/attacks/CSV_Injection. And the
# apostrophe itself, so that removing one always restores the text.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")

Row = dict[str, Any]


def event_row(event: Event) -> Row:
    """Return an event with `EVENT_COLUMNS`: the body exactly as it is stored, in base64 if it is not UTF-8."""
    try:
        body, encoding = event.body.decode(), "utf-8"
    except UnicodeDecodeError:
        body, encoding = base64.b64encode(event.body).decode(), "base64"
    values = (
        event.key,
        event.event_id,
        event.event_type,
        event.device_id,
        event.project_id,
        rfc3339(event.timestamp) if event.timestamp else None,
        received_at(event),
        event.signed_by,
        event.parsed,
        body,
        encoding,
    )
    return dict(zip(EVENT_COLUMNS, values, strict=True))


def reading_row(row: ReadingRow) -> Row:
    """Return a reading with `READING_COLUMNS`."""
    reading, event = row
    values = (
        reading.key,
        reading.device_id,
        reading.project_id,
        reading.event_type,
        reading.quantity,
        reading.value,
        reading.text,
        reading.unit,
        reading.time,
        received_at(event),
        reading.is_backfilled,
        reading.name,
        event.signed_by,
    )
    return dict(zip(READING_COLUMNS, values, strict=True))


def received_at(event: Event) -> str | None:
    """Return an event's time of arrival; None for a row that has none."""
    return None if event.received_at == UNKNOWN_TIME else rfc3339(event.received_at)


def json_line(row: Row) -> str:
    """Return a row as one line of JSON, with every character escaped that could control a terminal."""
    line = json.dumps(row, ensure_ascii=False)
    return line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def write_json(rows: Iterable[Row]) -> None:
    """Print one JSON object per line."""
    for row in rows:
        typer.echo(json_line(row))


def write_csv(rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Print CSV with a header line, and no cell that a spreadsheet takes for a formula: see decision 29."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    cell = printable_cell if sys.stdout.isatty() else csv_cell
    for row in rows:
        writer.writerow(map(cell, row.values()))


def csv_cell(value: object) -> object:
    """Return a value as a cell that is not a formula."""
    if isinstance(value, bool):
        return json.dumps(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def printable_cell(value: object) -> object:
    """Return a cell without characters that control a terminal."""
    cell = csv_cell(value)
    return printable(cell) if isinstance(cell, str) else cell
