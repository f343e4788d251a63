"""Azure Functions: a function with an HTTP trigger, as the worker calls it, in front of one Receiver."""

import gc

# The collector would look through what some hundred imports leave behind, again and again, and find nothing to free.
gc.disable()

import os
import re
from collections.abc import Mapping

import azure.functions as func

from azure_functions.http import to_request, to_response
from azure_functions.logs import WorkerLog
from core.dedup import Deduplicated
from core.receiver import AsyncReceiver
from core.settings import Settings, SettingsError, one_of, required
from core.store import AsyncStore, Store
from core.threaded import Threaded

_BICEP = "azure_functions/infra sets it"
_NAMESPACE = re.compile(r"[A-Za-z0-9-]+(\.[a-z0-9-]+)+").fullmatch
_ACCOUNT = re.compile("[a-z0-9]{3,24}").fullmatch


def build_store(environ: Mapping[str, str]) -> AsyncStore:
    """Build the store that DT_STORE names. Its SDK is imported, and no other: each takes as long as all the rest.

    Raises:
        core.settings.SettingsError: It cannot be built from this environment.
    """
    store = one_of(environ, "DT_STORE", "service_bus", "storage_queue", "table")
    client_id = environ.get("AZURE_CLIENT_ID") or None
    name = "DT_SERVICE_BUS" if store == "service_bus" else "DT_STORAGE"
    try:
        if store == "service_bus":
            from azure_functions.service_bus import ServiceBusStore, connector

            namespace = required(environ, name, f"the host name of the Service Bus namespace. {_BICEP}")
            if "=" in namespace or _NAMESPACE(namespace):
                return ServiceBusStore(connector(namespace, client_id), environ.get("DT_QUEUE") or "events")
        else:
            from azure_functions.storage import CONNECTIONS

            account = required(environ, name, f"the name of the storage account. {_BICEP}")
            if "=" in account or _ACCOUNT(account):
                return Threaded(_storage(environ, account, client_id), CONNECTIONS)
    except ValueError:  # the SDKs', which may quote it
        pass
    raise SettingsError([f"{name} is neither a name nor a connection string of Azure's."])


def _storage(environ: Mapping[str, str], account: str, client_id: str | None) -> Store:
    from azure.data.tables import TableClient

    from azure_functions.storage import connect
    from azure_functions.table import TableStore

    if environ.get("DT_STORE") == "table":
        table = environ.get("DT_TABLE") or "events"
        return TableStore(connect(TableClient, account, "table", client_id, table_name=table))

    from azure.storage.queue import QueueClient

    from azure_functions.seen_keys import TableSeenKeys
    from azure_functions.storage_queue import StorageQueue

    queue, seen = environ.get("DT_QUEUE") or "events", environ.get("DT_SEEN_TABLE") or "seenKeys"
    return Deduplicated(
        StorageQueue(connect(QueueClient, account, "queue", client_id, queue_name=queue)),
        TableSeenKeys(connect(TableClient, account, "table", client_id, table_name=seen)),
    )


def _settings(environ: Mapping[str, str]) -> Settings:
    # Where Azure cannot resolve a reference, the setting is the reference itself: a secret that anybody can guess.
    # https://learn.microsoft.com/azure/app-service/app-service-key-vault-references
    for name, value in environ.items():
        if name.startswith("DT_") and value.startswith("@Microsoft.KeyVault("):
            raise SettingsError(
                [f"{name} is a reference that Key Vault did not resolve: may the function's identity read that secret?"]
            )
    one_of(environ, "DT_AUTH_LEVEL", "anonymous", "function")
    return Settings.load(environ)


def build_receiver(environ: Mapping[str, str]) -> AsyncReceiver:
    """Build the receiver, whatever the environment is like.

    An exception at this point would have the host answer 404 to everything, without a word to DT of why.
    """
    return AsyncReceiver.build(lambda: (_settings(environ), build_store(environ)), WorkerLog())


# Not what DT_AUTH_LEVEL says, if that is not understood: then a key is wanted.
_is_anonymous = (os.environ.get("DT_AUTH_LEVEL") or "anonymous") == "anonymous"
app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS if _is_anonymous else func.AuthLevel.FUNCTION)
receiver = build_receiver(os.environ)
gc.freeze()
gc.enable()


@app.route(route="{*path}")
async def receive(req: func.HttpRequest) -> func.HttpResponse:
    """Answer one delivery, in the worker's event loop. Never raises: the host would hide the reason behind a 500."""
    return to_response(await receiver.handle(to_request(req)))
