"""Wires the core to Postgres."""

from collections.abc import Mapping

from core.assembly import build_async
from core.environment import Environment, SettingsError
from core.receiver import AsyncReceiver, AsyncUnconfiguredReceiver
from heroku.postgres import PostgresStore
from heroku.url import database_url


def build_receiver(environ: Mapping[str, str]) -> AsyncReceiver | AsyncUnconfiguredReceiver:
    """Build the receiver; see `core.assembly.build_async`."""
    return build_async(environ, build_store)


def build_store(environment: Environment) -> PostgresStore:
    """Build the store that DATABASE_URL names.

    Raises:
        core.environment.SettingsError: The environment is invalid.
    """
    url = ""
    try:
        url = database_url({"DATABASE_URL": environment.get("DATABASE_URL")})
    except SettingsError as error:
        environment.faults += error.faults
    environment.check()
    return PostgresStore(url)
