"""Google Cloud's REST APIs, by Google's own authentication and one pool of connections: nothing runs behind a request.

docs/decisions/0017-rest.md says why these and not the client libraries.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import certifi
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport import Request
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from core.service.attempts import ATTEMPT, attempts
from core.service.sockets import bounded
from core.service.transport import pool_manager
from core.stores.contract import StoreUnavailableError
from gcp_functions.identity import LOGIN, Identity, TokenError, application_default

# As many threads as functions-framework may well be given; terraform/ gives it 20.
_CONNECTIONS = 32
_WORD = re.compile("[A-Z_]{1,40}").fullmatch


class Service:
    """One service; safe to call from several threads. It holds no failure: each call is on its own.

    Args:
        url: The address that all paths are relative to.
        find: Returns who calls; see `gcp_functions.identity.Identity`.
    """

    def __init__(self, url: str, find: Callable[[Request], Credentials]) -> None:
        self._url = url
        self._pool = pool_manager(_CONNECTIONS, certifi.where())
        self._identity = Identity(self._pool, find)

    def call(
        self, method: str, path: str, deadline: float, document: object = None, none_if: str = ""
    ) -> dict[str, Any] | None:
        """Make a request, as often as `core.service.attempts` has it, and return the object that comes back.

        Args:
            method: The HTTP method.
            path: Path and query, relative to the service's address.
            deadline: ``time.monotonic()`` seconds.
            document: The body, as JSON; none if None.
            none_if: Google's code that is no failure, such as ``ALREADY_EXISTS``: then the result is None.

        Raises:
            StoreUnavailableError: It did not succeed. The cause is Google's code, such as ``ALREADY_EXISTS``
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
            except (HTTPError, GoogleAuthError) as error:
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
            # ABORTED is a 409 as ALREADY_EXISTS is, and means: try again.
            if answer.status < 500 and answer.status != 429 and cause != "ABORTED":
                break
        raise StoreUnavailableError(cause)

    def _send(self, method: str, path: str, body: bytes | None) -> BaseHTTPResponse:
        answer = self._send_once(method, path, body)
        if answer.status == 401:
            self._identity.renew()
            answer = self._send_once(method, path, body)
        return answer

    def _send_once(self, method: str, path: str, body: bytes | None) -> BaseHTTPResponse:
        headers = {"Content-Type": "application/json"}
        self._identity.apply(headers)
        return self._pool.urlopen(method, self._url + path, body=body, headers=headers)


def connect(url: str, emulator: str) -> Service:
    """Return the service at ``url``, or the emulator of it on this machine.

    Args:
        url: The service's address.
        emulator: Host and port, as Google's emulators print them.
    """
    if emulator:
        return Service(f"http://{emulator}", lambda _: AnonymousCredentials())
    return Service(url, application_default)


def _code(document: Any, status: int) -> str | None:
    """Return Google's own word for an error, which is in capitals; nothing else that the answer says is for the log.

    An error of Google's repeats the answer's status, so that no page of something between is taken for one.
    """
    error = document.get("error") if type(document) is dict else None
    if type(error) is not dict or error.get("code") != status:
        return None
    word = error.get("status")
    return word if type(word) is str and _WORD(word) else None
