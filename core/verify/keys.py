"""What tokens are verified with, and the contract of whatever fetches it."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from jwt import PyJWK

# Seconds that a fetch of keys or secrets may take.
MAX_REFRESH = 4.0


class KeysUnavailableError(Exception):
    """No key or secret could be fetched, so the token cannot be verified.

    Attributes:
        reason: What to do about it; for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Refreshable(Protocol):
    """A source of keys or secrets."""

    def refresh(self) -> None:
        """Fetch them again; on failure keep the old ones. Blocks for at most `MAX_REFRESH` seconds.

        Raises:
            KeysUnavailableError: There are no old ones.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeysNeeded:
    """Returned instead of a verdict: refresh `source`, then verify again.

    A source asks at most once per cooldown, and the receiver refreshes at most once per source and request.
    """

    source: Refreshable


class PublicKeys(Refreshable, Protocol):
    """DT's published ES256 keys: `core.verify.jwks.PublishedKeys` or `core.verify.jwks.PinnedKeys`."""

    def get(self, kid: str) -> "PyJWK | KeysNeeded | None":
        """Return the key; None if DT publishes no such key.

        Raises:
            KeysUnavailableError: There are no keys at all.
        """
        ...


# A secret, and the two hashes of its HMAC (RFC 2104), copied for each token: hmac.HMAC.copy() takes twice as long.
KeyedSecret = tuple[bytes, Any, Any]

_BLOCK = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def keyed(secrets: Iterable[bytes]) -> tuple[KeyedSecret, ...]:
    """Return each secret with the hashes of its HMAC-SHA-256."""
    return tuple(map(_keyed, secrets))


def _keyed(secret: bytes) -> KeyedSecret:
    key = (secret if len(secret) <= _BLOCK else hashlib.sha256(secret).digest()).ljust(_BLOCK, b"\0")
    return secret, hashlib.sha256(key.translate(_INNER)), hashlib.sha256(key.translate(_OUTER))


class Secrets(Refreshable, Protocol):
    """Signature secrets that a secret service keeps: `core.verify.secrets.ManagedSecrets`."""

    def get(self) -> Sequence[KeyedSecret] | KeysNeeded:
        """Return the secrets that are accepted."""
        ...

    def mismatched(self) -> KeysNeeded | None:
        """Return `KeysNeeded` if the secrets may have changed; called when none of them signed a token."""
        ...
