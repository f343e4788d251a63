"""The function's managed identity, whose tokens replace keys at Azure's services."""

from functools import cache
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError

from core.service.attempts import READ_TIMEOUT
from core.service.sockets import bounded

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, AccessTokenInfo, TokenCredential
    from azure.identity import ManagedIdentityCredential


class ManagedIdentityError(AzureError):
    """No token could be fetched. ``str()`` is the class of the cause, without any text of an answer."""


class _Identity:
    """Azure's credential, created again after each failure, which becomes a `ManagedIdentityError`.

    MSAL, inside the credential, repeats an old failure after 429, 5xx or Retry-After, without a request: for 5 seconds,
    or as long as Retry-After says, up to an hour. An unreadable answer may raise any exception. azure-data-tables fails
    on errors that seem to have an HTTP response and do not, like azure-identity's.

    Args:
        client_id: As in `managed_identity`.
    """

    def __init__(self, client_id: str | None) -> None:
        # Imported here, as below: it takes as long as a store's SDK, and a connection string does not need it.
        from azure_functions.transport import transport

        self._client_id = client_id
        # The defaults are 5 attempts of up to 300 s. The transport outlives a credential that other threads still use.
        self._transport = transport()
        self._credential = self._new_credential()

    def get_token(self, *scopes: str, **options: Any) -> "AccessToken":
        """Return a token; see `azure.core.credentials.TokenCredential`."""
        token: AccessToken = self._ask("get_token", *scopes, **options)
        return token

    def get_token_info(self, *scopes: str, **options: Any) -> "AccessTokenInfo":
        """Return a token and the time of its renewal; see `azure.core.credentials.SupportsTokenInfo`."""
        token: AccessTokenInfo = self._ask("get_token_info", *scopes, **options)
        return token

    def _ask(self, method: str, *scopes: str, **options: Any) -> Any:
        credential = self._credential
        try:
            # The rest of the attempt is for the call itself.
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
    """Return the identity, which caches its tokens and renews them in time.

    Args:
        client_id: The client id of a user-assigned identity; None or empty for the function app's own.
    """
    return _Identity(client_id)
