"""The release phase: brings the database to what schema.sql says, before the new code takes a request.

Events are written meanwhile, by the release before: no step holds a lock on the table for longer than they wait.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from core.environment import SettingsError
from heroku.postgres import DRIVER_ERRORS, name_of
from heroku.url import database_url, normalized

# docs/decisions/0024-indexes.md has what each costs and gains.
INDEXES = {
    "events_of_device": "(device_id, event_type, timestamp DESC)",
    "events_by_device": '(device_id COLLATE "C")',
    # Not descending: what comes in order is then appended.
    "events_by_time": "((coalesce(timestamp, received_at)))",
}
# asyncpg wrote the first and the last moment that Python has as these.
_MEND = """
UPDATE events SET timestamp = CASE timestamp
    WHEN 'infinity' THEN timestamptz '9999-12-31T23:59:59.999999Z' ELSE timestamptz '0001-01-01T00:00:00Z' END
WHERE coalesce(timestamp, received_at) IN ('infinity', '-infinity')
"""

# Any number, as long as it is ours: two releases at once must not race to create the same table.
_LOCK = 7381002
# A change that waits for a reader of the table, such as a backup, lets writers wait too: less than they would wait.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = 500"
_TRIES = 600


async def migrate(url: str) -> None:
    """Apply ``schema.sql`` in one transaction, then build what is missing of `INDEXES`.

    Args:
        url: As in `heroku.postgres.PostgresStore`.

    Raises:
        asyncpg.LockNotAvailableError: Somebody held the table for ten minutes.
    """
    async with connected(url) as lock, connected(url) as connection, alone(lock, _LOCK):
        for attempt in range(_TRIES):
            try:
                async with connection.transaction():
                    await connection.execute(_LOCK_TIMEOUT)
                    await connection.execute(Path(__file__).with_name("schema.sql").read_text())
                break
            except asyncpg.LockNotAvailableError:
                if attempt + 1 == _TRIES:
                    raise
                await asyncio.sleep(0.5)
        for name, definition in INDEXES.items():
            await build_index(connection, name, definition)
        await connection.execute(_MEND)


@asynccontextmanager
async def connected(url: str, command_timeout: float | None = None) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection that may be a pooler's.

    Args:
        url: As in `heroku.postgres.PostgresStore`.
        command_timeout: What one statement may take, in seconds; None for as long as it takes.
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
    """Hold an advisory lock by a transaction, which stays in one session behind a pooler too.

    It is asked for again and again rather than waited for, since CREATE INDEX CONCURRENTLY waits for every snapshot
    that is older: a second release that waits in a statement would have one. In READ COMMITTED there is none between
    statements.
    """
    while True:
        async with connection.transaction(isolation="read_committed"):
            if await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", lock):
                # A simple statement ends the one before, which asyncpg leaves open with its snapshot.
                await connection.execute("SELECT")
                yield
                return
        await asyncio.sleep(0.1)


async def build_index(connection: asyncpg.Connection, name: str, definition: str) -> None:
    """Build an index on ``events`` that is not there, or that another build left half-way, while events are written.

    Args:
        connection: One of its own, outside a transaction.
        name: Its name.
        definition: Its columns, and its condition.
    """
    is_valid = await connection.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", name)
    if is_valid is False:
        await connection.execute(f"DROP INDEX CONCURRENTLY {name}")
    if not is_valid:
        await connection.execute(f"CREATE INDEX CONCURRENTLY {name} ON events {definition}")


if __name__ == "__main__":
    try:
        asyncio.run(migrate(database_url(os.environ)))
    except SettingsError as error:
        sys.exit(str(error))
    except DRIVER_ERRORS as error:
        sys.exit(f"The database does not have the current schema: {name_of(error)}.")
    print("The database has the current schema.")
