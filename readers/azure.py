"""Credentials for the readers of Azure, and what its errors mean to a person.

The identity is found as Azure's other tools find it: the variables AZURE_CLIENT_ID, AZURE_TENANT_ID and
AZURE_CLIENT_SECRET, the identity of the machine, or what ``az login`` wrote. For Azure Storage, AZURE_STORAGE_KEY or
AZURE_STORAGE_SAS_TOKEN, if set, comes first, as with the Azure CLI.
"""

import asyncio
import logging
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

from readers import DeniedError, ReaderError
from readers.sources import SOURCES

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

# For each client of Azure Storage: 30 s at most for a call.
OPTIONS: dict[str, Any] = {"connection_timeout": 5, "read_timeout": 10}

# Bytes; the receiver accepts 256 KiB.
_MAX_BODY = 1 << 20
_WORD = re.compile("[A-Za-z]{1,60}").fullmatch
_MISSING = ("TableNotFound", "QueueNotFound", "ResourceNotFound", "MessagingEntityNotFoundError")
# Of azure-servicebus, by name: importing it takes longer than reading a table.
_DENIED = ("ServiceBusAuthenticationError", "ServiceBusAuthorizationError")
_UNREACHABLE = ("OperationTimeoutError", "ServiceBusConnectionError", "ServiceBusCommunicationError", "TimeoutError")

# The SDKs log errors with the service's text, which may quote data.
for _name in ("azure", "msal", "urllib3"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class StoragePlace(NamedTuple):
    """What a URL of Azure Storage names.

    Attributes:
        endpoint: The account's URL for the service.
        account: The account.
        name: The queue or table.
    """

    endpoint: str
    account: str
    name: str


def storage_place(url: str, is_name: Callable[[str], object]) -> StoragePlace:
    """Read ``SCHEME:https://ACCOUNT.SERVICE.core.windows.net/NAME``; an emulator has the account in the path.

    Args:
        url: The URL.
        is_name: Whether a name is valid.

    Raises:
        ReaderError: The URL is invalid.
    """
    scheme, _, rest = url.partition(":")
    try:
        parts = urlsplit(rest)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    path, _, name = parts.path.strip("/").rpartition("/")
    if parts.scheme not in ("https", "http") or not host or "@" in parts.netloc or parts.query or not is_name(name):
        # Not quoted: it may contain a signature.
        raise ReaderError(
            f"This is not the URL of a store. It must be like {SOURCES[scheme].example}, without a signature."
        )
    account = path.rpartition("/")[2] or host.partition(".")[0]
    return StoragePlace(f"{parts.scheme}://{parts.netloc}/{path}".rstrip("/"), account, name)


def storage_credential(place: StoragePlace) -> "AzureNamedKeyCredential | AzureSasCredential | TokenCredential":
    """Return the credential for Azure Storage.

    Raises:
        ReaderError: There is only an identity, whose tokens must not be sent without TLS.
    """
    if key := os.environ.get("AZURE_STORAGE_KEY"):
        return AzureNamedKeyCredential(place.account, key)
    if signature := os.environ.get("AZURE_STORAGE_SAS_TOKEN"):
        return AzureSasCredential(signature)
    if place.endpoint.startswith("http:"):
        raise ReaderError("For a store without TLS, such as an emulator, set AZURE_STORAGE_KEY to the account's key.")
    return identity()


def identity() -> "TokenCredential":
    """Return Azure's default credential."""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()


class AsyncCredential:
    """A credential for an event loop, on a thread: azure-identity's own needs another HTTP client.

    Args:
        credential: The credential.
    """

    def __init__(self, credential: "TokenCredential") -> None:
        self._credential = credential

    async def get_token(self, *scopes: str, **options: Any) -> "AccessToken":
        """Return a token; see `azure.core.credentials.TokenCredential`."""
        return await asyncio.to_thread(self._credential.get_token, *scopes, **options)

    async def close(self) -> None:
        """Do nothing: the credential has no connection of its own."""

    async def __aenter__(self) -> "AsyncCredential":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


def unzipped(content: bytes) -> bytes:
    """Return what the receiver compressed by gzip.

    Raises:
        ValueError: It is not by gzip, or too large for a body of the receiver.
    """
    stream = zlib.decompressobj(wbits=31)
    try:
        body = stream.decompress(content, _MAX_BODY)
    except zlib.error:
        raise ValueError("not by gzip") from None
    if not stream.eof:
        raise ValueError("too large, or not complete")
    return body


@contextmanager
def reading(what: str, role: str) -> Iterator[None]:
    """Raise the SDKs' errors as `ReaderError`, without their text, which may quote data.

    Args:
        what: What is read.
        role: The role that allows it.
    """
    try:
        yield
    except ReaderError:
        raise
    # Any: of an answer that is not Azure's, the SDKs raise what their parsers do.
    except Exception as error:
        raise _reader_error(what, role, error) from None


def _reader_error(what: str, role: str, error: Exception) -> ReaderError:
    failure = _failure(error)
    name = type(failure).__name__
    if isinstance(failure, HttpResponseError) and failure.response is not None:
        return _refusal(what, role, _error_code(failure), denied=failure.status_code in (401, 403))
    if isinstance(failure, ClientAuthenticationError):
        return ReaderError(
            f"No login at Azure: {name}. Run `az login`, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and "
            "AZURE_CLIENT_SECRET."
        )
    if isinstance(failure, ServiceRequestError | ServiceResponseError) or name in _UNREACHABLE:
        return ReaderError(f"Cannot reach {what}: {name}. Check the network, and the host in the URL.")
    if isinstance(failure, AzureError):
        return _refusal(what, role, name, denied=name in _DENIED)
    return ReaderError(f"Cannot read {what}: {name}. Check the URL and the credentials.")


def _failure(error: BaseException) -> BaseException:
    """Return the SDK's error.

    azure-data-tables raises another while it handles one without a response; azure-servicebus wraps one of a login.
    """
    cause: BaseException | None = error
    while cause and not isinstance(cause, AzureError):
        cause = cause.__context__
    inner = getattr(cause, "inner_exception", None)
    return inner if isinstance(inner, ClientAuthenticationError) else cause or error


def _refusal(what: str, role: str, code: str, *, denied: bool) -> ReaderError:
    if code in _MISSING:
        return ReaderError(f"Cannot find {what}. Check the URL; the deployment prints it as `source`.")
    if denied:
        return DeniedError(
            f"Azure denies reading {what}: {code}. You need the role {role}, which takes minutes to be in effect."
        )
    return ReaderError(f"Azure cannot read {what} now: {code}. Try again in a minute.")


def _error_code(error: HttpResponseError) -> str:
    """Return the service's error code, and no other part of its answer."""
    response: Any = error.response
    code: Any = getattr(error, "error_code", None)
    code = getattr(code, "value", code) or response.headers.get("x-ms-error-code")
    return code if isinstance(code, str) and _WORD(code) else f"HTTP {error.status_code}"
