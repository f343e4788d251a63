"""What ``dtconn mirror`` and ``dtconn backfill`` write to: the receivers' own stores, with their tables and views."""

import asyncio
import importlib
import os
import sqlite3
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import ClassVar, Self

from asyncpg import Connection

from cli import CommandError
from cli.places import adapters
from core.environment import Environment, SettingsError
from core.event import Event
from core.stores.contract import AsyncStore, StoreUnavailableError
from core.stores.threaded import Threaded
from core.text import printable
from heroku.postgres import DRIVER_ERRORS, PostgresStore, name_of
from heroku.release import connected, migrate
from local.sqlite import SqliteStore
from readers.postgres import COPIED
from readers.sources import is_path, scheme_of

# Seconds for a batch: the databases' own time-outs are shorter.
_DEADLINE = 60.0
# Concurrent writes of a store that blocks.
_THREADS = 8
# When a row was copied: whoever follows the copy cannot go by `received_at`, because several stores share one. What was
# there before counts as copied now. `now()` is the same for all rows, so the table is not written again. Only if it is
# missing, as in schema.sql.
_ARRIVAL = f"""
DO $$ BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = 'events'::regclass AND attname = '{COPIED}' AND NOT attisdropped
    ) THEN
        ALTER TABLE events ADD COLUMN {COPIED} timestamptz NOT NULL DEFAULT now();
    END IF;
END $$;
"""
_TABLE = "CREATE TABLE IF NOT EXISTS mirrors (source text PRIMARY KEY, position text NOT NULL)"


class Writer:
    """Writes by a receiver's own store: an event that it has already is a duplicate. A context manager.

    It makes nothing before it is needed: if the source cannot be read, there is no empty copy.

    Args:
        build: Makes the store, inside a running loop.
    """

    # The setting that names such a store; here it is an option.
    _setting: ClassVar[str] = ""

    def __init__(self, build: Callable[[], AsyncStore]) -> None:
        self._build = build
        self._store: AsyncStore | None = None
        self._runner = asyncio.Runner()
        self._is_open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._store:
            self._runner.run(self._store.close())
        self._runner.close()

    def open(self) -> None:
        """Make what is missing of the database, its tables and views. Every other method does it too, where it must.

        Raises:
            CommandError: It cannot be opened.
        """
        if not self._is_open:
            try:
                self._runner.run(self._open())
            except SettingsError as error:
                raise _as_option(error, self._setting) from None
            self._is_open = True

    def write(self, events: Sequence[Event]) -> Counter[str]:
        """Store events; return how many were ``stored``, ``duplicate`` or ``refused``.

        Raises:
            CommandError: The database cannot be written. Whatever was written is a duplicate the next time.
        """
        self.open()
        return self._runner.run(self._write(events))

    async def _write(self, events: Sequence[Event]) -> Counter[str]:
        assert self._store, "within the context only"
        deadline = time.monotonic() + _DEADLINE
        outcomes = await asyncio.gather(*(self._store.put(event, deadline) for event in events), return_exceptions=True)
        counts: Counter[str] = Counter()
        for outcome in outcomes:
            if isinstance(outcome, StoreUnavailableError):
                if not outcome.reason.startswith("row_refused"):
                    raise CommandError(f"The database cannot be written ({outcome.reason}). Run the command again.")
                counts["refused"] += 1
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                counts[outcome.name] += 1
        return counts

    async def _open(self) -> None:
        # In the loop, which some stores need.
        self._store = self._build()
        await self._store.open()


class Target(Writer, ABC):
    """A database that remembers for each source how far it was copied, in the table ``mirrors``."""

    @abstractmethod
    def position(self, source: str) -> str | None:
        """Return how far ``source`` was copied; None if never."""

    @abstractmethod
    def save(self, source: str, position: str) -> None:
        """Remember how far ``source`` was copied."""


