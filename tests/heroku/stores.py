"""Postgres under contract."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from heroku.postgres import PostgresStore
from tests.contract.store import COLUMNS, Database, Entry, Faults, Harness, Row
from tests.support.postgres import Postgres, execute
from tests.support.proxy import Mode, Proxy


@contextmanager
def postgres(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: Postgres = request.getfixturevalue("postgres")
    url = server.create_database()
    proxy = Proxy(server.port)

    def begin_refusing(condition: str, code: str) -> None:
        execute(
            url,
            f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {condition} "
            f"RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END $$",
        )
        execute(url, "CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()")

    def end_refusing() -> None:
        execute(url, "DROP FUNCTION refuse CASCADE")

    def rows() -> list[Row]:
        return [dict(row) for row in execute(url, f"SELECT {','.join(COLUMNS)} FROM events ORDER BY received_at")]

    def passes() -> None:
        proxy.set(Mode.PASS)

    def speaks() -> None:
        # Close the connections whose bytes were dropped.
        proxy.set(Mode.REFUSE)
        passes()

    poison = "IF new.event_id IS DISTINCT FROM 'poison' THEN RETURN new; END IF;"
    faults: Faults = {
        "unavailable": (lambda: proxy.set(Mode.REFUSE), passes),
        "silent": (lambda: proxy.set(Mode.SILENT), speaks),
        "drip": (lambda: proxy.set(Mode.DRIP), speaks),
        "throttled": (lambda: begin_refusing("", "53300"), end_refusing),
        "lost answer": (lambda: proxy.set(Mode.LOSE_ANSWER), passes),
        "row": (lambda: begin_refusing(poison, "23514"), end_refusing),
    }
    try:
        source = url.replace(str(server.port), str(proxy.port))
        foreign = "INSERT INTO events (key, received_at, parsed, body) VALUES ('theirs', '12000-01-01', true, 'theirs')"
        yield Harness(
            lambda: PostgresStore(source), rows, faults, source=source, put_foreign=lambda: execute(url, foreign)
        )
    finally:
        proxy.close()


@contextmanager
def _view(folder: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    server: Postgres = request.getfixturevalue("postgres")
    url = server.create_database()
    yield Database(
        lambda: PostgresStore(url),
        lambda statement: [tuple(row) for row in execute(url, statement)],
        "heroku/README.md",
    )


STORES = {
    "postgres": Entry(
        postgres,
        frozenset({"unavailable", "silent", "drip", "throttled", "lost answer", "row"}),
        is_grouped=True,
        is_readable=True,
        causes={"silent": "TimeoutError", "throttled": "53300:TooManyConnectionsError"},
    )
}
DATABASES = {"postgres": _view}
