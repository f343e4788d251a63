"""Wires the core to an SQLite database."""

from collections.abc import Mapping
from pathlib import Path

from core.asgi import App
from core.receiver import AsyncReceiver
from core.settings import Settings, SettingsError
from core.store import StoreUnavailable
from local.sqlite import SqliteStore

DATABASE = "var/events.db"
_ADVICE = {
    "log_without_database": (
        "{database} is not there, but its log {database}-wal is, with acknowledged events in it. Move the database "
        "back; or the log to where the database is, under its name and -wal."
    ),
    "SQLITE_CORRUPT": (
        "{database} is damaged. Move it away together with {database}-wal, and see what can be read of it: "
        "sqlite3 MOVED .recover"
    ),
}
_OTHER_ADVICE = "{database} cannot be opened ({cause}). Set DT_DATABASE to a file in a folder of yours."


def build_store(environ: Mapping[str, str]) -> SqliteStore:
    """Build the store that DT_DATABASE names."""
    return SqliteStore(Path(environ.get("DT_DATABASE") or DATABASE))


def build_app(environ: Mapping[str, str]) -> App:
    """Build the application.

    Raises:
        core.settings.SettingsError: The environment cannot be used.
    """
    store = build_store(environ)

    async def open_store() -> None:
        try:
            await store.open()
        except StoreUnavailable as error:
            database = environ.get("DT_DATABASE") or DATABASE
            advice = _ADVICE.get(error.cause, _OTHER_ADVICE)
            raise SettingsError([advice.format(database=database, cause=error.cause)]) from None

    return App(AsyncReceiver(Settings.load(environ), store), on_startup=open_store, on_shutdown=store.close)
