"""Signs as DT Cloud does. PyJWT creates the tokens, so that the receiver is tested with independent code."""

import hashlib
import json
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt

from core.verify.signature import ISSUER
from dt_cloud import CloudError
from dt_cloud.ids import encode_xid, xid

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

# DT's spelling; see docs/protocol.md. Some clouds change the case.
HS256_HEADER = "X-Dt-Signature"
ES256_HEADER = "DT-Asymmetric-Signature"
HS256_LIFE = 3600
ES256_LIFE = 300
EXPIRED_FOR = 7200


class Es256Key:
    """A key that replaces DT's, for a receiver that trusts it by DT_JWKS.

    Args:
        private: A key on the curve P-256.
    """

    def __init__(self, private: "EllipticCurvePrivateKey") -> None:
        self._private = private
        public: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
        # The RFC 7638 thumbprint in the form of DT's ids: a key always has the same kid.
        thumbprint = hashlib.sha256(json.dumps(public, sort_keys=True, separators=(",", ":")).encode()).digest()
        self.kid = encode_xid(thumbprint[:12])
        self.jwks = {"keys": [{**public, "alg": "ES256", "use": "sig", "kid": self.kid}]}

    @classmethod
    def load(cls, path: Path) -> "Es256Key":
        """Read the PEM file ``path``; create it, readable only to its owner, if missing.

        Raises:
            CloudError: It has other content, or cannot be created.
        """
        try:
            from cryptography.hazmat.primitives import serialization
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError:
            raise CloudError("ES256 needs another package: pip install cryptography") from None
        try:
            if not path.exists():
                pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(pem)
            private = serialization.load_pem_private_key(path.read_bytes(), None)
        except OSError as error:
            raise CloudError(
                f"Cannot read or make {path}: {error.strerror}. Move it away, or name another file."
            ) from None
        except (ValueError, TypeError):
            private = None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
            raise CloudError(
                f"{path} is not an unencrypted P-256 private key in PEM. Move it away; a new one is created."
            )
        return cls(private)

    def token(self, body: bytes, iat: int, organization: str, issuer: str) -> str:
        """Return a token for DT-Asymmetric-Signature; arguments as in `Signer`."""
        claims = {
            "checksum_sha256": hashlib.sha256(body).hexdigest(),
            "exp": iat + ES256_LIFE,
            "iat": iat,
            "iss": issuer,
            "sub": organization,
        }
        return jwt.encode(claims, self._private, "ES256", headers={"kid": self.kid})


def hs256_token(secret: bytes, body: bytes, iat: int) -> str:
    """Return a token for X-Dt-Signature."""
    claims = {
        "checksum": hashlib.sha1(body, usedforsecurity=False).hexdigest(),
        "checksum_sha256": hashlib.sha256(body).hexdigest(),
        "exp": iat + HS256_LIFE,
        "iat": iat,
        "jti": xid(iat),
    }
    with warnings.catch_warnings():
        # The receiver warns about a short secret at its start; here the warning would come once per event.
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        return jwt.encode(claims, secret, "HS256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Creates the signature headers of a delivery.

    Attributes:
        secret: The Data Connector's signature secret; None sends no X-Dt-Signature.
        key: Signs DT-Asymmetric-Signature; None sends none.
        organization: The organization id in DT-Asymmetric-Signature.
        issuer: The issuer of DT-Asymmetric-Signature.
        expired: Whether the tokens expired `EXPIRED_FOR` seconds ago.
    """

    secret: bytes | None = field(default=None, repr=False)
    key: Es256Key | None = field(default=None, repr=False)
    organization: str = ""
    issuer: str = ISSUER
    expired: bool = False

    def headers(self, body: bytes, now: float) -> dict[str, str]:
        """Sign ``body`` at ``now``, in seconds since the epoch."""
        headers = {}
        if self.secret is not None:
            headers[HS256_HEADER] = hs256_token(self.secret, body, self._issued(now, HS256_LIFE))
        if self.key is not None:
            headers[ES256_HEADER] = self.key.token(body, self._issued(now, ES256_LIFE), self.organization, self.issuer)
        return headers

    def _issued(self, now: float, life: int) -> int:
        return int(now) - (EXPIRED_FOR + life if self.expired else 0)
