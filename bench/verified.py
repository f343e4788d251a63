"""The core's verification and parsing alone, for `bench.called`."""

import os
import time
from datetime import UTC, datetime

from core.event import parse
from core.http import Request
from core.settings import Settings
from core.verify.signature import Verified

_verifier = Settings.load(os.environ).verifier


def handle(token: str, body: bytes) -> None:
    """Verify one delivery."""
    now = time.time()
    found = _verifier.verify(Request("POST", "/", [("x-dt-signature", token)], body), now)
    assert isinstance(found, Verified)
    parse(found, datetime.fromtimestamp(now, UTC))
