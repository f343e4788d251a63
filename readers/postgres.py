"""Reads the database of Heroku's receiver."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg

from core.environment import SettingsError
from core.event import Event, read_time, rfc3339
from heroku.url import normalized
from readers import ReaderError
from readers.contract import BATCH, Reader
from readers.query import Query
from readers.rows import stored
from readers.sql import newest, select

_CONNECT_TIMEOUT = 10.0
# The column of a copy that `dtconn mirror` made; a receiver's table has none.
COPIED = "copied_at"
_COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('events') AND attnum > 0 AND NOT attisdropped"
_PLACE = "SELECT system_identifier || '/' || to_regclass('events')::oid FROM pg_control_system()"
# Postgres has times that Python has not; versions before 0.1 stored the first and the last of Python's so.
_INFINITE = {"-infinity": datetime.min.replace(tzinfo=UTC), "infinity": datetime.max.replace(tzinfo=UTC)}


class PostgresReader(Reader):
    """Reads with one connection, in transactions that cannot write.

    Args:
        url: As in `heroku.url.normalized`.
    """

    is_in_order = True
    poll_seconds = 1.0

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._is_closed = False
        try:
            with _reading():
                self._connection = self._runner.run(_connected(url))
                self._there = {row[0] for row in self._runner.run(_columns(self._connection))}
            # Copies have rows that arrived elsewhere, in another order.
            self._arrival = COPIED if COPIED in self._there else "received_at"
            if not self._there:
                raise ReaderError("This database has no events. Deploy the receiver, which makes the tables.")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Disconnect, in the middle of a listing too."""
        self._is_closed = True
        connection = getattr(self, "_connection", None)
        if connection and not connection.is_closed():
            self._runner.run(_disconnect(connection))
        self._runner.close()

    def place(self) -> str:
        """Return the ids of the cluster and the table: a URL may lead to another one tomorrow, as through a tunnel."""
        with _reading():
            try:
                return str(self._runner.run(self._connection.fetchval(_PLACE)))
            except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedFunctionError):
                return ""

    def matching(self, query: Query) -> Iterator[Event]:
        """Yield the events; the newest ones are read from the index."""
        return self._events(*newest(query, self._there, lambda number: f"${number}"))

    def latest(self, query: Query) -> Iterator[Event]:
        """Yield the newest events, found by the view ``latest``, which knows no earlier ones."""
        if query.until:
            return super().latest(query)
        is_of_device = " WHERE device_id = $1" if query.device_id else ""
        keys = f"SELECT key FROM latest{is_of_device}"  # noqa: S608 - constants
        found = self._events(f"{select(self._there)} WHERE key IN ({keys})", [query.device_id] * bool(is_of_device))
        return filter(query.matches, found)

    def last_signs(self, query: Query) -> Iterator[Event]:
        """Yield the events, found by the view ``seen``."""
        statement = f"{select(self._there)} WHERE key IN (SELECT key FROM seen)"  # noqa: S608 - constants
        return filter(query.matches, self._events(statement, []))

    def arrived(self, since: datetime | None) -> Iterator[Event]:
        """Yield what arrived, oldest first; Postgres sorts it, on its disk if it must."""
        return (event for _, event in self.arrivals(since))

    def arrivals(self, since: datetime | None) -> Iterator[tuple[datetime, Event]]:
        """Yield what arrived, oldest first, with its time; in a copy, that at which it was copied."""
        arguments = [rfc3339(since)] if since else []
        where = f" WHERE {self._arrival} >= $1" if since else ""
        statement = f"{select(self._there, f'{self._arrival} AS arrival')}{where} ORDER BY {self._arrival}"
        for arrival, *values in self._values(statement, arguments):
            event = stored(*values)
            yield arrival or event.received_at, event

    def _events(self, statement: str, arguments: list[Any]) -> Iterator[Event]:
        return (stored(*values) for values in self._values(statement, arguments))

    def _values(self, statement: str, arguments: list[Any]) -> Iterator[asyncpg.Record]:
        rows = self._rows(statement, arguments)
        fetch = None
        try:
            with _reading():
                while batch := self._runner.run(fetch := _next(rows)):
                    yield from batch
        finally:
            if not self._is_closed:
                self._runner.run(_close(rows, fetch))

    async def _rows(self, statement: str, arguments: list[Any]) -> AsyncGenerator[list[asyncpg.Record]]:
        async with self._connection.transaction(readonly=True):
            await self._connection.execute("SET LOCAL datestyle = ISO; SET LOCAL timezone = UTC")
            await self._connection.execute(f"DECLARE listed NO SCROLL CURSOR FOR {statement}", *arguments)
            while rows := await self._connection.fetch(f"FETCH {BATCH} FROM listed"):
                yield rows


async def _next(rows: AsyncGenerator[list[asyncpg.Record]]) -> list[asyncpg.Record]:
    return await anext(rows, [])


async def _close(rows: AsyncGenerator[list[asyncpg.Record]], fetch: object) -> None:
    # An interrupt may end Runner.run before it runs its task, which is then still there.
    left = [task for task in asyncio.all_tasks() if task.get_coro() is fetch]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await rows.aclose()


async def _connected(url: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(
        normalized(url),
        timeout=_CONNECT_TIMEOUT,
        # Behind a pooler, a named statement may meet another session, and only this setting passes.
        statement_cache_size=0,
        server_settings={"application_name": "dtconn"},
    )
    # As text, because a time out of Python's range must not end a listing.
    await connection.set_type_codec("timestamptz", schema="pg_catalog", encoder=str, decoder=_time, format="text")
    return connection


async def _disconnect(connection: asyncpg.Connection) -> None:
    # The generators of listings that nobody read to their end.
    await asyncio.get_running_loop().shutdown_asyncgens()
    await connection.close(timeout=_CONNECT_TIMEOUT)


async def _columns(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    return list(await connection.fetch(_COLUMNS))


def _time(text: str) -> datetime | None:
    return _INFINITE.get(text) or read_time(text)


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        raise ReaderError(str(error)) from None
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        # Only the class: the text may quote the URL, which contains the password.
        raise ReaderError(
            f"Cannot read the Postgres database: {type(error).__name__}. Check its URL; Heroku's is what "
            "`heroku config:get DATABASE_URL` prints."
        ) from None


def open_reader(url: str) -> PostgresReader:
    """Open ``postgres://...``, in any form that `heroku.url.normalized` reads."""
    return PostgresReader(url)
