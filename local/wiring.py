"""Wires the core to an SQLite database."""

from collections.abc import Mapping
from pathlib import Path

from core.environment import Environment
from core.receiver import AsyncReceiver, AsyncUnconfiguredReceiver, build_async
from local.sqlite import SqliteStore

DATABASE = "var/events.db"


def build_receiver(environ: Mapping[str, str]) -> AsyncReceiver | AsyncUnconfiguredReceiver:
    """Build the receiver; see `core.receiver.build_async`."""
    return build_async(environ, build_store)


def build_store(environment: Environment) -> SqliteStore:
    """Build the store that DT_DATABASE names."""
    environment.check()
    return SqliteStore(Path(environment.get("DT_DATABASE", DATABASE)))
