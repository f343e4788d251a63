"""Faults of the database, its owner's changes and the network: each event is stored or refused, without leaks."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import pytest

from core.event import Event, parse_stored
from core.receiver import DEADLINE
from core.stores.contract import Outcome, StoreUnavailableError
from heroku import postgres as store_module
from heroku.postgres import PostgresStore
from tests.support.deliveries import body, fresh_body
from tests.support.postgres import Postgres, execute
from tests.support.proxy import Mode, Proxy

NOW = datetime.now(UTC)


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    proxy = Proxy(postgres.port)
    yield proxy
    proxy.close()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url)
    await store.open()
    yield store
    await store.close()


def event(event_id: str | None = None, event_type: str = "temperature") -> Event:
    return parse_stored(body(eventId=event_id, eventType=event_type) if event_id else fresh_body(), NOW, "hs256:1")


async def put(store: PostgresStore, one: Event) -> Outcome | str:
    """Return the outcome, or the cause of the refusal."""
    started = time.monotonic()
    try:
        return await store.put(one, started + DEADLINE)
    except StoreUnavailableError as unavailable:
        return unavailable.reason
    finally:
        assert time.monotonic() - started < DEADLINE


def put_together(url: str, events: list[Event]) -> list[Outcome | str]:
    async def run() -> list[Outcome | str]:
        async with opened(url) as store:
            return await asyncio.gather(*(put(store, one) for one in events))

    return asyncio.run(run())


def keys(url: str, table: str = "events") -> set[str]:
    return {row["key"] for row in execute(url, f"SELECT key FROM {table}")}


def test_row_has_its_signer(url: str) -> None:
    one = event()
    assert put_together(url, [one]) == [Outcome.STORED]
    assert execute(url, "SELECT signed_by FROM events")[0]["signed_by"] == "hs256:1"
    assert execute(url, "SELECT signed_by FROM latest")[0]["signed_by"] == "hs256:1"


def test_unique_index_of_the_user_is_not_a_duplicate(url: str) -> None:
    execute(url, "CREATE UNIQUE INDEX mine ON events (event_id)")
    first, twin, neighbour = event("a"), event("a", "humidity"), event()
    assert put_together(url, [first, first]) == [Outcome.STORED, Outcome.DUPLICATE]
    causes = put_together(url, [twin, neighbour, first])
    assert causes == ["row_refused:23505:UniqueViolationError", Outcome.STORED, Outcome.DUPLICATE]
    assert keys(url) == {first.key, neighbour.key}


_TRIGGER = """
CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$;
CREATE TRIGGER mine BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION mine()
"""


@pytest.mark.parametrize(
    ("body_of_it", "cause"),
    [
        ("RETURN NULL;", "not_stored"),
        ("RAISE division_by_zero;", "row_refused:22012:DivisionByZeroError"),
        ("PERFORM new.nothing; RETURN new;", "row_refused:42703:UndefinedColumnError"),
        ("ASSERT false; RETURN new;", "row_refused:P0004:AssertError"),
    ],
)
def test_trigger_that_drops_one_row_does_not_affect_its_group(url: str, body_of_it: str, cause: str) -> None:
    run_script(url, _TRIGGER.format(f"IF new.event_id <> 'poison' THEN RETURN new; END IF; {body_of_it}"))
    poison, neighbours = event("poison"), [event() for _ in range(5)]
    assert put_together(url, [poison, *neighbours]) == [cause, *[Outcome.STORED] * 5]
    assert keys(url) == {one.key for one in neighbours}


def test_row_level_security_hides_or_forbids_a_row(url: str) -> None:
    run_script(
        url,
        """
        ALTER TABLE events ENABLE ROW LEVEL SECURITY;
        DROP ROLE IF EXISTS limited;
        CREATE ROLE limited LOGIN;
        GRANT SELECT, INSERT ON events TO limited;
        CREATE POLICY mine ON events USING (event_id <> 'hidden') WITH CHECK (event_id <> 'poison')
        """,
    )
    hidden, poison, neighbour = event("hidden"), event("poison"), event()
    assert put_together(url, [hidden]) == [Outcome.STORED]
    outcomes = put_together(url.replace("postgres@", "limited@"), [hidden, poison, neighbour])
    # The role cannot read back rows that it cannot see.
    assert outcomes[0] not in (Outcome.STORED, Outcome.DUPLICATE)
    assert outcomes[1:] == ["row_refused:42501:InsufficientPrivilegeError", Outcome.STORED]
    execute(url, "DROP OWNED BY limited")


@pytest.mark.parametrize(
    ("change", "is_stored"),
    [
        ("CREATE RULE mine AS ON INSERT TO events DO INSTEAD NOTHING", False),
        ("CREATE RULE mine AS ON INSERT TO events WHERE new.event_id IS NOT NULL DO INSTEAD NOTHING", False),
        ("ALTER TABLE events RENAME TO others", False),
        ("ALTER TABLE events DROP CONSTRAINT events_pkey", False),
        ("ALTER TABLE events RENAME TO others; CREATE VIEW events AS SELECT * FROM others WHERE event_id <> 'x'", True),
        (
            (
                "ALTER TABLE events RENAME TO others; CREATE VIEW events AS SELECT * FROM others; "
                "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$; "
                "CREATE TRIGGER mine INSTEAD OF INSERT ON events FOR EACH ROW EXECUTE FUNCTION mine()"
            ),
            False,
        ),
        (
            (
                "ALTER TABLE events RENAME TO others; "
                "CREATE TABLE events (LIKE others, PRIMARY KEY (key, received_at)) PARTITION BY RANGE (received_at); "
                "CREATE TABLE later PARTITION OF events DEFAULT"
            ),
            False,
        ),
    ],
    ids=["rule", "conditional rule", "renamed", "no key", "view", "view that stores nothing", "partitions"],
)
def test_replaced_table(url: str, change: str, is_stored: bool) -> None:
    """Also for a store with a prepared statement: the answer is what the new table does."""

    async def run() -> list[Outcome | str]:
        async with opened(url) as store:
            assert await put(store, event()) == Outcome.STORED
            await run_script_async(url, change)
            events.extend(event() for _ in range(3))
            return await asyncio.gather(*(put(store, one) for one in events))

    events: list[Event] = []
    outcomes = asyncio.run(run())
    assert [outcome == Outcome.STORED for outcome in outcomes] == [is_stored] * 3
    assert Outcome.DUPLICATE not in outcomes
    if is_stored:
        assert keys(url) >= {one.key for one in events}


def test_same_events_in_opposite_order_do_not_deadlock(url: str) -> None:
    events = [event() for _ in range(100)]

    async def run() -> None:
        async with opened(url) as one, opened(url) as other:
            for start in range(0, 100, 20):
                some = events[start : start + 20]
                await asyncio.gather(*(put(one, each) for each in some), *(put(other, each) for each in reversed(some)))

    asyncio.run(run())
    assert deadlocks(url) == 0
    assert keys(url) == {one.key for one in events}


def deadlocks(url: str) -> int:
    count: int = execute(url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0]
    return count


@pytest.mark.parametrize("code", ["40P01", "40001"])
def test_conflicting_transactions_are_retried(url: str, code: str) -> None:
    """A trigger raises once; it counts by a sequence, which a rollback does not reset."""
    execute(url, "CREATE SEQUENCE tries")
    run_script(
        url,
        _TRIGGER.format(f"IF nextval('tries') = 1 THEN RAISE 'again' USING ERRCODE = '{code}'; END IF; RETURN new;"),
    )
    one = event()
    assert put_together(url, [one]) == [Outcome.STORED]
    assert keys(url) == {one.key}


def test_table_lock_leaks_no_connection(url: str) -> None:
    async def run() -> list[Outcome | str]:
        async with opened(url) as store:
            async with locked(url):
                causes = [await put(store, event()) for _ in range(4)]
                # Its own, and one that has just been told to go.
                assert await backends(url) <= 2
            assert await put(store, event()) == Outcome.STORED
            return causes

    assert set(asyncio.run(run())) == {"55P03:LockNotAvailableError"}


def test_timed_out_statement_is_cancelled(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own limits do not cover many rows that each wait a little."""
    monkeypatch.setattr(store_module, "_SETTINGS", "SET {0} synchronous_commit = on")

    async def run() -> None:
        async with opened(url) as store, locked(url):
            assert await put(store, event()) == "TimeoutError"
            deadline = time.monotonic() + 30
            while await backends(url):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)

    asyncio.run(run())


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE events")
        yield
    await connection.close()


