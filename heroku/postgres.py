"""Events in Postgres."""

import asyncio
from collections import deque
from collections.abc import Sequence
from operator import attrgetter

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from core.environment import SettingsError
from core.event import Event
from core.service.attempts import ATTEMPT, CONNECT_TIMEOUT, READ_TIMEOUT, pauses
from core.stores.contract import Outcome, StoreUnavailableError
from core.stores.grouped import GroupedStore, RowsRefusedError
from heroku.url import normalized, one_per_host

# asyncpg makes infinity of the first and the last moment that Python has: they are made times again.
_INSERT = """
INSERT INTO events
    (key, event_id, event_type, device_id, project_id, timestamp, received_at, signed_by, parsed, body)
VALUES (
    $1, $2, $3, $4, $5,
    CASE $6::timestamptz
        WHEN '-infinity' THEN '0001-01-01T00:00:00Z' WHEN 'infinity' THEN '9999-12-31T23:59:59.999999Z' ELSE $6
    END,
    $7, $8, $9, $10
)
ON CONFLICT (key) DO NOTHING RETURNING key
"""
_LOOK_UP = "SELECT key FROM events WHERE key = ANY($1::text[])"
# What waits for a lock ends by itself, before this side hangs up: Postgres does not notice that while it waits.
# In ms: lock_timeout is longer than deadlock_timeout, 1 s by default, so that a deadlock is called one.
_SETTINGS = "SET {0} synchronous_commit = on; SET {0} lock_timeout = 1200; SET {0} statement_timeout = 1500"

# What asyncpg raises when something is wrong with a database, or on the way to it.
DRIVER_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# No fault of a row: connection, transaction state, statement name, conflict of transactions, resources, state of an
# object (locks), operator, system, internal; https://www.postgresql.org/docs/current/errcodes-appendix.html.
_NOT_OF_A_ROW = ("08", "25", "26", "40", "53", "55", "57", "58", "XX", "42P05")
# Worth another try at once. A statement that was canceled, and a lock that was not granted, took their time already.
_AGAIN = ("08", "26", "40", "42P05", "57P")


class NotDurableError(SettingsError):
    """This database confirms a commit before it is on disk, so an acknowledged event could be lost."""


class PostgresStore(GroupedStore):
    """One row per event; concurrent deliveries share one transaction.

    Durable: with synchronous_commit=on, which each session or transaction sets, COMMIT returns after the log is
    flushed to disk (https://www.postgresql.org/docs/current/runtime-config-wal.html). A managed database that fails
    over to an asynchronous follower may still lose its last moments; Heroku's Premium plans do so.
    Unique: ``key`` is the primary key, for as long as the row lives; a second copy changes nothing. A key that the
    insert did not return is a duplicate if the row was read back, and otherwise refused: a trigger may have dropped it.
    Answers: what is said of a row refuses its group, which is written one by one. Anything else is
    `StoreUnavailableError` with the SQLSTATE, after another try or two where the connection was lost or transactions
    were in each other's way; a write whose confirmation was lost may then meet its own row, which is the event.
    Poolers: behind PgBouncer, which shares its sessions, nothing is prepared or set beyond one transaction.

    Args:
        url: What Heroku calls DATABASE_URL.

    Raises:
        core.environment.SettingsError: It cannot be used.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        # The next one after each failure: a host may be silent, or a standby.
        self._urls = deque(one_per_host(normalized(url)))
        self._connection: asyncpg.Connection | None = None
        # None behind a pooler.
        self._insert: PreparedStatement | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect now rather than at the first event. A database that cannot be reached is no reason not to start.

        Raises:
            NotDurableError: The database would lose events.
        """
        try:
            async with asyncio.timeout(ATTEMPT):
                await self._connected()
        except NotDurableError:
            raise
        except Exception:
            self._disconnect()

    async def close(self) -> None:
        """Write what waits, and disconnect."""
        await self.drain()
        self._disconnect()
        if self._leaving:
            await asyncio.wait(self._leaving)

    async def write(self, events: Sequence[Event], deadline: float) -> list[Outcome | None]:
        """Commit ``events`` in one transaction; see `core.stores.grouped.GroupedStore`."""
        # In one order, so that two receivers with the same events do not wait for each other.
        rows = [_row(event) for event in sorted(events, key=attrgetter("key"))]
        cause = "no_time"
        for pause in pauses(deadline):  # async_attempts leaves a generator behind, for which a loop makes a task
            if pause:
                await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(READ_TIMEOUT if self._connection else ATTEMPT):
                    stored, known = await self._insert_all(rows)
                return [_outcome(event.key, stored, known) for event in events]
            except Exception as error:  # whatever the driver raises, nothing is confirmed
                cause = name_of(error)
                if self._connection and _is_of_a_row(error):
                    raise RowsRefusedError(cause) from None
                self._disconnect()
                if not _is_worth_another_try(error):
                    break
        raise StoreUnavailableError(cause)

    async def _insert_all(self, rows: Sequence[tuple[object, ...]]) -> tuple[set[str], set[str]]:
        """Return the keys that are new, and those of the others that were read back."""
        connection = await self._connected()
        if self._insert:
            # Pipelined for all rows, in one implicit transaction: all are committed, or none.
            found = await self._insert.fetchmany(rows)
        else:
            found = await _transaction(connection, rows)
        stored = {row[0] for row in found}
        if len(stored) == len(rows):
            return stored, set()
        missing = [row[0] for row in rows if row[0] not in stored]
        return stored, {row[0] for row in await connection.fetch(_LOOK_UP, missing)} if missing else set()

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            # No statement of its own has a name: behind a pooler the next may meet another session.
            connection = await asyncpg.connect(
                self._urls[0],
                timeout=CONNECT_TIMEOUT,
                statement_cache_size=0,
                # One of the few that PgBouncer takes.
                server_settings={"application_name": "data-connector"},
            )
            try:
                self._insert = await _prepared(connection)
            except BaseException:
                self._leave(connection)
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._leave(self._connection)
            self._connection = self._insert = None
        self._urls.rotate()

    def _leave(self, connection: asyncpg.Connection) -> None:
        """Cancel what runs and say good-bye, in the background: one that is cut off goes on waiting for a lock."""
        task = asyncio.get_running_loop().create_task(_close(connection))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=CONNECT_TIMEOUT)
    except Exception:
        connection.terminate()


