"""The function's identity at Google's services: google-auth's credentials, with a time limit for tokens."""

from collections.abc import Callable
from typing import Any

import certifi
import google.auth
from google.auth.credentials import Credentials, TokenState
from google.auth.exceptions import GoogleAuthError
from google.auth.transport import DEFAULT_RETRYABLE_STATUS_CODES, Request

from core.service.attempts import READ_TIMEOUT
from core.service.client import CallError, fetch
from core.service.sockets import bounded

_SCOPES = ("https://www.googleapis.com/auth/pubsub", "https://www.googleapis.com/auth/datastore")
LOGIN = "On your machine: gcloud auth application-default login."


class TokenError(GoogleAuthError):
    """No token could be fetched. ``str()`` is the class of the cause, or the HTTP status."""


class Identity:
    """The caller's credentials, and their token.

    google-auth's `before_request` is not used. On Google Cloud it also asks the metadata server for the universe, with
    its own client that retries for 15 seconds and more, and looks up a region's boundary on a thread.

    Args:
        find: Returns the credentials, or raises google-auth's errors. Called once, and again after a failure.
    """

    def __init__(self, find: Callable[[Request], Credentials]) -> None:
        self._request = _Request()
        self._find = find
        self._credentials: Credentials | None = None

    def apply(self, headers: dict[str, str]) -> None:
        """Add the authorization to ``headers``, with a token that is fetched first if needed.

        Raises:
            google.auth.exceptions.GoogleAuthError: No token could be fetched.
        """
        credentials = self._credentials
        if credentials is None or not credentials.valid:
            credentials = self._fetch()
        credentials.apply(headers)

    def renew(self) -> None:
        """Fetch a new token, because this one was refused; errors as above."""
        self._fetch(is_refused=True)

    def _fetch(self, is_refused: bool = False) -> Credentials:
        try:
            # The rest of the attempt is for the call itself.
            with bounded(READ_TIMEOUT):
                if self._credentials is None:
                    self._credentials = self._find(self._request)
                if is_refused or not self._credentials.valid:
                    self._credentials.refresh(self._request)
        except Exception as error:
            # A token is renewed some minutes before it expires.
            lasts = self._credentials and self._credentials.token_state is not TokenState.INVALID
            if is_refused or not lasts:
                # For an unreadable answer, google-auth may raise errors of other classes.
                raise error if isinstance(error, GoogleAuthError) else TokenError(type(error).__name__) from None
        assert self._credentials
        return self._credentials


class _Request(Request):
    """Google-auth's HTTP request, without retries: google-auth sleeps for up to 15 s between them."""

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
            answer = fetch(method, url, body, headers or {}, certifi.where())
        except CallError as error:
            raise TokenError(str(error)) from None
        if answer.status in DEFAULT_RETRYABLE_STATUS_CODES:
            raise TokenError(f"HTTP {answer.status}")
        return answer


def application_default(request: Request) -> Credentials:
    """Return the caller's identity: the function's service account on Google Cloud, elsewhere the logged-in user."""
    try:
        credentials: Credentials = google.auth.default(_SCOPES, request=request)[0]
    except TokenError as error:  # from the metadata server, which is asked last
        raise TokenError(f"{error}. {LOGIN}") from None
    return credentials
