"""The files that ``dtconn export`` writes: CSV, JSON lines and Parquet."""

import csv
import io
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Self

from cli import CommandError
from cli.rows import Row, csv_cell, json_line

FORMATS = ("csv", "jsonl", "parquet")
# Rows in memory before Parquet writes a row group: about 5 MB.
_ROW_GROUP = 10_000
# Characters of a cell: a body is longer than csv's own limit.
_MAX_CELL = 2**31 - 1
_TIMES = frozenset({"timestamp", "receivedAt", "time"})
_FLAGS = frozenset({"parsed", "isBackfilled"})


class ExportFile(ABC):
    """A file that gets its name when it is complete. A context manager: an error deletes what is written.

    Until then it ends in ``.part``, after the number of the process: two exports do not write to one file.

    Args:
        path: Its name.
        columns: Those of each row.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = columns
        self._part = path.with_name(f"{path.name}.{os.getpid()}.part")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
                self._part.replace(self.path)
        finally:
            if self._part.exists():
                # On a full disk, this fails again.
                with suppress(OSError, ValueError):
                    self._finish()
                self._part.unlink()

    @abstractmethod
    def write(self, row: Row) -> None:
        """Append a row."""

    @staticmethod
    @abstractmethod
    def keys(path: Path) -> Iterator[str]:
        """Yield the key of each row of a file."""

    @abstractmethod
    def copy(self) -> None:
        """Append the rows of the file that has the name already."""

    @abstractmethod
    def _finish(self) -> None: ...


class JsonLinesFile(ExportFile):
    """One JSON object per line."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        super().__init__(path, columns)
        self._file: io.TextIOBase = self._part.open("w", encoding="utf-8", newline="\n")

    def write(self, row: Row) -> None:
        """Append a line."""
        self._file.write(json_line(row) + "\n")

    @staticmethod
    def keys(path: Path) -> Iterator[str]:
        """Yield the key of each line of a file."""
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield json.loads(line)["key"]

    def copy(self) -> None:
        """Append the lines of the present file."""
        with self.path.open(encoding="utf-8", newline="\n") as file:
            shutil.copyfileobj(file, self._file)

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

    @staticmethod
    def keys(path: Path) -> Iterator[str]:
        """Yield the key of each line of a file."""
        csv.field_size_limit(_MAX_CELL)
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield row["key"].removeprefix("'")

    def copy(self) -> None:
        """Append the lines of the present file, without its header."""
        with self.path.open(encoding="utf-8", newline="\n") as file:
            next(file, None)
            shutil.copyfileobj(file, self._file)


class ParquetFile(ExportFile):
    """Columns with types: times in microseconds UTC, values as doubles."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        super().__init__(path, columns)
        pa = _pyarrow()
        types = {"value": pa.float64()} | dict.fromkeys(_FLAGS, pa.bool_())
        types |= dict.fromkeys(_TIMES, pa.timestamp("us", tz="UTC"))
        self._pa = pa
        self._schema = pa.schema([(name, types.get(name, pa.string())) for name in columns])
        self._writer = pa.parquet.ParquetWriter(self._part, self._schema)
        self._rows: list[dict[str, Any]] = []

    def write(self, row: Row) -> None:
        """Append a row, which is written with its row group."""
        for name in _TIMES.intersection(row):
            row[name] = row[name] and datetime.fromisoformat(row[name])
        self._rows.append(row)
        if len(self._rows) >= _ROW_GROUP:
            self._flush()

    @staticmethod
    def keys(path: Path) -> Iterator[str]:
        """Yield the key of each row of a file."""
        with _pyarrow().parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROW_GROUP, columns=["key"]):
                yield from batch["key"].to_pylist()

    def copy(self) -> None:
        """Append the row groups of the present file."""
        with self._pa.parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(_ROW_GROUP):
                self._writer.write_batch(batch)

    def _flush(self) -> None:
        if self._rows:
            rows, self._rows = self._rows, []
            self._writer.write_table(self._pa.Table.from_pylist(rows, self._schema))

    def _finish(self) -> None:
        self._flush()
        self._writer.close()


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise CommandError(
            "Parquet needs a library that is not installed. In a clone of the repository: make readers, or for Parquet "
            "alone: pip install '.[parquet]'"
        ) from None
    return pyarrow


_CLASSES: dict[str, type[ExportFile]] = {"csv": CsvFile, "jsonl": JsonLinesFile, "parquet": ParquetFile}


def open_file(path: Path, file_format: str, columns: Sequence[str]) -> ExportFile:
    """Create a file of one of `FORMATS`.

    Raises:
        CommandError: It cannot be created, or a library is missing.
    """
    try:
        return _CLASSES[file_format](path, columns)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from None


def keys_of(path: Path, file_format: str) -> Iterator[str]:
    """Yield the keys of the rows of a file, each run of equal ones once.

    Raises:
        CommandError: It is not a file of this format with a column of keys.
    """
    try:
        yield from (key for key, _ in groupby(_CLASSES[file_format].keys(path)))
    except (ValueError, TypeError, KeyError, AttributeError, csv.Error):
        raise CommandError(f"{path} is not a file of this export. Move it away.") from None
