"""The release phase: checks all settings, and applies schema.sql to the database, before the new code gets requests.

A release that fails is not started, so a bad setting does not replace a receiver that works.

The previous release writes events meanwhile: no step locks the table for longer than a write waits.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from core.receiver import AsyncUnconfiguredReceiver
from heroku.postgres import DRIVER_ERRORS, name_of
from heroku.url import database_url, normalized
from heroku.wiring import build_receiver

# Costs and gains of each: docs/decisions/0024-indexes.md.
INDEXES = {
    "events_of_device": "(device_id, event_type, timestamp DESC)",
    "events_by_device": '(device_id COLLATE "C")',
    # Ascending: events that arrive in order are appended.
    "events_by_time": "((coalesce(timestamp, received_at)))",
    # For readers that follow: rows are stored in order of arrival, so one entry per MB of the table is enough.
    "events_by_arrival": "USING brin (received_at) WITH (autosummarize = on)",
}
# asyncpg stored Python's minimum and maximum time as these.
_MEND = """
UPDATE events SET timestamp = CASE timestamp
    WHEN 'infinity' THEN timestamptz '9999-12-31T23:59:59.999999Z' ELSE timestamptz '0001-01-01T00:00:00Z' END
WHERE coalesce(timestamp, received_at) IN ('infinity', '-infinity')
"""

# An arbitrary constant: two concurrent releases must not race to create the same table.
_LOCK = 7381002
# A change that waits for a reader of the table, such as a backup, blocks writers too: shorter than their time-out.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = 500"
_TRIES = 600


async def migrate(url: str, more: str = "", more_indexes: Mapping[str, str] | None = None) -> None:
    """Apply ``schema.sql`` in one transaction, then build missing indexes of `INDEXES`.

    Args:
        url: As in `heroku.postgres.PostgresStore`.
        more: Statements for the same transaction.
        more_indexes: Names and definitions, as in `INDEXES`.

    Raises:
        asyncpg.LockNotAvailableError: The table was locked for ten minutes.
    """
    async with connected(url) as lock, connected(url) as connection, alone(lock, _LOCK):
        for attempt in range(_TRIES):
            try:
                async with connection.transaction():
                    await connection.execute(_LOCK_TIMEOUT)
                    await connection.execute(Path(__file__).with_name("schema.sql").read_text() + more)
                break
            except asyncpg.LockNotAvailableError:
                if attempt + 1 == _TRIES:
                    raise
                await asyncio.sleep(0.5)
        for name, definition in (INDEXES | dict(more_indexes or {})).items():
            await build_index(connection, name, definition)
        await connection.execute(_MEND)


@asynccontextmanager
async def connected(url: str, command_timeout: float | None = None) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection, directly or through a pooler.

    Args:
        url: As in `heroku.postgres.PostgresStore`.
        command_timeout: Seconds for one statement; None for no limit.
    """
    connection = await asyncpg.connect(
        normalized(url), timeout=10, command_timeout=command_timeout, statement_cache_size=0
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=2)


@asynccontextmanager
async def alone(connection: asyncpg.Connection, lock: int) -> AsyncIterator[None]:
    """Hold an advisory lock in a transaction, which stays in one session even behind a pooler.

    It polls for the lock, because CREATE INDEX CONCURRENTLY waits for every older snapshot, and a release that waits in
    a statement would hold one. In READ COMMITTED there is no snapshot between statements.
    """
    while True:
        async with connection.transaction(isolation="read_committed"):
            if await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", lock):
                # A simple statement ends the previous one, which asyncpg leaves open with its snapshot.
                await connection.execute("SELECT")
                yield
                return
        await asyncio.sleep(0.1)


async def build_index(connection: asyncpg.Connection, name: str, definition: str) -> None:
    """Build an index on ``events`` that is missing or invalid, while events are written.

    Args:
        connection: A separate connection, outside a transaction.
        name: Its name.
        definition: Its columns, and its condition.
    """
    is_valid = await connection.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", name)
    if is_valid is False:
        await connection.execute(f"DROP INDEX CONCURRENTLY {name}")
    if not is_valid:
        await connection.execute(f"CREATE INDEX CONCURRENTLY {name} ON events {definition}")


if __name__ == "__main__":
    receiver = build_receiver(os.environ)
    if isinstance(receiver, AsyncUnconfiguredReceiver):
        sys.exit(str(receiver.error))
    try:
        asyncio.run(migrate(database_url(os.environ)))
    except DRIVER_ERRORS as error:
        sys.exit(f"The database does not have the current schema: {name_of(error)}.")
    print("The settings are valid, and the database has the current schema.")
