"""An example of a worker that processes stored events; several may run concurrently.

Replace `process`. An event is processed at least once: after a crash another worker processes its rows, so `process`
must be idempotent. An event that fails comes again after 1, 2, 4 s and so on, and the others go on. After
`core.worker.MAX_ATTEMPTS` failures it is a dead letter: it stays in the table with an empty ``processed_at``, until you
reset its ``attempts`` to 0. After SIGTERM it finishes its batch, and ends.

If the database fails, the worker logs that and tries again. If it cannot be used at the start, the worker ends.
"""

import argparse
import asyncio
import os
import sys

import asyncpg

from core.environment import SettingsError
from core.event import parse_stored
from core.log import Log
from core.worker import MAX_ATTEMPTS, Process, attempt, print_readings, stop_on_signals, wait_after
from heroku.postgres import DRIVER_ERRORS, name_of
from heroku.release import alone, build_index, connected
from heroku.url import database_url

BATCH = 50
IDLE_SECONDS = 2.0

# SKIP LOCKED: skip rows of other workers, without waiting.
_TAKE = """
SELECT key, body, received_at, signed_by, attempts FROM events
WHERE processed_at IS NULL AND attempts < $1 AND coalesce(retry_at <= clock_timestamp(), TRUE)
ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""
_PROCESSED = "UPDATE events SET processed_at = now() WHERE key = $1"
_FAILED = """
UPDATE events SET attempts = attempts + 1, retry_at = clock_timestamp() + $2 * interval '1 s' WHERE key = $1
"""
# Not in release.py: without a worker the index would grow with each event. Two workers may start concurrently.
_INDEX = ("events_to_process", "(received_at) WHERE processed_at IS NULL")
_LOCK = 7381003
# A silently lost connection must not block a worker for ever.
_COMMAND_TIMEOUT = 60.0
# Seconds until the database is asked again after it failed, at most.
_LONGEST_PAUSE = 30
# Replace it: called on another thread with each event, and raises if that failed.
process: Process = print_readings

_EXAMPLES = """\
examples:
  python -m heroku.worker
  heroku ps:scale worker=1

It takes the receiver's setting DATABASE_URL. See heroku/README.md.
"""


async def process_batch(connection: asyncpg.Connection, log: Log, process: Process) -> int:
    """Lock up to `BATCH` rows, process each, and commit; return their number."""
    async with connection.transaction():
        rows = await connection.fetch(_TAKE, MAX_ATTEMPTS, BATCH)
        for row in rows:
            event = parse_stored(row["body"], row["received_at"], row["signed_by"] or "unknown")
            if await asyncio.to_thread(attempt, process, event, log):
                await connection.execute(_PROCESSED, row["key"])
            else:
                await connection.execute(_FAILED, row["key"], wait_after(row["attempts"] + 1))
    return len(rows)


async def work(url: str, process: Process = process) -> None:
    """Process until SIGTERM; finish the current batch first.

    Raises:
        SystemExit: The database could not be used from the start, so probably it is another one.
    """
    stopping = stop_on_signals()
    log = Log()
    pause = 0
    has_worked = False
    while not stopping.is_set():
        try:
            async with connected(url) as lock, connected(url) as connection, alone(lock, _LOCK):
                await build_index(connection, *_INDEX)
            async with connected(url, command_timeout=_COMMAND_TIMEOUT) as connection:
                while not stopping.is_set():
                    found = await process_batch(connection, log, process)
                    has_worked, pause = True, 0
                    if found < BATCH:
                        await asyncio.to_thread(stopping.wait, IDLE_SECONDS)
        except DRIVER_ERRORS as error:
            if not has_worked:
                raise SystemExit(
                    f"The worker cannot use the database: {name_of(error)}. Does DATABASE_URL name the receiver's, and "
                    "has `python -m heroku.release` given it the current schema?"
                ) from None
            pause = min(max(2 * pause, 1), _LONGEST_PAUSE)
            log.notice("WARNING", f"The database is away ({name_of(error)}). The worker tries again in {pause} s.")
            await asyncio.to_thread(stopping.wait, pause)


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
