"""Wires the core to an SQLite database."""

from collections.abc import Mapping
from pathlib import Path

from core.asgi import App
from core.receiver import AsyncReceiver
from core.settings import Settings
from local.sqlite import SqliteStore


def build_store(environ: Mapping[str, str]) -> SqliteStore:
    """Build the store that DT_DATABASE names; ``var/events.db`` by default."""
    return SqliteStore(Path(environ.get("DT_DATABASE") or "var/events.db"))


def build_app(environ: Mapping[str, str]) -> App:
    """Build the application.

    Raises:
        core.settings.SettingsError: The environment cannot be used.
    """
    store = build_store(environ)
    return App(AsyncReceiver(Settings.load(environ), store), on_startup=store.open, on_shutdown=store.close)
