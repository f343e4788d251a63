"""Verifies signatures: only the result of `Verifier.verify` can be parsed or stored.

docs/protocol.md describes the two schemes. ``X-Dt-Signature`` is a JWT signed with HS256 and the Data Connector's
signature secret. ``DT-Asymmetric-Signature`` is a JWT signed with ES256 and a key that DT publishes and uses for all
customers, so its ``sub``, the organization, must be checked. Both contain a checksum of the body.
"""

import base64
import hashlib
import hmac
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from core.http import Request
from core.verify.fast_path import base64url, dt_claims
from core.verify.keys import KeyedSecret, KeysNeeded, PublicKeys, Secrets, keyed

if TYPE_CHECKING:
    from jwt import PyJWK

HS256_HEADER = "x-dt-signature"
ES256_HEADER = "dt-asymmetric-signature"
ISSUER = "https://identity.disruptive-technologies.com/data-connector"

# DT's tokens have 352 (HS256) and about 470 (ES256) characters. PyJWT scans every character of an ES256 token: without
# a limit, refusing a long forged token would cost more than accepting DT's.
MAX_TOKEN = 800

Policy = Literal["any", "hs256", "es256", "both", "unsigned"]


class SignatureError(Exception):
    """The request is not from DT Cloud, or not for us.

    Attributes:
        reason: One of the words in `REASONS`; for the log, never for the answer.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


REASONS = {
    "missing": "no signature header that this receiver is configured to verify",
    "repeated": "a signature header came more than once",
    "too_long": f"a token above {MAX_TOKEN} characters",
    "malformed": "not a JWT, or one with a claim of the wrong type",
    "algorithm": "a token of another algorithm than its header's scheme",
    "signature": "not signed with any configured key",
    "unknown_key": "a kid that DT's published keys do not have",
    "issuer": "an ES256 token of another issuer",
    "organization": "an ES256 token for another organization",
    "claims": "a token without exp, iat or a checksum",
    "expired": "a token past its exp, otherwise valid",
    "not_yet_valid": "a token from the future: is this machine's clock slow?",
    "checksum": "a genuine token of another body",
    "empty_body": "a genuine token of a body that did not come",
}


@dataclass(slots=True)  # not frozen, which takes 0.4 us for each
class Verified:
    """Bytes that DT signed. Only `Verifier.verify` creates it.

    Attributes:
        body: The exact bytes.
        signed_by: ``hs256:0`` (the index of the secret), ``es256:<kid>``, both joined by ``+``, or ``nobody``.
        expired_for: Seconds since the token's ``exp``, if it was accepted although expired; 0 normally.
    """

    body: bytes = field(repr=False)
    signed_by: str
    expired_for: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """Verifies deliveries by the rules of docs/protocol.md.

    Attributes:
        secrets: The accepted signature secrets, as bytes; empty, and no `managed`, disables HS256.
        managed: The source of the secrets, instead of `secrets`.
        organizations: The accepted DT organization ids; empty disables ES256.
        policy: ``any``: at least one header of a configured scheme is present, and each present one verifies.
            ``hs256``, ``es256``: that one; ``both``: both. ``unsigned``: every request is accepted.
        keys: DT's published keys; None if ES256 is disabled.
        issuer: The ``iss`` of ES256 tokens.
        leeway: Tolerated clock difference in seconds, for ``exp``, ``iat`` and ``nbf``.
        accept_expired_for: Seconds after ``exp`` (and the leeway) for which a token is still accepted.
        accept_sha1: Whether SHA-1 is compared if a token has no SHA-256 checksum.
    """

    secrets: Sequence[bytes] = field(default=(), repr=False)
    managed: Secrets | None = field(default=None, repr=False)
    organizations: frozenset[str] = frozenset()
    policy: Policy = "any"
    keys: PublicKeys | None = None
    issuer: str = ISSUER
    leeway: int = 60
    accept_expired_for: int = 0
    accept_sha1: bool = True
    _keyed: tuple[KeyedSecret, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_keyed", keyed(self.secrets))

    def verify(self, request: Request, now: float) -> Verified | KeysNeeded:
        """Return the request's body as bytes that DT signed.

        Args:
            request: The request, unchanged.
            now: The time, in seconds since the epoch.

        Returns:
            The verified body, or the keys to refresh before the request can be verified.

        Raises:
            SignatureError: It is not from DT, or not for us.
            core.verify.keys.KeysUnavailableError: The key to verify it with is not available.
        """
        if self.policy == "unsigned":
            return Verified(request.body, "nobody")
        hs256 = (
            self._token(request, HS256_HEADER) if (self.secrets or self.managed) and self.policy != "es256" else None
        )
        es256 = self._token(request, ES256_HEADER) if self.organizations and self.policy != "hs256" else None
        if (hs256 is None or es256 is None) if self.policy == "both" else (hs256 is None and es256 is None):
            raise SignatureError("missing")
        verified = None
        if hs256 is not None:
            signer = self._hs256(hs256)
            if isinstance(signer, KeysNeeded):
                return signer
            signed_by, claims = signer
            verified = self._check(signed_by, claims, (request.body, *request.alternatives), now)
        if es256 is not None:
            signer = self._es256(es256)
            if isinstance(signer, KeysNeeded):
                return signer
            # Both tokens must be for the same bytes.
            bodies = (verified.body,) if verified else (request.body, *request.alternatives)
            signed_by, claims = signer
            other = self._check(signed_by, claims, bodies, now)
            if verified is None:
                return other
            verified.signed_by += "+" + other.signed_by
            verified.expired_for = max(verified.expired_for, other.expired_for)
        assert verified
        return verified

    def _token(self, request: Request, name: str) -> bytes | None:
        values = request.values(name)
        if not values:
            return None
        if len(values) > 1:
            raise SignatureError("repeated")
        (token,) = values
        if len(token) > MAX_TOKEN:
            raise SignatureError("too_long")
        try:
            return token.encode("ascii")
        except UnicodeEncodeError:
            raise SignatureError("malformed") from None

    def _hs256(self, token: bytes) -> tuple[str, dict[str, Any]] | KeysNeeded:
        # Authenticate before decoding: a forged token costs only one HMAC.
        signing_input, _, signature = token.rpartition(b".")
        signature = signature.removesuffix(b"=")
        secrets = self.managed.get() if self.managed else self._keyed
        if isinstance(secrets, KeysNeeded):
            return secrets
        for signed_by, secret, inner, outer in secrets:
            digest = inner.copy()
            digest.update(signing_input)
            mac = outer.copy()
            mac.update(digest.digest())
            if hmac.compare_digest(base64url(mac.digest()), signature):
                claims = dt_claims(signing_input)
                return signed_by, _pyjwt_claims(token, secret, "HS256") if claims is None else claims
        if self.managed and (needed := self.managed.mismatched()):
            return needed
        raise SignatureError("signature")

    def _es256(self, token: bytes) -> tuple[str, dict[str, Any]] | KeysNeeded:
        assert self.keys is not None  # settings with organizations always have keys
        # Only to find the key: PyJWT validates the header.
        try:
            header = json.loads(base64.urlsafe_b64decode(token.partition(b".")[0] + b"=="))
        except (ValueError, RecursionError):
            raise SignatureError("malformed") from None
        # Pinned here, not read from the token or from the discovery document; jku and x5u are never followed.
        if type(header) is not dict or header.get("alg") != "ES256":
            raise SignatureError("algorithm")
        kid = header.get("kid")
        key = self.keys.get(kid) if type(kid) is str else None
        if key is None:
            raise SignatureError("unknown_key")
        if isinstance(key, KeysNeeded):
            return key
        claims = _pyjwt_claims(token, key, "ES256", self.issuer)
        if claims.get("sub") not in self.organizations:
            raise SignatureError("organization")
        return f"es256:{kid}", claims

    def _check(self, signed_by: str, claims: Mapping[str, Any], bodies: Sequence[bytes], now: float) -> Verified:
        """Compare the claims with the clock and the body."""
        try:
            expires, issued, not_before = int(claims["exp"]), int(claims["iat"]), int(claims.get("nbf", 0))
        except (TypeError, ValueError, OverflowError):
            raise SignatureError("malformed") from None
        latest = now + self.leeway
        if issued > latest or not_before > latest:
            raise SignatureError("not_yet_valid")
        body = self._signed(claims, bodies)
        # Last, so that "expired" means otherwise valid. Whether DT signs each retry again is not documented. Integers
        # only: a JSON number may exceed a float.
        overdue = int(now) - self.leeway - expires
        if overdue < 0:
            return Verified(body, signed_by)
        if overdue >= self.accept_expired_for:
            raise SignatureError("expired")
        return Verified(body, signed_by, int(now) - expires)

    def _signed(self, claims: Mapping[str, Any], bodies: Sequence[bytes]) -> bytes:
        """Return the one of ``bodies`` that matches the token's checksum."""
        # DT has sent the SHA-256 since February 2022; if present, only it counts.
        digest: Callable[[bytes], Any] = hashlib.sha256
        if "checksum_sha256" in claims:
            claimed = claims["checksum_sha256"]
        elif self.accept_sha1 and "checksum" in claims:
            claimed, digest = claims["checksum"], _sha1
        else:
            raise SignatureError("claims")
        if type(claimed) is not str:
            raise SignatureError("malformed")
        # compare_digest accepts only ASCII text.
        if claimed.isascii():
            for body in bodies:
                if hmac.compare_digest(claimed, digest(body).hexdigest()):
                    return body
        raise SignatureError("checksum" if bodies[0] else "empty_body")


def _sha1(data: bytes) -> Any:
    return hashlib.sha1(data, usedforsecurity=False)


def _pyjwt_claims(token: bytes, key: "PyJWK | bytes", algorithm: str, issuer: str | None = None) -> dict[str, Any]:
    """Let PyJWT check everything except the clock and the body, which `Verifier._check` checks in both paths."""
    # Imported here: with cryptography installed, it takes longer than the whole core.
    import jwt

    # The settings report a short secret once, not at each request.
    warnings.filterwarnings("ignore", category=jwt.InsecureKeyLengthWarning)
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            [algorithm],
            issuer=issuer,
            options={"require": ["exp", "iat"], "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
    except jwt.PyJWTError as error:
        raise SignatureError(_PYJWT_REASONS.get(type(error).__name__, "malformed")) from None
    return claims


_PYJWT_REASONS = {
    "InvalidAlgorithmError": "algorithm",
    "InvalidIssuerError": "issuer",
    "InvalidSignatureError": "signature",
    "MissingRequiredClaimError": "claims",
}
