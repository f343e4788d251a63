"""Signature secrets in a cloud's secret service: cached, refreshed when useful, and kept if a refresh fails."""

import threading
import time
from collections.abc import Callable, Sequence

from core.environment import parse_list
from core.settings import is_reference
from core.stores.contract import StoreUnavailableError
from core.verify.keys import KeyedSecret, KeysNeeded, KeysUnavailableError, keyed

# Seconds. A removed secret is accepted for up to this long.
MAX_AGE = 300.0
# Seconds between two fetches: anybody can send a token that does not match.
COOLDOWN = 60.0


class ManagedSecrets:
    """The secrets in one entry of a secret service: one, verbatim, or a JSON array of several.

    Fetched at the first delivery, when they are `MAX_AGE` seconds old, and when a signature does not match, because the
    secret may have been rotated. If a fetch fails, the old secrets stay in use.

    Args:
        fetch: Returns the entry's text, within 4 s, or raises `core.stores.contract.StoreUnavailableError`.
        hint: What to check when that fails; a sentence for the log.
        clock: Monotonic seconds.
    """

    def __init__(self, fetch: Callable[[], str], hint: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._hint = hint
        self._clock = clock
        self._keyed: tuple[KeyedSecret, ...] = ()
        self._fetched = self._tried = float("-inf")
        self._fault = ""
        self._lock = threading.Lock()

    def get(self) -> Sequence[KeyedSecret] | KeysNeeded:
        """Return the secrets; see `core.verify.signature.Secrets`."""
        if not self._keyed or (self._clock() - self._fetched >= MAX_AGE and self._is_due()):
            return KeysNeeded(self)
        return self._keyed

    def mismatched(self) -> KeysNeeded | None:
        """Request a refresh, unless there was one just now."""
        return KeysNeeded(self) if self._is_due() else None

    def refresh(self) -> None:
        """Fetch the secrets, or wait for another thread that does.

        Raises:
            KeysUnavailableError: There are none.
        """
        tried = self._tried
        with self._lock:
            if self._tried == tried:
                self._fetch_secrets()
        if not self._keyed:
            raise KeysUnavailableError(f"secret_unavailable: {self._fault}. {self._hint}")

    def _is_due(self) -> bool:
        return self._clock() - self._tried >= COOLDOWN

    def _fetch_secrets(self) -> None:
        try:
            text = self._fetch()
        except StoreUnavailableError as error:
            self._fault = error.reason
        else:
            secrets = _read(text)
            if secrets:
                self._keyed, self._fetched = secrets, self._clock()
            else:
                self._fault = "it holds neither a secret as plain text nor a JSON array of several"
        self._tried = self._clock()


def _read(text: str) -> tuple[KeyedSecret, ...]:
    # The clouds' consoles store key and value as JSON unless told to store plain text.
    if text.startswith("{"):
        return ()
    secrets = parse_list(text) or []
    try:
        return () if any(map(is_reference, secrets)) else keyed(secret.encode() for secret in secrets)
    except UnicodeEncodeError:  # JSON can contain a lone surrogate
        return ()
