"""A PostgreSQL server for the bench, and the queries around each measurement."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.disk import microseconds_per_sync
from tests.support.postgres import Postgres, execute

# The settings that decide durability and speed.
_SETTINGS = ("fsync", "synchronous_commit", "max_connections", "shared_buffers", "max_wal_size")


@contextmanager
def running(binaries: Path, folder: Path) -> Iterator[str]:
    """Yield the URL of a database with Heroku's schema, in a server that is stopped afterwards.

    Args:
        binaries: The folder of PostgreSQL's programs.
        folder: Its folder; other users must be able to enter it, because PostgreSQL refuses root.
    """
    data = folder / "postgres"
    data.mkdir()
    server = Postgres(binaries, data)
    try:
        server.start()
        # Without TLS on both sides, because TLS is not compared.
        yield server.create_database() + "?sslmode=disable"
    finally:
        server.stop()


def empty(url: str) -> None:
    """Delete all events, and write out what the last measurement left."""
    execute(url, "TRUNCATE events")
    execute(url, "CHECKPOINT")


def count_rows(url: str) -> int:
    """Return how many events there are."""
    count: int = execute(url, "SELECT count(*) FROM events")[0][0]
    return count


def count_commits(url: str) -> int:
    """Return a number that grows by one with each transaction that writes.

    Not that of pg_stat_database: sessions report to it up to ten seconds late, and it also counts reads such as this
    one.
    """
    return int(execute(url, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text")[0][0])


def describe(url: str) -> str:
    """Return a sentence or two about what a commit guarantees here, and its minimum cost."""
    settings = ", ".join(f"{name}={execute(url, f'SHOW {name}')[0][0]}" for name in _SETTINGS)
    return (
        f"PostgreSQL with {settings}. Writing 8 KiB to this disk and syncing takes {microseconds_per_sync():,.0f} us."
    )
