"""The files that ``dtconn export`` writes: CSV, JSON lines and Parquet."""

import csv
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cli import CommandError
from cli.rows import Row, csv_cell, json_line

FORMATS = ("csv", "jsonl", "parquet")
# Rows in memory before Parquet writes a row group: about 5 MB.
_ROW_GROUP = 10_000
_TIMES = frozenset({"timestamp", "receivedAt", "time"})
_FLAGS = frozenset({"parsed", "isBackfilled"})


class ExportFile(ABC):
    """A file that gets its name when it is complete; until then it ends in ``.part``.

    Args:
        path: Its name.
        columns: Those of each row.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = columns
        self._part = path.with_name(f"{path.name}.part")

    @abstractmethod
    def write(self, row: Row) -> None:
        """Append a row."""

    def flush(self) -> None:  # noqa: B027 - text files have a small buffer
        """Write the rows that are in memory."""

    @abstractmethod
    def _finish(self) -> None: ...

    def close(self, time: float | None = None) -> None:
        """Complete the file.

        Args:
            time: Seconds since the epoch, to be the file's; by default now.
        """
        self._finish()
        if time is not None:
            os.utime(self._part, (time, time))
        self._part.replace(self.path)

    def discard(self) -> None:
        """Delete an incomplete file."""
        self._finish()
        self._part.unlink(missing_ok=True)


class JsonLinesFile(ExportFile):
    """One JSON object per line."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        super().__init__(path, columns)
        self._file: io.TextIOBase = self._part.open("w", encoding="utf-8", newline="\n")

    def write(self, row: Row) -> None:
        """Append a line."""
        self._file.write(json_line(row) + "\n")

    def _finish(self) -> None:
        self._file.close()


class CsvFile(JsonLinesFile):
    """A header line, and a line per row without formulas."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        super().__init__(path, columns)
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(columns)

    def write(self, row: Row) -> None:
        """Append a line."""
        self._writer.writerow(map(csv_cell, row.values()))


class ParquetFile(ExportFile):
    """Columns with types: times in microseconds UTC, values as doubles."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        super().__init__(path, columns)
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ModuleNotFoundError:
            raise CommandError(
                "Parquet needs a library that is not installed: pip install 'data-connector-receiver[parquet]'. In a "
                "clone of the repository: make readers"
            ) from None
        types = {"value": pa.float64()} | dict.fromkeys(_FLAGS, pa.bool_())
        types |= dict.fromkeys(_TIMES, pa.timestamp("us", tz="UTC"))
        self._table = pa.Table.from_pylist
        self._schema = pa.schema([(name, types.get(name, pa.string())) for name in columns])
        self._writer = pq.ParquetWriter(self._part, self._schema)
        self._rows: list[dict[str, Any]] = []

    def write(self, row: Row) -> None:
        """Append a row, which is written with its row group."""
        for name in _TIMES.intersection(row):
            row[name] = row[name] and datetime.fromisoformat(row[name])
        self._rows.append(row)
        if len(self._rows) >= _ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are in memory as a row group."""
        if self._rows:
            self._writer.write_table(self._table(self._rows, self._schema))
            self._rows = []

    def _finish(self) -> None:
        self.flush()
        self._writer.close()


_CLASSES = {"csv": CsvFile, "jsonl": JsonLinesFile, "parquet": ParquetFile}


def open_file(path: Path, file_format: str, columns: Sequence[str]) -> ExportFile:
    """Create a file of one of `FORMATS`.

    Raises:
        CommandError: It cannot be created, or a library is missing.
    """
    try:
        return _CLASSES[file_format](path, columns)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from None
