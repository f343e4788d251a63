"""Who the function is to Azure's services: its managed identity, whose tokens take the place of keys."""

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError

from core.service.attempts import READ_TIMEOUT
from core.service.sockets import bounded

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, AccessTokenInfo, TokenCredential
    from azure.identity import ManagedIdentityCredential


class ManagedIdentityError(AzureError):
    """No token could be fetched. ``str()`` is the class of what happened; an answer's own words are in none."""


class _Identity:
    """Azure's credential, made again after each failure, which is a `ManagedIdentityError`.

    MSAL, which is inside, answers itself for a while once the endpoint said 429, 5xx or Retry-After: for 5 seconds, or
    for as long as that said, up to an hour. What it cannot read comes out as any exception that there is; and what has
    no HTTP response but looks as if it had, as azure-identity's errors do, azure-data-tables fails on.

    Args:
        client_id: As in `managed_identity`.
    """

    def __init__(self, client_id: str | None) -> None:
        # Imported here, as below: it takes as long as a store's SDK, and a connection string does without.
        from azure_functions.transport import transport

        self._client_id = client_id
        # Its own defaults are 5 attempts of up to 300 s. The transport outlives a credential that others still use.
        self._transport = transport()
        self._credential = self._new_credential()

    def get_token(self, *scopes: str, **options: Any) -> "AccessToken":
        """Return a token; see `azure.core.credentials.TokenCredential`."""
        token: AccessToken = self._ask("get_token", *scopes, **options)
        return token

    def get_token_info(self, *scopes: str, **options: Any) -> "AccessTokenInfo":
        """Return a token and when it is to be renewed; see `azure.core.credentials.SupportsTokenInfo`."""
        token: AccessTokenInfo = self._ask("get_token_info", *scopes, **options)
        return token

    def _ask(self, method: str, *scopes: str, **options: Any) -> Any:
        credential = self._credential
        try:
            # Some of an attempt is left for the call itself.
            with bounded(READ_TIMEOUT):
                return getattr(credential, method)(*scopes, **options)
        except Exception as error:
            if self._credential is credential:
                self._credential = self._new_credential()
            raise ManagedIdentityError(type(error).__name__) from None

    def _new_credential(self) -> "ManagedIdentityCredential":
        from azure.identity import ManagedIdentityCredential

        return ManagedIdentityCredential(client_id=self._client_id, transport=self._transport, retry_total=0)


@cache
def managed_identity(client_id: str | None) -> "TokenCredential":
    """Return the identity, which keeps its tokens and fetches new ones in time.

    Args:
        client_id: The client id of a user-assigned identity; None or empty for the function app's own.
    """
    return _Identity(client_id)


class AsyncCredential:
    """The same for an event loop, by way of a thread: azure-identity's own would take one more HTTP client.

    Args:
        credential: The credential.
    """

    def __init__(self, credential: "TokenCredential") -> None:
        self._credential = credential

    async def get_token(self, *scopes: str, **options: Any) -> "AccessToken":
        """Return a token; see `azure.core.credentials.TokenCredential`."""
        return await asyncio.to_thread(self._credential.get_token, *scopes, **options)

    async def close(self) -> None:
        """Keep the credential, which outlives its connections."""

    async def __aenter__(self) -> "AsyncCredential":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass
