"""A test key in place of DT's, and tokens signed with it."""

import hashlib
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from core.verify.signature import ISSUER
from tests.support.deliveries import ORGANIZATION

KID = "cp65gdon1e4bhb5icbmg"
PRIVATE = ec.generate_private_key(ec.SECP256R1())


def jwks(private: ec.EllipticCurvePrivateKey = PRIVATE, kid: str = KID, **changes: Any) -> dict[str, Any]:
    """Return the key set as DT publishes it; ``changes`` replace fields of its one key, None removes one."""
    public = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    key = {**public, "alg": "ES256", "use": "sig", "kid": kid} | changes
    return {"keys": [{name: value for name, value in key.items() if value is not None}]}


JWKS = json.dumps(jwks())


def es256(
    content: bytes, private: Any = PRIVATE, kid: str | None = KID, algorithm: str = "ES256", **changes: Any
) -> str:
    """Return a token for DT-Asymmetric-Signature; ``changes`` replace claims, None removes one."""
    now = int(time.time())
    claims = {
        "checksum_sha256": hashlib.sha256(content).hexdigest(),
        "exp": now + 300,
        "iat": now,
        "iss": ISSUER,
        "sub": ORGANIZATION,
    } | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, private, algorithm, headers={"kid": kid} if kid else None)
