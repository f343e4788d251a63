"""Google Cloud's REST APIs, by Google's own authentication and one pool of connections: nothing runs behind a request.

docs/decisions/0017-rest.md says why these and not the client libraries.
"""

import json
from typing import Any

import certifi
import google.auth
import urllib3
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.urllib3 import AuthorizedHttp

from core.attempts import CONNECT_TIMEOUT, READ_TIMEOUT, attempts
from core.settings import SettingsError
from core.store import StoreUnavailable

_SCOPES = ("https://www.googleapis.com/auth/pubsub", "https://www.googleapis.com/auth/datastore")
# As many threads as functions-framework may well be given; terraform/ gives it 20.
_CONNECTIONS = 32


class Service:
    """One service; safe to call from several threads. It holds no failure: each call is on its own.

    Args:
        url: The address that all paths are relative to.
        credentials: Who calls.
    """

    def __init__(self, url: str, credentials: Credentials) -> None:
        self._url = url
        pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
            retries=False,
            ca_certs=certifi.where(),
        )
        self._http = AuthorizedHttp(credentials, pool)

    def call(self, method: str, path: str, deadline: float, document: object = None) -> Any:
        """Make a request, as often as `core.attempts` has it, and return the document that comes back.

        Args:
            method: The HTTP method.
            path: Path and query, relative to the service's address.
            deadline: ``time.monotonic()`` seconds.
            document: The body, as JSON; none if None.

        Raises:
            StoreUnavailable: It did not succeed. The cause is Google's code, such as ``ALREADY_EXISTS``
                (https://cloud.google.com/apis/design/errors), or the class of an exception.
        """
        body = None if document is None else json.dumps(document).encode()
        cause = "deadline"
        for _ in attempts(deadline):
            try:
                answer = self._http.urlopen(
                    method, self._url + path, body=body, headers={"Content-Type": "application/json"}
                )
                found = json.loads(answer.data)
            except (urllib3.exceptions.HTTPError, GoogleAuthError) as error:
                cause = type(error).__name__
                continue
            except ValueError:
                cause, found = f"HTTP {answer.status}", None
            if answer.status == 200 and found is not None:
                return found
            cause = _code(found) or cause
            # ABORTED is a 409 as ALREADY_EXISTS is, and means: try again.
            if answer.status < 500 and answer.status != 429 and cause != "ABORTED":
                break
        raise StoreUnavailable(cause)


def connect(url: str, emulator: str | None) -> Service:
    """Return the service at ``url``, or the emulator of it on this machine.

    Args:
        url: The service's address.
        emulator: Host and port, as Google's emulators print them.

    Raises:
        core.settings.SettingsError: Nobody is logged in here.
    """
    if emulator:
        return Service(f"http://{emulator}", AnonymousCredentials())
    try:
        credentials, _ = google.auth.default(_SCOPES)
    except DefaultCredentialsError:
        raise SettingsError(
            ["No credentials of Google Cloud. On your machine: gcloud auth application-default login."]
        ) from None
    return Service(url, credentials)


def _code(document: Any) -> str | None:
    error = document.get("error") if type(document) is dict else None
    return str(error.get("status") or error.get("code")) if type(error) is dict else None
