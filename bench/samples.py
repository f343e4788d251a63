"""Events that were never seen before."""

import random
import time
from datetime import UTC, datetime
from functools import cache, cached_property

from core.receiver import MAX_BODY
from dt_cloud.bodies import Device
from tests.support.deliveries import claims_of, hs256, raw_token
from tests.support.es256 import es256

EVENT_TYPE = "co2"  # 406 bytes, as most of DT's events
PROJECT = "ccol8iuk9smqiha4e8l0"
DEVICE_PREFIX = "emucdd6ef2eu277bo8f5"
DEVICES = range(100, 600)

# Longer than any run: the same requests are sent again after the table is emptied.
_LIFE = 86_400


def fresh_body() -> bytes:
    """Return the body of a new event of one of `DEVICES`."""
    return _device(random.choice(DEVICES)).body(EVENT_TYPE, datetime.now(UTC))


def fresh_delivery() -> tuple[bytes, str]:
    """Return the body of a new event and its token for X-Dt-Signature."""
    return signed(fresh_body())


def signed(body: bytes) -> tuple[bytes, str]:
    """Return ``body`` and its token for X-Dt-Signature."""
    return body, hs256(body, exp=int(time.time()) + _LIFE)


@cache
def _device(number: int) -> Device:
    return Device(f"{DEVICE_PREFIX}{number}", PROJECT)


class Sample:
    """A new event, with the tokens that several kinds of request share; each is created when first needed."""

    def __init__(self) -> None:
        self.body = fresh_body()

    @cached_property
    def large(self) -> bytes:
        """The longest accepted body: one long field, which is the cheapest to parse and so the strictest base."""
        opening = self.body[:-1] + b',"padding":"'
        return opening + b"x" * (MAX_BODY - len(opening) - 2) + b'"}'

    @cached_property
    def hs256(self) -> str:
        """The token of `body` for X-Dt-Signature."""
        return hs256(self.body)

    @cached_property
    def es256(self) -> str:
        """The token of `body` for DT-Asymmetric-Signature."""
        return es256(self.body)

    @cached_property
    def alg_none(self) -> str:
        """A token of `body` with the algorithm none."""
        return raw_token({"alg": "none", "typ": "JWT"}, claims_of(self.body))
