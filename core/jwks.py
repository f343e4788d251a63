"""DT's published ES256 keys: cached, fetched again rarely, and kept when a fetch fails."""

import contextlib
import json
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from jwt import PyJWK

from core.signature import KeysNeeded, KeysUnavailable

TIMEOUT = 2.0
MAX_AGE = 3600.0
COOLDOWN = 30.0
_MAX_BYTES = 65_536
_UNAVAILABLE = (
    "keys_unavailable: DT's published keys could not be fetched. Let this receiver call out over https, or set DT_JWKS."
)


class PinnedKeys:
    """A fixed key set, for receivers that must not call out; it changes when the configuration does.

    Args:
        document: A JWKS, as DT publishes it at its ``jwks_uri``.

    Raises:
        ValueError: It holds no key that could verify ES256.
    """

    def __init__(self, document: Any) -> None:
        self._keys = _es256_keys(document)

    def get(self, kid: str) -> PyJWK | None:
        """Return the key of that id."""
        return self._keys.get(kid)

    def refresh(self) -> None:
        """Do nothing: `get` never asks for it."""


class PublishedKeys:
    """The keys found through the issuer's discovery document.

    A token with an unknown ``kid`` causes one fetch, and then none for `COOLDOWN` seconds, so that forged ones cannot
    make us flood DT; keys older than `MAX_AGE` seconds are fetched again, so that one that DT withdrew stops working.

    Args:
        issuer: The address of the issuer. https, or http on this very machine.
        clock: Monotonic seconds.
    """

    def __init__(self, issuer: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._keys: dict[str, PyJWK] = {}
        self._fetched = self._tried = float("-inf")
        self._lock = threading.Lock()

    def get(self, kid: str) -> PyJWK | None:
        """Return the key of that id, or None if DT publishes none.

        Raises:
            KeysNeeded: It may be new: `refresh` first.
            KeysUnavailable: No fetch has succeeded yet, and the next is not due.
        """
        key = self._keys.get(kid)
        now = self._clock()
        if (key is None or now - self._fetched >= MAX_AGE) and now - self._tried >= COOLDOWN:
            raise KeysNeeded(self)
        if not self._keys:
            raise KeysUnavailable(_UNAVAILABLE)
        return key

    def refresh(self) -> None:
        """Fetch the keys unless somebody just did. On failure the old ones stay. Blocks for at most two time-outs."""
        with self._lock:
            if self._clock() - self._tried < COOLDOWN:
                return
            # On a thread, because neither a name look-up nor a peer that drips its headers can be given a time-out.
            fetch = threading.Thread(target=self._fetch_keys, daemon=True)
            fetch.start()
            fetch.join(2 * TIMEOUT)
            self._tried = self._clock()

    def _fetch_keys(self) -> None:
        # Whatever goes wrong: the caller's log line says keys_unavailable or unknown_key, which is what it comes to.
        with contextlib.suppress(Exception):
            discovery = _fetch(self._issuer + "/.well-known/openid-configuration")
            self._keys = _es256_keys(_fetch(discovery["jwks_uri"]))
            self._fetched = self._clock()


def _es256_keys(document: Any) -> dict[str, PyJWK]:
    entries = document.get("keys") if type(document) is dict else None
    found = {}
    for entry in entries if type(entries) is list else ():
        # One that cannot be read, however strange, must not take the others away.
        with contextlib.suppress(Exception):
            key = PyJWK.from_dict(entry)
            if _verifies_es256(key):
                found[str(key.key_id)] = key
    if not found:
        raise ValueError("no ES256 key in the JWKS")
    return found


def _verifies_es256(key: PyJWK) -> bool:
    if not isinstance(key.key, EllipticCurvePublicKey) or not isinstance(key.key.curve, SECP256R1):
        return False
    if type(key.key_id) is not str or not key.key_id:
        return False
    return key.algorithm_name == "ES256" and key.public_key_use in (None, "sig")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect)


def _fetch(url: str) -> Any:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")):
        raise ValueError("keys are fetched over https only")
    end = time.monotonic() + TIMEOUT
    with _opener.open(url, timeout=TIMEOUT) as answer:
        data = b""
        # The timeout above is per read; a peer that drips bytes is stopped here.
        while chunk := answer.read1(_MAX_BYTES):
            data += chunk
            if len(data) > _MAX_BYTES or time.monotonic() > end:
                raise ValueError("too large or too slow")
    return json.loads(data)
