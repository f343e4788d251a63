"""An example of a worker that processes stored events; several may run concurrently.

Replace `process`. An event is processed at least once: after a crash another worker processes its rows, so `process`
must be idempotent. An event that fails `MAX_ATTEMPTS` times is a dead letter: it stays in the table with an empty
``processed_at``, until you reset its ``attempts`` to 0.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import asyncpg

from core.environment import SettingsError
from core.event import Event, parse_stored
from core.log import Log
from core.readings import readings
from core.text import printable
from heroku.postgres import DRIVER_ERRORS, name_of
from heroku.release import alone, build_index, connected
from heroku.url import database_url

BATCH = 50
MAX_ATTEMPTS = 5
IDLE_SECONDS = 2.0

# SKIP LOCKED: skip rows of other workers, without waiting.
_TAKE = """
SELECT key, body, received_at, signed_by FROM events
WHERE processed_at IS NULL AND attempts < $1
ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""
# Not in release.py: without a worker the index would grow with each event. Two workers may start concurrently.
_INDEX = ("events_to_process", "(received_at) WHERE processed_at IS NULL")
_LOCK = 7381003
# A silently lost connection must not block a worker for ever.
_COMMAND_TIMEOUT = 60.0


Process = Callable[[Event], Awaitable[None]]


async def process(event: Event) -> None:
    """Process one event; raise if that failed. Replace this with your own code."""
    for reading in readings(event):
        value = reading.text if reading.value is None else f"{reading.value:.10g}"
        print(reading.device_id, reading.quantity, printable(str(value)), reading.unit or "", flush=True)


async def process_batch(connection: asyncpg.Connection, log: Log, process: Process = process) -> int:
    """Lock up to `BATCH` rows, process each, and commit; return their number."""
    async with connection.transaction():
        rows = await connection.fetch(_TAKE, MAX_ATTEMPTS, BATCH)
        for row in rows:
            try:
                await process(parse_stored(row["body"], row["received_at"], row["signed_by"] or "unknown"))
                await connection.execute("UPDATE events SET processed_at = now() WHERE key = $1", row["key"])
            except Exception as error:
                if connection.is_closed():
                    raise
                log.notice("ERROR", f"{row['key']} could not be processed: {type(error).__name__}")
                await connection.execute("UPDATE events SET attempts = attempts + 1 WHERE key = $1", row["key"])
    return len(rows)


async def work(url: str) -> None:
    """Process until SIGTERM; finish the current batch first."""
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    log = Log()
    while not stopping.is_set():
        try:
            async with connected(url) as lock, connected(url) as connection, alone(lock, _LOCK):
                await build_index(connection, *_INDEX)
            async with connected(url, command_timeout=_COMMAND_TIMEOUT) as connection:
                while not stopping.is_set():
                    if await process_batch(connection, log) < BATCH:
                        await _sleep(stopping)
        except DRIVER_ERRORS as error:
            log.notice("WARNING", f"The database is away ({name_of(error)}); trying again.")
            await _sleep(stopping)


async def _sleep(stopping: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), IDLE_SECONDS)


if __name__ == "__main__":
    try:
        asyncio.run(work(database_url(os.environ)))
    except SettingsError as error:
        sys.exit(str(error))
