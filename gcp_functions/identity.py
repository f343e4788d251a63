"""Who the function is to Google's services: google-auth's credentials, whose tokens are fetched within a bound."""

from collections.abc import Callable
from typing import Any

import google.auth
from google.auth.credentials import Credentials, TokenState
from google.auth.exceptions import GoogleAuthError
from google.auth.transport import DEFAULT_RETRYABLE_STATUS_CODES, Request
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

from core.service.attempts import READ_TIMEOUT
from core.service.sockets import bounded

_SCOPES = ("https://www.googleapis.com/auth/pubsub", "https://www.googleapis.com/auth/datastore")
LOGIN = "On your machine: gcloud auth application-default login."


class TokenError(GoogleAuthError):
    """No token could be fetched. ``str()`` is the class of what happened, or the HTTP status."""


class Identity:
    """Who calls, and the token that says so.

    google-auth's `before_request` is not used. On Google Cloud it also asks the metadata server for the universe, by a
    client of its own that tries for 15 seconds and more, and has a thread look up a region's boundary.

    Args:
        pool: What tokens are fetched by.
        find: Returns who calls, or raises google-auth's errors. Asked at the first call, and again if that failed.
    """

    def __init__(self, pool: PoolManager, find: Callable[[Request], Credentials]) -> None:
        self._request = _Request(pool)
        self._find = find
        self._credentials: Credentials | None = None

    def apply(self, headers: dict[str, str]) -> None:
        """Add to ``headers`` what says who calls, with a token that is fetched first where need be.

        Raises:
            google.auth.exceptions.GoogleAuthError: No token could be fetched.
        """
        credentials = self._credentials
        if credentials is None or not credentials.valid:
            credentials = self._fetch()
        credentials.apply(headers)

    def renew(self) -> None:
        """Fetch another token, because this one was refused; errors as above."""
        self._fetch(is_refused=True)

    def _fetch(self, is_refused: bool = False) -> Credentials:
        try:
            # Some of an attempt is left for the call itself.
            with bounded(READ_TIMEOUT):
                if self._credentials is None:
                    self._credentials = self._find(self._request)
                if is_refused or not self._credentials.valid:
                    self._credentials.refresh(self._request)
        except Exception as error:
            # A token is replaced some minutes before it ends.
            lasts = self._credentials and self._credentials.token_state is not TokenState.INVALID
            if is_refused or not lasts:
                # What google-auth raises of an answer that it cannot read is not always an error of its own.
                raise error if isinstance(error, GoogleAuthError) else TokenError(type(error).__name__) from None
        assert self._credentials
        return self._credentials


class _Request(Request):
    """How google-auth fetches: once. It sleeps for up to 15 s between attempts after what it knows as worth another."""

    def __init__(self, pool: PoolManager) -> None:
        self._pool = pool

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Any = None,
        timeout: float | None = None,  # noqa: ARG002 - the bound is the caller's
        **_: Any,
    ) -> Any:
        try:
            answer = self._pool.urlopen(method, url, body=body, headers=headers)
        except HTTPError as error:
            raise TokenError(type(error).__name__) from None
        if answer.status in DEFAULT_RETRYABLE_STATUS_CODES:
            raise TokenError(f"HTTP {answer.status}")
        return answer


def application_default(request: Request) -> Credentials:
    """Return the caller's identity: the function's service account on Google Cloud, elsewhere the logged-in user."""
    try:
        credentials: Credentials = google.auth.default(_SCOPES, request=request)[0]
    except TokenError as error:  # of the metadata server, which is asked where nothing else says who calls
        raise TokenError(f"{error}. {LOGIN}") from None
    return credentials
