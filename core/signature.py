"""Who sent these bytes? The one door: only what `Verifier.verify` returns can be parsed or stored.

Facts about the two schemes: docs/protocol.md. In one sentence each: ``X-Dt-Signature`` is a JWT signed by HS256 with
the Data Connector's signature secret; ``DT-Asymmetric-Signature`` is one signed by ES256 with a key that DT publishes
and uses for all its customers, so its ``sub``, the organization, has to be checked. Both carry a checksum of the body.
"""

import base64
import binascii
import hashlib
import hmac
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from core.http import Request

if TYPE_CHECKING:
    from jwt import PyJWK

HS256_HEADER = "x-dt-signature"
ES256_HEADER = "dt-asymmetric-signature"
ISSUER = "https://identity.disruptive-technologies.com/data-connector"

# DT's tokens measure 352 (HS256) and about 470 (ES256) characters. PyJWT looks at each character of an ES256 one: with
# many more than these, refusing a stranger's would cost more than accepting DT's.
MAX_TOKEN = 800

# Seconds that a fetch of keys or secrets may take.
MAX_REFRESH = 4.0

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


class Refreshable(Protocol):
    """What can be fetched anew."""

    def refresh(self) -> None:
        """Fetch; on failure keep what there is. Blocks for at most `MAX_REFRESH` seconds.

        Raises:
            KeysUnavailable: There is nothing to keep.
        """
        ...


class KeysNeeded(Exception):
    """Something should be fetched before this token is decided. Asked at most once per cooldown and source.

    Attributes:
        source: What to refresh.
    """

    def __init__(self, source: Refreshable) -> None:
        super().__init__()
        self.source = source


class KeysUnavailable(Exception):
    """The key or the secret could not be had, so nothing signed with it can be verified.

    Attributes:
        reason: What to do about it; for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Keys(Refreshable, Protocol):
    """DT's published ES256 keys; `core.jwks.PublishedKeys` or a fixed set."""

    def get(self, kid: str) -> "PyJWK | None":
        """Return the key, or None if DT publishes no such key.

        Raises:
            KeysNeeded: `refresh` is due first.
            KeysUnavailable: There are no keys at all.
        """
        ...


# A secret, and the two hashes of its HMAC (RFC 2104), copied for each token: hmac.HMAC.copy() takes twice as long.
Keyed = tuple[bytes, Any, Any]

_BLOCK = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def keyed(secrets: Iterable[bytes]) -> tuple[Keyed, ...]:
    """Return each secret with the hashes of its HMAC-SHA-256."""
    return tuple(map(_keyed, secrets))


def _keyed(secret: bytes) -> Keyed:
    key = (secret if len(secret) <= _BLOCK else hashlib.sha256(secret).digest()).ljust(_BLOCK, b"\0")
    return secret, hashlib.sha256(key.translate(_INNER)), hashlib.sha256(key.translate(_OUTER))


class Secrets(Refreshable, Protocol):
    """Signature secrets that are kept elsewhere; `core.secrets.ManagedSecrets`."""

    def get(self) -> Sequence[Keyed]:
        """Return the secrets that are accepted.

        Raises:
            KeysNeeded: `refresh` is due first.
        """
        ...

    def mismatched(self) -> None:
        """Take note that a token is signed with none of them.

        Raises:
            KeysNeeded: They may have changed: `refresh`, then look again.
        """
        ...


