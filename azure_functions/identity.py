"""Who the function is to Azure's services: its managed identity, whose tokens take the place of keys."""

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

from core.attempts import CONNECT_TIMEOUT, READ_TIMEOUT

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential


@cache
def managed_identity(client_id: str | None) -> "TokenCredential":
    """Return the identity, which keeps its tokens and fetches new ones in time.

    Args:
        client_id: The client id of a user-assigned identity; None or empty for the function app's own.
    """
    # Imported here: it takes as long as a store's SDK, and a connection string does without.
    from azure.identity import ManagedIdentityCredential

    return ManagedIdentityCredential(
        client_id=client_id or None,
        # Its own defaults are 5 attempts of up to 300 s.
        retry_total=0,
        connection_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
    )


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
