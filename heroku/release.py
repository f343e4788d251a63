"""The release phase: brings the database to what schema.sql says, before the new code takes a request."""

import asyncio
import os
import sys
from pathlib import Path

import asyncpg

from core.settings import SettingsError
from heroku.app import database_url
from heroku.postgres import tls

# Any number, as long as it is ours: two releases at once must not race to create the same table.
_LOCK = 7381002


async def migrate(url: str) -> None:
    """Apply ``schema.sql`` in one transaction.

    Args:
        url: As in `heroku.postgres.PostgresStore`.
    """
    connection = await asyncpg.connect(url, ssl=tls(url), timeout=10)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await connection.execute(Path(__file__).with_name("schema.sql").read_text())
    finally:
        await connection.close()


if __name__ == "__main__":
    try:
        asyncio.run(migrate(database_url(os.environ)))
    except SettingsError as error:
        sys.exit(str(error))
    print("The database has the current schema.")
