"""Keys that verify tokens, and the contract of their sources."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from jwt import PyJWK

# Seconds for a fetch of keys or secrets.
MAX_REFRESH = 4.0


class KeysUnavailableError(Exception):
    """No key or secret could be fetched, so the token cannot be verified.

    Attributes:
        reason: What to do; for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Refreshable(Protocol):
    """A source of keys or secrets."""

    def refresh(self) -> str | None:
        """Fetch the keys or secrets again; on failure keep the old ones. Blocks for at most `MAX_REFRESH` seconds.

        Returns:
            A sentence for the log, as an error, if somebody has to act although the old ones still work.

        Raises:
            KeysUnavailableError: The fetch failed, and there are no old ones.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeysNeeded:
    """Returned instead of a result: refresh `source`, then verify again.

    A source requests a refresh at most once per cooldown, and the receiver refreshes at most once per source and
    request.
    """

    source: Refreshable


class PublicKeys(Refreshable, Protocol):
    """DT's published ES256 keys: `core.verify.jwks.PublishedKeys` or `core.verify.jwks.PinnedKeys`."""

    def get(self, kid: str) -> "PyJWK | KeysNeeded | None":
        """Return the key; None if DT does not publish it.

        Raises:
            KeysUnavailableError: There are no keys at all.
        """
        ...


# A secret: its name in `Verified.signed_by`, its bytes, and the two hashes of its HMAC (RFC 2104), which are copied for
# each token: hmac.HMAC.copy() is half as fast.
KeyedSecret = tuple[str, bytes, Any, Any]

_BLOCK = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def keyed(secrets: Iterable[bytes]) -> tuple[KeyedSecret, ...]:
    """Return each secret with its name and the hashes of its HMAC-SHA-256."""
    return tuple(_keyed(f"hs256:{index}", secret) for index, secret in enumerate(secrets))


def _keyed(signed_by: str, secret: bytes) -> KeyedSecret:
    key = (secret if len(secret) <= _BLOCK else hashlib.sha256(secret).digest()).ljust(_BLOCK, b"\0")
    return signed_by, secret, hashlib.sha256(key.translate(_INNER)), hashlib.sha256(key.translate(_OUTER))


class Secrets(Refreshable, Protocol):
    """Signature secrets in a cloud's secret service: `core.verify.secrets.ManagedSecrets`."""

    def get(self) -> Sequence[KeyedSecret] | KeysNeeded:
        """Return the accepted secrets."""
        ...

    def mismatched(self) -> KeysNeeded | None:
        """Return `KeysNeeded` if the secrets may have changed; called when none of them signed a token."""
        ...
