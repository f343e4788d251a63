"""Key sets: only keys that can verify ES256 are used."""

from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from core.verify.jwks import PinnedKeys
from tests.support.es256 import KID, jwks

OTHER = ec.generate_private_key(ec.SECP256R1())


def of(private: Any, algorithm: Any, **changes: Any) -> dict[str, Any]:
    return {**algorithm.to_jwk(private.public_key(), as_dict=True), "kid": "other", "use": "sig"} | changes


def p256(**changes: Any) -> dict[str, Any]:
    key = jwks(OTHER, "other")["keys"][0] | changes
    return {name: value for name, value in key.items() if value is not None}


USELESS: dict[str, Any] = {
    "RSA": of(rsa.generate_private_key(65537, 2048), jwt.algorithms.RSAAlgorithm, alg="RS256"),
    "P-384": of(ec.generate_private_key(ec.SECP384R1()), jwt.algorithms.ECAlgorithm, alg="ES384"),
    "P-384 that says ES256": of(ec.generate_private_key(ec.SECP384R1()), jwt.algorithms.ECAlgorithm, alg="ES256"),
    "Ed25519": of(ed25519.Ed25519PrivateKey.generate(), jwt.algorithms.OKPAlgorithm),
    "secret": {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "other"},
    "secret that says ES256": {"kty": "oct", "k": "c2VjcmV0", "alg": "ES256", "kid": "other"},
    "HS256 of a public key": p256(alg="HS256"),
    "use enc": p256(use="enc"),
    "no kid": p256(kid=None),
    "empty kid": p256(kid=""),
    "no point": p256(x=None),
    "point off the curve": p256(x="A" * 43),
    "P-256 that says ES384": p256(alg="ES384"),
    "unknown curve": p256(crv="P-257"),
    "unknown algorithm": p256(alg="ES257"),
    "unknown type": p256(kty="NEW"),
    "algorithm that is not text": p256(alg=["x"]),
    "kid that is not text": p256(kid=["x"]),
    "empty": {},
    "text": "key",
    "null": None,
}


@pytest.mark.parametrize("useless", USELESS.values(), ids=USELESS.keys())
def test_key_that_cannot_verify_es256_is_ignored(useless: Any) -> None:
    pinned = PinnedKeys({"keys": [useless, *jwks()["keys"]]})
    assert pinned.get(KID)
    assert pinned.get("other") is None
    assert pinned.get("") is None
    with pytest.raises(ValueError, match="no ES256 key in the JWKS"):
        PinnedKeys({"keys": [useless]})


@pytest.mark.parametrize(
    "faulty",
    [
        None,
        5,
        "keys",
        [],
        [p256()],
        {},
        {"keys": None},
        {"keys": 5},
        {"keys": {}},
        {"keys": []},
    ],
    ids=lambda value: repr(value)[-20:],
)
def test_invalid_key_set_is_a_fault(faulty: Any) -> None:
    with pytest.raises(ValueError, match="no ES256 key in the JWKS"):
        PinnedKeys(faulty)


@pytest.mark.parametrize("changes", [{"alg": None}, {"use": None}, {"alg": None, "use": None}, {"new": [1]}])
def test_key_without_use_and_alg_is_accepted(changes: dict[str, Any]) -> None:
    assert PinnedKeys({"keys": [p256(**changes)]}).get("other")


def test_pinned_keys_need_no_refresh() -> None:
    pinned = PinnedKeys(jwks())
    pinned.refresh()
    assert pinned.get("unknown") is None
    assert pinned.get(KID)