async def backends(url: str) -> int:
    """Count the store's backends, in a new session, because a transaction would see an old count."""
    connection = await asyncpg.connect(url)
    count: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'data-connector'"
    )
    await connection.close()
    return count


def test_slow_server_times_out(url: str, postgres: Postgres, proxy: Proxy) -> None:
    one = event()

    async def run() -> None:
        async with opened(url.replace(str(postgres.port), str(proxy.port))) as store:
            assert await put(store, event()) == Outcome.STORED
            proxy.set(Mode.DRIP)
            # The one on the connection that is there, the other on a new one.
            assert [await put(store, one), await put(store, one)] == ["TimeoutError"] * 2
            proxy.set(Mode.REFUSE)
            proxy.set(Mode.PASS)
            assert await put(store, one) in (Outcome.STORED, Outcome.DUPLICATE)

    asyncio.run(run())
    assert one.key in keys(url)


_GARBAGE = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x00" * 100,
    b"Z\x00\x00\x00\x05I" * 3,  # ready, without an answer
    b"D\x00\x00\x00\x0a\x00\x01\x00\x00\x00",  # half a row
    b"E\x00\x00\x00\x04",  # an error without a text
]


@pytest.mark.parametrize("garbage", _GARBAGE, ids=["HTTP", "NUL", "ready", "half a row", "empty error"])
def test_garbage_from_the_server_is_unavailable(url: str, postgres: Postgres, proxy: Proxy, garbage: bytes) -> None:
    async def run() -> Outcome | str:
        async with opened(url.replace(str(postgres.port), str(proxy.port))) as store:
            assert await put(store, event()) == Outcome.STORED
            proxy.canned = garbage
            proxy.set(Mode.CANNED)
            cause = await put(store, event())
            proxy.set(Mode.REFUSE)
            proxy.set(Mode.PASS)
            assert await put(store, event()) == Outcome.STORED
            return cause

    assert isinstance(asyncio.run(run()), str)


def test_terminated_backend_is_retried(url: str) -> None:
    """As after a server crash: every connection is lost in the middle of a statement."""
    events = [event() for _ in range(200)]

    async def run() -> list[Outcome | str]:
        async with opened(url) as store:
            other = await asyncpg.connect(url)
            await put(store, event())
            waiting = [asyncio.ensure_future(put(store, one)) for one in events]
            await asyncio.sleep(0.002)
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await other.close()
            return await asyncio.gather(*waiting)

    assert set(asyncio.run(run())) <= {Outcome.STORED, Outcome.DUPLICATE}
    assert keys(url) >= {one.key for one in events}


def test_first_of_several_hosts_may_be_silent(url: str, postgres: Postgres, proxy: Proxy) -> None:
    proxy.set(Mode.SILENT)
    both = url.replace(f"127.0.0.1:{postgres.port}", f"127.0.0.1:{proxy.port},127.0.0.1:{postgres.port}")

    async def run() -> Outcome | str:
        async with opened(both) as store:
            return await put(store, event())

    assert asyncio.run(run()) == Outcome.STORED


def run_script(url: str, script: str) -> None:
    asyncio.run(run_script_async(url, script))


async def run_script_async(url: str, script: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(script)
    await connection.close()
