"""Azure Functions: a function with an HTTP trigger, as the worker calls it, in front of one receiver."""

import gc

# The collector would look through what some hundred imports leave behind, again and again, and find nothing to free.
gc.disable()

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import azure.functions as func

from azure_functions.http import to_request, to_response
from azure_functions.logs import WorkerLog
from core.dedup import Deduplicated
from core.http import Request, Response
from core.receiver import AsyncReceiver, Receiver
from core.settings import Settings, SettingsError, one_of, required
from core.store import AsyncStore, Store

if TYPE_CHECKING:
    from azure.data.tables import TableClient

_NAMESPACE = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+").fullmatch
_ACCOUNT = re.compile("[a-z0-9]{3,24}").fullmatch
_WRONG_ADDRESS = "This is not the endpoint of the Data Connector: post to /events."
_NO_LENGTH = "Azure passes on no body that is sent in chunks: send Content-Length."


def build_async_store(environ: Mapping[str, str]) -> AsyncStore:
    """Build the store in Service Bus, which is for an event loop: its SDK keeps to no time-out elsewhere.

    Raises:
        core.settings.SettingsError: It cannot be built from this environment.
    """
    # As in the next: a store's SDK is imported with the store, because each takes as long as all the rest.
    from azure_functions.service_bus import ServiceBusStore, connector

    one_of(environ, "DT_STORE", "service_bus", "storage_queue", "table")
    address = _address(environ, "DT_SERVICE_BUS", "the host name of the Service Bus namespace", _NAMESPACE)
    connect = connector(address, environ.get("AZURE_CLIENT_ID"))
    try:
        return ServiceBusStore(connect, environ.get("DT_QUEUE") or "events")
    except ValueError:  # the SDK's, of a connection string, which it may quote
        raise _unknown("DT_SERVICE_BUS") from None


def build_store(environ: Mapping[str, str]) -> Store:
    """Build the store in Azure Storage that DT_STORE names: storage_queue or table.

    Raises:
        core.settings.SettingsError: It cannot be built from this environment.
    """
    from azure_functions.table import TableStore

    if environ["DT_STORE"] == "table":
        return TableStore(_table(environ, environ.get("DT_TABLE") or "events"))

    from azure.storage.queue import QueueClient

    from azure_functions.seen_keys import TableSeenKeys
    from azure_functions.storage_queue import StorageQueue

    queue = _storage(environ, QueueClient, "queue", queue_name=environ.get("DT_QUEUE") or "events")
    return Deduplicated(StorageQueue(queue), TableSeenKeys(_table(environ, environ.get("DT_SEEN_TABLE") or "seenKeys")))


def _table(environ: Mapping[str, str], name: str) -> "TableClient":
    from azure.data.tables import TableClient

    client: TableClient = _storage(environ, TableClient, "table", table_name=name)
    return client


def _storage(environ: Mapping[str, str], client: Any, service: str, **names: str) -> Any:
    from azure_functions.storage import connect

    address = _address(environ, "DT_STORAGE", "the name of the storage account", _ACCOUNT)
    try:
        return connect(client, address, service, environ.get("AZURE_CLIENT_ID"), **names)
    except ValueError:
        raise _unknown("DT_STORAGE") from None


def _address(environ: Mapping[str, str], name: str, what: str, is_name: Callable[[str], object]) -> str:
    address = required(environ, name, f"{what}. azure_functions/infra sets it")
    if "=" in address or is_name(address):
        return address
    raise _unknown(name)


def _unknown(name: str) -> SettingsError:
    return SettingsError([f"{name} is neither a name nor a connection string of Azure's."])


def _settings(environ: Mapping[str, str]) -> Settings:
    one_of(environ, "DT_AUTH_LEVEL", "anonymous", "function")
    return Settings.load(environ)


def build_receiver(environ: Mapping[str, str]) -> AsyncReceiver | Receiver:
    """Build the receiver, whatever the environment is like.

    An exception at this point would leave the host without a function: 404 to every delivery, and at / its own 200.
    """
    if environ.get("DT_STORE") in ("storage_queue", "table"):
        return Receiver.build(lambda: (_settings(environ), build_store(environ)), WorkerLog())
    return AsyncReceiver.build(lambda: (_settings(environ), build_async_store(environ)), WorkerLog())


receiver = build_receiver(os.environ)
gc.freeze()
gc.enable()


def _refused_here(request: Request) -> Response | None:
    """Answer what the host would answer 2xx without this function, or keeps the body of; None for all else.

    While the function is not loaded, the host answers every method 2xx at / (its home page, or 204 without one) and at
    /admin/warmup. An address that works until then would lose what is sent to it meanwhile, so it never works:
    docs/decisions/0027-azure-host.md.
    """
    if request.path.strip("/").partition("/")[0].lower() in ("", "admin"):
        return receiver.wrong_address(request, _WRONG_ADDRESS, time.monotonic())
    # The host passes on a body only if Content-Length says how long it is.
    if request.method == "POST" and not request.body and request.values("transfer-encoding"):
        return receiver.length_required(request, _NO_LENGTH, time.monotonic())
    return None


async def receive(req: func.HttpRequest) -> func.HttpResponse:
    """Answer one delivery, in the worker's event loop. Never raises: the host would hide the reason behind a 500."""
    assert isinstance(receiver, AsyncReceiver)
    request = to_request(req)
    return to_response(_refused_here(request) or await receiver.handle(request))


def receive_and_wait(req: func.HttpRequest) -> func.HttpResponse:
    """The same on a thread of the worker's, for a store that waits."""
    assert isinstance(receiver, Receiver)
    request = to_request(req)
    return to_response(_refused_here(request) or receiver.handle(request))


def _auth_level(environ: Mapping[str, str]) -> func.AuthLevel:
    """Return whether a request needs a key of the function; a level that is not understood does not open the door."""
    try:
        level = one_of(environ, "DT_AUTH_LEVEL", "anonymous", "function")
    except SettingsError as error:
        # Said at the load: the host answers who has no key itself, so no request may ever get as far as our 503.
        WorkerLog().notice("ERROR", f"{error} Until then the host answers 401 to whoever has no key of the function.")
        return func.AuthLevel.FUNCTION
    return func.AuthLevel[level.upper()]


app = func.FunctionApp(_auth_level(os.environ))
_chosen = receive if isinstance(receiver, AsyncReceiver) else receive_and_wait
app.function_name("receive")(app.route("{*path}")(_chosen))
