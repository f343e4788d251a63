"""The requests whose cost is compared: accepted and refused ones."""

import json
import os
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from bench.samples import Sample
from core.http import Request
from core.verify.signature import ES256_HEADER, HS256_HEADER, MAX_TOKEN
from dt_cloud.bodies import tampered
from tests.support.deliveries import ORGANIZATION, SECRET, hs256
from tests.support.es256 import JWKS, es256

_OTHER_SECRETS = ["a second signature secret, 40 bytes long", "and a third signature secret, of 42 bytes."]
_STRANGER = "what somebody guessed, as long as a secret"
_STRANGERS_KEY = ec.generate_private_key(ec.SECP256R1())

_HS256 = {"DT_SIGNATURE_SECRET": SECRET}
_FIRST_OF_THREE = {"DT_SIGNATURE_SECRET": json.dumps([SECRET, *_OTHER_SECRETS])}
_LAST_OF_THREE = {"DT_SIGNATURE_SECRET": json.dumps([*_OTHER_SECRETS, SECRET])}
_ES256 = {"DT_ORGANIZATION_ID": ORGANIZATION, "DT_JWKS": JWKS}
_BOTH = {**_HS256, **_ES256}

# Seven headers of every delivery; the eighth is the signature.
_HEADERS = (
    ("host", "example.herokuapp.com"),
    ("user-agent", "Go-http-client/1.1"),
    ("content-length", "406"),
    ("content-type", "application/json"),
    ("accept-encoding", "gzip"),
    ("x-forwarded-for", "198.51.100.7"),
    ("x-request-id", "5f0c2a3e-8d51-4b1c-9f0e-2f6d3a7b9c10"),
)


@dataclass(frozen=True)
class Case:
    """One kind of request.

    Attributes:
        name: Its name in the table.
        environ: The receiver's settings.
        make: Creates the request of a new event.
        reason: The log's reason for the refusal; None if it is accepted.
        is_large: Whether its body has about the maximum size.
    """

    name: str
    environ: Mapping[str, str]
    make: Callable[[Sample], Request]
    reason: str | None = None
    is_large: bool = False


def _request(body: bytes, *signatures: tuple[str, str]) -> Request:
    return Request("POST", "/", [*_HEADERS, *(signatures or [("via", "1.1 vegur")])], body)


def _hs(body: bytes, token: str) -> Request:
    return _request(body, (HS256_HEADER, token))


def _es(body: bytes, token: str) -> Request:
    return _request(body, (ES256_HEADER, token))


def _long(token: str, length: int) -> str:
    """Return a token of ``length`` characters, less up to 3, with the header and signature of a genuine one."""
    header, _, signature = token.split(".")
    room = length - len(f"{header}..{signature}")
    return f"{header}.{urlsafe_b64encode(os.urandom(room // 4 * 3)).decode()}.{signature}"


def _an_hour_ago(life: int) -> dict[str, Any]:
    expired = int(time.time()) - 3600
    return {"iat": expired - life, "exp": expired}


# The others of each group are compared with its first.
GROUPS = (
    (
        Case("HS256: accepted", _HS256, lambda s: _hs(s.body, s.hs256)),
        Case("no signature", _HS256, lambda s: _request(s.body), "missing"),
        Case("another secret's signature", _HS256, lambda s: _hs(s.body, hs256(s.body, _STRANGER)), "signature"),
        Case("alg none", _HS256, lambda s: _hs(s.body, s.alg_none), "signature"),
        Case("expired", _HS256, lambda s: _hs(s.body, hs256(s.body, **_an_hour_ago(3600))), "expired"),
        Case("another body's token", _HS256, lambda s: _hs(tampered(s.body), s.hs256), "checksum"),
        Case(
            f"{MAX_TOKEN:,} characters of token", _HS256, lambda s: _hs(s.body, _long(s.hs256, MAX_TOKEN)), "signature"
        ),
        Case("100,000 characters of token", _HS256, lambda s: _hs(s.body, _long(s.hs256, 100_000)), "too_long"),
        Case("the header twice", _HS256, lambda s: _request(s.body, *[(HS256_HEADER, s.hs256)] * 2), "repeated"),
        Case("ES256 token in its place", _HS256, lambda s: _hs(s.body, s.es256), "signature"),
    ),
    (
        Case("Three secrets: accepted by the first", _FIRST_OF_THREE, lambda s: _hs(s.body, s.hs256)),
        Case("accepted by the third", _LAST_OF_THREE, lambda s: _hs(s.body, s.hs256)),
        Case("a fourth's signature", _FIRST_OF_THREE, lambda s: _hs(s.body, hs256(s.body, _STRANGER)), "signature"),
    ),
    (
        Case("ES256: accepted", _ES256, lambda s: _es(s.body, s.es256)),
        Case("no signature", _ES256, lambda s: _request(s.body), "missing"),
        Case(
            "another key's signature",
            _ES256,
            lambda s: _es(s.body, es256(s.body, private=_STRANGERS_KEY)),
            "signature",
        ),
        Case(
            "unpublished key", _ES256, lambda s: _es(s.body, es256(s.body, kid="cp65gdon1e4bhb5icbm0")), "unknown_key"
        ),
        Case(
            "another organization's token",
            _ES256,
            lambda s: _es(s.body, es256(s.body, sub="cvinmt9aq9sc738g6eo0")),
            "organization",
        ),
        Case("alg none", _ES256, lambda s: _es(s.body, s.alg_none), "algorithm"),
        Case("expired", _ES256, lambda s: _es(s.body, es256(s.body, **_an_hour_ago(300))), "expired"),
        Case("another body's token", _ES256, lambda s: _es(tampered(s.body), s.es256), "checksum"),
        Case(
            f"{MAX_TOKEN:,} characters of token", _ES256, lambda s: _es(s.body, _long(s.es256, MAX_TOKEN)), "signature"
        ),
        Case("100,000 characters of token", _ES256, lambda s: _es(s.body, _long(s.es256, 100_000)), "too_long"),
        Case("the header twice", _ES256, lambda s: _request(s.body, *[(ES256_HEADER, s.es256)] * 2), "repeated"),
        Case("HS256 token in its place", _ES256, lambda s: _es(s.body, s.hs256), "algorithm"),
    ),
    (
        Case(
            "Both configured: both accepted",
            _BOTH,
            lambda s: _request(s.body, (HS256_HEADER, s.hs256), (ES256_HEADER, s.es256)),
        ),
        Case("HS256 alone, accepted", _BOTH, lambda s: _hs(s.body, s.hs256)),
        Case(
            "another key's ES256 alone",
            _BOTH,
            lambda s: _es(s.body, es256(s.body, private=_STRANGERS_KEY)),
            "signature",
        ),
    ),
    (
        Case("256 KiB: accepted", _HS256, lambda s: _hs(s.large, hs256(s.large)), is_large=True),
        Case("no signature", _HS256, lambda s: _request(s.large), "missing", is_large=True),
        Case(
            "another secret's signature",
            _HS256,
            lambda s: _hs(s.large, hs256(s.large, _STRANGER)),
            "signature",
            is_large=True,
        ),
        Case("another body's token", _HS256, lambda s: _hs(s.large, s.hs256), "checksum", is_large=True),
        Case("one byte more", _HS256, lambda s: _hs(s.large + b" ", s.hs256), "too_large", is_large=True),
    ),
)