class SqliteTarget(Target):
    """A file, which may be the local receiver's own.

    Args:
        path: The file; created if missing.
    """

    _setting = "DT_DATABASE"

    def __init__(self, path: Path) -> None:
        super().__init__(lambda: SqliteStore(path))
        self._path = path

    async def _open(self) -> None:
        await super()._open()
        self._execute(_TABLE)

    def position(self, source: str) -> str | None:
        """Return how far ``source`` was copied."""
        if not self._path.exists():
            return None
        self.open()
        found = self._execute("SELECT position FROM mirrors WHERE source = ?", source)
        return str(found[0][0]) if found else None

    def save(self, source: str, position: str) -> None:
        """Remember how far ``source`` was copied."""
        self.open()
        self._execute("INSERT OR REPLACE INTO mirrors VALUES (?, ?)", source, position)

    def _execute(self, statement: str, *arguments: str) -> list[tuple[str]]:
        try:
            with closing(sqlite3.connect(self._path, timeout=_DEADLINE, isolation_level=None)) as connection:
                return connection.execute(statement, arguments).fetchall()
        except sqlite3.Error as error:
            raise CommandError(f"{self._path} cannot be written: {printable(str(error))}.") from None


class PostgresTarget(Target):
    """A Postgres database, with the schema that Heroku's release phase applies.

    Args:
        url: As in `heroku.url.normalized`.
    """

    _setting = "DATABASE_URL"

    def __init__(self, url: str) -> None:
        super().__init__(lambda: PostgresStore(url))
        self._url = url

    async def _open(self) -> None:
        try:
            await migrate(self._url, _ARRIVAL, {"events_by_copy": f"USING brin ({COPIED}) WITH (autosummarize = on)"})
        except DRIVER_ERRORS as error:
            raise CommandError(f"The Postgres database cannot be written: {name_of(error)}. Check its URL.") from None
        await super()._open()
        await self._execute(_TABLE)

    def position(self, source: str) -> str | None:
        """Return how far ``source`` was copied."""
        self.open()
        found = self._runner.run(self._execute("SELECT position FROM mirrors WHERE source = $1", source))
        return str(found[0][0]) if found else None

    def save(self, source: str, position: str) -> None:
        """Remember how far ``source`` was copied."""
        self.open()
        self._runner.run(
            self._execute(
                "INSERT INTO mirrors VALUES ($1, $2) ON CONFLICT (source) DO UPDATE SET position = excluded.position",
                source,
                position,
            )
        )

    async def _execute(self, statement: str, *arguments: str) -> list[tuple[str]]:
        connection: Connection
        async with connected(self._url) as connection:
            return [tuple(row) for row in await connection.fetch(statement, *arguments)]


def open_target(url: str) -> Target:
    """Return the target of ``sqlite:PATH``, a path, or ``postgres://...``.

    Raises:
        CommandError: It is neither, or the URL is invalid.
    """
    scheme = scheme_of(url)
    if scheme == "postgres":
        try:
            return PostgresTarget(url)
        except SettingsError as error:
            raise _as_option(error, PostgresTarget._setting) from None
    if scheme == "sqlite" or (scheme is None and is_path(url)):
        return SqliteTarget(Path(url.partition(":")[2] if scheme else url))
    raise CommandError("A mirror is an SQLite file or a Postgres database: --to sqlite:PATH or --to postgres://...", 2)


def open_writer(name: str) -> Writer:
    """Return the writer of a database, as in `open_target`, or of the store of an adapter.

    Args:
        name: A database; or an adapter's folder or short name, such as ``aws``, whose settings are then read from this
            environment, as its function reads them.

    Raises:
        CommandError: There is no such adapter, its library is missing, or a setting is.
    """
    folder = adapters().get(name, name)
    if not folder.isidentifier():
        return open_target(name)
    try:
        wiring = importlib.import_module(f"{folder}.wiring")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == folder:
            if Path(name).exists():
                return open_target(name)
            known = ", ".join(adapters())
            raise CommandError(f"{name} is neither a platform ({known}) nor a database: for a new file, "
                               f"--to sqlite:{name}.", 2) from None  # fmt: skip
        raise CommandError(f"{folder} needs {error.name}, which is not installed: pip install -r "
                           f"{folder}/requirements.txt", 2) from None  # fmt: skip

    def build() -> AsyncStore:
        store = wiring.build_store(Environment(os.environ))
        return store if hasattr(store, "open") else Threaded(store, _THREADS)

    return Writer(build)


def _as_option(error: SettingsError, setting: str) -> CommandError:
    return CommandError(str(error).replace(setting, "--to") if setting else str(error), 2)
