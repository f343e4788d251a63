"""Wires the core to an SQLite database."""

import re
from collections.abc import Mapping
from pathlib import Path

from core.assembly import build_async
from core.environment import Environment
from core.receiver import AsyncReceiver, AsyncUnconfiguredReceiver
from local.sqlite import SqliteStore

DATABASE = "var/events.db"
SECRET_FILE = Path("var/signature-secret")


def build_receiver(environ: Mapping[str, str]) -> AsyncReceiver | AsyncUnconfiguredReceiver:
    """Build the receiver; see `core.assembly.build_async`."""
    return build_async(environ, build_store)


def build_store(environment: Environment) -> SqliteStore:
    """Build the store that DT_DATABASE names."""
    database = environment.get("DT_DATABASE", DATABASE)
    if is_any_url(database):
        # Not quoted: it may contain a password.
        environment.faults.append(
            "DT_DATABASE is a URL, but the local receiver stores in a file: set it to a path. For Postgres, run "
            "`.venv/bin/python -m heroku` with DATABASE_URL."
        )
    environment.check()
    return SqliteStore(Path(database))


def is_any_url(database: str) -> bool:
    """Return whether a database is given as a URL; a single letter and a colon begin a Windows path."""
    return bool(re.match(r"\s*[\"']?[A-Za-z][A-Za-z0-9+.-]+:", database)) or "://" in database
