"""Chooses the store, the log and the authorization level from the environment."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from azure_functions.log import build_log
from core.assembly import build_async
from core.environment import Environment, SettingsError
from core.receiver import AsyncReceiver, AsyncUnconfiguredReceiver
from core.stores.contract import AsyncStore, Store
from core.stores.dedup import Deduplicated
from core.stores.threaded import Threaded

if TYPE_CHECKING:
    from azure_functions.service import Service

NAMESPACE = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+").fullmatch
ACCOUNT = re.compile("[a-z0-9]{3,24}").fullmatch
# Concurrent calls to Azure Storage.
_THREADS = 32


def build_receiver(environ: Mapping[str, str]) -> AsyncReceiver | AsyncUnconfiguredReceiver:
    """Build the receiver, even in an invalid environment; see `core.assembly.build`.

    With an exception here, the host would have no function: it answers 404 to every delivery, and 200 at /.
    """
    return build_async(environ, build_store, build_log(environ))


def auth_level(environ: Mapping[str, str]) -> str:
    """Return ``anonymous``, or ``function`` if a request needs a function key.

    With an invalid value, the key is required.
    """
    environment = Environment(environ)
    level = _auth_level(environment)
    if environment.faults:
        # Logged when the function is loaded: the host itself answers 401, so requests may never reach our 503.
        fault = "\n".join(environment.faults)
        build_log(environ).notice("ERROR", f"{fault} Until then the host answers 401 to requests without a key.")
        return "function"
    return level


def build_store(environment: Environment) -> AsyncStore:
    """Build the store that DT_STORE names.

    Raises:
        core.environment.SettingsError: The environment is invalid.
    """
    _auth_level(environment)
    store = environment.one_of("DT_STORE", "service_bus", "storage_queue", "table")
    if store == "service_bus":
        return _service_bus(environment)
    address = address_of(environment, "DT_STORAGE", "the name of the storage account", ACCOUNT)
    environment.check()
    return Threaded(
        _queue(environment, address) if store == "storage_queue" else _table(environment, address), _THREADS
    )


def _auth_level(environment: Environment) -> str:
    return environment.one_of("DT_AUTH_LEVEL", "anonymous", "function")


# Each store is imported with its client, because a cold start needs no other.


def _service_bus(environment: Environment) -> AsyncStore:
    from azure_functions.namespace import namespace
    from azure_functions.service_bus import ServiceBusStore

    address = address_of(environment, "DT_SERVICE_BUS", "the host name of the Service Bus namespace", NAMESPACE)
    environment.check()
    try:
        there = namespace(address, environment.get("DT_QUEUE", "events"), environment.get("AZURE_CLIENT_ID") or None)
    except ValueError:  # about a connection string
        raise SettingsError([_unknown("DT_SERVICE_BUS")]) from None
    return ServiceBusStore(there.open)


def _queue(environment: Environment, address: str) -> Store:
    from azure_functions.seen_keys import TableSeenKeys
    from azure_functions.storage_queue import StorageQueue
    from azure_functions.table import Table

    queue = StorageQueue(_storage(environment, address, "queue"), environment.get("DT_QUEUE", "events"))
    seen = Table(_storage(environment, address, "table"), environment.get("DT_SEEN_TABLE", "seenKeys"))
    return Deduplicated(queue, TableSeenKeys(seen))


def _table(environment: Environment, address: str) -> Store:
    from azure_functions.table import Table, TableStore

    return TableStore(Table(_storage(environment, address, "table"), environment.get("DT_TABLE", "events")))


def _storage(environment: Environment, address: str, service: str) -> "Service":
    from azure_functions.service import connect

    try:
        return connect(address, service, environment.get("AZURE_CLIENT_ID") or None)
    except ValueError:
        raise SettingsError([_unknown("DT_STORAGE")]) from None


def address_of(environment: Environment, name: str, what: str, is_name: Callable[[str], object]) -> str:
    """Return a setting that is the name of a service, or a connection string.

    Args:
        environment: Gets a fault if it is neither.
        name: The setting.
        what: Its meaning, for the fault.
        is_name: Whether a name is valid.
    """
    address = environment.required(name, f"{what}. azure_functions/infra sets it")
    if address and "=" not in address and not is_name(address):
        environment.faults.append(_unknown(name))
    return address


def _unknown(name: str) -> str:
    return f"{name} is neither a name nor an Azure connection string."
