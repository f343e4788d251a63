"""The function's managed identity, whose tokens replace keys at Azure's services.

https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
Why not azure-identity: docs/decisions/0040-our-own-sender.md.
"""

import json
import os
import time
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlencode

from core.service.attempts import READ_TIMEOUT
from core.service.client import fetch
from core.service.sockets import bounded

# Seconds. A token that ends sooner is not used any more.
_MARGIN = 300.0
# Seconds after a failed renewal in which a token that is still valid is not renewed.
_PAUSE = 5.0


class ManagedIdentityError(Exception):
    """No token could be fetched. ``str()`` is the HTTP status or the class of the cause, without text of an answer."""


class Token(NamedTuple):
    """A token, as Azure's SDKs take it.

    Attributes:
        token: The text.
        expires_on: The end of its validity, in seconds since 1970.
        refresh_on: The time from which on it should be renewed: half of its validity.
        token_type: Its type in a header.
    """

    token: str
    expires_on: int
    refresh_on: int
    token_type: str = "Bearer"  # noqa: S105


class Identity:
    """An identity; see `azure.core.credentials.SupportsTokenInfo`. Safe to use from several threads.

    Args:
        client_id: As in `managed_identity`.
    """

    def __init__(self, client_id: str | None) -> None:
        self._client_id = client_id
        self._tokens: dict[str, Token] = {}
        self._failed = -_PAUSE

    def get_token(self, scope: str, **_options: Any) -> Token:
        """Return a token of which at least 5 minutes are left. It is kept, and renewed in the second half of its life.

        Args:
            scope: The service's address, followed by ``/.default``.

        Raises:
            ManagedIdentityError: There is none.
        """
        kept = self._tokens.get(scope)
        now = time.time()
        is_valid = kept is not None and now < kept.expires_on - _MARGIN
        if kept and is_valid and (now < kept.refresh_on or now - self._failed < _PAUSE):
            return kept
        try:
            token = self._fetch(scope.removesuffix("/.default"))
        except ManagedIdentityError:
            self._failed = now
            if kept and is_valid:
                return kept
            raise
        self._tokens[scope] = token
        return token

    # The same by the newer name, for the SDKs that know `Token.refresh_on`.
    get_token_info = get_token

    def _fetch(self, resource: str) -> Token:
        query = {"api-version": "2019-08-01", "resource": resource}
        if self._client_id:
            query["client_id"] = self._client_id
        try:
            url = f"{os.environ['IDENTITY_ENDPOINT']}?{urlencode(query)}"
            headers = {"X-IDENTITY-HEADER": os.environ["IDENTITY_HEADER"]}
            # The rest of the attempt is for the call itself.
            with bounded(READ_TIMEOUT):
                answer = fetch("GET", url, None, headers, "")
            if answer.status != 200:
                raise ManagedIdentityError(f"HTTP {answer.status}")
            found = json.loads(answer.data)
            text, end = found["access_token"], int(found["expires_on"])
            if type(text) is not str or not text:
                raise ManagedIdentityError("no token")
        except ManagedIdentityError:
            raise
        except Exception as error:  # no endpoint, no connection, or an unreadable answer
            raise ManagedIdentityError(type(error).__name__) from None
        now = int(time.time())
        return Token(text, end, now + (end - now) // 2)


@cache
def managed_identity(client_id: str | None) -> Identity:
    """Return the identity, the same for all services.

    Args:
        client_id: The client id of a user-assigned identity; None or empty for the function app's own.
    """
    return Identity(client_id)
