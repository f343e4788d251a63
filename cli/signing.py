"""Signs as DT Cloud does. The tokens are PyJWT's and not ours, so that the receiver is held to somebody else's word."""

import hashlib
import json
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt

from cli import CommandError
from cli.bodies import encode_xid, xid
from core.environment import SettingsError
from core.settings import Settings
from core.verify.signature import ISSUER

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

# As DT writes them; docs/protocol.md has what is known of each. Clouds change the case on the way.
HS256_HEADER = "X-Dt-Signature"
ES256_HEADER = "DT-Asymmetric-Signature"
HS256_LIFE = 3600
ES256_LIFE = 300
EXPIRED_FOR = 7200


class Es256Key:
    """A key of our own in the place of DT's, for a receiver that is told so by DT_JWKS.

    Args:
        private: A key on the curve P-256.
    """

    def __init__(self, private: "EllipticCurvePrivateKey") -> None:
        self._private = private
        public: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
        # The thumbprint of RFC 7638, in the shape of DT's ids: the same key always has the same kid.
        thumbprint = hashlib.sha256(json.dumps(public, sort_keys=True, separators=(",", ":")).encode()).digest()
        self.kid = encode_xid(thumbprint[:12])
        self.jwks = {"keys": [{**public, "alg": "ES256", "use": "sig", "kid": self.kid}]}

    @classmethod
    def load(cls, path: Path) -> "Es256Key":
        """Read the PEM file ``path``, which is made, readable to its owner alone, when it is not there.

        Raises:
            CommandError: It holds something else, or cannot be made.
        """
        try:
            from cryptography.hazmat.primitives import serialization
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError:
            raise CommandError("ES256 needs another package: pip install cryptography") from None
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
            raise CommandError(f"Cannot read or make {path}: {error.strerror}. Name another --es256-key.", 2) from None
        except (ValueError, TypeError):
            private = None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
            raise CommandError(
                f"{path} is no unencrypted P-256 private key in PEM. Name a file that is not there: it is made.", 2
            )
        return cls(private)

    def token(self, body: bytes, iat: int, organization: str) -> str:
        """Return a token for DT-Asymmetric-Signature; arguments as in `Signer`."""
        claims = {
            "checksum_sha256": hashlib.sha256(body).hexdigest(),
            "exp": iat + ES256_LIFE,
            "iat": iat,
            "iss": ISSUER,
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
        # The receiver says at its start that its secret is short; here it would be said once per event.
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        return jwt.encode(claims, secret, "HS256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Makes the signature headers of a delivery.

    Attributes:
        secret: The Data Connector's signature secret; None sends no X-Dt-Signature.
        key: Signs DT-Asymmetric-Signature; None sends none.
        organization: The DT organization id that it is signed for.
        expired: Whether the tokens ran out `EXPIRED_FOR` seconds ago.
    """

    secret: bytes | None = field(default=None, repr=False)
    key: Es256Key | None = field(default=None, repr=False)
    organization: str = ""
    expired: bool = False

    def headers(self, body: bytes, now: float) -> dict[str, str]:
        """Sign ``body`` at ``now``, in seconds since the epoch."""
        headers = {}
        if self.secret is not None:
            headers[HS256_HEADER] = hs256_token(self.secret, body, self._issued(now, HS256_LIFE))
        if self.key is not None:
            headers[ES256_HEADER] = self.key.token(body, self._issued(now, ES256_LIFE), self.organization)
        return headers

    def _issued(self, now: float, life: int) -> int:
        return int(now) - (EXPIRED_FOR + life if self.expired else 0)


def find_secret(text: str | None, path: Path) -> bytes:
    """Return the secret to sign with.

    Args:
        text: What DT_SIGNATURE_SECRET or --secret says: one secret, or a JSON array, of which the first is taken.
        path: The file that has it otherwise.

    Raises:
        CommandError: There is none.
    """
    if not text or not text.strip():
        try:
            text = path.read_text().strip()
        except (OSError, ValueError):
            text = ""
        if not text:
            raise CommandError(
                f"There is no secret to sign with. Start the receiver with `make run`, which writes one to {path}, "
                "or set DT_SIGNATURE_SECRET to the receiver's.",
                2,
            )
    try:
        # Read by the receiver's own rules, so that both sides come to the same bytes.
        return Settings.load({"DT_SIGNATURE_SECRET": text}).verifier.secrets[0]
    except SettingsError as error:
        raise CommandError(str(error), 2) from None
