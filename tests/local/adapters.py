"""The local receiver under contract."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract.adapter import Adapter, Factory
from tests.support.processes import running


@contextmanager
def local(environ: Mapping[str, str], folder: Path, request: pytest.FixtureRequest) -> Iterator[Adapter]:
    path = folder / "events.db"

    def bodies() -> list[bytes]:
        connection = sqlite3.connect(path)
        found = [row[0] for row in connection.execute("SELECT body FROM events ORDER BY rowid")]
        connection.close()
        return found

    with running("local", {**environ, "DT_DATABASE": str(path)}, folder) as program:
        other = sqlite3.connect(path, isolation_level=None)
        yield Adapter(program, bodies, lambda: other.execute("BEGIN IMMEDIATE"), lambda: other.execute("ROLLBACK"))
        other.close()


ADAPTERS: dict[str, Factory] = {"local": local}
PIPED_LOGS = ADAPTERS
SERVERS = ADAPTERS
