"""One database for many tests, because creating and deleting a database takes longer than most of them."""

import asyncio

import asyncpg
import pytest

from heroku.release import migrate
from tests.support.postgres import Postgres


@pytest.fixture(scope="package")
def database(postgres: Postgres) -> str:
    """Give the URL of the database that `url` empties."""
    return postgres.create_database()


@pytest.fixture
def url(database: str) -> str:
    """Give the URL of a database with only our schema."""

    async def empty() -> None:
        connection = await asyncpg.connect(database)
        name = database.rsplit("/", 1)[1]
        await connection.execute(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC; "
            f"ALTER DATABASE {name} RESET ALL"
        )
        await connection.close()
        await migrate(database)

    asyncio.run(empty())
    return database
