"""The fast path: reads tokens in exactly DT's form, without PyJWT.

PyJWT takes 30 µs, this takes 4. PyJWT reads all other authentic tokens; a property test checks that both agree. Limits:
docs/decisions/0003-the-fast-path.md.
"""

import binascii
import json
from typing import Any

_DT_HEADER = b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"  # {"alg":"HS256","typ":"JWT"}
_DT_CLAIMS = frozenset({"checksum", "checksum_sha256", "exp", "iat", "jti"})
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/   ")
# What raw_decode calls; it raises StopIteration for an empty text.
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def base64url(data: bytes) -> bytes:
    """Encode without padding (RFC 7515)."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=")


def dt_claims(signing_input: bytes) -> dict[str, Any] | None:
    """Return the claims of an authentic token if it has exactly DT's form, otherwise None."""
    header, _, payload = signing_input.partition(b".")
    if header != _DT_HEADER:
        return None
    padded = payload.translate(_FROM_URL) + b"=" * (-len(payload) % 4)
    try:
        data = binascii.a2b_base64(padded)
        text = data.decode()
        claims, end = _scan(text, 0)
    except (ValueError, RecursionError, StopIteration):
        return None
    # The decoder ignores some characters and bits. If encoding does not restore the text, it is not canonical.
    if end != len(text) or binascii.b2a_base64(data, newline=False) != padded:
        return None
    if type(claims) is not dict or not _DT_CLAIMS.issuperset(claims):
        return None
    if type(claims.get("exp")) is int and type(claims.get("iat")) is int and type(claims.get("jti", "")) is str:
        return claims
    return None
