"""An example of a worker that processes stored events; several may run concurrently.

Replace `process`. An event is processed at least once: after a crash another worker processes its rows, so `process`
must be idempotent. An event that fails `core.worker.MAX_ATTEMPTS` times is a dead letter: it stays in the table with an
empty ``processed_at``, until you reset its ``attempts`` to 0. After SIGTERM it finishes its batch, and ends.
"""

import argparse
import asyncio
import os
import sys

import asyncpg

from core.environment import SettingsError
from core.event import parse_stored
from core.log import Log
from core.worker import MAX_ATTEMPTS, Process, attempt, print_readings, stop_on_signals
from heroku.postgres import DRIVER_ERRORS, name_of
from heroku.release import alone, build_index, connected
from heroku.url import database_url

BATCH = 50
IDLE_SECONDS = 2.0

# SKIP LOCKED: skip rows of other workers, without waiting.
_TAKE = """
SELECT key, body, received_at, signed_by FROM events
WHERE processed_at IS NULL AND attempts < $1
ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""
_FAILED = "attempts = attempts + 1"
# Not in release.py: without a worker the index would grow with each event. Two workers may start concurrently.
_INDEX = ("events_to_process", "(received_at) WHERE processed_at IS NULL")
_LOCK = 7381003
# A silently lost connection must not block a worker for ever.
_COMMAND_TIMEOUT = 60.0
# Replace it: called on another thread with each event, and raises if that failed.
process: Process = print_readings

_EXAMPLES = """\
examples:
  python -m heroku.worker
  heroku ps:scale worker=1

It takes the receiver's setting DATABASE_URL. See heroku/README.md.
"""


async def process_batch(connection: asyncpg.Connection, log: Log, process: Process = process) -> int:
    """Lock up to `BATCH` rows, process each, and commit; return their number."""
    async with connection.transaction():
        rows = await connection.fetch(_TAKE, MAX_ATTEMPTS, BATCH)
        for row in rows:
            event = parse_stored(row["body"], row["received_at"], row["signed_by"] or "unknown")
            change = "processed_at = now()" if await asyncio.to_thread(attempt, process, event, log) else _FAILED
            await connection.execute(f"UPDATE events SET {change} WHERE key = $1", row["key"])  # noqa: S608 - constants
    return len(rows)


async def work(url: str) -> None:
    """Process until SIGTERM; finish the current batch first."""
    stopping = stop_on_signals()
    log = Log()
    while not stopping.is_set():
        try:
            async with connected(url) as lock, connected(url) as connection, alone(lock, _LOCK):
                await build_index(connection, *_INDEX)
            async with connected(url, command_timeout=_COMMAND_TIMEOUT) as connection:
                while not stopping.is_set():
                    if await process_batch(connection, log) < BATCH:
                        await asyncio.to_thread(stopping.wait, IDLE_SECONDS)
        except DRIVER_ERRORS as error:
            log.notice("WARNING", f"The database is away ({name_of(error)}); trying again.")
            await asyncio.to_thread(stopping.wait, IDLE_SECONDS)


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m heroku.worker",
        description="Print the readings of each event that is stored.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        asyncio.run(work(database_url(os.environ)))
    except SettingsError as error:
        sys.exit(str(error))
