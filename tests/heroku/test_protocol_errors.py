"""Protocol errors of the server: asyncpg raises its InternalClientError, which is not an OSError."""

import asyncio
import contextlib
import struct
import time
from datetime import UTC, datetime

import asyncpg

from core.event import Event, parse_stored
from core.receiver import DEADLINE
from core.stores.contract import Outcome
from heroku.postgres import PostgresStore
from tests.support.deliveries import fresh_body
from tests.support.postgres import Postgres, execute


class Garbling:
    """Passes everything on, but says of one row that it has two columns where it has one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._row = b""
        self.garbled = 0
        self.connections: set[asyncio.Task[None] | None] = set()

    def garble(self, key: str) -> None:
        """Garble the row that returns ``key``: a DataRow of one column.

        https://www.postgresql.org/docs/current/protocol-message-formats.html
        """
        content = struct.pack(">hi", 1, len(key)) + key.encode()
        self._row = b"D" + struct.pack(">i", 4 + len(content)) + content

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(asyncio.current_task())
        there, server = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(self._pass(reader, server), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if self._row and self._row in data:
                    data = data.replace(self._row, self._row[:5] + struct.pack(">h", 2) + self._row[7:])
                    self._row = b""
                    self.garbled += 1
                writer.write(data)
        except OSError:
            pass
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


def event() -> Event:
    return parse_stored(fresh_body(), NOW)


def soon() -> float:
    return time.monotonic() + DEADLINE


def test_protocol_error_is_not_acknowledged(postgres: Postgres) -> None:
    url = postgres.create_database()

    async def run() -> None:
        garbling = Garbling(postgres.port)
        proxy = await asyncio.start_server(garbling, "127.0.0.1", 0)
        port = proxy.sockets[0].getsockname()[1]
        # Without TLS, which would hide the rows.
        store = PostgresStore(f"{url.replace(str(postgres.port), str(port))}?sslmode=disable")
        assert await store.put(event(), soon()) == Outcome.STORED
        one = event()
        garbling.garble(one.key)
        # Another connection finds the row, which was committed.
        assert await store.put(one, soon()) == Outcome.DUPLICATE
        assert garbling.garbled == 1
        assert await store.put(event(), soon()) == Outcome.STORED
        await store.close()
        proxy.close()
        await asyncio.wait([task for task in garbling.connections if task], timeout=30)

    asyncio.run(run())
    assert len(execute(url, "SELECT key FROM events")) == 3


def test_asyncpg_raises_internal_client_error() -> None:
    assert issubclass(asyncpg.ProtocolError, asyncpg.InternalClientError)
    assert not issubclass(asyncpg.InternalClientError, OSError | asyncpg.PostgresError | asyncpg.InterfaceError)
