"""The verification of all peers."""

import hashlib
import json
import os
from typing import Any

import jwt


def verified(token: str, body: bytes) -> dict[str, Any]:
    """Return the document of a delivery; raise an error if it is forged."""
    claims = jwt.decode(token, os.environ["DT_SIGNATURE_SECRET"], algorithms=["HS256"])
    if claims["checksum_sha256"] != hashlib.sha256(body).hexdigest():
        raise ValueError("another body")
    document: dict[str, Any] = json.loads(body)
    return document
