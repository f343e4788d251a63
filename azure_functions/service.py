"""Azure Storage's REST APIs, with kept connections, and with the retries of `core.service.attempts`.

Why not the SDKs: docs/decisions/0040-our-own-sender.md.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from azure_functions.connection_string import parse
from azure_functions.identity import ManagedIdentityError, managed_identity
from core import NAME
from core.service.attempts import ATTEMPT, attempts
from core.service.client import Answer, CallError, Client
from core.service.sockets import bounded
from core.stores.contract import StoreUnavailableError

# The first version in which tables can be used with an identity:
# https://learn.microsoft.com/rest/api/storageservices/versioning-for-the-azure-storage-services
_VERSION = "2020-12-06"
_SCOPE = "https://storage.azure.com/.default"
# The headers in the text that is signed for a queue; those for a table are fewer.
_SIGNED = (
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-MD5",
    "Content-Type",
    "Date",
    "If-Modified-Since",
    "If-Match",
    "If-None-Match",
    "If-Unmodified-Since",
    "Range",
)
_SIGNED_OF_TABLE = ("Content-MD5", "Content-Type", "x-ms-date")
# The account of Microsoft's emulator, with its published key:
# https://learn.microsoft.com/azure/storage/common/storage-use-azurite#well-known-storage-account-and-key
_EMULATOR = (
    "AccountName=devstoreaccount1;AccountKey="
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;TableEndpoint=http://127.0.0.1:10002/devstoreaccount1"
)
_WORD = re.compile("[A-Za-z]{1,60}").fullmatch

# Adds to the headers of a request what authorizes it: method, path and query, headers, length of the body.
Authorize = Callable[[str, str, dict[str, str], int], None]


class Service:
    """One service of a storage account; safe to call from several threads.

    Args:
        url: Its address, which may have a path.
        authorize: Authorizes each request.
        signature: A shared access signature, which becomes part of each query; or empty.
    """

    def __init__(self, url: str, authorize: Authorize, signature: str = "") -> None:
        # No file of certificates: the system's.
        self._client = Client(url, "")
        self._path = urlsplit(url).path.rstrip("/")
        self._authorize = authorize
        self._signature = signature

    def call(
        self, method: str, path: str, deadline: float, body: bytes | None, headers: Mapping[str, str], none_if: str = ""
    ) -> Answer | None:
        """Make a request, and return the answer, whose status is 2xx.

        Args:
            method: The HTTP method.
            path: Path and query below the service's address, percent-encoded.
            deadline: ``time.monotonic()`` seconds.
            body: The body, if any.
            headers: Headers beside those that every request has.
            none_if: A code of the service that is not a failure, such as ``EntityAlreadyExists``; the result is then
                None.

        Raises:
            StoreUnavailableError: The call failed. The reason is the service's code, such as ``QueueNotFound``
                (https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes), the HTTP status, or
                the class of an error.
        """
        path = self._path + path
        if self._signature:
            path += f"{'&' if '?' in path else '?'}{self._signature}"
        cause = "deadline"
        for _ in attempts(deadline):
            sent = {**headers, "x-ms-date": formatdate(usegmt=True), "x-ms-version": _VERSION, "User-Agent": NAME}
            try:
                with bounded(ATTEMPT):
                    self._authorize(method, path, sent, len(body or b""))
                    answer = self._client.send(method, path, body, sent)
            except ManagedIdentityError as error:
                cause = type(error).__name__
                continue
            except CallError as error:
                cause = str(error)
                continue
            if 200 <= answer.status < 300:
                return answer
            cause = _code(answer)
            if cause == none_if:
                return None
            if answer.status < 500 and answer.status != 429:
                break
        raise StoreUnavailableError(cause)


def connect(storage: str, service: str, client_id: str | None) -> Service:
    """Return a service. No failure corrupts its state, so it lasts as long as the worker.

    Args:
        storage: The storage account's name, used with the function's identity; or a connection string.
        service: ``queue`` or ``table``.
        client_id: As in `azure_functions.identity.managed_identity`.

    Raises:
        ValueError: The connection string is invalid.
    """
    if "=" not in storage:
        identity = managed_identity(client_id)

        def by_identity(_method: str, _path: str, headers: dict[str, str], _length: int) -> None:
            headers["Authorization"] = f"Bearer {identity.get_token(_SCOPE).token}"

        return Service(f"https://{storage}.{service}.core.windows.net", by_identity)
    values = parse(storage)
    if values.get("usedevelopmentstorage", "").lower() == "true":
        values = parse(_EMULATOR)
    account, key, signature = (values.get(each, "") for each in ("accountname", "accountkey", "sharedaccesssignature"))
    scheme, suffix = values.get("defaultendpointsprotocol", "https"), values.get("endpointsuffix", "core.windows.net")
    url = values.get(f"{service}endpoint") or (account and f"{scheme}://{account}.{service}.{suffix}")
    if not (urlsplit(url).hostname and (signature or (account and key))):
        raise ValueError("The connection string has no account, or no key.")
    if signature:
        return Service(url, lambda *_: None, signature.lstrip("?"))
    return Service(url, _by_key(account, base64.b64decode(key, validate=True), is_table=service == "table"))


def _by_key(account: str, key: bytes, *, is_table: bool) -> Authorize:
    """Sign with a key: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key."""

    def authorize(method: str, path: str, headers: dict[str, str], length: int) -> None:
        path, _, query = path.partition("?")
        values = {**headers, "Content-Length": str(length or "")}
        lines = [method, *(values.get(name, "") for name in (_SIGNED_OF_TABLE if is_table else _SIGNED))]
        if not is_table:
            lines += [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("x-ms-")]
        lines.append(f"/{account}{path}")
        if not is_table:
            lines += [f"{name}:{value}" for name, value in sorted(parse_qsl(query))]
        digest = hmac.digest(key, "\n".join(lines).encode(), hashlib.sha256)
        headers["Authorization"] = f"SharedKey {account}:{base64.b64encode(digest).decode()}"

    return authorize


def _code(answer: Answer) -> str:
    """Return Azure's error code; no other part of the answer may be logged."""
    code: Any = answer.headers.get("x-ms-error-code")
    if not code:
        try:  # where tables have it
            code = json.loads(answer.data)["odata.error"]["code"]
        except (ValueError, LookupError, TypeError, RecursionError):
            pass
    return code if type(code) is str and _WORD(code) else f"HTTP {answer.status}"
