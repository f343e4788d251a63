"""The clients of Azure Storage, and the call that retries within the deadline."""

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from azure.core.exceptions import HttpResponseError

from azure_functions.identity import managed_identity
from azure_functions.transport import transport
from core.service.attempts import ATTEMPT, attempts
from core.service.sockets import bounded
from core.stores.contract import StoreUnavailableError

_WORD = re.compile("[A-Za-z]{1,60}").fullmatch

T = TypeVar("T")


def connect(client: Any, storage: str, service: str, client_id: str | None, **names: str) -> Any:
    """Create a client. No failure corrupts its state, so it lasts as long as the worker.

    Args:
        client: Its class.
        storage: The storage account's name, used with the function's identity; or a connection string.
        service: ``queue`` or ``table``.
        client_id: As in `azure_functions.identity.managed_identity`.
        names: ``queue_name=`` or ``table_name=``.
    """
    options: dict[str, Any] = {
        **names,
        "transport": transport(),
        # The clients' own retries last for minutes, for tables up to a week.
        "retry_total": 0,
    }
    if "=" in storage:
        return client.from_connection_string(storage, **options)
    return client(f"https://{storage}.{service}.core.windows.net", credential=managed_identity(client_id), **options)


def call(operation: Callable[..., T], deadline: float, *arguments: Any, none_if: str = "", **options: Any) -> T | None:
    """Call a client's operation, with the retries of `core.service.attempts`.

    Args:
        operation: A client's method.
        deadline: ``time.monotonic()`` seconds.
        arguments: Its arguments.
        none_if: A code of the service that is not a failure, such as ``EntityAlreadyExists``; the result is then None.
        options: Keyword arguments.

    Raises:
        StoreUnavailableError: The call failed. The reason is the service's code, such as ``EntityAlreadyExists``
            (https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes), the HTTP status, or the
            class of an exception.
    """
    cause = "deadline"
    for _ in attempts(deadline):
        try:
            with bounded(ATTEMPT):
                return operation(*arguments, **options)
        except HttpResponseError as error:
            cause = _code(error)
            if cause == none_if:
                return None
            status = error.status_code or 500
            if status < 500 and status != 429:
                break
        except Exception as error:  # network errors, and the SDK's errors about an unreadable answer
            cause = type(error).__name__
    raise StoreUnavailableError(cause) from None


def _code(error: Any) -> str:
    """Return Azure's error code; no other part of the answer may be logged."""
    response = error.response
    if response is None:
        return type(error).__name__
    code = response.headers.get("x-ms-error-code")
    if not code:
        try:  # where tables have it
            code = json.loads(response.text())["odata.error"]["code"]
        except (ValueError, LookupError, TypeError):
            pass
    return code if type(code) is str and _WORD(code) else f"HTTP {response.status_code}"
