"""Builds a receiver from its environment."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from core.environment import Environment, SettingsError
from core.log import Log
from core.receiver import AsyncReceiver, AsyncUnconfiguredReceiver, Receiver, UnconfiguredReceiver
from core.settings import Settings
from core.stores.contract import AsyncStore, Store
from core.verify.keys import Secrets

S = TypeVar("S")

Build = Callable[[Environment], S]


def build(
    environ: Mapping[str, str],
    store: Build[Store],
    log: Log | None = None,
    secrets: Build[Secrets | None] | None = None,
) -> Receiver | UnconfiguredReceiver:
    """Build a receiver for a platform that calls it on threads. Never raises a `SettingsError`.

    Args:
        environ: The variables that docs/settings.md lists.
        store: Builds the store; reads all of its variables, then calls `Environment.check`, then connects.
        log: Gets one line per request; standard output by default.
        secrets: Builds the source of secrets that replaces DT_SIGNATURE_SECRET, if there is one.

    Returns:
        The receiver; an `UnconfiguredReceiver` if the environment is invalid: an exception here would end the process,
        and DT would get the platform's own answer.
    """
    try:
        return Receiver(*_parts(environ, store, secrets), log)
    except SettingsError as error:
        return UnconfiguredReceiver(error, log)


def build_async(
    environ: Mapping[str, str], store: Build[AsyncStore], log: Log | None = None
) -> AsyncReceiver | AsyncUnconfiguredReceiver:
    """Build a receiver for an event loop; as `build`."""
    try:
        return AsyncReceiver(*_parts(environ, store, None), log)
    except SettingsError as error:
        return AsyncUnconfiguredReceiver(error, log)


def _parts(environ: Mapping[str, str], store: Build[S], secrets: Build[Secrets | None] | None) -> tuple[Settings, S]:
    environment = Environment(environ)
    settings = Settings.read(environment, secrets(environment) if secrets else None)
    built = store(environment)
    environment.check()
    return settings.with_warnings(environment), built
