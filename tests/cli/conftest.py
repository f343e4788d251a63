"""The databases that ``dtconn events`` is run on."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from core.event import Event
from tests.cli.stored import SOME_EVENTS, Databases, fill, filled
from tests.support.postgres import Postgres


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("var") / "events.db"
    fill(path, SOME_EVENTS)
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Databases:
    """Return a function that makes a database with some events and returns the value of --database."""
    if request.param == "postgres":
        postgres: Postgres = request.getfixturevalue("postgres")
        return lambda events: filled(postgres, events)

    def make(events: Iterable[Event]) -> str:
        fill(tmp_path / "events.db", events)
        return str(tmp_path / "events.db")

    return make
