"""Events in Postgres."""

import asyncio
import time
from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from core.event import Event
from core.grouped import GroupedStore, RowsRefused
from core.settings import SettingsError
from core.store import Outcome, StoreUnavailable

CONNECT_TIMEOUT = 1.0
WRITE_TIMEOUT = 2.0
_ATTEMPTS = 2

_INSERT = """
INSERT INTO events (key, event_id, event_type, device_id, project_id, timestamp, received_at, parsed, body)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING key
"""

# Refusals of what is in a row: data exceptions, violated constraints, and what a user's own trigger raises.
_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.RaiseError)
_LOST = (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)


class NotDurableError(SettingsError):
    """This database confirms a commit before it is on disk, so an acknowledged event could be lost."""


class PostgresStore(GroupedStore):
    """One row per event; concurrent deliveries share one statement and one commit.

    Durable: with synchronous_commit=on, which is asserted on each new connection, COMMIT returns after the log is
    flushed to disk (https://www.postgresql.org/docs/current/runtime-config-wal.html). A managed database that fails
    over to an asynchronous follower may still lose its last moments; Heroku's Premium plans do so.
    Unique: ``key`` is the primary key, for as long as the row lives; a second copy changes nothing.
    Answers: a data exception or a violated constraint is the row's fault, so its group is written one by one; anything
    else is `StoreUnavailable` with the SQLSTATE, and the connection is made anew. A write whose confirmation was lost
    is tried once more: it may then meet its own row, which is the event.

    Args:
        url: What Heroku calls DATABASE_URL.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._connection: asyncpg.Connection | None = None
        self._insert: PreparedStatement | None = None

    async def open(self) -> None:
        """Connect now rather than at the first event. A database that cannot be reached is no reason not to start.

        Raises:
            NotDurableError: The database would lose events.
        """
        try:
            await self._connected()
        except (TimeoutError, asyncpg.PostgresError, *_LOST):
            await self._disconnect()

    async def close(self) -> None:
        """Write what waits, and disconnect."""
        await self.drain()
        await self._disconnect()

    async def write(self, events: Sequence[Event], deadline: float) -> list[Outcome]:
        """Commit ``events`` in one transaction; see `core.grouped.GroupedStore`."""
        rows = [_row(event) for event in events]
        for attempt in range(_ATTEMPTS):
            try:
                async with asyncio.timeout(min(deadline - time.monotonic(), CONNECT_TIMEOUT + WRITE_TIMEOUT)):
                    insert = await self._connected()
                    # One statement, pipelined for all rows, in one implicit transaction: all are committed, or none.
                    stored = {row[0] for row in await insert.fetchmany(rows, timeout=WRITE_TIMEOUT)}
                return [_outcome(event.key, stored) for event in events]
            except _REFUSED as error:
                raise RowsRefused(_name(error)) from None
            except (TimeoutError, NotDurableError, asyncpg.PostgresError, *_LOST) as error:
                await self._disconnect()
                # The server closes connections when it restarts; a new one is worth a try, a second silence is not.
                if attempt + 1 == _ATTEMPTS or not isinstance(error, _LOST) or isinstance(error, TimeoutError):
                    raise StoreUnavailable(_name(error)) from None
        raise AssertionError("unreachable")

    async def _connected(self) -> PreparedStatement:
        if self._connection is None or self._connection.is_closed():
            connection = await asyncpg.connect(
                self._url,
                ssl=tls(self._url),
                timeout=CONNECT_TIMEOUT,
                server_settings={"application_name": "data-connector", "synchronous_commit": "on"},
            )
            try:
                self._insert = await connection.prepare(_INSERT)
                # After the prepare, which asyncpg ends without a Sync: until the next statement the server holds a
                # lock on the table for it, and a release that alters the table would wait for the first event.
                await _assert_durable(connection)
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
        return self._insert

    async def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = self._insert = None


def _row(event: Event) -> tuple[object, ...]:
    return (
        event.key,
        event.event_id,
        event.event_type,
        event.device_id,
        event.project_id,
        event.timestamp,
        event.received_at,
        event.parsed,
        event.body,
    )


def _outcome(key: str, stored: set[str]) -> Outcome:
    if key in stored:
        stored.remove(key)  # so that a second copy in the same group is one
        return Outcome.STORED
    return Outcome.DUPLICATE


async def _assert_durable(connection: asyncpg.Connection) -> None:
    for name, durable in (("synchronous_commit", ("on", "remote_apply")), ("fsync", ("on",))):
        value = await connection.fetchval("SELECT current_setting($1)", name)
        if value not in durable:
            raise NotDurableError([f"The database has {name}={value}: it confirms what it may lose. Set {name}=on."])


def tls(url: str) -> str | None:
    """Encrypt wherever the network is not this machine. Heroku's certificates are self-signed, hence no more than that.

    A ``sslmode`` in the URL decides instead, such as ``verify-full`` with a ``sslrootcert``.
    """
    parts = urlsplit(url)
    if "sslmode" in parse_qs(parts.query) or (parts.hostname or "localhost") in ("localhost", "127.0.0.1", "::1"):
        return None
    return "require"


def _name(error: Exception) -> str:
    """Return the SQLSTATE and the class: the text may quote the row."""
    code = getattr(error, "sqlstate", None)
    return f"{code}:{type(error).__name__}" if code else type(error).__name__
