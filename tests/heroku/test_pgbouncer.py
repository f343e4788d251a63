"""The store behind PgBouncer, in session and transaction mode."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from core.event import Event, parse_stored
from core.receiver import DEADLINE
from core.stores.contract import Outcome, StoreUnavailableError
from heroku import release
from heroku.postgres import PostgresStore
from tests.support.deliveries import body, fresh_body
from tests.support.pgbouncer import needs_pgbouncer, pgbouncer
from tests.support.postgres import Postgres, execute
from tests.support.processes import Program

pytestmark = needs_pgbouncer


@pytest.fixture(params=["session", "transaction"])
def urls(request: pytest.FixtureRequest, postgres: Postgres, url: str, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Give the URL of a database through PgBouncer, and its own."""
    with pgbouncer(postgres.port, request.param, tmp_path) as port:
        yield url.replace(str(postgres.port), str(port)), url


def event() -> Event:
    return parse_stored(fresh_body(), datetime.now(UTC))


async def put(store: PostgresStore, *events: Event) -> list[Outcome | BaseException]:
    deadline = time.monotonic() + DEADLINE
    return await asyncio.gather(*(store.put(one, deadline) for one in events), return_exceptions=True)


def test_stores_and_recognizes_duplicates(urls: tuple[str, str]) -> None:
    pooled, url = urls
    events = [event() for _ in range(300)]

    async def run() -> None:
        # More stores than sessions would share a statement's name, if it had one.
        stores = [PostgresStore(pooled) for _ in range(3)]
        for store in stores:
            await store.open()
        for store in stores:
            assert set(await put(store, *events)) == {Outcome.STORED if store is stores[0] else Outcome.DUPLICATE}
        await asyncio.gather(*(put(store, *(event() for _ in range(20))) for store in stores for _ in range(5)))
        for store in stores:
            await store.close()

    asyncio.run(run())
    assert len(execute(url, "SELECT FROM events")) == 300 + 15 * 20


def test_commits_are_durable_and_other_clients_keep_their_settings(urls: tuple[str, str]) -> None:
    """The trigger raises if a write runs with other settings than ours."""
    pooled, url = urls
    name = url.rsplit("/", 1)[1]
    execute(url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    execute(
        url,
        "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF current_setting('synchronous_commit') <> 'on' OR current_setting('lock_timeout') = '0' THEN "
        "RAISE 'not durable'; END IF; RETURN new; END $$",
    )
    execute(url, "CREATE TRIGGER mine BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION mine()")

    async def run() -> list[str]:
        store = PostgresStore(pooled)
        assert await put(store, event(), event()) == [Outcome.STORED] * 2
        await store.close()
        other = await asyncpg.connect(pooled, statement_cache_size=0)
        found = [await other.fetchval(f"SHOW {setting}") for setting in ("synchronous_commit", "lock_timeout")]
        await other.close()
        return found

    assert asyncio.run(run()) == ["off", "0"]


def test_refused_row_does_not_affect_its_group(urls: tuple[str, str]) -> None:
    pooled, url = urls
    execute(url, "ALTER TABLE events ADD CHECK (event_id <> 'poison')")

    async def run() -> list[Outcome | BaseException]:
        store = PostgresStore(pooled)
        found = await put(store, event(), parse_stored(body(eventId="poison"), datetime.now(UTC)), event())
        await store.close()
        return found

    one, refusal, other = asyncio.run(run())
    assert isinstance(refusal, StoreUnavailableError)
    assert [one, other] == [Outcome.STORED] * 2


def test_table_lock_times_out(urls: tuple[str, str]) -> None:
    pooled, url = urls

    async def run() -> None:
        store = PostgresStore(pooled)
        locker = await asyncpg.connect(url)
        async with locker.transaction():
            await locker.execute("LOCK TABLE events")
            (refusal,) = await put(store, event())
            assert isinstance(refusal, StoreUnavailableError)
            assert refusal.reason == "55P03:LockNotAvailableError"
        await locker.close()
        assert await put(store, event()) == [Outcome.STORED]
        await store.close()

    asyncio.run(run())


def test_release_and_worker_through_pgbouncer(urls: tuple[str, str], tmp_path: Path) -> None:
    pooled, url = urls
    execute(url, "DROP TABLE events CASCADE")
    asyncio.run(release.migrate(pooled))

    async def run() -> None:
        store = PostgresStore(pooled)
        await put(store, *(event() for _ in range(60)))
        await store.close()

    asyncio.run(run())
    worker = Program("heroku.worker", {"DATABASE_URL": pooled}, tmp_path)
    deadline = time.monotonic() + 15
    while execute(url, "SELECT FROM events WHERE processed_at IS NULL LIMIT 1"):
        assert time.monotonic() < deadline, worker.output()
        time.sleep(0.1)
    assert worker.stop() == 0
    worker.close()
