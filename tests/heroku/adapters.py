"""Heroku's receiver under contract."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract.adapter import Adapter, Factory
from tests.support.postgres import Postgres, execute
from tests.support.processes import running


@contextmanager
def heroku(environ: Mapping[str, str], folder: Path, request: pytest.FixtureRequest) -> Iterator[Adapter]:
    server: Postgres = request.getfixturevalue("postgres")
    url = server.create_database()

    def bodies() -> list[bytes]:
        return [row["body"] for row in execute(url, "SELECT body FROM events ORDER BY received_at")]

    with running("heroku", {**environ, "DATABASE_URL": url}, folder) as program:
        yield Adapter(
            program,
            bodies,
            lambda: execute(url, "ALTER TABLE events RENAME TO gone"),
            lambda: execute(url, "ALTER TABLE gone RENAME TO events"),
        )


ADAPTERS: dict[str, Factory] = {"heroku": heroku}
PIPED_LOGS = ADAPTERS
SERVERS = ADAPTERS
