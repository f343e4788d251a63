"""Ids as DT makes them: xids, 12 bytes as 20 characters of base32 (https://github.com/rs/xid)."""

import base64
import hashlib
import secrets


def xid(seconds: float) -> str:
    """Return a fresh id: 4 bytes of time, here followed by 8 random ones.

    Args:
        seconds: The time, in seconds since the epoch.
    """
    return encode_xid((int(seconds) & 0xFFFFFFFF).to_bytes(4) + secrets.token_bytes(8))


def fixed_xid(name: str) -> str:
    """Return a fixed id for ``name``."""
    return encode_xid(hashlib.sha256(name.encode()).digest()[:12])


def encode_xid(data: bytes) -> str:
    """Write 12 bytes as the 20 characters of an xid."""
    return base64.b32hexencode(data).decode().rstrip("=").lower()
