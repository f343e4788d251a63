"""Deliveries as DT Cloud sends them, and forged ones. Every token is signed by PyJWT, never by the core."""

import base64
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from core.http import Request
from core.verify.signature import Verified, Verifier

SECRET = "a signature secret of the tests, 40 bytes"
ORGANIZATION = "cvinmt9aq9sc738g6eog"
FIXTURES = Path(os.environ.get("DT_FIXTURES") or Path(__file__).parents[3] / "shared" / "fixtures")

needs_fixtures = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason=f"no captured deliveries at {FIXTURES}; set DT_FIXTURES to the folder that has them"
)


def body(**changes: Any) -> bytes:
    """Return the body of a temperature event; ``changes`` replace fields of ``event``, None removes one."""
    event = {
        "eventId": "cpbg96qngr7ai7ldarrg",
        "targetName": "projects/ccol8iuk9smqiha4e8l0/devices/emucdd6ef2eu277bo8f52vg",
        "eventType": "temperature",
        "data": {
            "temperature": {
                "value": 27,
                "updateTime": "2024-05-29T10:34:03.970415Z",
                "samples": [{"value": 27, "sampleTime": "2024-05-29T10:34:03.970415Z"}],
                "isBackfilled": False,
            }
        },
        "timestamp": "2024-05-29T10:34:03.970415Z",
    }
    event = {name: value for name, value in (event | changes).items() if value is not None}
    document = {
        "event": event,
        "labels": {"name": "Møterom 3 & <lab>"},
        "metadata": {
            "deviceId": "emucdd6ef2eu277bo8f52vg",
            "projectId": "ccol8iuk9smqiha4e8l0",
            "deviceType": "temperature",
            "productNumber": "",
        },
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def fresh_body() -> bytes:
    """Return the body of a new event."""
    return body(eventId=os.urandom(10).hex())


def claims_of(content: bytes, **changes: Any) -> dict[str, Any]:
    """Return the claims of DT's HS256 token for ``content``; ``changes`` replace some, None removes one."""
    now = int(time.time())
    claims = {
        "checksum": hashlib.sha1(content).hexdigest(),
        "checksum_sha256": hashlib.sha256(content).hexdigest(),
        "exp": now + 3600,
        "iat": now,
        "jti": "cpbg96t1isjlr2vdorc0",
    }
    return {name: value for name, value in (claims | changes).items() if value is not None}


def hs256(content: bytes, secret: str = SECRET, headers: dict[str, Any] | None = None, **changes: Any) -> str:
    """Return a token for X-Dt-Signature."""
    return jwt.encode(claims_of(content, **changes), secret, "HS256", headers=headers)


def raw_token(header: object, claims: object, signature: bytes = b"") -> str:
    """Return a token with any header, claims and signature, valid or not."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def signed(content: bytes, **changes: Any) -> dict[str, str]:
    """Return the headers of an HS256 delivery."""
    return {"Content-Type": "application/json", "X-Dt-Signature": hs256(content, **changes)}


def delivery(content: bytes | None = None, headers: dict[str, str] | None = None, **changes: Any) -> Request:
    """Return one delivery, signed by HS256 unless ``headers`` say otherwise."""
    content = body() if content is None else content
    headers = signed(content, **changes) if headers is None else headers
    return Request("POST", "/", list(headers.items()), content)


def verified(verifier: Verifier, request: Request, now: float) -> Verified:
    """Verify a request that needs no fetch of keys."""
    found = verifier.verify(request, now)
    assert isinstance(found, Verified)
    return found
