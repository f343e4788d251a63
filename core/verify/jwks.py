"""DT's published ES256 keys: cached, rarely refreshed, and kept if a refresh fails."""

import contextlib
import http.client
import json
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from jwt import PyJWK

from core import NAME
from core.service.sockets import BoundedTlsSocket, bounded, create_connection
from core.verify.keys import KeysNeeded, KeysUnavailableError

TIMEOUT = 2.0
MAX_AGE = 3600.0
COOLDOWN = 30.0
_MAX_BYTES = 65_536
_MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_UNAVAILABLE = (
    "keys_unavailable: DT's published keys could not be fetched. Let this receiver call out over https, or set DT_JWKS."
)


class PinnedKeys:
    """A fixed key set from the configuration, for receivers without outgoing requests.

    Args:
        document: A JWKS, as DT publishes it at its ``jwks_uri``.

    Raises:
        ValueError: It has no ES256 key.
    """

    def __init__(self, document: Any) -> None:
        self._keys = _es256_keys(document)

    def get(self, kid: str) -> PyJWK | None:
        """Return the key with this id."""
        return self._keys.get(kid)

    def refresh(self) -> None:
        """Do nothing: `get` never asks for it."""


class PublishedKeys:
    """The keys found through the issuer's discovery document.

    A token with an unknown ``kid`` triggers one fetch, and then none for `COOLDOWN` seconds, so that forged tokens
    cannot cause a flood of requests to DT. Keys older than `MAX_AGE` seconds are fetched again, so that a revoked key
    stops working.

    Args:
        issuer: The issuer's URL: https, or http on loopback.
        clock: Monotonic seconds.
    """

    def __init__(self, issuer: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._keys: dict[str, PyJWK] = {}
        self._fetched = self._tried = float("-inf")
        self._lock = threading.Lock()

    def get(self, kid: str) -> PyJWK | KeysNeeded | None:
        """Return the key with this id; None if DT does not publish it; `KeysNeeded` if it may be new.

        Raises:
            KeysUnavailableError: No fetch has succeeded yet, and the next is not due.
        """
        key = self._keys.get(kid)
        now = self._clock()
        if (key is None or now - self._fetched >= MAX_AGE) and now - self._tried >= COOLDOWN:
            return KeysNeeded(self)
        if not self._keys:
            raise KeysUnavailableError(_UNAVAILABLE)
        return key

    def refresh(self) -> None:
        """Fetch the keys, unless that was just done. On failure the old ones stay. Blocks for two time-outs at most."""
        with self._lock:
            if self._clock() - self._tried < COOLDOWN:
                return
            # Any failure: the caller's log line then says keys_unavailable or unknown_key.
            with contextlib.suppress(Exception):
                discovery = _fetch(self._issuer + "/.well-known/openid-configuration")
                self._keys = _es256_keys(_fetch(discovery["jwks_uri"]))
                self._fetched = self._clock()
            self._tried = self._clock()


def _es256_keys(document: Any) -> dict[str, PyJWK]:
    entries = document.get("keys") if type(document) is dict else None
    found = {}
    for entry in entries if type(entries) is list else ():
        # A malformed key must not affect the others.
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


_tls = ssl.create_default_context()
_tls.sslsocket_class = BoundedTlsSocket


def _on_our_sockets(kind: Callable[..., Any]) -> Callable[..., Any]:
    def connection(*arguments: Any, **options: Any) -> Any:
        made = kind(*arguments, **options)
        made._create_connection = create_connection
        return made

    return connection


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_on_our_sockets(http.client.HTTPConnection), request)


class _TlsHandler(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_on_our_sockets(http.client.HTTPSConnection), request, context=_tls)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_Handler, _TlsHandler(context=_tls), _NoRedirect)


def _fetch(url: str) -> Any:
    with bounded(TIMEOUT):
        for _ in range(1 + _MAX_REDIRECTS):
            try:
                with _open(url) as answer:
                    return json.loads(_content(answer))
            except urllib.error.HTTPError as error:
                with error:
                    url = _elsewhere(url, error)
    raise ValueError("too many redirects")


def _open(url: str) -> Any:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")):
        raise ValueError("keys are fetched over https only")
    # Some hosts reject urllib's default user agent.
    request = urllib.request.Request(url, headers={"User-Agent": NAME})  # noqa: S310
    return _opener.open(request, timeout=TIMEOUT)


def _elsewhere(url: str, error: urllib.error.HTTPError) -> str:
    """Return the URL of a redirect on the same host; raise any other answer."""
    location = error.headers.get("Location")
    if error.code in _REDIRECTS and location:
        found = urllib.parse.urljoin(url, location)
        if urllib.parse.urlsplit(found).hostname == urllib.parse.urlsplit(url).hostname:
            return found
    raise error


def _content(answer: http.client.HTTPResponse) -> bytes:
    data = answer.read(_MAX_BYTES + 1)
    if answer.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip"):  # unasked
        unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        data = unpacking.decompress(data, _MAX_BYTES + 1)
        if not unpacking.eof:
            raise ValueError("too large, or cut off")
    if len(data) > _MAX_BYTES:
        raise ValueError("too large")
    return data
