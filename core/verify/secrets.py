"""Signature secrets in a cloud's secret service: cached, refreshed when useful, and kept if a refresh fails."""

import threading
import time
from collections.abc import Callable, Sequence

from core.stores.contract import StoreUnavailableError
from core.verify.keys import KeyedSecret, KeysNeeded, KeysUnavailableError, keyed
from core.verify.secret_text import read_secrets

# Seconds. A removed secret is accepted for up to this long.
MAX_AGE = 300.0
# Seconds between two fetches: anybody can send a token that does not match.
COOLDOWN = 60.0
_KEPT = "The value before it stays in use until this one is corrected."


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

    def refresh(self) -> str | None:
        """Fetch the secrets, or wait for another thread that does.

        Returns:
            A sentence for the log, if the entry was changed to a value that cannot be used, and the old ones stay.

        Raises:
            KeysUnavailableError: There are none.
        """
        tried, unusable = self._tried, None
        with self._lock:
            if self._tried == tried:
                unusable = self._fetch_secrets()
        if not self._keyed:
            raise KeysUnavailableError(f"secret_unavailable: {self._fault}. {self._hint}")
        return f"The new value of the signature secret is not used: {unusable}. {_KEPT}" if unusable else None

    def _is_due(self) -> bool:
        return self._clock() - self._tried >= COOLDOWN

    def _fetch_secrets(self) -> str | None:
        """Fetch the secrets; return what makes the entry's value unusable."""
        unusable = None
        try:
            text = self._fetch()
        except StoreUnavailableError as error:
            self._fault = error.reason
        else:
            secrets, faults = read_secrets(text)
            if faults or not secrets:
                self._fault = unusable = "; ".join(f"it {fault}" for fault in faults) or "it is empty"
            else:
                self._keyed, self._fetched = keyed(secret.encode() for secret in secrets), self._clock()
        self._tried = self._clock()
        return unusable
