"""DT's own library, which verifies and parses."""

import os

from dtintegrations.data_connector import HttpPush


def handle(token: str, body: bytes) -> None:
    """Verify one delivery."""
    HttpPush({"X-Dt-Signature": token}, body, os.environ["DT_SIGNATURE_SECRET"])
