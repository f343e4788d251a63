"""``python -m bench plots``: draws docs/plots/ from the newest results of each part."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import ROOT
from bench.report import RESULTS
from bench.svg import Axis, bars, decades, lines, up_to

FOLDER = ROOT / "docs" / "plots"
_BARS = ("start, ms", "CPU, us at 1", "CPU, us at 8")
_BAR_NAMES = ("start", "CPU, one at a time", "CPU, eight at a time")


@dataclass(frozen=True)
class Table:
    """A table of a result.

    Attributes:
        source: The name of the file.
        header: The column names.
        rows: The cells.
    """

    source: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def column(self, name: str) -> list[float]:
        """Return a column's numbers."""
        at = self.header.index(name)
        return [float(row[at].replace(",", "")) for row in self.rows]


def read(path: Path, title: str) -> Table | None:
    """Return the table below the heading that begins with ``title``; None if the result has none."""
    found = re.search(rf"^## {re.escape(title)}.*\n\n((?:\|.*\n)+)", path.read_text(), re.MULTILINE)
    if found is None:
        return None
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]
    return Table(path.name, header, rows)


def _peers(table: Table) -> str:
    ratios = [row for row in table.rows if row[0].endswith(": x peer")]
    columns = [table.header.index(name) for name in _BARS]
    groups = {row[0].removesuffix(": x peer"): [float(row[at]) for at in columns] for row in ratios}
    most = max(max(values) for values in groups.values())
    axis = Axis("x what one would write instead; less is better", up_to(max(most, 1)))
    return bars("The receivers beside their peers", table.source, axis, 1, groups, _BAR_NAMES)


def _growth(title: str, x: str, columns: dict[str, str], y: str, is_log: bool = False) -> Callable[[Table], str]:
    """Return what draws some columns of a table beside its first one.

    Args:
        title: The plot's title.
        x: The title of the first column, with its unit.
        columns: The columns, and their names in the plot.
        y: Their title, with the unit.
        is_log: Whether they have a logarithmic axis.
    """

    def draw(table: Table) -> str:
        at = table.column(table.header[0])
        series = {name: list(zip(at, table.column(column), strict=True)) for column, name in columns.items()}
        values = [value for points in series.values() for _, value in points]
        ticks = decades(values) if is_log else up_to(max(values))
        return lines(title, table.source, Axis(x, at, is_log=True), Axis(y, ticks, is_log), series)

    return draw


_CPU = {"SQLite: CPU, us": "local, SQLite", "Postgres: CPU, us": "Heroku, Postgres"}
# The plot, the heading of its table, and what draws it.
PLOTS: dict[str, tuple[str, Callable[[Table], str]]] = {
    "peers": ("peers:", _peers),
    "connections": (
        "growth: connections",
        _growth(
            "Events a second",
            "connections",
            {"SQLite: events/s": "local, SQLite", "Postgres: events/s": "Heroku, Postgres"},
            "events/s",
        ),
    ),
    "bytes": ("growth: bytes", _growth("Processor time for an event", "bytes of the body", _CPU, "us")),
    "samples": ("growth: samples", _growth("Processor time for an event", "samples of the event", _CPU, "us")),
    "rows": (
        "growth: rows",
        _growth(
            "A query once much is stored",
            "events stored",
            {
                "SQLite: `latest` of one device, ms": "SQLite, latest",
                "Postgres: `latest` of one device, ms": "Postgres, latest",
                "SQLite: the newest 20 events, ms": "SQLite, newest 20",
                "Postgres: the newest 20 events, ms": "Postgres, newest 20",
            },
            "ms",
            is_log=True,
        ),
    ),
}


def main(results: Path = RESULTS, folder: Path = FOLDER) -> int:
    """Draw what there are results for; return the exit status."""
    folder.mkdir(exist_ok=True)
    newest = sorted(results.glob("*.md"), reverse=True)
    for name, (title, draw) in PLOTS.items():
        table = next((found for path in newest if (found := read(path, title))), None)
        if table is None:
            print(f"No result has a table {title!r}: run python -m bench {title.partition(':')[0]}.", file=sys.stderr)
            continue
        (folder / f"{name}.svg").write_text(draw(table))
        print(f"docs/plots/{name}.svg, from bench/results/{table.source}")
    return 0
