"""Wires the core to Postgres."""

from collections.abc import Mapping

from core.asgi import App
from core.receiver import AsyncReceiver
from core.settings import Settings
from heroku.postgres import PostgresStore
from heroku.url import database_url


def build_store(environ: Mapping[str, str]) -> PostgresStore:
    """Build the store that DATABASE_URL names.

    Raises:
        core.settings.SettingsError: It is not set, or cannot be used.
    """
    return PostgresStore(database_url(environ))


def build_app(environ: Mapping[str, str]) -> App:
    """Build the application.

    Raises:
        core.settings.SettingsError: The environment cannot be used.
    """
    store = build_store(environ)
    return App(AsyncReceiver(Settings.load(environ), store), on_startup=store.open, on_shutdown=store.close)
