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

# asyncpg converts Python's minimum and maximum time to infinity: convert them back.
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
# A statement that waits for a lock ends before the client disconnects: Postgres does not notice a disconnect while it
# waits. In ms: lock_timeout is longer than deadlock_timeout, 1 s by default, so that deadlocks are reported as such.
_SETTINGS = "SET {0} synchronous_commit = on; SET {0} lock_timeout = 1200; SET {0} statement_timeout = 1500"

# asyncpg's errors for faults of a database or its connection.
DRIVER_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# Not caused by a row: connection, transaction state, statement name, conflict of transactions, resources, state of an
# object (locks), operator, system, internal; https://www.postgresql.org/docs/current/errcodes-appendix.html.
_NOT_OF_A_ROW = ("08", "25", "26", "40", "53", "55", "57", "58", "XX", "42P05")
# Retried at once. A cancelled statement or a lock time-out has used up the time already.
_AGAIN = ("08", "26", "40", "42P05", "57P")


class NotDurableError(SettingsError):
    """This database confirms a commit before it is on disk, so an acknowledged event could be lost."""


class PostgresStore(GroupedStore):
    """One row per event; concurrent deliveries share one transaction.

    Durable: with synchronous_commit=on, which each session or transaction sets, COMMIT returns after the log is flushed
    to disk (https://www.postgresql.org/docs/current/runtime-config-wal.html). After a failover to an asynchronous
    follower, as on Heroku's Premium plans, the last moments may still be lost.
    Unique: ``key`` is the primary key, as long as the row exists; a duplicate changes nothing. A key that the insert
    did not return is a duplicate if the row can be read back; otherwise the event fails: a trigger may have dropped it.
    Answers: an error caused by a row refuses its group, which is then written one by one. Any other error is
    `StoreUnavailableError` with the SQLSTATE, after up to two retries for a lost connection or a conflict of
    transactions. A retry may find the row of the first attempt, which is the event.
    Poolers: behind PgBouncer, which shares sessions, nothing is prepared or set beyond one transaction.

    Args:
        url: The value of DATABASE_URL.

    Raises:
        core.environment.SettingsError: The URL is invalid.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        # The next host after each failure: a host may be silent, or a standby.
        self._urls = deque(one_per_host(normalized(url)))
        self._connection: asyncpg.Connection | None = None
        # None behind a pooler.
        self._insert: PreparedStatement | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect now rather than at the first event. An unreachable database does not prevent the start.

        Raises:
            NotDurableError: The database may lose acknowledged events.
        """
        try:
            async with asyncio.timeout(ATTEMPT):
                await self._connected()
        except NotDurableError:
            raise
        except Exception:
            self._disconnect()

    async def close(self) -> None:
        """Write waiting events, and disconnect."""
        await self.drain()
        self._disconnect()
        if self._leaving:
            await asyncio.wait(self._leaving)

    async def write(self, events: Sequence[Event], deadline: float) -> list[Outcome | None]:
        """Commit ``events`` in one transaction; see `core.stores.grouped.GroupedStore`."""
        # In key order, so that two receivers with the same events do not deadlock.
        rows = [_row(event) for event in sorted(events, key=attrgetter("key"))]
        cause = "no_time"
        for pause in pauses(deadline):
            if pause:
                await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(READ_TIMEOUT if self._connection else ATTEMPT):
                    stored, known = await self._insert_all(rows)
                return [_outcome(event.key, stored, known) for event in events]
            except Exception as error:  # with any error of the driver, nothing is confirmed
                cause = name_of(error)
                if self._connection and _is_of_a_row(error):
                    raise RowsRefusedError(cause) from None
                self._disconnect()
                if not _is_worth_another_try(error):
                    break
        raise StoreUnavailableError(cause)

    async def _insert_all(self, rows: Sequence[tuple[object, ...]]) -> tuple[set[str], set[str]]:
        """Return the new keys, and those of the other keys that were read back."""
        connection = await self._connected()
        if self._insert:
            # Pipelined in one implicit transaction: all rows are committed, or none.
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
            # No named statements: behind a pooler the next statement may run in another session.
            connection = await asyncpg.connect(
                self._urls[0],
                timeout=CONNECT_TIMEOUT,
                statement_cache_size=0,
                # One of the few startup parameters that PgBouncer accepts.
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
        """Cancel the statement and disconnect, in the background: otherwise the session keeps waiting for a lock."""
        task = asyncio.get_running_loop().create_task(_close(connection))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=CONNECT_TIMEOUT)
    except Exception:
        connection.terminate()


async def _transaction(connection: asyncpg.Connection, rows: Sequence[tuple[object, ...]]) -> list[asyncpg.Record]:
    """Insert behind a pooler: with settings of this transaction, and without named statements."""
    # Not connection.transaction(): after a time-out it would roll back, and wait for that without a time-out.
    try:
        await connection.execute(f"BEGIN; {_SETTINGS.format('LOCAL')}")
        stored: list[asyncpg.Record] = await connection.fetchmany(_INSERT, rows)
        await connection.execute("COMMIT")
    except asyncpg.PostgresError:
        await connection.execute("ROLLBACK")
        raise
    return stored


async def _prepared(connection: asyncpg.Connection) -> PreparedStatement | None:
    """Prepare a session for writing; None if it is a pooler's."""
    pid, fsync = await connection.fetchrow("SELECT pg_backend_pid(), current_setting('fsync')")
    if fsync != "on":
        raise NotDurableError([f"The database has fsync={fsync}: it may lose a confirmed commit. Set fsync=on."])
    # A pooler reports its own process ids.
    if pid != connection.get_server_pid():
        return None
    await connection.execute(_SETTINGS.format("SESSION"))
    insert = await connection.prepare(_INSERT, name="insert")
    # asyncpg's prepare sends no Sync: until the next statement the server holds a lock on the table, and a release that
    # alters the table would wait for the first event.
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
        stored.remove(key)  # so that a duplicate in the same group is detected
        known.add(key)
        return Outcome.STORED
    return Outcome.DUPLICATE if key in known else None


def _is_of_a_row(error: Exception) -> bool:
    return isinstance(error, asyncpg.PostgresError) and not (error.sqlstate or "XX").startswith(_NOT_OF_A_ROW)


def _is_worth_another_try(error: Exception) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "XX").startswith(_AGAIN)
    # A restarting server closes connections: retry. After a time-out, do not wait again.
    return isinstance(error, DRIVER_ERRORS) and not isinstance(error, TimeoutError)


def name_of(error: Exception) -> str:
    """Return the SQLSTATE and the class, without the text, which may quote the row."""
    code = getattr(error, "sqlstate", None)
    return f"{code}:{type(error).__name__}" if code else type(error).__name__
