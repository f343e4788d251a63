"""Google Cloud's REST APIs, with google-auth and kept connections: nothing runs after a request.

Why not the client libraries: docs/decisions/0017-rest.md.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import certifi
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport import Request

from core import NAME
from core.service.attempts import ATTEMPT, attempts
from core.service.client import Answer, CallError, Client
from core.service.sockets import bounded
from core.stores.contract import StoreUnavailableError
from gcp_functions.identity import LOGIN, Identity, TokenError, application_default

_WORD = re.compile("[A-Z_]{1,40}").fullmatch


class Service:
    """One service; safe to call from several threads. Calls are independent: a failure does not affect the next.

    Args:
        url: The service's address, without a path.
        find: Returns the credentials; see `gcp_functions.identity.Identity`.
    """

    def __init__(self, url: str, find: Callable[[Request], Credentials]) -> None:
        self._client = Client(url, certifi.where())
        self._identity = Identity(find)

    def call(
        self, method: str, path: str, deadline: float, document: object = None, none_if: str = ""
    ) -> dict[str, Any] | None:
        """Make a request, with the retries of `core.service.attempts`, and return the JSON object of the answer.

        Args:
            method: The HTTP method.
            path: Path and query, percent-encoded.
            deadline: ``time.monotonic()`` seconds.
            document: The body, as JSON; none if None.
            none_if: A code of Google that is not a failure, such as ``ALREADY_EXISTS``; the result is then None.

        Raises:
            StoreUnavailableError: The call failed. The reason is Google's code, such as ``ALREADY_EXISTS``
                (https://cloud.google.com/apis/design/errors), the HTTP status, or the class of an exception.
        """
        body = None if document is None else json.dumps(document).encode()
        cause = "deadline"
        for _ in attempts(deadline):
            try:
                with bounded(ATTEMPT):
                    answer = self._send(method, path, body)
            except DefaultCredentialsError:
                cause = f"No credentials of Google Cloud. {LOGIN}"
                break
            except TokenError as error:
                cause = f"no token: {error}"
                continue
            except CallError as error:
                cause = str(error)
                continue
            except GoogleAuthError as error:
                cause = type(error).__name__
                continue
            try:
                found = json.loads(answer.data)
            except (ValueError, RecursionError):
                found = None
            if answer.status == 200 and type(found) is dict:
                return found
            cause = _code(found, answer.status) or f"HTTP {answer.status}"
            if cause == none_if:
                return None
            # ABORTED is a 409 like ALREADY_EXISTS, but means: retry.
            if answer.status < 500 and answer.status != 429 and cause != "ABORTED":
                break
        raise StoreUnavailableError(cause)

    def _send(self, method: str, path: str, body: bytes | None) -> Answer:
        answer = self._send_once(method, path, body)
        if answer.status == 401:
            self._identity.renew()
            answer = self._send_once(method, path, body)
        return answer

    def _send_once(self, method: str, path: str, body: bytes | None) -> Answer:
        headers = {"Content-Type": "application/json", "User-Agent": NAME}
        self._identity.apply(headers)
        return self._client.send(method, path, body, headers)


def connect(url: str, emulator: str) -> Service:
    """Return the service at ``url``, or its emulator on this machine.

    Args:
        url: The service's address.
        emulator: Host and port, in the form that Google's emulators print.
    """
    if emulator:
        return Service(f"http://{emulator}", lambda _: AnonymousCredentials())
    return Service(url, application_default)


def _code(document: Any, status: int) -> str | None:
    """Return Google's error code, which is in capitals; no other part of the answer may be logged.

    A Google error repeats the HTTP status. This excludes error pages of proxies.
    """
    error = document.get("error") if type(document) is dict else None
    if type(error) is not dict or error.get("code") != status:
        return None
    word = error.get("status")
    return word if type(word) is str and _WORD(word) else None
