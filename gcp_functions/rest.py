"""Google Cloud's REST APIs, by Google's own authentication and one pool of connections: nothing runs behind a request.

docs/decisions/0017-rest.md says why these and not the client libraries.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import certifi
import google.auth
import urllib3
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.urllib3 import AuthorizedHttp

from core.attempts import CONNECT_TIMEOUT, READ_TIMEOUT, attempts
from core.store import StoreUnavailable

_SCOPES = ("https://www.googleapis.com/auth/pubsub", "https://www.googleapis.com/auth/datastore")
# As many threads as functions-framework may well be given; terraform/ gives it 20.
_CONNECTIONS = 32
_WORD = re.compile("[A-Z_]{1,40}").fullmatch


class Service:
    """One service; safe to call from several threads. It holds no failure: each call is on its own.

    Args:
        url: The address that all paths are relative to.
        login: Returns who calls, or raises google-auth's errors. Asked at the first call, and again if that failed.
    """

    def __init__(self, url: str, login: Callable[[], Credentials]) -> None:
        self._url = url
        self._login = login
        self._pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
            retries=False,
            ca_certs=certifi.where(),
        )
        self._http: AuthorizedHttp | None = None

    def call(self, method: str, path: str, deadline: float, document: object = None) -> dict[str, Any]:
        """Make a request, as often as `core.attempts` has it, and return the object that comes back.

        Args:
            method: The HTTP method.
            path: Path and query, relative to the service's address.
            deadline: ``time.monotonic()`` seconds.
            document: The body, as JSON; none if None.

        Raises:
            StoreUnavailable: It did not succeed. The cause is Google's code, such as ``ALREADY_EXISTS``
                (https://cloud.google.com/apis/design/errors), the HTTP status, or the class of an exception.
        """
        body = None if document is None else json.dumps(document).encode()
        cause = "deadline"
        for _ in attempts(deadline):
            try:
                if self._http is None:
                    self._http = AuthorizedHttp(self._login(), self._pool)
                answer = self._http.urlopen(
                    method, self._url + path, body=body, headers={"Content-Type": "application/json"}
                )
            except DefaultCredentialsError:
                cause = "No credentials of Google Cloud. On your machine: gcloud auth application-default login."
                break
            except (urllib3.exceptions.HTTPError, GoogleAuthError) as error:
                cause = type(error).__name__
                continue
            try:
                found = json.loads(answer.data)
            except (ValueError, RecursionError):
                found = None
            if answer.status == 200 and type(found) is dict:
                return found
            cause = _code(found) or f"HTTP {answer.status}"
            # ABORTED is a 409 as ALREADY_EXISTS is, and means: try again.
            if answer.status < 500 and answer.status != 429 and cause != "ABORTED":
                break
        raise StoreUnavailable(cause)


def connect(url: str, emulator: str | None) -> Service:
    """Return the service at ``url``, or the emulator of it on this machine.

    Args:
        url: The service's address.
        emulator: Host and port, as Google's emulators print them.
    """
    if emulator:
        return Service(f"http://{emulator}", AnonymousCredentials)
    return Service(url, lambda: google.auth.default(_SCOPES)[0])


def _code(document: Any) -> str | None:
    """Return Google's own word for an error, which is in capitals; nothing else that the answer says is for the log."""
    error = document.get("error") if type(document) is dict else None
    status = error.get("status") if type(error) is dict else None
    return status if type(status) is str and _WORD(status) else None
