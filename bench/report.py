"""The result of a run as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Section:
    """One part of the bench.

    Attributes:
        title: The heading.
        header: The column names; the first column is what was measured.
        rows: The cells of each row.
        notes: Explanations of the table, and additional checks; a sentence or two each.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def number(value: float | None, digits: int) -> str:
    """Format a number; empty for None."""
    return "" if value is None else f"{value:,.{digits}f}"


def render(
    started: datetime, command: str, machine: Sequence[str], sections: Sequence[Section], failures: Sequence[str]
) -> str:
    """Return the whole document."""
    lines = [f"# Measured on {started:%Y-%m-%d at %H:%M} UTC", "", f"`{command}`", ""]
    lines += [f"- {line}" for line in machine]
    for section in sections:
        lines += ["", f"## {section.title}", "", *_table(section), ""]
        lines += [f"- {note}" for note in section.notes]
    if failures:
        lines += ["", *failures]
    return "\n".join(lines) + "\n"


def _table(section: Section) -> list[str]:
    rows = [section.header, *section.rows]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in (rows[0], rule, *rows[1:])
    ]