@dataclass(slots=True)  # not frozen, which takes 0.4 us for each
class Verified:
    """Bytes that DT signed. Made by `Verifier.verify` alone.

    Attributes:
        body: The exact bytes.
        signed_by: ``hs256:0`` (the index of the secret), ``es256:<kid>``, both joined by ``+``, or ``nobody``.
        expired_for: Seconds by which the token was past its ``exp`` and accepted by grace; 0 normally.
    """

    body: bytes = field(repr=False)
    signed_by: str
    expired_for: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """Verifies deliveries by the rules of docs/protocol.md.

    Attributes:
        secrets: The signature secrets that are accepted, as bytes; empty, and no `managed`, switches HS256 off.
        managed: Where the secrets are to be had instead.
        organizations: The DT organization ids that are accepted; empty switches ES256 off.
        policy: ``any``: at least one configured scheme's header is there, and each that is there verifies.
            ``hs256``, ``es256``: that one; ``both``: both. ``unsigned``: everything passes.
        keys: DT's published keys; None when ES256 is off.
        issuer: The ``iss`` of ES256 tokens.
        leeway: Seconds of clock difference forgiven, for ``exp``, ``iat`` and ``nbf``.
        accept_expired_for: Seconds after ``exp`` (and the leeway) during which a token is still accepted.
        accept_sha1: Whether a token with no SHA-256 checksum may have its SHA-1 one compared.
    """

    secrets: Sequence[bytes] = field(default=(), repr=False)
    managed: Secrets | None = field(default=None, repr=False)
    organizations: frozenset[str] = frozenset()
    policy: Policy = "any"
    keys: Keys | None = None
    issuer: str = ISSUER
    leeway: int = 60
    accept_expired_for: int = 0
    accept_sha1: bool = True
    _keyed: tuple[Keyed, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_keyed", keyed(self.secrets))

    def verify(self, request: Request, now: float) -> Verified:
        """Return the request's body as bytes that DT signed.

        Args:
            request: The request as it came.
            now: The time, in seconds since the epoch.

        Raises:
            SignatureError: It is not from DT, or not for us.
            KeysNeeded, KeysUnavailable: It may be, but the key to tell is not here.
        """
        if self.policy == "unsigned":
            return Verified(request.body, "nobody")
        hs256 = (
            self._token(request, HS256_HEADER) if (self.secrets or self.managed) and self.policy != "es256" else None
        )
        es256 = self._token(request, ES256_HEADER) if self.organizations and self.policy != "hs256" else None
        if (hs256 is None or es256 is None) if self.policy == "both" else (hs256 is None and es256 is None):
            raise SignatureError("missing")
        signed_by, expired_for = "", 0
        if hs256 is not None:
            index, claims = self._hs256(hs256)
            signed_by, expired_for = f"hs256:{index}", self._check(claims, request, now)
        if es256 is not None:
            kid, claims = self._es256(es256)
            signed_by = f"{signed_by}+es256:{kid}" if signed_by else f"es256:{kid}"
            expired_for = max(expired_for, self._check(claims, request, now))
        return Verified(request.body, signed_by, expired_for)

    def _token(self, request: Request, name: str) -> bytes | None:
        values = request.values(name)
        if not values:
            return None
        if len(values) > 1:
            raise SignatureError("repeated")
        if len(values[0]) > MAX_TOKEN:
            raise SignatureError("too_long")
        try:
            return values[0].encode("ascii")
        except UnicodeEncodeError:
            raise SignatureError("malformed") from None

    def _hs256(self, token: bytes) -> tuple[int, dict[str, Any]]:
        # Authenticated before anything is decoded: a stranger's token, whatever it claims to be, costs one HMAC.
        signing_input, _, signature = token.rpartition(b".")
        signature = signature.removesuffix(b"=")
        for index, (secret, inner, outer) in enumerate(self.managed.get() if self.managed else self._keyed):
            digest, mac = inner.copy(), outer.copy()
            digest.update(signing_input)
            mac.update(digest.digest())
            if hmac.compare_digest(_base64url(mac.digest()), signature):
                claims = _dt_claims(signing_input)
                return index, _pyjwt_claims(token, secret, "HS256") if claims is None else claims
        if self.managed:
            self.managed.mismatched()
        raise SignatureError("signature")

    def _es256(self, token: bytes) -> tuple[str, dict[str, Any]]:
        assert self.keys is not None  # settings give keys wherever they give organizations
        # Only to find the key: what else the header says, and whether it is well formed, is for PyJWT to judge.
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
        claims = _pyjwt_claims(token, key, "ES256", self.issuer)
        if claims.get("sub") not in self.organizations:
            raise SignatureError("organization")
        return str(kid), claims

    def _check(self, claims: Mapping[str, Any], request: Request, now: float) -> int:
        """Compare what the token says with the clock and the body; return the seconds that it is past its life."""
        try:
            expires, issued, not_before = int(claims["exp"]), int(claims["iat"]), int(claims.get("nbf", 0))
        except (TypeError, ValueError, OverflowError):
            raise SignatureError("malformed") from None
        if max(issued, not_before) > now + self.leeway:
            raise SignatureError("not_yet_valid")
        self._check_body(claims, request)
        # Last, so that "expired" means: and otherwise valid. Whether DT signs each retry anew is not documented.
        # Whole numbers alone: JSON's may have more digits than a float can hold.
        overdue = int(now) - self.leeway - expires
        if overdue < 0:
            return 0
        if overdue >= self.accept_expired_for:
            raise SignatureError("expired")
        return int(now) - expires

    def _check_body(self, claims: Mapping[str, Any], request: Request) -> None:
        # DT has sent the SHA-256 since February 2022; where it is there, it alone decides.
        digest: Callable[[bytes], Any] = hashlib.sha256
        if "checksum_sha256" in claims:
            claimed = claims["checksum_sha256"]
        elif self.accept_sha1 and "checksum" in claims:
            claimed, digest = claims["checksum"], _sha1
        else:
            raise SignatureError("claims")
        if type(claimed) is not str:
            raise SignatureError("malformed")
        # compare_digest takes text of ASCII alone.
        if claimed.isascii():
            for body in (request.body, *request.alternatives):
                if hmac.compare_digest(claimed, digest(body).hexdigest()):
                    # Settled: a second token has to be one of the same bytes.
                    request.body, request.alternatives = body, ()
                    return
        raise SignatureError("checksum" if request.body else "empty_body")


# The lane: the one shape of token that DT sends, read without PyJWT, which takes 30 microseconds for what these lines
# do in 4. Everything else that is rightly signed is left to PyJWT, and a property test holds the two to one verdict.
# See docs/decisions/0003-the-lane.md.
_DT_HEADER = b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"  # {"alg":"HS256","typ":"JWT"}
_DT_CLAIMS = frozenset({"checksum", "checksum_sha256", "exp", "iat", "jti"})
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/   ")
_raw_decode = json.JSONDecoder().raw_decode


def _sha1(data: bytes) -> Any:
    return hashlib.sha1(data, usedforsecurity=False)


def _base64url(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=")


def _dt_claims(signing_input: bytes) -> dict[str, Any] | None:
    """Return the claims of an authentic token if it has exactly the shape that DT sends, else None."""
    header, _, payload = signing_input.partition(b".")
    if header != _DT_HEADER:
        return None
    padded = payload.translate(_FROM_URL) + b"=" * (-len(payload) % 4)
    try:
        data = binascii.a2b_base64(padded)
        text = data.decode()
        claims, end = _raw_decode(text)
    except (ValueError, RecursionError):
        return None
    # What does not come back as it went in had characters or bits that a lenient decoder drops.
    if end != len(text) or binascii.b2a_base64(data, newline=False) != padded:
        return None
    if type(claims) is not dict or not claims.keys() <= _DT_CLAIMS:
        return None
    if type(claims.get("exp")) is int and type(claims.get("iat")) is int and type(claims.get("jti", "")) is str:
        return claims
    return None


def _pyjwt_claims(token: bytes, key: "PyJWK | bytes", algorithm: str, issuer: str | None = None) -> dict[str, Any]:
    """Let PyJWT decide on everything but the clock and the body, which `Verifier._check` compares for both lanes."""
    # Imported here: with cryptography installed it takes longer than all of the core.
    import jwt

    # A short secret is reported once, by the settings, and not at each request.
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
