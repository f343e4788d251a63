"""Wires the core to Postgres."""

from collections.abc import Mapping

from core.asgi import App
from core.receiver import AsyncReceiver
from core.settings import Settings, SettingsError
from heroku.postgres import PostgresStore


def database_url(environ: Mapping[str, str]) -> str:
    """Return DATABASE_URL.

    Raises:
        core.settings.SettingsError: It is not set.
    """
    url = environ.get("DATABASE_URL")
    if not url:
        raise SettingsError(
            ["DATABASE_URL is not set. Add a database: heroku addons:create heroku-postgresql:essential-0"]
        )
    return url


def build_store(environ: Mapping[str, str]) -> PostgresStore:
    """Build the store that DATABASE_URL names.

    Raises:
        core.settings.SettingsError: It is not set.
    """
    return PostgresStore(database_url(environ))


def build_app(environ: Mapping[str, str]) -> App:
    """Build the application.

    Raises:
        core.settings.SettingsError: The environment cannot be used.
    """
    store = build_store(environ)
    return App(AsyncReceiver(Settings.load(environ), store), on_startup=store.open, on_shutdown=store.close)