async def _transaction(connection: asyncpg.Connection, rows: Sequence[tuple[object, ...]]) -> list[asyncpg.Record]:
    """Insert with what a pooler can be asked for: settings of this transaction, and no named statement."""
    # Not connection.transaction(), which would roll back after a time-out, and wait for that without one.
    try:
        await connection.execute(f"BEGIN; {_SETTINGS.format('LOCAL')}")
        stored: list[asyncpg.Record] = await connection.fetchmany(_INSERT, rows)
        await connection.execute("COMMIT")
    except asyncpg.PostgresError:
        await connection.execute("ROLLBACK")
        raise
    return stored


async def _prepared(connection: asyncpg.Connection) -> PreparedStatement | None:
    """Make a session ready to write; None where it is a pooler's, and shared."""
    pid, fsync = await connection.fetchrow("SELECT pg_backend_pid(), current_setting('fsync')")
    if fsync != "on":
        raise NotDurableError([f"The database has fsync={fsync}: it confirms what it may lose. Set fsync=on."])
    # A pooler gives out process ids of its own.
    if pid != connection.get_server_pid():
        return None
    await connection.execute(_SETTINGS.format("SESSION"))
    insert = await connection.prepare(_INSERT, name="insert")
    # asyncpg ends a prepare without a Sync: until the next statement the server holds a lock on the table for it, and a
    # release that alters the table would wait for the first event.
    await connection.execute("SELECT")
    return insert


def _row(event: Event) -> tuple[object, ...]:
    return (
        event.key,
        event.event_id,
        event.event_type,
        event.device_id,
        event.project_id,
        event.timestamp,
        event.received_at,
        event.signed_by,
        event.parsed,
        event.body,
    )


def _outcome(key: str, stored: set[str], known: set[str]) -> Outcome | None:
    if key in stored:
        stored.remove(key)  # so that a second copy in the same group is one
        known.add(key)
        return Outcome.STORED
    return Outcome.DUPLICATE if key in known else None


def _is_of_a_row(error: Exception) -> bool:
    return isinstance(error, asyncpg.PostgresError) and not (error.sqlstate or "XX").startswith(_NOT_OF_A_ROW)


def _is_worth_another_try(error: Exception) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "XX").startswith(_AGAIN)
    # A server closes connections when it restarts; a second silence is not worth waiting for.
    return isinstance(error, DRIVER_ERRORS) and not isinstance(error, TimeoutError)


def name_of(error: Exception) -> str:
    """Return the SQLSTATE and the class: the text may quote the row."""
    code = getattr(error, "sqlstate", None)
    return f"{code}:{type(error).__name__}" if code else type(error).__name__
